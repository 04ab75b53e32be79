//! Takes the markup off an answer: LaTeX spacing, sizing and text commands, dollar signs, Markdown emphasis.

/// Commands that only set type; their braces go with them.
const WRAPPERS: [&str; 12] = [
    "text",
    "textbf",
    "textit",
    "textrm",
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "mbox",
    "operatorname",
    "boxed",
    "bf",
];
/// Commands that leave nothing behind but a gap.
const SPACING: [&str; 8] = ["left", "right", "quad", "qquad", "displaystyle", "big", "Big", "limits"];

/// Relations under their short names.
const SYNONYMS: [(&str, &str); 5] = [("neq", "ne"), ("leq", "le"), ("geq", "ge"), ("dfrac", "frac"), ("tfrac", "frac")];

/// What an open brace belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Group {
    /// Nothing special.
    Braces,
    /// A wrapper, and goes with it.
    Wrapped,
    /// The first argument of `\frac`.
    Numerator,
}

/// The answer without markup, with single spaces; fractions as `\frac{a}{b}`.
pub(super) fn plain(answer: &str) -> String {
    let mut out = String::with_capacity(answer.len());
    let mut open = Vec::new();
    let mut rest = answer.trim().trim_matches('*');
    // What a brace would belong to if it came next.
    let mut next = Group::Braces;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => (next, rest) = command(rest, &mut out),
            '{' => {
                if next != Group::Wrapped {
                    out.push('{');
                }
                open.push(std::mem::replace(&mut next, Group::Braces));
            }
            '}' => match open.pop() {
                Some(Group::Wrapped) => {}
                Some(Group::Numerator) => {
                    out.push('}');
                    rest = brace_digit(rest, &mut out);
                }
                Some(Group::Braces) | None => out.push('}'),
            },
            '$' | '`' | '°' => {}
            '\u{2212}' | '\u{2013}' => out.push('-'),
            c if c.is_whitespace() => {
                if !out.is_empty() && !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            c => {
                next = Group::Braces;
                out.push(c);
            }
        }
    }
    // LaTeX writes thousands as 1{,}234 and degrees as ^\circ.
    let out = out.replace("{,}", ",").replace("^{\\circ}", "").replace("^\\circ", "");
    out.trim_end_matches(|c: char| c == '.' || c.is_whitespace()).trim().to_owned()
}

/// Handles a command, of which the backslash is read; returns what a brace after it belongs to, and what is left to read.
fn command<'a>(rest: &'a str, out: &mut String) -> (Group, &'a str) {
    let name_len = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (name, after) = rest.split_at(name_len);
    if name.is_empty() {
        return (Group::Braces, symbol(after, out));
    }
    if WRAPPERS.contains(&name) {
        // What a wrapper holds is a word of its own: `18\text{cm}` is 18 cm.
        out.push(' ');
        return (Group::Wrapped, after.trim_start());
    }
    if SPACING.contains(&name) {
        return (Group::Braces, after);
    }
    let name = SYNONYMS.iter().find(|(long, _)| *long == name).map_or(name, |(_, short)| short);
    out.push('\\');
    out.push_str(name);
    if name != "frac" {
        return (Group::Braces, after);
    }
    let after = after.trim_start();
    let second = brace_digit(after, out);
    if second.len() < after.len() { (Group::Braces, brace_digit(second, out)) } else { (Group::Numerator, after) }
}

/// Handles an escaped sign, of which the backslash is read.
fn symbol<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let Some(c) = rest.chars().next() else { return rest };
    match c {
        // Thin spaces group digits: 10\,000.
        ',' | '!' | '$' => {}
        ';' | ':' | ' ' | '(' | ')' | '[' | ']' | '\\' => out.push(' '),
        '{' | '}' => {
            out.push('\\');
            out.push(c);
        }
        c => out.push(c),
    }
    &rest[c.len_utf8()..]
}

/// Puts a digit that stands for an argument into braces: `\frac12` is `\frac{1}{2}`.
fn brace_digit<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let argument = rest.trim_start_matches(' ');
    match argument.chars().next() {
        Some(digit) if digit.is_ascii_digit() => {
            out.extend(['{', digit, '}']);
            &argument[1..]
        }
        _ => rest,
    }
}

/// Whether two plain answers are the same text: without regard to case if they are words.
pub(super) fn same_text(a: &str, b: &str) -> bool {
    let (a_compact, b_compact) = (compact(a), compact(b));
    let words = |plain: &str| is_prose(plain) || plain.eq_ignore_ascii_case("no");
    a_compact == b_compact || (words(a) && words(b) && a_compact.to_lowercase() == b_compact.to_lowercase())
}

/// The form in which text is compared: no spaces, no braces around a single sign (`x^{2}`).
fn compact(plain: &str) -> String {
    let spaceless: Vec<char> = plain.chars().filter(|c| !c.is_whitespace()).collect();
    let mut out = String::with_capacity(plain.len());
    let mut at = 0;
    while at < spaceless.len() {
        match &spaceless[at..] {
            [script @ ('^' | '_'), '{', sign, '}', ..] => {
                out.extend([*script, *sign]);
                at += 4;
            }
            rest => {
                out.push(rest[0]);
                at += 1;
            }
        }
    }
    out
}

/// Whether a plain answer is words rather than mathematics.
pub(super) fn is_prose(plain: &str) -> bool {
    let letters = plain.chars().filter(|c| c.is_alphabetic()).count();
    let signs = plain.chars().filter(|c| !c.is_alphanumeric() && !c.is_whitespace() && !".,'-".contains(*c)).count();
    letters > 2 && signs * 8 <= letters && !plain.contains('\\') && plain.split_whitespace().any(|w| w.len() > 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_goes_and_meaning_stays() {
        for (answer, expected) in [
            ("  $\\text{Evelyn}$. ", "Evelyn"),
            ("**42**", "42"),
            ("*42*", "42"),
            ("2*3", "2*3"),
            ("2**3", "2**3"),
            ("10\\,000", "10000"),
            ("\\left( 3, \\dfrac{\\pi}{2} \\right)", "( 3, \\frac{\\pi}{2} )"),
            ("18\\text{ cm}", "18 cm"),
            ("\\frac12", "\\frac{1}{2}"),
            ("\\tfrac 3 4", "\\frac{3}{4}"),
            ("\\frac{270}7", "\\frac{270}{7}"),
            ("\\frac9{19}", "\\frac{9}{19}"),
            ("\\frac{\\frac12}{3}", "\\frac{\\frac{1}{2}}{3}"),
            ("x \\neq 2", "x \\ne 2"),
            ("1{,}234", "1,234"),
            ("90^{\\circ}", "90"),
            ("\\$5\\%", "5%"),
            ("\\{1, 2\\}", "\\{1, 2\\}"),
            ("\\text{a {b} c}", "a {b} c"),
            ("−3", "-3"),
            ("3.5.", "3.5"),
            ("\\", ""),
        ] {
            assert_eq!(plain(answer), expected, "{answer}");
        }
        assert!(same_text("New  York", "new york"));
        assert!(!same_text("2n", "2N"));
        assert_eq!(compact("3 ( x + 4 ) ^ { 2 }"), compact("3(x+4)^2"));
        assert_ne!(compact("x^{12}"), compact("x^12"));
        assert_ne!(compact("\\Delta"), compact("\\delta"));
    }
}
