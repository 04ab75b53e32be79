//! The records that flow through the pipeline: plain structs with public fields, one Parquet row each.
//!
//! `Prompt → Trace → Verdict + CuratedTrace → PackedBatch`, and `Sample` and `Metric` from evaluation and training.
//! [`PromptId`] and [`TraceId`] are content hashes: the same question or the same request is recognised in every run.

mod id;
mod verdict;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::id::{PromptId, TraceId};
pub use self::verdict::{CodeVerdict, Ending, JudgeVerdict, Verdict};
use crate::test_spec::Language;

/// A problem put to a teacher or to a student.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// Hash of the normalised question and of what comes before it: equal ones are one prompt whatever file they came from.
    pub id: PromptId,
    /// The subject: `math`, `code`, `science`, ...
    pub domain: String,
    /// The kind of problem within the domain, as its source names it; empty if it does not.
    pub kind: String,
    /// What comes before the question: a system prompt, earlier turns of a conversation. Mostly nothing.
    pub context: Vec<Message>,
    /// The question as the user would ask it.
    pub question: String,
    /// The gold answer, where there is one.
    pub answer: Option<String>,
    /// Where the problem came from.
    pub source: String,
}

impl Prompt {
    /// Makes a prompt and derives its id from the question.
    pub fn new(domain: &str, kind: &str, question: &str, answer: Option<String>, source: &str) -> Self {
        Self {
            id: PromptId::of(&[], question),
            domain: domain.to_owned(),
            kind: kind.to_owned(),
            context: Vec::new(),
            question: question.to_owned(),
            answer,
            source: source.to_owned(),
        }
    }

    /// The same question after something else.
    #[must_use]
    pub fn with_context(self, context: Vec<Message>) -> Self {
        Self { id: PromptId::of(&context, &self.question), context, ..self }
    }

    /// The conversation up to and with the question, which `instruction` follows after a blank line, if there is one.
    pub fn messages(&self, instruction: &str) -> Vec<Message> {
        let question = match instruction {
            "" => self.question.clone(),
            instruction => format!("{}\n\n{instruction}", self.question),
        };
        self.context.iter().cloned().chain([Message::user(question)]).collect()
    }

    /// All that the user says, the question last.
    pub fn user_turns(&self) -> impl Iterator<Item = &str> {
        let earlier = self.context.iter().filter(|message| message.role == "user");
        earlier.map(|message| message.content.as_str()).chain([self.question.as_str()])
    }
}

/// The first 16 hex digits of a BLAKE3 hash: enough for 800K records (collision odds below 1e-7).
pub fn short_hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_owned()
}

/// Why a teacher stopped writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It came to its own end.
    Stop,
    /// It ran into the token limit.
    Length,
    /// Something else ended it (a content filter, an abort).
    Other,
    /// The source does not say (imported traces).
    Unknown,
}

impl FinishReason {
    /// The names that servers and datasets give to the reasons: OpenAI's `stop` and `length`, TGI's `eos_token`, Together's
    /// `eos`, Anthropic's `end_turn`, `stop_sequence` and `max_tokens`, Mistral's `model_length`. No name and an empty one
    /// say nothing.
    pub fn named(name: Option<&str>) -> Self {
        match name.map(str::trim) {
            None | Some("") => Self::Unknown,
            Some("stop" | "eos" | "eos_token" | "end_turn" | "stop_sequence") => Self::Stop,
            Some("length" | "max_tokens" | "model_length") => Self::Length,
            Some(_) => Self::Other,
        }
    }
}

/// What a program must pass to solve a prompt. Beside the prompts and not in them, since it may be far larger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptTests {
    /// The [`Prompt::id`].
    pub prompt_id: PromptId,
    /// The language that programs are run in; `None` where the tests cannot be run.
    pub language: Option<Language>,
    /// What is run: a [`TestSpec`](crate::test_spec::TestSpec) as JSON.
    pub spec: Option<String>,
    /// Why the tests cannot be run.
    pub problem: Option<String>,
    /// Those that cannot be run, in their source's own words.
    pub source: Option<String>,
}

/// How text is sampled. Part of a trace's identity, but for the token limit (see [`TraceId::of`]).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Softmax temperature; 0 is greedy.
    pub temperature: f64,
    /// Nucleus mass: the smallest set of tokens with at least this probability is sampled from.
    pub top_p: f64,
    /// The most tokens one completion may have.
    pub max_tokens: u32,
}

/// One answer of a teacher to one prompt. Append-only: traces were paid for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Hash of prompt id, teacher, instruction, temperature, top-p, seed and sample index; see [`TraceId::of`].
    pub id: TraceId,
    /// The [`Prompt::id`] it answers.
    pub prompt_id: PromptId,
    /// Which of the n samples of that prompt, from 0.
    pub sample: u32,
    /// The reasoning between the think tags; `None` if the reply had no complete thinking block.
    pub thinking: Option<String>,
    /// What follows the thinking.
    pub answer: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt, as billed.
    pub prompt_tokens: Option<u32>,
    /// Tokens written, as billed.
    pub completion_tokens: Option<u32>,
    /// The teacher's model name.
    pub teacher: String,
    /// Sampling temperature, where known.
    pub temperature: Option<f64>,
    /// Nucleus mass, where known.
    pub top_p: Option<f64>,
    /// Token limit that it was sampled under, where known; a trace that was not cut off serves other limits too.
    pub max_tokens: Option<u32>,
    /// The seed sent with the request, where there was one.
    pub seed: Option<u64>,
}

impl Trace {
    /// A trace of which only the request is known; the other functions of this kind add what else is.
    pub fn new(id: TraceId, prompt_id: PromptId, teacher: impl Into<String>, sample: u32) -> Self {
        Self {
            id,
            prompt_id,
            sample,
            thinking: None,
            answer: String::new(),
            finish_reason: FinishReason::Unknown,
            prompt_tokens: None,
            completion_tokens: None,
            teacher: teacher.into(),
            temperature: None,
            top_p: None,
            max_tokens: None,
            seed: None,
        }
    }

    /// With what the teacher wrote, and why it ended.
    #[must_use]
    pub fn with_text(self, thinking: Option<String>, answer: impl Into<String>, ended: FinishReason) -> Self {
        Self { thinking, answer: answer.into(), finish_reason: ended, ..self }
    }

    /// With the tokens of the prompt and of what was written, as billed, where they are known.
    #[must_use]
    pub fn with_tokens(self, prompt: Option<u32>, completion: Option<u32>) -> Self {
        Self { prompt_tokens: prompt, completion_tokens: completion, ..self }
    }

    /// With how it was sampled, and the seed that was sent.
    #[must_use]
    pub fn with_sampling(self, sampling: Sampling, seed: Option<u64>) -> Self {
        let Sampling { temperature, top_p, max_tokens } = sampling;
        Self { temperature: Some(temperature), top_p: Some(top_p), max_tokens: Some(max_tokens), seed, ..self }
    }

    /// The assistant's full text as R1 writes it: thinking between tags, then the answer.
    pub fn text(&self) -> String {
        match &self.thinking {
            Some(thinking) => format!("<think>\n{}\n</think>\n\n{}", thinking.trim(), self.answer.trim()),
            None => self.answer.trim().to_owned(),
        }
    }
}

/// One chat message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of the user's.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user".into(), content: content.into() }
    }

    /// A message of the assistant's.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: "assistant".into(), content: content.into() }
    }
}

/// A trace that the policy selected, in the Hub's chat schema (`messages`, `num_tokens`, `source`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CuratedTrace {
    /// The [`Trace::id`].
    pub trace_id: TraceId,
    /// The [`Prompt::id`].
    pub prompt_id: PromptId,
    /// The prompt's domain.
    pub domain: String,
    /// The prompt's kind.
    pub kind: String,
    /// The prompt's source.
    pub source: String,
    /// The gold answer, where there is one.
    pub gold: Option<String>,
    /// A system prompt if there is one, the user's and the assistant's turns; the last one holds the thinking.
    pub messages: Vec<Message>,
    /// Tokens the teacher wrote, where known.
    pub num_tokens: Option<i64>,
}

/// One sampled answer of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Who answered: `teacher`, `before`, `after` or `control`.
    pub model: String,
    /// The [`Prompt::id`].
    pub prompt_id: PromptId,
    /// The prompt's kind.
    pub kind: String,
    /// Which of the k samples, from 0.
    pub sample: u32,
    /// The question.
    pub question: String,
    /// The gold answer.
    pub gold: String,
    /// All that the model wrote.
    pub completion: String,
    /// The final answer found in it.
    pub extracted: Option<String>,
    /// Whether it equals the gold answer.
    pub correct: bool,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens written.
    pub tokens: u32,
}

/// One optimizer step, as logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Which training: `student` or `control`.
    pub run: String,
    /// Optimizer step, from 1.
    pub step: u32,
    /// Mean cross-entropy per supervised token, nats.
    pub loss: f64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Supervised tokens in this step.
    pub supervised_tokens: u64,
    /// All tokens in this step.
    pub tokens: u64,
    /// Tokens per second of this step.
    pub tokens_per_second: f64,
    /// Seconds since training began, over all resumes.
    pub seconds: f64,
    /// Mean loss on held-out traces after this step, where it was measured.
    pub eval_loss: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_a_question_makes_it_another() {
        let prompt = Prompt::new("", "", "Why?", None, "");
        let system = |content: &str| Message { role: "system".into(), content: content.into() };
        let brief = prompt.clone().with_context(vec![system("Be  brief.")]);
        assert_eq!(brief.id, prompt.clone().with_context(vec![system("be brief.")]).id);
        assert_ne!(brief.id, prompt.id);
        assert_ne!(brief.id, prompt.clone().with_context(vec![Message::user("Be brief.")]).id);
        assert_eq!(brief.messages(""), [system("Be  brief."), Message::user("Why?")]);
        assert_eq!(brief.messages("Now."), [system("Be  brief."), Message::user("Why?\n\nNow.")]);
        let later = prompt.with_context(vec![Message::user("2 + 2?"), Message::assistant("4")]);
        assert_eq!(later.user_turns().collect::<Vec<_>>(), ["2 + 2?", "Why?"]);
    }

    #[test]
    fn reasons_have_the_names_that_servers_and_datasets_give_them() {
        for (name, reason) in [
            (None, FinishReason::Unknown),
            (Some(" "), FinishReason::Unknown),
            (Some("end_turn"), FinishReason::Stop),
            (Some("max_tokens"), FinishReason::Length),
            (Some("model_length"), FinishReason::Length),
            (Some("content_filter"), FinishReason::Other),
        ] {
            assert_eq!(FinishReason::named(name), reason, "{name:?}");
        }
    }
}
