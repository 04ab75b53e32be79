//! What pre-tokenizers and NFC tell of a character, looked up in a table.
//!
//! The classes are those of regex-syntax, which has the same version of Unicode as Oniguruma, with which the tokenizers
//! library splits; what NFC leaves alone is asked of the (older) tables that the library normalises with. Tests compare
//! every character with the library.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};
use unicode_normalization_alignments::char::canonical_combining_class;
use unicode_normalization_alignments::{IsNormalized, is_nfc_quick};

/// `\p{L}`.
pub(super) const LETTER: u8 = 1;
/// `\p{N}`.
pub(super) const NUMBER: u8 = 2;
/// `\s`.
pub(super) const SPACE: u8 = 4;
/// `[\r\n]`, which is also a space.
pub(super) const NEWLINE: u8 = 8;
/// `[^\s\p{L}\p{N}]`.
pub(super) const OTHER: u8 = 16;
/// `char::is_numeric`, what the pre-tokenizer `Digits` means by a digit.
pub(super) const NUMERIC: u8 = 32;
/// NFC may replace it, or compose it with what is before.
pub(super) const UNSETTLED: u8 = 64;
/// NFC may change its order with others of this class.
pub(super) const MARK: u8 = 128;

/// From here on there is no letter, number or space, and nothing that NFC changes.
const END: u32 = 0x3_4000;

static ASCII: [u8; 128] = ascii();
static BEYOND: LazyLock<Vec<u8>> = LazyLock::new(beyond);

const fn ascii() -> [u8; 128] {
    let mut table = [OTHER; 128];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'0'..=b'9' => NUMBER | NUMERIC,
            b'\r' | b'\n' => SPACE | NEWLINE,
            b'\t' | 0x0b | 0x0c | b' ' => SPACE,
            _ => OTHER,
        };
        byte += 1;
    }
    table
}

fn beyond() -> Vec<u8> {
    let mut table = vec![0; END as usize];
    for (expression, class) in [(r"\p{L}", LETTER), (r"\p{N}", NUMBER), (r"\s", SPACE)] {
        // Both are always there: an expression that is one Unicode class.
        let Ok(parsed) = regex_syntax::parse(expression) else { continue };
        let HirKind::Class(Class::Unicode(ranges)) = parsed.kind() else { continue };
        for range in ranges.ranges() {
            for code in u32::from(range.start())..=u32::from(range.end()).min(END - 1) {
                table[code as usize] |= class;
            }
        }
    }
    for (code, class) in (0..).zip(&mut table) {
        let Some(c) = char::from_u32(code) else { continue };
        if *class & (LETTER | NUMBER | SPACE) == 0 {
            *class |= OTHER;
        }
        if c.is_numeric() {
            *class |= NUMERIC;
        }
        if is_nfc_quick(std::iter::once(c)) != IsNormalized::Yes {
            *class |= UNSETTLED;
        }
        if canonical_combining_class(c) != 0 {
            *class |= MARK;
        }
    }
    table
}

/// The class of the character that begins at a byte, and its length; no class at the end of the text.
#[inline(always)]
pub(super) fn class_at(text: &str, at: usize) -> (u8, usize) {
    match text.as_bytes().get(at) {
        Some(byte) if byte.is_ascii() => (ASCII[usize::from(*byte)], 1),
        Some(_) => text[at..].chars().next().map_or((0, 0), |c| (beyond_ascii(c), c.len_utf8())),
        None => (0, 0),
    }
}

#[inline]
fn beyond_ascii(c: char) -> u8 {
    BEYOND.get(c as usize).copied().unwrap_or(OTHER)
}
