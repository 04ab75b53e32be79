//! Takes the markup off an answer: LaTeX spacing, sizing and text commands, dollar signs, Markdown emphasis.

/// Commands that only set type; their braces go with them.
const WRAPPERS: [&str; 12] = [
    "text", "textbf", "textit", "textrm", "mathrm", "mathbf", "mathit", "mathsf", "mbox", "operatorname", "boxed", "bf",
];
/// Commands that leave nothing behind but a gap.
const SPACING: [&str; 8] = ["left", "right", "quad", "qquad", "displaystyle", "big", "Big", "limits"];

/// The answer without markup, with single spaces; fractions as `\frac{a}{b}`.
pub(super) fn plain(answer: &str) -> String {
    let mut out = String::with_capacity(answer.len());
    let mut braces = Vec::new();
    let mut rest = answer.trim().trim_matches('*');
    // Set where the next opening brace belongs to a wrapper and goes with it.
    let mut wrapped = false;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => (wrapped, rest) = command(rest, &mut out),
            '{' => {
                braces.push(wrapped);
                if !wrapped {
                    out.push('{');
                }
                wrapped = false;
            }
            '}' => {
                if braces.pop() != Some(true) {
                    out.push('}');
                }
            }
            '$' | '`' | '°' => {}
            '\u{2212}' | '\u{2013}' => out.push('-'),
            c if c.is_whitespace() => {
                if !out.is_empty() && !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            c => {
                wrapped = false;
                out.push(c);
            }
        }
    }
    // LaTeX writes thousands as 1{,}234 and degrees as ^\circ.
    let out = out.replace("{,}", ",").replace("^{\\circ}", "").replace("^\\circ", "");
    out.trim_end_matches(|c: char| c == '.' || c.is_whitespace()).trim().to_owned()
}

/// Handles a command, of which the backslash is read; returns whether a wrapper was opened, and what is left to read.
fn command<'a>(rest: &'a str, out: &mut String) -> (bool, &'a str) {
    let name_len = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (name, after) = rest.split_at(name_len);
    if name.is_empty() {
        let Some(c) = after.chars().next() else { return (false, after) };
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
        return (false, &after[c.len_utf8()..]);
    }
    if WRAPPERS.contains(&name) {
        // What a wrapper holds is a word of its own: `18\text{cm}` is 18 cm.
        out.push(' ');
        return (true, after.trim_start());
    }
    if SPACING.contains(&name) {
        return (false, after);
    }
    if matches!(name, "frac" | "dfrac" | "tfrac" | "cfrac") {
        return (false, fraction(after, out));
    }
    out.push('\\');
    out.push_str(name);
    (false, after)
}

/// Writes `\frac`, and puts single-digit arguments into braces: `\frac12` is `\frac{1}{2}`.
fn fraction<'a>(after: &'a str, out: &mut String) -> &'a str {
    out.push_str("\\frac");
    let mut rest = after.trim_start();
    for _ in 0..2 {
        let Some(digit) = rest.chars().next().filter(char::is_ascii_digit) else { break };
        out.push('{');
        out.push(digit);
        out.push('}');
        rest = rest[1..].trim_start_matches(' ');
    }
    rest
}

/// The form in which text is compared: no spaces, and without regard to case if it has no commands.
pub(super) fn compact(plain: &str) -> String {
    let spaceless: String = plain.split_whitespace().collect();
    if spaceless.contains('\\') { spaceless } else { spaceless.to_lowercase() }
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
        assert_eq!(compact("New  York"), "newyork");
        assert_ne!(compact("\\Delta"), compact("\\delta"));
    }
}
