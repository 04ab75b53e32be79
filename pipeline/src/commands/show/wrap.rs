//! Text for a screen of some width.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Breaks text into lines of at most `width` columns, at spaces where there are any. Line breaks stay, indentation too;
/// what a terminal would take for a command is replaced. (textwrap gives an empty line between an indentation and a word that
/// is too long for the rest of the line, as texts without spaces are.)
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        wrap_line(line, width.max(2), &mut lines);
    }
    lines
}

fn wrap_line(line: &str, width: usize, lines: &mut Vec<String>) {
    let mut current = String::new();
    let mut columns = 0;
    // The last place to break at.
    let mut space: Option<usize> = None;
    for c in line.chars() {
        let c = match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        };
        let wide = c.width().unwrap_or(0);
        if columns + wide > width {
            if c == ' ' {
                lines.push(std::mem::take(&mut current));
                (columns, space) = (0, None);
                continue;
            }
            if let Some(at) = space.take() {
                let rest = current.split_off(at);
                lines.push(std::mem::replace(&mut current, rest.trim_start_matches(' ').to_owned()));
                columns = current.chars().map(|c| c.width().unwrap_or(0)).sum();
            } else {
                lines.push(std::mem::take(&mut current));
                columns = 0;
            }
        }
        // Not within the indentation: a break there would give an empty line.
        if c == ' ' && !current.trim_start().is_empty() {
            space = Some(current.len());
        }
        current.push(c);
        columns += wide;
    }
    lines.push(current.trim_end().to_owned());
}

/// Items one after another, parted by dots, as many in a line as fit.
pub(super) fn flow(items: &[String], width: usize) -> Vec<String> {
    const DOT: &str = " · ";
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if line.width() + DOT.width() + item.width() <= width => {
                line.push_str(DOT);
                line.push_str(item);
            }
            _ => lines.push(item.clone()),
        }
    }
    lines.iter().flat_map(|line| wrap(line, width)).collect()
}

/// Takes the middle out of a long text: `left` lines stay, two thirds of them at the beginning. Gives the number of lines
/// taken out, and where.
pub(super) fn cut(lines: &mut Vec<String>, left: usize) -> Option<(usize, usize)> {
    // Cutting out two or three lines saves nothing.
    if lines.len() <= left + 3 {
        return None;
    }
    let out = lines.len() - left;
    let at = left * 2 / 3;
    lines.drain(at..at + out);
    Some((at, out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_stay_within_the_width() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("a\n\n  b c", 9), ["a", "", "  b c"]);
        assert_eq!(wrap("数学题很难", 5), ["数学", "题很", "难"]);
        assert_eq!(wrap("\u{1b}[31mred", 20), ["\u{fffd}[31mred"]);
        assert!(wrap("", 5).is_empty());
        let long = "word ".repeat(50) + &"x".repeat(90) + " 数学 ".repeat(20).as_str();
        for width in 2..40 {
            let lines = wrap(&long, width);
            assert!(lines.iter().all(|line| line.width() <= width), "{width}: {lines:?}");
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            assert_eq!(letters(&lines.concat()), letters(&long));
        }
    }

    #[test]
    fn items_are_not_torn_apart_if_they_fit_into_a_line() {
        let items = ["a 1", "bb 22", "c 3", "long long item"].map(str::to_owned);
        assert_eq!(flow(&items, 11), ["a 1 · bb 22", "c 3", "long long", "item"]);
        assert!(flow(&[], 5).is_empty());
    }

    #[test]
    fn the_middle_of_a_long_text_goes() {
        let text = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        let mut lines = text(20);
        assert_eq!(cut(&mut lines, 6), Some((4, 14)));
        assert_eq!(lines, ["0", "1", "2", "3", "18", "19"]);
        assert_eq!(cut(&mut text(9), 6), None);
    }
}
