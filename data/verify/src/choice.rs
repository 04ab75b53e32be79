//! Multiple choice: which of the letters A to E a text settles on.

use super::extract::{announced, last_boxed};
use super::plain::plain;

/// Whether a plain gold answer is a choice: one capital letter from A to E, perhaps in brackets or with a full stop.
pub(super) fn is_letter(plain: &str) -> bool {
    let inner = plain.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(plain);
    matches!(inner.trim_end_matches('.').as_bytes(), [b'A'..=b'E'])
}

/// The letter of an answer that starts with one: `C`, `(c)`, `C: the third`, `C. third`.
pub(super) fn letter(plain: &str) -> Option<char> {
    let mut characters = plain.trim_start_matches(['(', '[', '"', '\'', '*', ' ']).chars();
    let letter = characters.next()?.to_ascii_uppercase();
    let alone = !characters.next().is_some_and(char::is_alphanumeric);
    (matches!(letter, 'A'..='E') && alone).then_some(letter)
}

/// Finds the choice: the last box that holds a letter, else the letter after the last announcement of an answer, or
/// after a colon in the last line (an announcement in any language), else the last letter set off as "option C", "(C)" or
/// "**C", else the last one in the last line that stands alone.
pub(super) fn find(text: &str) -> Option<&str> {
    let last_line = text.trim_end().rsplit('\n').next().unwrap_or_default();
    last_boxed(text)
        .filter(|boxed| letter(&plain(boxed)).is_some())
        .or_else(|| announced(text).find_map(leading_letter))
        .or_else(|| last_line.rsplit([':', '：']).rev().skip(1).find_map(leading_letter))
        .or_else(|| standalone(text).filter(|at| set_off(text, *at)).last().map(|at| &text[at..=at]))
        .or_else(|| {
            let alone = standalone(last_line).filter(|at| !is_article(last_line, *at)).last()?;
            Some(&last_line[alone..=alone])
        })
}

/// The letter with which an announced answer begins, after "option", brackets and emphasis.
fn leading_letter(said: &str) -> Option<&str> {
    const LEADS: [&str; 8] = ["option", "Option", "choice", "Choice", "letter", "text{", "বিকল্প", "অপশন"];
    const SIGNS: [char; 11] = [' ', '*', '(', '[', '"', '\'', '`', '$', ':', '“', '\\'];
    let mut rest = said.trim_start_matches(SIGNS);
    while let Some(next) = LEADS.iter().find_map(|lead| rest.strip_prefix(lead)) {
        rest = next.trim_start_matches(SIGNS);
    }
    let found = standalone(rest).next() == Some(0) && !is_article(rest, 0);
    found.then(|| &rest[..1])
}

/// The places of capital letters A to E with no letter or digit on either side.
fn standalone(text: &str) -> impl Iterator<Item = usize> {
    let mut before = None;
    let mut characters = text.char_indices().peekable();
    std::iter::from_fn(move || {
        while let Some((at, c)) = characters.next() {
            let alone = matches!(c, 'A'..='E')
                && !before.is_some_and(joins)
                && !characters.peek().is_some_and(|(_, next)| joins(*next));
            before = Some(c);
            if alone {
                return Some(at);
            }
        }
        None
    })
}

/// Characters that make a letter part of a word or of a formula.
fn joins(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '^' | '=' | '+' | '-' | '/')
}

/// Whether the letter is marked as a choice.
fn set_off(text: &str, at: usize) -> bool {
    let before = &text[..at];
    let after = &text[at + 1..];
    let opened = before.ends_with('(') && after.starts_with(')');
    let bold = before.ends_with("**") && after.starts_with(['*', ':', '.', ')', ' ']);
    let named = ["option ", "Option ", "choice ", "option **", "Option **", "option (", "Option ("];
    opened || bold || named.iter().any(|name| before.ends_with(name))
}

/// "A" followed by a word in small letters is the English article.
fn is_article(text: &str, at: usize) -> bool {
    let mut after = text[at + 1..].chars();
    text[at..].starts_with('A') && after.next() == Some(' ') && after.next().is_some_and(char::is_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settled_choice_is_found() {
        for (text, expected) in [
            ("C", "C"),
            ("C.", "C"),
            ("(C)", "C"),
            ("\\boxed{C}", "C"),
            ("\\boxed{\\text{C}}", "\\text{C}"),
            ("\\boxed{(C) 42}", "(C) 42"),
            ("**Answer:** C", "C"),
            ("Answer: (D)", "D"),
            ("The correct answer is **B: 1971**.\n\nOptions such as **C** are wrong (D).", "B"),
            ("The correct answer is option **B**, not A.", "B"),
            ("The answer is $\\text{E}$", "E"),
            ("The correct answer is:\n\n**B: Nalanda**", "B"),
            ("So option D fits, as B did not", "D"),
            ("we find (B), and later (C). A teratogen is bad.", "C"),
            ("\\boxed{\\sqrt{20}} which is **B**", "B"),
            ("Let A be a set; the result is D", "D"),
            ("The answer is 'C', since 'A' is wrong", "C"),
            ("(A) and (B) are wrong.\n\n**正确答案：** D: 2 m", "D"),
            ("The answer is a pity. I take (A)", "A"),
            ("**উত্তর:** B) পানি\n\n**ব্যাখ্যা:** বরফ (C) কঠিন, আর বাষ্প (D) গ্যাস।", "B"),
            ("সঠিক উত্তরটি হলো বিকল্প C, কারণ D ভুল।", "C"),
        ] {
            assert_eq!(find(text), Some(expected), "{text}");
        }
        for text in ["", "CAB", "x=B+1", "A teratogen is bad", "Let A be a set.\nIt is empty.", "the option", "উত্তর"]
        {
            assert_eq!(find(text), None, "{text}");
        }
    }

    #[test]
    fn letters_are_read_off_answers() {
        for (answer, expected) in [
            ("C", Some('C')),
            ("(c)", Some('C')),
            ("C: the third", Some('C')),
            ("d. none", Some('D')),
            ("cat", None),
            ("F", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(letter(answer), expected, "{answer}");
        }
    }
}
