//! The schemas in which reasoning data is published, by name: what each of their rows says, and back.
//!
//! A row is one problem with the replies to it ([`Example`]). The prompts stage takes the problem and the collect stage
//! the replies, so that one format and one file serve both. What a chat holds before its last question, a system prompt or
//! earlier turns, is part of the problem: training sees it, and so does a teacher that is asked. Only the last reply is
//! learned from; earlier ones stand without their thinking, as in a chat that goes on. Where a system prompt asks for
//! marks that are no longer there once a reply is read (OpenThoughts, Bespoke-Stratos), it is left out.
//!
//! | format | published as | columns that are read |
//! |---|---|---|
//! | `mixture-of-thoughts` | open-r1/Mixture-of-Thoughts | messages, source |
//! | `openr1-math` | open-r1/OpenR1-Math-220k | problem, generations, answer, problem_type, source, finish_reasons |
//! | `open-thoughts` | open-thoughts/OpenThoughts-114k | conversations; or, of its `metadata`, problem, deepseek_reasoning, deepseek_solution, ground_truth_solution, domain, source, test_cases or verification_info, starter_code |
//! | `open-thoughts3` | open-thoughts/OpenThoughts3-1.2M | conversations, domain, source |
//! | `bespoke-stratos` | bespokelabs/Bespoke-Stratos-17k | conversations |
//! | `am-deepseek-r1` | a-m-team/AM-DeepSeek-R1-Distilled-1.4M | messages, with their info |
//! | `nemotron-v1` | nvidia/Nemotron-Post-Training-Dataset-v1 | messages, category, reasoning, generator, metadata |
//! | `sharegpt` | anywhere | conversations |
//! | `messages` | anywhere | messages, source, verification_info |
//!
//! Tests of programs are read in every shape that [`test_columns`](crate::test_columns) knows. Those that it does not know are kept as they
//! are, with the reason: what was published with a row that is good otherwise is no reason to leave the row out.

mod chat;
pub mod export;
mod forms;
mod markers;
mod stream;

use records::record::{FinishReason, Message};
use records::test_spec::TestSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::chat::last_reply;
use self::forms::Form;
pub use self::stream::{Rejected, Seen};
pub(crate) use self::stream::{Taken, examples};
use crate::rows::{Flaw, Row};

/// How the rows of a file are to be understood; `C` says which columns hold what where it is none of those that have a
/// name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format<C> {
    /// Messages of one question and one reply with think tags.
    MixtureOfThoughts,
    /// A problem with a list of replies.
    #[serde(rename = "openr1-math")]
    OpenR1Math,
    /// Conversations with thoughts and solutions between marks; or a problem with thinking and solution in columns.
    OpenThoughts,
    /// Conversations with think tags.
    #[serde(rename = "open-thoughts3")]
    OpenThoughts3,
    /// Conversations with thoughts and solutions between marks.
    BespokeStratos,
    /// Messages with think and answer tags, and what is known of them beside.
    AmDeepseekR1,
    /// Messages with think tags where reasoning is on.
    NemotronV1,
    /// Conversations of `{from, value}` with think tags.
    Sharegpt,
    /// Messages of `{role, content}` with think tags.
    Messages,
    /// Columns of any names.
    Columns(C),
}

/// A problem and the replies to it: what a row says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Example {
    /// What comes before the question.
    pub(crate) context: Vec<Message>,
    /// As it was put to the teacher.
    pub(crate) question: String,
    /// The gold answer.
    pub(crate) answer: Option<String>,
    /// The subject.
    pub(crate) domain: Option<String>,
    /// The kind of problem.
    pub(crate) kind: Option<String>,
    /// Where the problem came from.
    pub(crate) source: Option<String>,
    /// What a program must pass.
    pub(crate) tests: Option<RowTests>,
    /// In order; what is wrong with those that cannot be used.
    pub(crate) replies: Vec<Result<Reply, Flaw>>,
}

impl Example {
    pub(crate) fn new(question: impl Into<String>) -> Self {
        let question = question.into();
        Self {
            context: Vec::new(),
            question,
            answer: None,
            domain: None,
            kind: None,
            source: None,
            tests: None,
            replies: Vec::new(),
        }
    }
}

/// What a program must pass, as far as it can be read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RowTests {
    /// It can be run.
    Runnable(TestSpec),
    /// It cannot.
    Other {
        /// In the row's own words.
        source: String,
        /// Why not.
        problem: String,
    },
}

/// One reply of a teacher's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    /// `None` where the teacher was not to think, or where a mapped column does not hold one complete block.
    pub(crate) thinking: Option<String>,
    /// What follows.
    pub(crate) answer: String,
    /// Why it ended.
    pub(crate) finish_reason: FinishReason,
    /// The teacher, where the row names it.
    pub(crate) teacher: Option<String>,
}

impl Reply {
    fn of((thinking, answer): (String, String)) -> Self {
        Self { thinking: Some(thinking), answer, finish_reason: FinishReason::Unknown, teacher: None }
    }
}

/// A mapping of columns of any names.
pub(crate) trait Columns: Sync {
    /// What a row says.
    fn example(&self, row: &Row) -> Result<Example, Flaw>;
    /// All that it names.
    fn names(&self) -> Vec<&str>;
    /// Those that single rows may lack, but not all rows: a column that is in none is a misspelt one.
    fn optional(&self) -> Vec<&str>;
}

#[expect(private_bounds, reason = "outside of this crate formats are named, not read")]
impl<C: Columns> Format<C> {
    /// The ways in which rows of a named format come.
    fn forms(&self) -> &'static [Form] {
        match self {
            Self::MixtureOfThoughts | Self::Messages => &[forms::MESSAGES],
            Self::OpenR1Math => &[forms::OPENR1_MATH],
            Self::OpenThoughts => &[forms::OPEN_THOUGHTS, forms::OPEN_THOUGHTS_METADATA],
            Self::OpenThoughts3 => &[forms::OPEN_THOUGHTS3],
            Self::BespokeStratos => &[forms::OPEN_THOUGHTS],
            Self::AmDeepseekR1 => &[forms::AM_DEEPSEEK_R1],
            Self::NemotronV1 => &[forms::NEMOTRON_V1],
            Self::Sharegpt => &[forms::SHAREGPT],
            Self::Columns(_) => &[],
        }
    }

    /// What a row says.
    pub(crate) fn example(&self, row: &Row) -> Result<Example, Flaw> {
        if let Self::Columns(columns) = self {
            return columns.example(row);
        }
        let forms = self.forms();
        let missing = |form: &Form| form.required.iter().find(|column| !row.columns.contains_key(**column));
        match forms.iter().find(|form| missing(form).is_none()) {
            Some(form) => (form.read)(row),
            None => Err(row.no_column(forms.first().and_then(missing).copied().unwrap_or_default())),
        }
    }

    /// The columns that are read, under every name they may have in a file: a name with dots may lead into one.
    pub(crate) fn columns(&self) -> Vec<String> {
        let names = match self {
            Self::Columns(columns) => columns.names(),
            _ => self.forms().iter().flat_map(|form| form.required.iter().chain(form.optional)).copied().collect(),
        };
        let roots = names.iter().filter_map(|name| name.split('.').next());
        names.iter().copied().chain(roots).map(str::to_owned).collect()
    }

    /// See [`Columns::optional`].
    pub(crate) fn optional(&self) -> Vec<&str> {
        if let Self::Columns(columns) = self { columns.optional() } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests;
