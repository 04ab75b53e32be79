//! Phrases that give a text away: what it takes itself for, that it refuses, that it saw a solution.

use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use regex::Regex;

/// A teacher speaking of itself as a model or an assistant, which a student must not learn to be.
const IDENTITY: [&str; 38] = [
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
    "my last update",
    "my last knowledge update",
    "as the assistant, i",
    "expects the assistant",
    "the assistant is supposed to",
    "the assistant should",
    "the assistant's instructions",
    "the assistant's task",
    "the assistant's answer",
    "can't access the internet",
    "cannot access the internet",
    "can't browse the internet",
    "cannot browse the internet",
    "don't have internet access",
    "don't have real-time access",
    "我是deepseek",
    "我是一个人工智能",
    "作为一个人工智能",
];

/// How refusals begin.
const REFUSALS: [&str; 33] = [
    "i'm sorry, but i can",
    "i'm sorry, i can",
    "i am sorry, but i can",
    "i am sorry, i can",
    "sorry, but i can",
    "sorry, i can't",
    "i apologize, but i can",
    "i apologise, but i can",
    "i can't assist",
    "i cannot assist",
    "i can't help with",
    "i cannot help with",
    "i can't comply",
    "i cannot comply",
    "i can't fulfill",
    "i cannot fulfill",
    "i cannot answer that question",
    "i can't answer that question",
    "i'm unable to",
    "i am unable to",
    "i cannot provide",
    "i can't provide",
    "i won't be able to",
    "i must decline",
    "i will not provide",
    "i will not help",
    "i will not assist",
    "i'm not able to",
    "i am not able to",
    "i'm not comfortable",
    "很抱歉，我",
    "对不起，我",
    "抱歉，我无法",
];
/// Characters at the beginning of an answer in which a refusal stands.
const REFUSAL_CHARS: usize = 200;

/// A solution that the thinking should not know of. Words that maths and exams use otherwise are no sign of it: "the
/// given solution set", "the expected answer is probably B".
const LEAKS: &str = r"(?ix) \b(?:
      the \s (?: reference | official | gold ) \s (?: solution | answer )
    | the \s provided \s (?: solution | answer ) \s (?: is | was | says | states | gives | uses | claims | has | shows | and | but )
    | the \s (?: solution | answer ) \s (?: that \s )? (?: (?: i | we ) \s (?: was | were | am | are ) \s given | provided \s says | given \s says )
    | (?: according \s to | matches | contradicts ) \s the \s (?: provided | given ) \s answer \b (?: [^\s] | \s*$ | \s (?:is|but|and|so|in) )
    | the \s given \s answer \s (?: is | was | says | must )
    | the \s answer \s key \s (?: says | states | gives | shows | lists | indicates | has | is )
    | according \s to \s the \s (?: answer \s key | solution \s manual | mark(?:ing)? \s scheme )
    | the \s correct \s answer \s (?: is | was ) \s (?: given | listed | marked | stated | provided ) \s (?: as | to \s be )
    | the \s ground[\s-]truth \s (?: answer | solution | is )
    | (?: i | we ) \s (?: was | were | am | are | have \s been ) \s told \s (?: that \s )? the \s (?: correct \s | right \s | final \s )? answer
    | the \s (?: user | problem | prompt ) (?: 's )? \s (?: says | said | states | stated | claims | tells \s me ) \s (?: that \s )?
          the \s (?: correct \s | right \s | final \s )? answer \s (?: is | was | should \s be ) \s (?: option \s )? [^a-z\s]{0,4} (?: [a-e]\b | \d | \\ )
    | the \s user's \s answer \s (?: is | was )? \s? [^a-z\s]{0,4} [a-e\d] \b
    )";
/// What makes it a guess.
const HEDGES: [&str; 8] = ["maybe", "perhaps", "if ", "might", "could", "possibl", "probably", "unless"];

static FOR_IDENTITY: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| searcher(&IDENTITY));
static FOR_REFUSALS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| searcher(&REFUSALS));
static FOR_LEAKS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(LEAKS).ok());

/// `None` cannot happen with these lists; a test builds all.
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
    let plain =
        if thinking.contains('\u{2019}') { Cow::Owned(thinking.replace('\u{2019}', "'")) } else { thinking.into() };
    let is_guess = |at: usize| {
        let before = plain[..at].rsplit(['.', '!', '?', '\n']).next().unwrap_or_default().to_ascii_lowercase();
        HEDGES.iter().any(|hedge| before.contains(hedge))
    };
    FOR_LEAKS.as_ref().is_some_and(|leaks| leaks.find_iter(&plain).any(|found| !is_guess(found.start())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_builds() {
        assert!(FOR_IDENTITY.is_some() && FOR_REFUSALS.is_some() && FOR_LEAKS.is_some());
    }
}
