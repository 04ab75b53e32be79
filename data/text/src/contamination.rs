//! Contamination: which traces show a benchmark that students are measured on.
//!
//! Every lab has a rule of its own, and results are only comparable under the same one; so the rules of the published
//! recipes are here by name, as their code or report states them, and a stricter one of ours. A hit says which item of
//! which benchmark, by which rule, and by which words. An n-gram counts only if its words are equal one by one.

mod grams;

use std::collections::HashMap;

use rapidfuzz::distance::{indel, lcs_seq};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::grams::{Grams, Sequences, Split, Words};

/// Whose rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// open-r1 `scripts/decontaminate.py`: the prompt shares 8 words in a row, split at spaces, with a question.
    OpenR1,
    /// s1 (arXiv 2501.19393): as open-r1, and prompts equal to a question.
    S1,
    /// OpenThoughts (arXiv 2506.04178): the prompt's Indel similarity to a question is 95 % or more.
    OpenThoughts,
    /// DeepSeek-R1 (arXiv 2501.12948v2, appendix): prompt or trace shares 10 words in a row, split at spaces, with a
    /// question or its solution.
    Deepseek,
    /// Qwen2.5 (arXiv 2412.15115): the prompt shares 13 words in a row with a question, and a common subsequence of at
    /// least 60 % of the shorter one.
    Qwen,
    /// Ours: an equal prompt; 8 words that at most 5 questions have, or 13 words, of a question in the prompt, with a common
    /// subsequence of at least half of the shorter one; 13 words of a question or solution in the trace, or of a solution in
    /// the prompt; a question of fewer than 8 words within the prompt; 90 % Indel similarity of a prompt with 5 words of the
    /// question. Of words in a row half must be no signs and no numbers.
    Strict,
}

/// An item of a benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The benchmark's name.
    pub benchmark: String,
    /// The item's name in it.
    pub id: String,
    /// What is asked.
    pub question: String,
    /// The reference solution, where there is one.
    pub solution: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The benchmark.
    pub benchmark: String,
    /// The item.
    pub item: String,
    /// By what: `exact`, `8-gram`, `13-gram`, `whole`, `similar`, ...
    pub rule: String,
    /// The words in question, or the similarity.
    pub evidence: String,
}

/// One condition of a preset.
enum Rule {
    /// The prompt's words are those of a question.
    Exact(HashMap<Vec<u64>, u32>),
    /// A sequence of words is shared by the prompt, or by the trace.
    Grams { grams: Grams, in_prompt: bool, in_trace: bool },
    /// A question of few words stands in the prompt as a whole; by number of words.
    Whole(Vec<Grams>),
    /// The prompt shares a sequence and much of the rest, in this order: words in a row alone may be a phrase.
    Subsequence { grams: Grams, share: f64 },
    /// Indel similarity to a question; with `seeds`, only to those that share a sequence.
    Similar { least: f64, seeds: Option<Grams> },
}

/// A preset's rules over the items of some benchmarks.
pub struct Index {
    items: Vec<Item>,
    questions: Vec<Vec<char>>,
    words: Vec<Words>,
    rules: Vec<Rule>,
}

/// Words from which a question is not found as a whole but by its sequences.
const SHORT: usize = 8;
/// A question of fewer words stands in too many texts.
const LEAST_WHOLE: usize = 3;
/// A sequence that more questions have is a phrase, not a question.
const MOST_ITEMS: usize = 5;

impl Index {
    /// Indexes the items.
    pub fn new(preset: Preset, items: Vec<Item>) -> Self {
        let words: Vec<Words> = items.iter().map(|item| Words::of(&item.question, Split::Words)).collect();
        let questions = items.iter().map(|item| lower(&item.question)).collect();
        let grams = |rule: Sequences, solutions: bool| {
            let texts = (0..).zip(&items).flat_map(|(i, item)| {
                let solution = item.solution.as_deref().filter(|_| solutions);
                [Some(item.question.as_str()), solution].into_iter().flatten().map(move |text| (i, text))
            });
            Grams::new(rule, texts)
        };
        let shared =
            |rule, solutions, in_trace| Rule::Grams { grams: grams(rule, solutions), in_prompt: true, in_trace };
        let exact = || Rule::Exact(words.iter().zip(0..).map(|(words, i)| (words.hashes.clone(), i)).collect());
        let rules = match preset {
            Preset::OpenR1 => vec![shared(Sequences::all(8, Split::Spaces), false, false)],
            Preset::S1 => vec![exact(), shared(Sequences::all(8, Split::Spaces), false, false)],
            Preset::OpenThoughts => vec![Rule::Similar { least: 0.95, seeds: None }],
            Preset::Deepseek => vec![shared(Sequences::all(10, Split::Spaces), true, true)],
            Preset::Qwen => {
                vec![Rule::Subsequence { grams: grams(Sequences::all(13, Split::Words), false), share: 0.6 }]
            }
            Preset::Strict => {
                let whole = (LEAST_WHOLE..SHORT).map(|n| {
                    let exactly = (0..).zip(&items).filter(|(i, _)| words[*i as usize].hashes.len() == n);
                    let texts = exactly.map(|(i, item)| (i, item.question.as_str()));
                    Grams::new(Sequences::all(n, Split::Words), texts)
                });
                let ours = |n, most| Sequences { n, split: Split::Words, most, prose: n / 2 };
                let solutions = |rule| {
                    let texts = (0..).zip(&items).filter_map(|(i, item)| Some((i, item.solution.as_deref()?)));
                    Grams::new(rule, texts)
                };
                let of_prompt = |rule| Rule::Subsequence { grams: grams(rule, false), share: 0.5 };
                vec![
                    exact(),
                    of_prompt(ours(8, MOST_ITEMS)),
                    of_prompt(ours(13, usize::MAX)),
                    Rule::Grams { grams: grams(ours(13, usize::MAX), true), in_prompt: false, in_trace: true },
                    Rule::Grams { grams: solutions(ours(13, usize::MAX)), in_prompt: true, in_trace: false },
                    Rule::Whole(whole.collect()),
                    Rule::Similar { least: 0.9, seeds: Some(grams(ours(5, MOST_ITEMS), false)) },
                ]
            }
        };
        Self { items, questions, words, rules }
    }

    /// The first hit of a trace, which is thinking and answer, and of its prompt.
    pub fn check(&self, prompt: &str, trace: &[&str]) -> Option<Hit> {
        let prompt_words = Words::of(prompt, Split::Words);
        self.rules.iter().find_map(|rule| match rule {
            Rule::Exact(questions) => {
                let item = questions.get(&prompt_words.hashes).filter(|_| !prompt_words.hashes.is_empty())?;
                Some(self.hit(*item, "exact".into(), prompt.chars().take(200).collect()))
            }
            Rule::Grams { grams, in_prompt, in_trace } => {
                let of_trace = if *in_trace { trace } else { &[] };
                let texts = in_prompt.then_some(&prompt).into_iter().chain(of_trace);
                texts.copied().find_map(|text| {
                    let (item, words) = grams.find(text, |_| true)?;
                    Some(self.hit(item, format!("{}-gram", grams.n), words.to_owned()))
                })
            }
            Rule::Whole(lengths) => lengths.iter().find_map(|grams| {
                let (item, words) = grams.find(prompt, |_| true)?;
                Some(self.hit(item, "whole".into(), words.to_owned()))
            }),
            Rule::Subsequence { grams, share } => {
                let ours = &prompt_words.hashes;
                let (item, words) = grams.find(prompt, |item| {
                    let theirs = &self.words[item as usize].hashes;
                    let common = lcs_seq::similarity(ours.iter().copied(), theirs.iter().copied());
                    common as f64 >= share * ours.len().min(theirs.len()) as f64
                })?;
                Some(self.hit(item, format!("{}-gram and subsequence", grams.n), words.to_owned()))
            }
            Rule::Similar { least, seeds } => self.similar(prompt, *least, seeds.as_ref()),
        })
    }

    fn similar(&self, prompt: &str, least: f64, seeds: Option<&Grams>) -> Option<Hit> {
        let ours = lower(prompt);
        let candidates: Vec<u32> = match seeds {
            Some(grams) => grams.items(prompt),
            None => (0..self.items.len() as u32).collect(),
        };
        candidates.into_iter().find_map(|item| {
            let theirs = &self.questions[item as usize];
            // Indel similarity is 2·common/(a+b), and no more than the shorter one is common.
            let (short, long) = (ours.len().min(theirs.len()), ours.len().max(theirs.len()));
            if short == 0 || 2.0 * (short as f64) < least * (short + long) as f64 {
                return None;
            }
            let arguments = indel::Args::default().score_cutoff(least);
            let found =
                indel::normalized_similarity_with_args(ours.iter().copied(), theirs.iter().copied(), &arguments)?;
            Some(self.hit(item, "similar".into(), format!("{:.1} %", 100.0 * found)))
        })
    }

    fn hit(&self, item: u32, rule: String, evidence: String) -> Hit {
        let item = &self.items[item as usize];
        Hit { benchmark: item.benchmark.clone(), item: item.id.clone(), rule, evidence }
    }
}

fn lower(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests;
