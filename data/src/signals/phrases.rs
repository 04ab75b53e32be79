//! Phrases that give a text away: what it takes itself for, that it refuses, that it saw a solution.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};

/// A teacher speaking of itself, which a student must not learn to be.
const IDENTITY: [&str; 22] = [
    "i am deepseek",
    "i'm deepseek",
    "i am chatgpt",
    "i'm chatgpt",
    "i am qwen",
    "i'm qwen",
    "i am claude",
    "i'm claude",
    "i am an ai",
    "i'm an ai",
    "as an ai",
    "as a language model",
    "as a large language model",
    "large language model trained by",
    "developed by deepseek",
    "created by deepseek",
    "developed by openai",
    "trained by openai",
    "my knowledge cutoff",
    "my training data",
    "我是deepseek",
    "我是一个人工智能",
];

/// How refusals begin.
const REFUSALS: [&str; 18] = [
    "i'm sorry, but i can",
    "i'm sorry, i can",
    "i am sorry, but i can",
    "sorry, but i can",
    "sorry, i can't",
    "i can't assist",
    "i cannot assist",
    "i can't help with",
    "i cannot help with",
    "i'm unable to",
    "i am unable to",
    "i cannot provide",
    "i can't provide",
    "i won't be able to",
    "i must decline",
    "i will not",
    "i'm not able to",
    "i am not able to",
];
/// Characters at the beginning of an answer in which a refusal stands.
const REFUSAL_CHARS: usize = 200;

/// A solution that the thinking should not know of.
const LEAKS: [&str; 16] = [
    "the provided solution",
    "the given solution",
    "the reference solution",
    "the reference answer",
    "according to the solution",
    "according to the answer key",
    "the answer key",
    "the correct answer is given as",
    "the given answer is",
    "the provided answer",
    "the expected answer is",
    "the official solution",
    "the ground truth",
    "the gold answer",
    "the solution provided says",
    "i was told the answer",
];

static FOR_IDENTITY: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| searcher(&IDENTITY));
static FOR_REFUSALS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| searcher(&REFUSALS));
static FOR_LEAKS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| searcher(&LEAKS));

/// `None` cannot happen with these lists; a test builds all three.
fn searcher(phrases: &[&str]) -> Option<AhoCorasick> {
    AhoCorasickBuilder::new().ascii_case_insensitive(true).match_kind(MatchKind::LeftmostFirst).build(phrases).ok()
}

/// Whether one of the phrases stands in the text as whole words; apostrophes may be typographic.
fn says(searcher: Option<&AhoCorasick>, text: &str) -> bool {
    let found = |text: &str| {
        searcher.is_some_and(|searcher| {
            searcher.find_iter(text).any(|found| {
                let before = text[..found.start()].chars().next_back();
                let after = text[found.end()..].chars().next();
                // "as an AI" is no "as an aim"; a phrase that ends in "can" goes on with "not" or "'t".
                before.is_none_or(|c| !c.is_ascii_alphanumeric())
                    && (text[..found.end()].ends_with("can") || after.is_none_or(|c| !c.is_ascii_alphanumeric()))
            })
        })
    };
    if text.contains('\u{2019}') { found(&text.replace('\u{2019}', "'")) } else { found(text) }
}

pub(super) fn identity(text: &str) -> bool {
    says(FOR_IDENTITY.as_ref(), text)
}

pub(super) fn refusal(answer: &str) -> bool {
    let end = answer.char_indices().nth(REFUSAL_CHARS).map_or(answer.len(), |(at, _)| at);
    says(FOR_REFUSALS.as_ref(), &answer[..end])
}

pub(super) fn leak(thinking: &str) -> bool {
    says(FOR_LEAKS.as_ref(), thinking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_builds() {
        assert!(FOR_IDENTITY.is_some() && FOR_REFUSALS.is_some() && FOR_LEAKS.is_some());
    }
}
