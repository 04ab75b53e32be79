//! Texts into the pieces that are encoded apart, as the pre-tokenizers of the bases split them.
//!
//! Their expressions are known (OpenAI's of GPT-2 and of cl100k), so they are written out here: the class of each character
//! is looked up, where a backtracking engine tries seven alternatives. Each alternative is named where it is taken.

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::{SplitDelimiterBehavior, pre_tokenizers};

use super::QWEN2_SPLIT;
use super::classes::{LETTER, NEWLINE, NUMBER, NUMERIC, OTHER, SPACE, class_at};

/// Llama 3's expression, and R1-Distill-Llama's: Qwen2's, but for up to three digits in a piece.
pub(super) const LLAMA3_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How texts are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// Qwen2's and Llama 3's expressions, with this many digits at most in a piece.
    Cl100k(usize),
    /// The expression that is built into `ByteLevel`:
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    Gpt2,
    /// The same, after every digit is set apart (SmolLM2).
    DigitsThenGpt2,
}

impl Split {
    /// What a tokenizer's pre-tokenizer is, if it is one of these before the bytes are mapped to characters.
    pub(super) fn recognise(pre_tokenizer: &PreTokenizerWrapper) -> Option<Self> {
        use PreTokenizerWrapper as Wrapper;
        match pre_tokenizer {
            Wrapper::ByteLevel(bytes) if adds_nothing(*bytes) && bytes.use_regex => Some(Self::Gpt2),
            Wrapper::Sequence(sequence) => match sequence.as_ref() {
                [only] => Self::recognise(only),
                [Wrapper::Split(split), Wrapper::ByteLevel(bytes)] if adds_nothing(*bytes) && !bytes.use_regex => {
                    Self::of_expression(split)
                }
                [Wrapper::Digits(digits), Wrapper::ByteLevel(bytes)] if adds_nothing(*bytes) && bytes.use_regex => {
                    digits.individual_digits.then_some(Self::DigitsThenGpt2)
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn of_expression(split: &pre_tokenizers::split::Split) -> Option<Self> {
        let SplitPattern::Regex(expression) = &split.pattern else { return None };
        if split.invert || split.behavior != SplitDelimiterBehavior::Isolated {
            return None;
        }
        match expression.as_str() {
            QWEN2_SPLIT => Some(Self::Cl100k(1)),
            LLAMA3_SPLIT => Some(Self::Cl100k(3)),
            _ => None,
        }
    }

    /// Calls `each` with the ends of every piece, in order. Together they are the text.
    #[inline]
    pub(super) fn pieces<E>(self, text: &str, mut each: impl FnMut(usize, usize) -> Result<(), E>) -> Result<(), E> {
        let mut at = 0;
        let mut apart = 0;
        while at < text.len() {
            let end = match self {
                Self::Cl100k(digits) => cl100k(text, at, digits),
                Self::Gpt2 => gpt2(text, at),
                Self::DigitsThenGpt2 if at < apart => gpt2(&text[..apart], at),
                Self::DigitsThenGpt2 => {
                    apart = before_digit(text, at);
                    // A digit is a piece.
                    if apart == at { at + class_at(text, at).1 } else { gpt2(&text[..apart], at) }
                }
            };
            each(at, end)?;
            at = end;
        }
        Ok(())
    }
}

/// Whether it puts no space in front of the text.
fn adds_nothing(bytes: ByteLevel) -> bool {
    !bytes.add_prefix_space
}

/// The end of the piece that begins at a byte.
#[inline(always)]
fn cl100k(text: &str, at: usize, digits: usize) -> usize {
    let (class, length) = class_at(text, at);
    let next = at + length;
    // `[^\r\n\p{L}\p{N}]?\p{L}+` without a first character.
    if class & LETTER != 0 {
        return run(text, next, LETTER);
    }
    // `\p{N}{1,digits}`
    if class & NUMBER != 0 {
        return (1..digits).fold(next, |end, _| match class_at(text, end) {
            (class, length) if class & NUMBER != 0 => end + length,
            _ => end,
        });
    }
    let first = text.as_bytes()[at];
    // `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
    if first == b'\''
        && let Some(end) = contraction(text, next, true)
    {
        return end;
    }
    let (following, _) = class_at(text, next);
    // `[^\r\n\p{L}\p{N}]?\p{L}+` with one.
    if following & LETTER != 0 && class & NEWLINE == 0 {
        return run(text, next, LETTER);
    }
    // ` ?[^\s\p{L}\p{N}]+[\r\n]*`
    if class & OTHER != 0 || (first == b' ' && following & OTHER != 0) {
        return run(text, run(text, next, OTHER), NEWLINE);
    }
    let spaces = Spaces::at(text, at);
    // `\s*[\r\n]+`, else the last two.
    spaces.after_newline.unwrap_or_else(|| spaces.end(text, at))
}

/// The end of the piece that begins at a byte.
#[inline(always)]
fn gpt2(text: &str, at: usize) -> usize {
    let (class, length) = class_at(text, at);
    let next = at + length;
    let first = text.as_bytes()[at];
    // `'s|'t|'re|'ve|'m|'ll|'d`
    if first == b'\''
        && let Some(end) = contraction(text, next, false)
    {
        return end;
    }
    // ` ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+`
    let class = if first == b' ' { class_at(text, next).0 } else { class };
    match class & (LETTER | NUMBER | OTHER) {
        0 => Spaces::at(text, at).end(text, at),
        class => run(text, next, class),
    }
}

/// The end of the characters of a class.
#[inline(always)]
fn run(text: &str, mut at: usize, wanted: u8) -> usize {
    loop {
        let (class, length) = class_at(text, at);
        if class & wanted == 0 {
            return at;
        }
        at += length;
    }
}

/// Spaces in a row.
struct Spaces {
    all: usize,
    last: usize,
    after_newline: Option<usize>,
}

impl Spaces {
    #[inline]
    fn at(text: &str, mut at: usize) -> Self {
        let mut found = Self { all: at, last: at, after_newline: None };
        loop {
            let (class, length) = class_at(text, at);
            if class & SPACE == 0 {
                return found;
            }
            found.last = at;
            at += length;
            found.all = at;
            if class & NEWLINE != 0 {
                found.after_newline = Some(at);
            }
        }
    }

    /// `\s+(?!\S)|\s+`: all of them at the end of the text; elsewhere the last is left to what follows, unless it is the
    /// only one.
    #[inline]
    fn end(&self, text: &str, at: usize) -> usize {
        if self.all < text.len() && self.last > at { self.last } else { self.all }
    }
}

/// The end of an English contraction whose apostrophe is before this byte. Of letters that fold to these there is one
/// beyond ASCII, the long s.
fn contraction(text: &str, at: usize, any_case: bool) -> Option<usize> {
    let rest = &text.as_bytes()[at..];
    let letter = |place: usize| {
        let byte = *rest.get(place)?;
        Some(if any_case { byte.to_ascii_lowercase() } else { byte })
    };
    match letter(0)? {
        b's' | b't' | b'm' | b'd' => Some(at + 1),
        b'r' | b'v' => (letter(1)? == b'e').then_some(at + 2),
        b'l' => (letter(1)? == b'l').then_some(at + 2),
        _ => (any_case && rest.starts_with("ſ".as_bytes())).then_some(at + "ſ".len()),
    }
}

fn before_digit(text: &str, mut at: usize) -> usize {
    loop {
        let (class, length) = class_at(text, at);
        if length == 0 || class & NUMERIC != 0 {
            return at;
        }
        at += length;
    }
}

#[cfg(test)]
mod tests;
