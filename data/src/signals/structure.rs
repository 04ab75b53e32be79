//! How a text ends, and what it is built of.

use serde::{Deserialize, Serialize};

/// How a text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// With a finished sentence, a formula, a list item or a table.
    Complete,
    /// Without a word.
    Empty,
    /// Within a sentence.
    Sentence,
    /// Within a code block.
    Fence,
    /// Within a formula.
    Maths,
    /// Within a `\boxed{`.
    Box,
}

/// How `text` ends; empty, if it is blank. What is open wins over how the last line looks.
pub(super) fn ending(text: &str) -> Ending {
    let text = text.trim_end();
    if text.is_empty() {
        return Ending::Empty;
    }
    if code_fences(text) % 2 == 1 {
        return Ending::Fence;
    }
    let open = open_maths(text);
    if open.in_box {
        Ending::Box
    } else if open.in_maths {
        Ending::Maths
    } else if ends_a_sentence(text) {
        Ending::Complete
    } else {
        Ending::Sentence
    }
}

/// Lines that open or close a code block.
fn code_fences(text: &str) -> u32 {
    text.lines().filter(|line| line.trim_start().starts_with("```")).count() as u32
}

/// Complete fenced code blocks.
pub(super) fn code_blocks(text: &str) -> u32 {
    code_fences(text) / 2
}

/// Characters of the longest stretch without an empty line.
pub(super) fn longest_paragraph(text: &str) -> u32 {
    text.split("\n\n").map(|paragraph| paragraph.trim().chars().count() as u32).max().unwrap_or(0)
}

struct Open {
    in_maths: bool,
    in_box: bool,
}

/// Which of `\[`, `\(`, `$$` and `\boxed{` are open at the end. A single `$` counts within its last line only: it is a
/// currency sign as often.
fn open_maths(text: &str) -> Open {
    let bytes = text.as_bytes();
    let (mut display, mut inline, mut dollars) = (0i32, 0i32, 0u32);
    let mut braces: Vec<bool> = Vec::new();
    let mut boxes = 0u32;
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        at += match rest {
            [b'\\', b'[', ..] => {
                display += 1;
                2
            }
            [b'\\', b']', ..] => {
                display = (display - 1).max(0);
                2
            }
            [b'\\', b'(', ..] => {
                inline += 1;
                2
            }
            [b'\\', b')', ..] => {
                inline = (inline - 1).max(0);
                2
            }
            _ if rest.starts_with(b"\\boxed{") => {
                braces.push(true);
                boxes += 1;
                b"\\boxed{".len()
            }
            // An escaped sign is text.
            [b'\\', _, ..] => 2,
            [b'$', b'$', ..] => {
                dollars += 1;
                2
            }
            [b'{', ..] => {
                braces.push(false);
                1
            }
            [b'}', ..] => {
                boxes -= u32::from(braces.pop() == Some(true));
                1
            }
            _ => 1,
        };
    }
    let last = text.rsplit('\n').next().unwrap_or(text);
    let singles = last.replace("\\$", "").replace("$$", "").matches('$').count();
    // "$5 and $6" has two, "$5" has one and is followed by a digit: no formula was begun there.
    let begun =
        singles % 2 == 1 && last.rsplit('$').next().is_some_and(|tail| !tail.starts_with(|c: char| c.is_ascii_digit()));
    Open { in_maths: display > 0 || inline > 0 || dollars % 2 == 1 || begun, in_box: boxes > 0 }
}

/// Whether the last line is a whole one: it ends a sentence, closes something, or is a list item, heading or table row.
fn ends_a_sentence(text: &str) -> bool {
    const ENDS: &str = ".!?:;…。！？：；)]}\"'”’`*_$|>）】」』%°\u{fe0f}";
    let last = text.rsplit('\n').next().unwrap_or(text).trim();
    let whole = |c: char| ENDS.contains(c) || is_emoji(c);
    if last.ends_with(whole) {
        return true;
    }
    // A line without much of a sentence: an item, a heading, a formula, a number, a name.
    let item = last.starts_with(['-', '*', '#', '|', '+', '•']) || last.starts_with(|c: char| c.is_ascii_digit());
    item || last.ends_with("\\]") || last.ends_with("\\)") || last.split_whitespace().count() <= 4
}

fn is_emoji(c: char) -> bool {
    matches!(u32::from(c), 0x2190..=0x2bff | 0x1f000..=0x1faff)
}
