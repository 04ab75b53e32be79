//! NFC, where a text needs it: most texts are in NFC already, and of the others only some characters change.

use std::borrow::Cow;

use unicode_normalization_alignments::UnicodeNormalization;

use super::classes::{MARK, UNSETTLED, class_at};

/// A text in NFC.
///
/// A character that is neither unsettled nor a mark stands for itself and composes with none before it (UAX 15, section 9),
/// so each of them begins a part that is normalised alone; and a part with one mark and nothing unsettled is in NFC.
pub(super) fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    let mut normal = String::new();
    // What is before is in `normal`.
    let mut taken = 0;
    let (mut part, mut marks, mut changes) = (0, 0, false);
    let mut at = 0;
    loop {
        let (class, length) = class_at(text, at);
        if class & (UNSETTLED | MARK) == 0 {
            if changes || marks > 1 {
                normal.push_str(&text[taken..part]);
                normal.extend(text[part..at].nfc().map(|(c, _)| c));
                taken = at;
            }
            if length == 0 {
                break;
            }
            (part, marks, changes) = (at, 0, false);
        } else {
            marks += u32::from(class & MARK != 0);
            changes |= class & UNSETTLED != 0;
        }
        at += length;
    }
    if taken == 0 {
        return text.into();
    }
    normal.push_str(&text[taken..]);
    normal.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn theirs(text: &str) -> String {
        text.nfc().map(|(c, _)| c).collect()
    }

    #[test]
    fn what_composes_or_changes_is_never_taken_for_settled() {
        let unsettled = |c: char| class_at(c.encode_utf8(&mut [0; 4]), 0).0 & UNSETTLED != 0;
        for c in char::MIN..=char::MAX {
            let decomposed: Vec<char> = [c].into_iter().nfd().map(|(c, _)| c).collect();
            if decomposed == [c] {
                continue;
            }
            let recomposed: Vec<char> = decomposed.iter().copied().nfc().map(|(c, _)| c).collect();
            if recomposed == [c] {
                for part in &decomposed[1..] {
                    assert!(unsettled(*part), "{part:?} composes to {c:?}");
                }
            } else {
                assert!(unsettled(c), "{c:?} becomes {recomposed:?}");
            }
        }
    }

    #[test]
    fn what_is_in_nfc_is_not_copied() {
        for text in ["", "plain", "π ≤ √2 → 面积 é ½", "ক্ষুদ্র", "हिन्दी"] {
            assert!(matches!(nfc(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_text_becomes_what_the_library_makes_of_it(
            text in proptest::collection::vec(
                prop_oneof![
                    3 => select(vec![
                        'a', 'e', ' ', 'é', '\u{301}', '\u{302}', '\u{327}', '\u{323}', '\u{344}', '\u{212b}', 'য', '\u{9bc}',
                        '\u{9df}', '\u{9c7}', '\u{9be}', '\u{1112}', '\u{1161}', '\u{11ab}', '가', '\u{95c}', '\u{fb1d}', '\u{5b4}',
                    ]),
                    1 => any::<char>(),
                ],
                0..16,
            )
        ) {
            let text: String = text.into_iter().collect();
            prop_assert_eq!(nfc(&text), theirs(&text));
        }
    }
}
