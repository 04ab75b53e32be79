//! How a text ends, and what it is built of.

use records::record::Ending;

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

/// Characters of the longest paragraph: what stands between empty lines, items of lists, rows of tables, display formulas
/// and code blocks, which are no paragraphs themselves.
pub(super) fn longest_paragraph(text: &str) -> u32 {
    let (mut longest, mut length) = (0, 0);
    let (mut in_code, mut in_maths) = (false, false);
    for line in text.lines().map(str::trim) {
        let fence = line.starts_with("```");
        in_code ^= fence;
        let was_in_maths = in_maths;
        in_maths = if line.is_empty() {
            false
        } else if line.matches("$$").count() % 2 == 1 {
            !in_maths
        } else {
            (in_maths || line.starts_with("\\[")) && !line.contains("\\]")
        };
        let maths = in_maths || was_in_maths || line.starts_with("\\[") || line.starts_with("$$");
        if line.is_empty() || fence || in_code || maths || line.starts_with('|') {
            length = 0;
            continue;
        }
        if is_item(line) {
            length = 0;
        }
        length += line.chars().count() as u32;
        longest = longest.max(length);
    }
    longest
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

/// Signs after which something must follow, and those of which this is true after a space only: `Ca2+` and `<sup>` end.
const OPEN_ENDS: &str = ",:;=\u{2212}–—×÷≈≤≥^\\/&([{（【「『“«";
const OPEN_AFTER_SPACE: &str = "+-<>\"'";
/// Words of a last line that may be an answer by itself, as "42 apples" and "Answer: New York" are.
const FEW_WORDS: usize = 4;
/// Words of a list item or of what follows a label that may do without a full stop.
const ITEM_WORDS: usize = 12;

/// Whether the last line is a whole one: it ends a sentence, closes something, or is short, an item, a heading, a row of
/// a table, an answer after its label, or a formula.
fn ends_a_sentence(text: &str) -> bool {
    let line = text.rsplit('\n').next().unwrap_or(text).trim();
    let rule = !line.chars().any(char::is_alphanumeric);
    if rule || line.starts_with(['#', '|']) || line.ends_with("\\]") || line.ends_with("\\)") {
        return true;
    }
    let before = line.strip_suffix(|c| OPEN_AFTER_SPACE.contains(c));
    if line.ends_with(|c| OPEN_ENDS.contains(c)) || before.is_some_and(|before| before.ends_with([' ', '('])) {
        return false;
    }
    if line.ends_with(|c| ends(c) || is_emoji(c)) {
        return true;
    }
    if breaks_off(line, text.len() > line.len()) {
        return false;
    }
    let words = line.split_whitespace().count();
    words <= FEW_WORDS
        || is_formula(line)
        || is_item(line) && words <= ITEM_WORDS
        || line.split_once([':', '：']).is_some_and(|(label, answer)| {
            label.split_whitespace().count() <= FEW_WORDS && answer.split_whitespace().count() <= ITEM_WORDS
        })
}

/// Words that nothing ends with.
const JOINING: [&str; 41] = [
    "a", "an", "and", "are", "as", "at", "be", "because", "but", "by", "each", "every", "for", "from", "has", "have",
    "i'll", "if", "into", "is", "its", "let's", "my", "of", "on", "or", "our", "since", "so", "than", "that", "the",
    "their", "these", "to", "was", "we", "were", "which", "with", "would",
];
/// Words that a further sentence begins with, and no answer.
const OPENING: [&str; 26] = [
    "adding",
    "after",
    "also",
    "alternatively",
    "and",
    "because",
    "but",
    "finally",
    "first",
    "hence",
    "i",
    "if",
    "let",
    "next",
    "now",
    "since",
    "so",
    "subtract",
    "then",
    "therefore",
    "thus",
    "to",
    "wait",
    "we",
    "when",
    "while",
];

/// Whether an English line stops before anything is said: "Step 2: Add the", or, after other lines, "Therefore, Ann".
fn breaks_off(line: &str, is_further: bool) -> bool {
    // A capital by itself is an option or a name.
    let is_in = |word: Option<&str>, list: &[&str]| {
        word.is_some_and(|word| {
            let small = if word.len() > 1 { word.to_lowercase() } else { word.to_owned() };
            list.contains(&small.as_str())
        })
    };
    let mut words = line.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
    let (first, last) = (words.find(|word| word.starts_with(char::is_alphabetic)), words.next_back());
    is_in(last.or(first), &JOINING)
        || is_further && is_in(first, &OPENING) && !line.ends_with(|c: char| c.is_ascii_digit())
}

/// Signs that end a sentence in any script (Unicode's `Sentence_Terminal` of the living ones), close something, or
/// follow a number.
fn ends(c: char) -> bool {
    const SENTENCE: &str = ".!?…。．｡！？؟۔।॥։።፧።။៕᙮᠃᱾꓿";
    const CLOSING: &str = ")]}）】」』\"'”’»`*_$%°>\u{fe0f}";
    SENTENCE.contains(c) || CLOSING.contains(c)
}

/// An item of a list, or an option: `- x`, `3. x`, `C) x`, `খ. x`.
fn is_item(line: &str) -> bool {
    let rest = line.trim_start_matches(['*', '_', '(']);
    let mark = rest.trim_start_matches(char::is_alphanumeric);
    let letters = rest[..rest.len() - mark.len()].chars().count();
    line.starts_with(['-', '*', '+', '•']) || (1..=2).contains(&letters) && mark.starts_with(['.', ')', ':'])
}

/// Fewer letters than digits and signs.
fn is_formula(line: &str) -> bool {
    let letters = line.chars().filter(|c| c.is_alphabetic()).count();
    let others = line.chars().filter(|c| !c.is_alphabetic() && !c.is_whitespace()).count();
    letters < others
}

fn is_emoji(c: char) -> bool {
    matches!(u32::from(c), 0x2190..=0x2bff | 0x1f000..=0x1faff)
}
