//! The words of a text for comparing texts: what is left when case, spaces and markup do not count.

/// What an ASCII byte is to a text's words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Part of a word.
    Letter,
    /// A word of its own: `x+1` is not `x-1`.
    Sign,
    /// Space, punctuation, markup.
    Gap,
}

const CLASSES: [Class; 128] = classes();

const fn classes() -> [Class; 128] {
    let mut classes = [Class::Gap; 128];
    let mut byte = 0;
    while byte < 128 {
        let c = byte as u8;
        if c.is_ascii_alphanumeric() {
            classes[byte] = Class::Letter;
        } else if matches!(c, b'+' | b'-' | b'/' | b'<' | b'=' | b'>' | b'^' | b'|' | b'%' | b'&' | b'@' | b'~') {
            classes[byte] = Class::Sign;
        }
        byte += 1;
    }
    classes
}

/// The factor of polynomial hashes over words: 2^64 divided by the golden ratio, made odd (Knuth, The Art of Computer
/// Programming, volume 3, section 6.4).
pub(crate) const POLYNOMIAL_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A word's hash before its first character: the offset basis of FNV-1a, 64 bits.
const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a over characters, with a factor that mixes better than FNV's: Pelle Evensen's of rrmxmx, in XXH3 `PRIME_MX2`.
fn add(hash: u64, character: u64) -> u64 {
    (hash ^ character).wrapping_mul(0x9fb2_1c65_1e98_df25)
}

/// Mixes the high bits into the low ones: the first round of degski64.
fn finish(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

/// Calls `found` with the hash of each word and the byte after it: runs of letters and digits in lower case, single
/// signs, and single characters of scripts without spaces. One pass.
pub fn for_each_word(text: &str, mut found: impl FnMut(u64, usize)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    let (mut hash, mut inside) = (SEED, false);
    while at < bytes.len() {
        let byte = bytes[at];
        if byte < 128 {
            let class = CLASSES[byte as usize];
            if class == Class::Letter {
                hash = add(hash, u64::from(byte.to_ascii_lowercase()));
                inside = true;
                at += 1;
                continue;
            }
            if inside {
                found(finish(hash), at);
                (hash, inside) = (SEED, false);
            }
            at += 1;
            if class == Class::Sign {
                found(finish(add(SEED, u64::from(byte))), at);
            }
            continue;
        }
        let Some(c) = text[at..].chars().next() else { break };
        let alone = is_ideograph(c) || !c.is_alphanumeric();
        if alone && inside {
            found(finish(hash), at);
            (hash, inside) = (SEED, false);
        }
        at += c.len_utf8();
        if !alone {
            hash = c.to_lowercase().fold(hash, |hash, c| add(hash, u64::from(u32::from(c))));
            inside = true;
        } else if c == '\u{2212}' {
            // The typographic minus is a minus.
            found(finish(add(SEED, u64::from(b'-'))), at);
        } else if !c.is_whitespace() && !is_punctuation(c) {
            found(finish(add(SEED, u64::from(u32::from(c)))), at);
        }
    }
    if inside {
        found(finish(hash), bytes.len());
    }
}

/// Han, kana and Hangul, which are written without spaces.
fn is_ideograph(c: char) -> bool {
    matches!(u32::from(c), 0x3040..=0x30ff | 0x3400..=0x9fff | 0xac00..=0xd7af | 0xf900..=0xfaff | 0x20000..=0x2ffff)
}

/// General, CJK and full-width punctuation.
fn is_punctuation(c: char) -> bool {
    matches!(u32::from(c), 0xa1 | 0xa7 | 0xab | 0xb6 | 0xbb | 0xbf | 0x2010..=0x2027 | 0x2030..=0x205e | 0x3000..=0x303f
        | 0xff01..=0xff0f | 0xff1a..=0xff20 | 0xff3b..=0xff40 | 0xff5b..=0xff65)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<u64> {
        let mut words = Vec::new();
        for_each_word(text, |word, _| words.push(word));
        words
    }

    #[test]
    fn case_space_and_markup_do_not_count_and_signs_do() {
        assert_eq!(words("What is **3 + 4**?\n"), words("what  is $3+4$"));
        assert_eq!(words("ÉTÉ à Paris"), words("été à paris"));
        assert_eq!(words("3 − 4"), words("3-4"));
        assert_ne!(words("x+1"), words("x-1"));
        assert_ne!(words("ab c"), words("a bc"));
        assert_eq!(words("数学题。"), words("数 学 题"));
        assert_eq!(words("数学题").len(), 3);
        assert!(words(" \n\t.,;:!?\"'`*_#$()[]{}\\").is_empty());
    }

    #[test]
    fn a_word_ends_where_it_ends() {
        let text = "ab +é数";
        let mut ends = Vec::new();
        for_each_word(text, |_, end| ends.push(end));
        assert_eq!(ends, [2, 4, 6, 9]);
    }
}
