//! Trace files: traces that somebody else collected, read into [`Trace`]s through a format with a name or a mapping of
//! columns.
//!
//! Published reasoning data comes in a few shapes: thinking and answer in columns of their own, one text with think
//! tags in it, or a chat (`messages`, `conversations`) whose last assistant turn holds that text.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use records::parquet_file::RecordWriter;
use records::record::{FinishReason, Prompt, PromptId, Trace, TraceId};
use records::{Mistake, Result, think};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::files::Files;
use crate::formats::{Columns, Example, Format, Rejected, Reply, Seen, Taken, examples, last_reply};
use crate::rows::{Flaw, Row};

/// Traces that are written at once.
const CHUNK: usize = 256;

/// Which columns of a file hold what. Exactly one of `answer`, `text` and `messages` says where the reply is. Dots lead
/// into nested columns: `messages.0.content`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceMapping {
    /// The column of the question as it was put to the teacher.
    pub question: String,
    /// The column of the thinking, with or without think tags; goes with `answer`.
    pub thinking: Option<String>,
    /// The column of the text after the thinking.
    pub answer: Option<String>,
    /// The column of the whole reply, with think tags in it.
    pub text: Option<String>,
    /// The column of a chat: a list of `{role, content}` or `{from, value}`. Its last assistant turn is the reply.
    pub messages: Option<String>,
    /// The column that says why the teacher stopped.
    pub finish_reason: Option<String>,
}

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Rows that were read.
    pub rows: u64,
    /// Traces that were kept.
    pub traces: u64,
    /// Traces of other problems.
    pub elsewhere: u64,
    /// Rows, and replies of rows with several, that were kept aside.
    pub rejected: u64,
}

/// Reads traces and writes those that answer one of the prompts as one Parquet file at `path`, in the order of the files.
/// `teacher` is the name of the teacher where rows do not say. `go_on` is told how far it is, and stops it by saying no.
pub fn import(
    files: &Files,
    format: &Format<TraceMapping>,
    teacher: &str,
    prompts: &[Prompt],
    path: &Path,
    rejected: &mut Rejected,
    go_on: &dyn Fn(Seen) -> bool,
) -> Result<Imported> {
    if let Format::Columns(mapping) = format {
        mapping.check().map_err(|mistake| *mistake)?;
    }
    let wanted: HashSet<&PromptId> = prompts.iter().map(|prompt| &prompt.id).collect();
    let before = rejected.count();
    let mut writer = RecordWriter::<Trace>::create(path)?;
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut samples: HashMap<PromptId, u32> = HashMap::new();
    let (mut traces, mut elsewhere) = (0, 0);
    let rows = examples(files, format, rejected, go_on, |place, example, rejected| {
        let prompt_id = PromptId::of(&example.context, &example.question);
        let is_wanted = wanted.contains(&prompt_id);
        let count = example.replies.len() as u32;
        let mut none = 0;
        let first = if is_wanted { samples.entry(prompt_id.clone()).or_default() } else { &mut none };
        let mut taken = Taken::No;
        for (reply, sample) in example.replies.into_iter().zip(*first..) {
            match reply {
                Ok(reply) => {
                    taken = Taken::Yes;
                    if is_wanted {
                        chunk.push(trace(reply, &prompt_id, sample, teacher));
                    } else {
                        elsewhere += 1;
                    }
                }
                Err(flaw) => rejected.add(place, &flaw.to_string())?,
            }
        }
        *first += count;
        if chunk.len() >= CHUNK {
            traces += chunk.len() as u64;
            writer.write(&chunk)?;
            chunk.clear();
        }
        Ok(taken)
    })?;
    traces += chunk.len() as u64;
    writer.write(&chunk)?;
    if traces > 0 {
        writer.finish()?;
    }
    rejected.finish()?;
    Ok(Imported { rows, traces, elsewhere, rejected: rejected.count() - before })
}

fn trace(reply: Reply, prompt_id: &PromptId, sample: u32, teacher: &str) -> Trace {
    let teacher = reply.teacher.unwrap_or_else(|| teacher.to_owned());
    let trace = Trace::new(TraceId::from_stored(""), prompt_id.clone(), teacher, sample).with_text(
        reply.thinking,
        reply.answer,
        reply.finish_reason,
    );
    Trace { id: TraceId::of_imported(&trace), ..trace }
}

impl TraceMapping {
    /// Refuses a mapping that does not say once where the reply is.
    pub fn check(&self) -> std::result::Result<(), Box<Mistake>> {
        let Self { thinking, answer, text, messages, .. } = self;
        let remedy = "set `answer` (with or without `thinking`), or `text`, or `messages`, and only one of the three";
        match (thinking, answer, text, messages) {
            (_, Some(_), None, None) | (None, None, Some(_), None) | (None, None, None, Some(_)) => Ok(()),
            (_, None, None, None) => {
                Err(Box::new(Mistake::new("columns", "it does not say where the reply is", remedy)))
            }
            _ => Err(Box::new(Mistake::new("columns", "it says more than once where the reply is", remedy))),
        }
    }

    /// Thinking and answer of a row. Nothing is thrown away: what does not hold one complete block is all answer.
    fn reply(&self, row: &Row) -> std::result::Result<(Option<String>, String), Flaw> {
        if let Some(answer) = &self.answer {
            let answer = row.expected_text(answer)?.unwrap_or_default();
            let thinking = self.thinking.as_ref().map_or(Ok(None), |column| row.text(column))?;
            return Ok(join(thinking.as_deref(), &answer));
        }
        if let Some(column) = &self.text {
            return Ok(think::split(None, &row.expected_text(column)?.unwrap_or_default()));
        }
        let column = self.messages.as_deref().unwrap_or_default();
        let chat = row.get(column).ok_or_else(|| row.no_column(column))?;
        let reply = last_reply(chat).ok_or_else(|| {
            Flaw::other(format!(
                "column {column:?} is not a chat with an assistant's turn: a list of {{role, content}} or {{from, value}}"
            ))
        })?;
        Ok(think::split(None, reply))
    }
}

impl Columns for TraceMapping {
    fn example(&self, row: &Row) -> std::result::Result<Example, Flaw> {
        let question = row.required_text(&self.question)?;
        let (thinking, answer) = self.reply(row)?;
        let finish_reason = match &self.finish_reason {
            Some(column) => FinishReason::named(row.text(column)?.as_deref()),
            None => FinishReason::Unknown,
        };
        let reply = Reply { thinking, answer, finish_reason, teacher: None };
        Ok(Example { replies: vec![Ok(reply)], ..Example::new(question) })
    }

    fn names(&self) -> Vec<&str> {
        let Self { question, thinking, answer, text, messages, finish_reason } = self;
        let others = [thinking, answer, text, messages, finish_reason];
        std::iter::once(question.as_str()).chain(others.into_iter().filter_map(Option::as_deref)).collect()
    }

    fn optional(&self) -> Vec<&str> {
        [&self.thinking, &self.finish_reason].into_iter().filter_map(Option::as_deref).collect()
    }
}

/// Puts a thinking column and an answer column together.
fn join(thinking: Option<&str>, answer: &str) -> (Option<String>, String) {
    const OPEN: &str = "<think>";
    const CLOSE: &str = "</think>";
    let Some(thinking) = thinking.map(str::trim) else { return think::split(None, answer) };
    let opened = thinking.strip_prefix(OPEN);
    let inner = opened.unwrap_or(thinking);
    match (opened, inner.strip_suffix(CLOSE)) {
        // The column says itself that the thinking was cut short: leave it as one text that is not well formed.
        (Some(_), None) => think::split(None, &format!("{thinking}\n{answer}")),
        (_, closed) => think::split(Some(closed.unwrap_or(inner).trim()), answer),
    }
}

#[cfg(test)]
mod tests;
