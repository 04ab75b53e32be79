//! Where the final answer of a text stands: in the last box, where it is announced, or last.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};

use super::lex::Commas;
use super::number;
use super::parse::parse;
use super::plain::{is_prose, plain};

/// Bytes between two boxes of one answer.
const MOST_BETWEEN_BOXES: usize = 70;
/// Boxes of one answer.
const MOST_BOXES: usize = 32;
/// Bytes of a text that may be an answer and nothing else.
const LONGEST_BARE_ANSWER: usize = 500;
/// What formulas stand between.
const DELIMITERS: [(&str, &str); 4] = [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")];
const BOX: &[u8] = b"\\boxed";

/// The content of the last complete and non-empty `\boxed{...}`, the innermost of nested ones. One pass with a stack:
/// braces without a partner do no harm.
pub(super) fn last_boxed(text: &str) -> Option<&str> {
    boxes(text).pop().map(|found| &text[found])
}

/// The contents of all boxes, from left to right, without those around others.
fn boxes(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    // For each open brace, where its box begins, if it is one.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if bytes[at..].starts_with(BOX) => {
                at += BOX.len();
                if bytes.get(at) == Some(&b'{') {
                    at += 1;
                    open.push(Some(at));
                }
                continue;
            }
            // An escaped brace is a sign, not a group.
            b'\\' => at += 1,
            b'{' => open.push(None),
            b'}' => {
                if let Some(Some(start)) = open.pop()
                    && found.last().is_none_or(|last| start > last.start)
                    && !text[start..at].trim_ascii().is_empty()
                {
                    found.push(start..at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The boxes at the end of a text that together are one answer: several, of which each follows the one before within a
/// few words. Joined by commas.
pub(super) fn boxes_of_one_answer(text: &str) -> Option<String> {
    let boxes = boxes(text);
    let mut first = boxes.len().checked_sub(1)?;
    while first > 0
        && boxes[first].start - boxes[first - 1].end <= MOST_BETWEEN_BOXES
        && boxes.len() - first < MOST_BOXES
        && !text[boxes[first - 1].end..boxes[first].start].contains("\n\n")
    {
        first -= 1;
    }
    let several: Vec<&str> = boxes[first..].iter().map(|place| text[place.clone()].trim()).collect();
    (several.len() > 1).then(|| several.join(", "))
}

/// A number: the last box, else the first number after the last announcement, else the last number.
pub(super) fn number(text: &str) -> Option<&str> {
    last_boxed(text)
        .or_else(|| sole_formula(text))
        .or_else(|| announced(text).find_map(|said| number::first(said).map(|place| with_percent(said, place))))
        .or_else(|| number::last(text).map(|place| with_percent(text, place)))
}

fn with_percent(text: &str, place: Range<usize>) -> &str {
    let percent = ["\\%", "%"].iter().find(|sign| text[place.end..].starts_with(**sign));
    &text[place.start..place.end + percent.map_or(0, |sign| sign.len())]
}

/// Any other answer: the last box, else what the last announcement says, else what a text of one line says that something
/// is, else a text that is nothing but a formula, else the last formula, else the last number, else a text of one line as it
/// stands.
pub(super) fn text(text: &str) -> Option<&str> {
    last_boxed(text)
        .or_else(|| announced(text).next().map(|said| leading_formula(said).unwrap_or(said)))
        .or_else(|| stated(text.trim()))
        .or_else(|| {
            let line = text.trim();
            let bare = !line.contains(['\n', '$']) && line.len() <= LONGEST_BARE_ANSWER && !line.is_empty();
            (bare && !is_prose(line)).then_some(line)
        })
        .or_else(|| last_formula(text))
        .or_else(|| number::last(text).map(|place| &text[place]))
        .or_else(|| Some(text.trim()).filter(|line| !line.contains('\n') && line.len() <= LONGEST_BARE_ANSWER))
}

/// What a line says that something is, where it is a number or a formula with one: 8 in "it is 8". Numbers before the verb
/// make several statements of it, of which none is the answer by itself.
fn stated(line: &str) -> Option<&str> {
    const VERBS: [&str; 3] = [" is ", " are ", " equals "];
    if line.len() > LONGEST_BARE_ANSWER || line.contains(['\n', '$']) {
        return None;
    }
    let end_of = |verb: &&str| Some(line.rfind(*verb)? + verb.len());
    let (before, said) = line.split_at(VERBS.iter().filter_map(end_of).max()?);
    let said = said.trim().trim_end_matches(['*', '.', '!', ' ']);
    let has_digit = |text: &str| text.contains(|c: char| c.is_ascii_digit());
    let is_maths = || number::quantity(&plain(said)).is_some() || parse(said, Commas::Thousands).is_some();
    (has_digit(said) && !has_digit(before) && is_maths()).then_some(said)
}

/// The whole text if it is one formula.
pub(super) fn sole_formula(text: &str) -> Option<&str> {
    let text = text.trim();
    let inner = text.strip_prefix('$')?.strip_suffix('$')?;
    let inner = inner.strip_prefix('$').and_then(|inner| inner.strip_suffix('$')).unwrap_or(inner);
    (!inner.contains('$')).then_some(inner)
}

/// The formula with which a text begins.
fn leading_formula(said: &str) -> Option<&str> {
    DELIMITERS.iter().find_map(|(open, close)| {
        let inner = said.strip_prefix(open)?;
        let end = inner.find(close)?;
        Some(&inner[..end]).filter(|formula| !formula.trim().is_empty())
    })
}

/// The last formula between delimiters.
fn last_formula(text: &str) -> Option<&str> {
    DELIMITERS
        .iter()
        .filter_map(|(open, close)| {
            let end = text.rfind(close)?;
            let start = text[..end].rfind(open)? + open.len();
            let formula = &text[start..end];
            (!formula.trim().is_empty() && formula.len() <= LONGEST_BARE_ANSWER).then_some((end, formula))
        })
        .max_by_key(|(end, _)| *end)
        .map(|(_, formula)| formula)
}

/// What follows "answer is", "answer:" and the like, or GSM8K's "####", to the end of the line; from the last one to the
/// first. Each piece ends where the next announcement begins, so that all of them together are no longer than the text.
pub(super) fn announced(text: &str) -> impl Iterator<Item = &str> {
    let mut end = text.len();
    let words: Vec<Range<usize>> =
        FOR_ANSWER.iter().flat_map(|words| words.find_iter(text)).map(|at| at.range()).collect();
    words.into_iter().rev().filter_map(move |word| {
        // Of "####", the last is left for `saying`.
        let mark = usize::from(text[..word.end].ends_with('#'));
        let said = saying(&text[word.end - mark..end]);
        end = word.start;
        let line = said?.split('\n').next()?.trim().trim_end_matches(['*', '.', '।', '。', ' ']);
        (!line.is_empty()).then_some(line)
    })
}

/// "Answer" in the languages that reasoning data is in, and GSM8K's mark.
const ANSWER: [&str; 27] = [
    "answer",
    "correct option",
    "correct choice",
    "সঠিক বিকল্প",
    "####",
    "答案",
    "解答",
    "正解",
    "答え",
    "정답",
    "উত্তর",
    "उत्तर",
    "ответ",
    "Ответ",
    "відповідь",
    "Відповідь",
    "réponse",
    "respuesta",
    "resposta",
    "risposta",
    "antwort",
    "antwoord",
    "cevap",
    "đáp án",
    "Đáp án",
    "الإجابة",
    "الجواب",
];
/// What joins it to the answer, beside a colon.
const VERBS: [&str; 14] =
    ["is", "would be", "should be", "must be", "will be", "হলো", "হল", "হচ্ছে", "হবে", "है", "ist", "est", "es", "là"];
/// The same in scripts without spaces.
const JOINED_VERBS: [&str; 3] = ["是", "为", "は"];

/// `None` cannot happen with these words; a test builds it.
static FOR_ANSWER: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasickBuilder::new().ascii_case_insensitive(true).build(ANSWER).ok());

/// Skips what joins "answer" to the answer; `None` if nothing does, as in "to answer this" or "the answer depends".
fn saying(after: &str) -> Option<&str> {
    // Bengali's article is part of the word.
    let mut rest = after.strip_prefix("টি").or_else(|| after.strip_prefix("টা")).unwrap_or(after);
    let mut joined = false;
    loop {
        let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '*', '_']);
        // The Bengali sign after the equals sign is written for a colon.
        if let Some(next) = trimmed.strip_prefix([':', '：', '=', 'ঃ', '#']) {
            rest = next;
            joined = true;
        } else if let Some(next) = VERBS.iter().find_map(|verb| trimmed.strip_prefix(verb))
            && !next.starts_with(|c: char| c.is_alphanumeric())
        {
            rest = next;
            joined = true;
        } else if let Some(next) = JOINED_VERBS.iter().find_map(|verb| trimmed.strip_prefix(verb)) {
            rest = next;
            joined = true;
        } else {
            return joined.then_some(trimmed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complete_box_is_found() {
        for (text, expected) in [
            ("\\boxed{4}", Some("4")),
            ("\\boxed{1} then \\boxed{2}", Some("2")),
            ("\\boxed{\\frac{1}{2}}.", Some("\\frac{1}{2}")),
            ("\\boxed{\\{1, 2\\}}", Some("\\{1, 2\\}")),
            ("\\boxed{1} then \\boxed{2", Some("1")),
            ("\\boxed{1} then \\boxed{}", Some("1")),
            ("\\boxed{\\boxed{3}}", Some("3")),
            ("} { \\boxed{5} {", Some("5")),
            ("\\boxed{}", None),
            ("\\boxed{", None),
            ("\\boxed", None),
            ("boxed{4}", None),
        ] {
            assert_eq!(last_boxed(text), expected, "{text}");
        }
    }

    #[test]
    fn announcements_are_found_from_the_last() {
        assert!(FOR_ANSWER.is_some());
        let all = |text| announced(text).collect::<Vec<_>>();
        assert_eq!(all("The answer is 7, I think.\nFinal Answer: **8**\n"), ["8", "7, I think"]);
        assert_eq!(all("**Answer:** C"), ["C"]);
        assert_eq!(all("work #### 18"), ["18"]);
        assert_eq!(all("The answer should be:\n\n**12**."), ["12"]);
        assert_eq!(all("To answer this, note that the answer isn't known"), [""; 0]);
        assert_eq!(all("ANSWER = 3 answer:"), ["3"]);
        assert_eq!(all("**উত্তর:** B) পানি\n\nব্যাখ্যা"), ["B) পানি"]);
        assert_eq!(all("সঠিক উত্তর হলো **C**।"), ["C"]);
        assert_eq!(all("সঠিক উত্তরটি হলো:\n\n**A. পানি**"), ["A. পানি"]);
        assert_eq!(all("Therefore, the correct option is **C**."), ["C"]);
        assert_eq!(all("উত্তর দিকে যাই"), [""; 0], "northwards");
        assert_eq!(all("所以答案是12\nОтвет: 13\nRéponse : 14"), ["14", "13", "12"]);
    }

    #[test]
    fn a_number_comes_from_the_best_place_there_is() {
        assert_eq!(number("\\boxed{x} 1 2"), Some("x"));
        assert_eq!(number("The answer is $18 (as 20 - 2 = 18). Thanks 4 asking"), Some("$18"));
        assert_eq!(number("First 3, then 45\\%."), Some("45\\%"));
        assert_eq!(number("nothing"), None);
        assert_eq!(text("The answer is **New York**."), Some("New York"));
    }

    #[test]
    fn a_line_that_says_what_something_is_gives_that() {
        for (line, expected) in [
            ("it is 8", "8"),
            ("It is 8.", "8"),
            ("x is -3/4!", "-3/4"),
            ("So it is 1,234 cm", "1,234 cm"),
            ("The value is x+1", "x+1"),
            ("it is 8 or 9", "8 or 9"),
            ("they are (1, 2)", "(1, 2)"),
            ("pi r^2 equals \\frac{9}{4}\\pi", "pi r^2 equals \\frac{9}{4}\\pi"),
            ("an area equals \\frac{9}{4}\\pi", "\\frac{9}{4}\\pi"),
            // Nothing that could be taken for less, or for more, than it is.
            ("x is 3, y is 4", "x is 3, y is 4"),
            ("it is so", "it is so"),
            ("x = 8", "x = 8"),
            ("8 or 9", "8 or 9"),
            ("is 8", "is 8"),
        ] {
            assert_eq!(text(line), Some(expected), "{line}");
        }
    }
}
