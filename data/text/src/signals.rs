//! Signals: what one trace shows by itself, without a gold answer and without the other traces.
//!
//! R1's traces were kept only if they were readable: "chain-of-thought with mixed languages, long paragraphs, and code
//! blocks" was filtered out (arXiv 2501.12948, section 2.3.3). Later recipes filter loops, cut-off text, refusals and
//! traces that speak of themselves. Here each of these is a narrow column; what is dropped is the policy's decision.
//! All work is linear in the length of the text.

pub mod degenerate;
pub mod language;
mod phrases;
mod prose;
mod script;
mod secrets;
mod structure;

use serde::{Deserialize, Serialize};

use records::record::{Ending, Trace};

/// The columns. Shares are between 0 and 1; counts and lengths are of the thinking unless said otherwise.
#[expect(clippy::struct_excessive_bools, reason = "each is a column of its own")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signals {
    /// How the answer ends: `complete`, `empty`, or in the middle of a `sentence`, a code `fence`, `maths` or a `box`.
    pub ending: Ending,
    /// How the thinking ends; in the middle of a sentence where the answer begins too early.
    pub thinking_ending: Ending,
    /// The teacher used as many tokens as it was allowed.
    pub at_limit: bool,
    /// Characters of the longest stretch at the end of thinking or answer that repeats one piece at least 4 times.
    pub loop_chars: u32,
    /// How often the most frequent sequence of 20 words occurs (AM-DeepSeek-R1-Distilled drops above 20).
    pub most_repeated_20gram: u32,
    /// Share of the sequences of 20 words that are different; 1 for short texts.
    pub distinct_20grams: f32,
    /// Share of the text that is in sentences which occurred before. Thinking is written in few long lines, for which the
    /// share of duplicate lines (Gopher, arXiv 2112.11446, table A1) is blind.
    pub duplicate_sentences: f32,
    /// Bytes of the text by bytes when compressed (zstd, level 1); large is repetitive.
    pub compression: f32,
    /// The language of the prose, maths and code left out, as ISO 639-3 (`eng`, `cmn`); `None` if there is too little.
    pub language: Option<String>,
    /// Share of the prose's letters that are not in its main script, what is quoted from the question included.
    pub foreign_script: f32,
    /// Letters in thinking and answer of a script that nothing led to: not that of the thinking, nor in the question, nor
    /// of a language that is spoken of. A slip into another language is rarely longer than a word.
    pub stray_letters: u32,
    /// Signs (U+FFFD) that stand where bytes of thinking or answer were lost.
    pub lost_characters: u32,
    /// Share of the longer paragraphs (80 letters or more) in another language than most.
    pub foreign_paragraphs: f32,
    /// Characters of the longest paragraph.
    pub longest_paragraph: u32,
    /// Fenced code blocks.
    pub code_blocks: u32,
    /// It speaks of itself as a model or an assistant ("I am DeepSeek", "as an AI", "my knowledge cutoff").
    pub identity: bool,
    /// The answer begins with a refusal.
    pub refusal: bool,
    /// It speaks of a solution or answer that it was given.
    pub leak: bool,
    /// Kinds of personal data or secrets in thinking or answer, separated by commas; `None` if there are none.
    pub secrets: Option<String>,
}

/// Looks at one trace, and at the question for what it may quote.
pub fn signals(question: &str, trace: &Trace) -> Signals {
    let thinking = trace.thinking.as_deref().unwrap_or_default();
    let answer = trace.answer.as_str();
    let repetition = degenerate::repetition(thinking);
    let prose = language::census(thinking);
    Signals {
        ending: structure::ending(answer),
        thinking_ending: structure::ending(thinking),
        at_limit: matches!((trace.completion_tokens, trace.max_tokens), (Some(used), Some(most)) if used >= most),
        loop_chars: degenerate::tail_loop(thinking).max(degenerate::tail_loop(answer)),
        most_repeated_20gram: repetition.most_repeated,
        distinct_20grams: repetition.distinct,
        duplicate_sentences: degenerate::duplicate_sentences(thinking),
        compression: degenerate::compression(thinking),
        language: prose.language.map(str::to_owned),
        foreign_script: prose.foreign_script,
        stray_letters: script::stray_letters(question, thinking, answer),
        lost_characters: [thinking, answer].iter().map(|text| text.matches('\u{fffd}').count() as u32).sum(),
        foreign_paragraphs: prose.foreign_paragraphs,
        longest_paragraph: structure::longest_paragraph(thinking),
        code_blocks: structure::code_blocks(thinking),
        identity: phrases::identity(thinking) || phrases::identity(answer),
        refusal: phrases::refusal(answer),
        leak: phrases::leak(thinking),
        secrets: secrets::kinds(&[thinking, answer]),
    }
}

#[cfg(test)]
mod tests;
