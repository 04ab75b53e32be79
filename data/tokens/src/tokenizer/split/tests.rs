use std::ops::Range;

use proptest::prelude::*;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::*;

/// The library's pre-tokenizer of each kind.
fn kinds() -> [(Split, PreTokenizerWrapper); 4] {
    let bytes = |use_regex| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, use_regex));
    let of_expression = |expression: &str| {
        let pattern = SplitPattern::Regex(expression.into());
        let split = pre_tokenizers::split::Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap();
        PreTokenizerWrapper::Sequence(Sequence::new(vec![split.into(), bytes(false)]))
    };
    let digits = PreTokenizerWrapper::Digits(Digits::new(true));
    [
        (Split::Cl100k(1), of_expression(QWEN2_SPLIT)),
        (Split::Cl100k(3), of_expression(LLAMA3_SPLIT)),
        (Split::Gpt2, bytes(true)),
        (Split::DigitsThenGpt2, PreTokenizerWrapper::Sequence(Sequence::new(vec![digits, bytes(true)]))),
    ]
}

fn ours(split: Split, text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    split
        .pieces::<()>(text, |start, end| {
            found.push(start..end);
            Ok(())
        })
        .unwrap();
    found
}

fn theirs(pre_tokenizer: &PreTokenizerWrapper, text: &str) -> Vec<Range<usize>> {
    let mut found = PreTokenizedString::from(text);
    pre_tokenizer.pre_tokenize(&mut found).unwrap();
    let splits = found.get_splits(OffsetReferential::Original, OffsetType::Byte);
    splits.into_iter().map(|(_, (start, end), _)| start..end).collect()
}

fn check(text: &str) {
    for (split, library) in kinds() {
        assert_eq!(ours(split, text), theirs(&library, text), "{split:?} of {text:?}");
    }
}

#[test]
fn each_kind_is_recognised() {
    for (split, library) in kinds() {
        assert_eq!(Split::recognise(&library), Some(split));
    }
}

#[test]
fn what_is_not_quite_of_a_kind_is_not_recognised() {
    use SplitDelimiterBehavior::{Isolated, Removed};
    let sequence = |parts: Vec<PreTokenizerWrapper>| PreTokenizerWrapper::Sequence(Sequence::new(parts));
    let bytes = |prefix, regex| PreTokenizerWrapper::ByteLevel(ByteLevel::new(prefix, true, regex));
    let split = |pattern: SplitPattern, behavior, invert| {
        PreTokenizerWrapper::Split(pre_tokenizers::split::Split::new(pattern, behavior, invert).unwrap())
    };
    let qwen2 = || SplitPattern::Regex(QWEN2_SPLIT.into());
    let other = SplitPattern::Regex(QWEN2_SPLIT.replace(r"\p{N}|", r"\p{N}{1,2}|"));
    for unknown in [
        bytes(true, true),
        bytes(false, false),
        sequence(vec![split(other, Isolated, false), bytes(false, false)]),
        sequence(vec![split(qwen2(), Removed, false), bytes(false, false)]),
        sequence(vec![split(qwen2(), Isolated, true), bytes(false, false)]),
        sequence(vec![split(qwen2(), Isolated, false), bytes(false, true)]),
        sequence(vec![split(qwen2(), Isolated, false)]),
        sequence(vec![split(SplitPattern::String(QWEN2_SPLIT.into()), Isolated, false), bytes(false, false)]),
        sequence(vec![PreTokenizerWrapper::Digits(Digits::new(false)), bytes(false, true)]),
    ] {
        assert_eq!(Split::recognise(&unknown), None, "{unknown:?}");
    }
}

/// Every text of up to four characters of which each stands for those that the expressions treat alike.
#[test]
fn short_texts_of_all_classes_are_split_as_the_library_does() {
    const CLASSES: [&str; 17] =
        ["a", "é", "s", "L", "e", "ſ", "1", "٣", "²", " ", "\t", "\n", "\r", "\u{3000}", "'", "!", "😀"];
    let kinds = kinds();
    for count in 1..=4 {
        for number in 0..CLASSES.len().pow(count) {
            let places = (0..count).map(|place| number / CLASSES.len().pow(place) % CLASSES.len());
            let text: String = places.map(|class| CLASSES[class]).collect();
            // The library takes long: of the longest texts some.
            if count < 4 || number % 7 == 0 {
                for (split, library) in &kinds {
                    assert_eq!(ours(*split, &text), theirs(library, &text), "{split:?} of {text:?}");
                }
            }
        }
    }
}

/// Between characters of every class, so that a version of Unicode that differs shows.
#[test]
fn every_character_is_classed_as_the_library_does() {
    let codes: Vec<u32> = (0..0x3_5000).chain(0xE_0000..0xE_1000).collect();
    for (split, library) in kinds() {
        for some in codes.chunks(4096) {
            let all = some.iter().filter_map(|code| char::from_u32(*code));
            let texts: Vec<String> = all.map(|c| format!("\n{c}\na{c}1 {c}'{c}!")).collect();
            let text = texts.concat();
            assert_eq!(ours(split, &text), theirs(&library, &text), "{split:?}, from U+{:04X} on", some[0]);
        }
    }
    // The others are private or unassigned.
    let [(split, library), ..] = kinds();
    for from in (0x3_5000..=0x10_FFFF).step_by(1 << 16) {
        let all = (from..from + (1 << 16)).filter_map(char::from_u32);
        let text = all.map(|c| format!(" {c}a1")).collect::<Vec<_>>().concat();
        assert_eq!(ours(split, &text), theirs(&library, &text), "from U+{from:04X} on");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_split_as_the_library_does(text in "(\\PC|[ '’\n\r\t]|[a-zA-Z]{1,6}|'[sStTrRlLvVeEdDmM]{1,2}|[0-9]{1,5}| {1,4}|\\s|\\p{M}|\\p{N}){0,40}") {
        check(&text);
    }

    #[test]
    fn any_characters_are_split_as_the_library_does(text in proptest::collection::vec(any::<char>(), 0..40)) {
        check(&text.into_iter().collect::<String>());
    }
}
