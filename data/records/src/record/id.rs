//! The names of prompts and traces: content hashes, so that the same question or the same request is recognised in every
//! run. Each kind has a type of its own; in files both are plain strings.
//!
//! A prompt's id is not taken for a trace's:
//!
//! ```compile_fail,E0308
//! use records::record::{PromptId, Trace, TraceId};
//!
//! let prompt = PromptId::of(&[], "What is 2 + 2?");
//! let trace = TraceId::from_stored("0123456789abcdef");
//! Trace::new(prompt, trace, "teacher", 0);
//! ```
//!
//! ```
//! use records::record::{PromptId, Trace, TraceId};
//!
//! let prompt = PromptId::of(&[], "What is 2 + 2?");
//! let trace = TraceId::from_stored("0123456789abcdef");
//! Trace::new(trace, prompt, "teacher", 0);
//! ```

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Message, Sampling, Trace, short_hash};

/// What both kinds of id have in common.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// An id that was made before, as a file, a database or a user has it. It is not checked.
            pub fn from_stored(id: impl Into<Box<str>>) -> Self {
                Self(id.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id! {
    /// The name of a [`Prompt`](super::Prompt): 16 hex digits of BLAKE3 over its question and what comes before it.
    PromptId
}

id! {
    /// The name of a [`Trace`]: 16 hex digits of BLAKE3 over the request that it answers, or over its text where the
    /// request is not known.
    TraceId
}

impl PromptId {
    /// The id of a question after `context`. Both are hashed in lower case and with single spaces between words.
    pub fn of(context: &[Message], question: &str) -> Self {
        let normalised = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ");
        let mut key = String::new();
        for Message { role, content } in context {
            key.extend([role, "\u{1f}", &normalised(content), "\u{1f}"]);
        }
        key.push_str(&normalised(question));
        Self(short_hash(key.as_bytes()).into())
    }

    /// The id of a text of which every letter counts, upper and lower case and spaces too.
    pub fn of_exact(text: &str) -> Self {
        Self(short_hash(text.as_bytes()).into())
    }
}

impl TraceId {
    /// The id of the reply to a request, known before it is sent: a killed run resumes without asking twice. All that
    /// decides the text is hashed. The token limit is not: it only decides where the text is cut off.
    pub fn of(prompt: &PromptId, teacher: &str, instruction: &str, sampling: Sampling, seed: u64, sample: u32) -> Self {
        let Sampling { temperature, top_p, max_tokens: _ } = sampling;
        let key = format!(
            "{prompt}\u{1f}{teacher}\u{1f}{instruction}\u{1f}{temperature}\u{1f}{top_p}\u{1f}{seed}\u{1f}{sample}"
        );
        Self(short_hash(key.as_bytes()).into())
    }

    /// The id of an imported trace, whatever id it has: its request is not known, and its text is hashed instead.
    pub fn of_imported(trace: &Trace) -> Self {
        let Trace { prompt_id, teacher, sample, .. } = trace;
        let key = format!("{prompt_id}\u{1f}{teacher}\u{1f}{}\u{1f}{sample}", trace.text());
        Self(short_hash(key.as_bytes()).into())
    }

    /// The id of the solution that the generator of a problem worked out itself.
    pub fn of_worked_solution(prompt: &PromptId) -> Self {
        Self(short_hash(format!("worked\u{1f}{prompt}").as_bytes()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_questions_have_one_id() {
        let id = |question| PromptId::of(&[], question);
        assert_eq!(id("What is  2 + 2?\n"), id("what is 2 + 2?"));
        assert_ne!(id("What is 2 + 2?"), id("What is 2 + 3?"));
        assert_eq!(id("What is 2 + 2?"), super::super::Prompt::new("", "", "What is 2 + 2?", None, "").id);
    }

    #[test]
    fn a_trace_id_changes_with_every_part_of_the_request_but_the_token_limit() {
        let (p, q) = (PromptId::from_stored("p"), PromptId::from_stored("q"));
        let sampling = Sampling { temperature: 0.6, top_p: 0.95, max_tokens: 100 };
        let id = TraceId::of(&p, "t", "i", sampling, 7, 0);
        assert_eq!(id, TraceId::of(&p, "t", "i", sampling, 7, 0));
        for other in [
            TraceId::of(&q, "t", "i", sampling, 7, 0),
            TraceId::of(&p, "u", "i", sampling, 7, 0),
            TraceId::of(&p, "t", "j", sampling, 7, 0),
            TraceId::of(&p, "t", "i", Sampling { temperature: 0.7, ..sampling }, 7, 0),
            TraceId::of(&p, "t", "i", Sampling { top_p: 0.9, ..sampling }, 7, 0),
            TraceId::of(&p, "t", "i", sampling, 8, 0),
            TraceId::of(&p, "t", "i", sampling, 7, 1),
        ] {
            assert_ne!(id, other);
        }
        assert_eq!(id, TraceId::of(&p, "t", "i", Sampling { max_tokens: 101, ..sampling }, 7, 0));
    }

    #[test]
    fn ids_are_stored_as_plain_strings_and_stay_what_they_were() {
        let prompt = PromptId::of(&[Message::user("Hi ")], "What is  2 + 2?");
        assert_eq!(serde_json::to_value(&prompt).unwrap(), short_hash("user\u{1f}hi\u{1f}what is 2 + 2?".as_bytes()));
        let worked = TraceId::of_worked_solution(&PromptId::from_stored("p"));
        assert_eq!(worked.as_str(), short_hash("worked\u{1f}p".as_bytes()));
        assert_eq!(serde_json::from_str::<TraceId>("\"t\"").unwrap(), TraceId::from_stored("t"));
    }
}
