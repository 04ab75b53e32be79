//! The verdicts on a trace.

use serde::{Deserialize, Serialize};

use super::{PromptId, TraceId};

/// What the rules found out about one trace: one narrow column a rule. A rule annotates, it never deletes. Shares are
/// between 0 and 1; the text signals are described at `Signals` of the crate `text`.
#[expect(clippy::struct_excessive_bools, reason = "each is a column of its own")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which of all traces, from 0.
    pub row: u64,
    /// The [`Trace::id`](super::Trace::id).
    pub trace_id: TraceId,
    /// The [`Prompt::id`](super::Prompt::id).
    pub prompt_id: PromptId,
    /// The prompt's domain.
    pub domain: String,
    /// The prompt's kind.
    pub kind: String,
    /// The prompt's source.
    pub source: String,
    /// Which of the samples of its prompt.
    pub sample: u32,
    /// Tokens the teacher wrote, where known.
    pub tokens: Option<u32>,
    /// Tokens of [`Trace::text`](super::Trace::text) in the tokenizer of the recipe's base: what the student learns from it, without template
    /// and end of turn. `None` where that tokenizer is made later, from the traces that are selected, and for a text that it
    /// cannot encode.
    pub student_tokens: Option<u32>,
    /// Characters of thinking.
    pub thinking_chars: u32,
    /// One complete, non-empty thinking block and a non-empty answer after it.
    pub well_formed: bool,
    /// The teacher came to its own end.
    pub finished: bool,
    /// How the answer ends.
    pub ending: Ending,
    /// How the thinking ends.
    pub thinking_ending: Ending,
    /// The teacher used as many tokens as it was allowed.
    pub at_limit: bool,
    /// The final answer as found in the text.
    pub extracted: Option<String>,
    /// Whether it equals the gold answer; `None` where there is no gold answer.
    pub correct: Option<bool>,
    /// How they compare: `equal`, `different`, `undecided`, `no_answer` or `gold_unparsed`; `None` where there is no gold
    /// answer.
    pub answer_verdict: Option<String>,
    /// The rule that decided; see the crate `verify`.
    pub answer_rule: Option<String>,
    /// What came of the answer's program; `None` where the prompt has no tests or the recipe runs none.
    pub code_verdict: Option<CodeVerdict>,
    /// What the recipe's judge made of the answer; `None` where it was not asked.
    pub judge_verdict: Option<JudgeVerdict>,
    /// Why: its analysis, or what came instead; the beginning.
    pub judge_analysis: Option<String>,
    /// An earlier trace of the same prompt says the same, apart from case, spaces and markup.
    pub duplicate: bool,
    /// An earlier trace of the same prompt is nearly the same.
    pub near_duplicate: bool,
    /// The first trace of those that are the same or nearly so.
    pub cluster: TraceId,
    /// The first prompt of those that are the same or nearly so.
    pub prompt_cluster: PromptId,
    /// Samples of its prompt.
    pub samples: u32,
    /// Share of those that are right, where there is a gold answer or programs were run on tests: how hard the prompt is
    /// for the teacher.
    pub pass_rate: Option<f64>,
    /// More than half of the samples with an answer have this one (right answers are one, others are compared as they are
    /// written); `None` for a single sample or none.
    pub consensus: Option<bool>,
    /// Characters of a loop at the end.
    pub loop_chars: u32,
    /// How often the most frequent 20 words occur.
    pub most_repeated_20gram: u32,
    /// Share of sequences of 20 words that are different.
    pub distinct_20grams: f32,
    /// Share of the text in sentences that occurred before.
    pub duplicate_sentences: f32,
    /// Bytes by compressed bytes.
    pub compression: f32,
    /// Language of the thinking's prose.
    pub language: Option<String>,
    /// Share of letters in another script than most.
    pub foreign_script: f32,
    /// Letters of a script that nothing led to.
    pub stray_letters: u32,
    /// Signs that stand for lost bytes.
    pub lost_characters: u32,
    /// Share of longer paragraphs in another language than most.
    pub foreign_paragraphs: f32,
    /// Characters of the longest paragraph.
    pub longest_paragraph: u32,
    /// Code blocks in the thinking.
    pub code_blocks: u32,
    /// It speaks of itself as a model or an assistant.
    pub identity: bool,
    /// The answer is a refusal.
    pub refusal: bool,
    /// It speaks of a solution it was given.
    pub leak: bool,
    /// Kinds of personal data and secrets.
    pub secrets: Option<String>,
    /// The benchmark that it shows an item of.
    pub contaminated: Option<String>,
    /// The item.
    pub contamination_item: Option<String>,
    /// By which rule.
    pub contamination_rule: Option<String>,
    /// By which words.
    pub contamination_evidence: Option<String>,
}

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

/// What came of a program that was run on tests, as in programming contests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CodeVerdict {
    /// It passes all tests.
    #[serde(rename = "AC")]
    Accepted,
    /// Wrong output, too much output, or an assertion that does not hold.
    #[serde(rename = "WA")]
    WrongAnswer,
    /// It took too long.
    #[serde(rename = "TLE")]
    TimeLimit,
    /// It took too much memory.
    #[serde(rename = "MLE")]
    MemoryLimit,
    /// It ended with an error.
    #[serde(rename = "RE")]
    RuntimeError,
    /// It cannot be compiled, or there is none in the answer.
    #[serde(rename = "CE")]
    CompileError,
    /// It could not be judged: the sandbox failed, or the tests themselves.
    #[serde(rename = "SE")]
    SandboxError,
}

impl CodeVerdict {
    /// The usual abbreviation.
    pub fn code(self) -> &'static str {
        match self {
            Self::Accepted => "AC",
            Self::WrongAnswer => "WA",
            Self::TimeLimit => "TLE",
            Self::MemoryLimit => "MLE",
            Self::RuntimeError => "RE",
            Self::CompileError => "CE",
            Self::SandboxError => "SE",
        }
    }
}

/// What the judge made of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeVerdict {
    /// It says the same as the reference.
    Correct,
    /// It does not.
    Incorrect,
    /// The judge's replies cannot be read.
    Unreadable,
    /// The endpoint refused to judge it: too long for the judge, or turned down by a filter.
    Refused,
}
