//! Trace files: traces that somebody else collected, read into [`Trace`]s through a mapping of columns.
//!
//! Published reasoning data comes in a few shapes: thinking and answer in columns of their own, one text with think
//! tags in it, or a chat (`messages`, `conversations`) whose last assistant turn holds that text.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::prompts::OptionalColumns;
use crate::record::{FinishReason, Trace, prompt_id, short_hash};
use crate::rows::{Row, read_rows};
use crate::think;
use crate::{Error, Result};

/// Which columns of a file hold what. Exactly one of `answer`, `text` and `messages` says where the reply is. Dots lead
/// into nested columns: `messages.0.content`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The teacher's name (not a column).
    pub teacher: String,
    /// The column that says why the teacher stopped.
    pub finish_reason: Option<String>,
}

/// Reads a `.jsonl`, `.json` or `.parquet` file of traces, one a row, in the order of the file.
pub fn import(path: &Path, mapping: &TraceMapping) -> Result<Vec<Trace>> {
    let reply = Reply::of(mapping)?;
    let mut optional =
        OptionalColumns::new([&mapping.thinking, &mapping.finish_reason].into_iter().filter_map(Option::as_deref));
    let mut samples: HashMap<String, u32> = HashMap::new();
    let mut traces = Vec::new();
    for row in read_rows(path)? {
        let row = row?;
        optional.note(&row);
        let prompt_id = prompt_id(&row.required_text(&mapping.question, path)?);
        let (thinking, answer) = reply.read(&row, path)?;
        let finish_reason = match &mapping.finish_reason {
            Some(column) => finish_reason(row.text(column, path)?.as_deref()),
            None => FinishReason::Unknown,
        };
        let next = samples.entry(prompt_id.clone()).or_default();
        let sample = *next;
        *next += 1;
        let mut trace = Trace {
            id: String::new(),
            prompt_id,
            sample,
            thinking,
            answer,
            finish_reason,
            prompt_tokens: None,
            completion_tokens: None,
            teacher: mapping.teacher.clone(),
            temperature: None,
            top_p: None,
            max_tokens: None,
            seed: None,
        };
        trace.id = imported_id(&trace);
        traces.push(trace);
    }
    optional.check(path)?;
    Ok(traces)
}

/// The id of an imported trace. What was asked of its teacher is not known, so that its text stands in for it.
fn imported_id(trace: &Trace) -> String {
    let Trace { prompt_id, teacher, sample, .. } = trace;
    short_hash(format!("{prompt_id}\u{1f}{teacher}\u{1f}{}\u{1f}{sample}", trace.text()).as_bytes())
}

/// Where a row holds the teacher's reply.
enum Reply<'a> {
    Parts { thinking: Option<&'a str>, answer: &'a str },
    Text(&'a str),
    Messages(&'a str),
}

impl<'a> Reply<'a> {
    fn of(mapping: &'a TraceMapping) -> Result<Self> {
        let TraceMapping { thinking, answer, text, messages, .. } = mapping;
        match (thinking.as_deref(), answer.as_deref(), text.as_deref(), messages.as_deref()) {
            (thinking, Some(answer), None, None) => Ok(Self::Parts { thinking, answer }),
            (None, None, Some(text), None) => Ok(Self::Text(text)),
            (None, None, None, Some(messages)) => Ok(Self::Messages(messages)),
            _ => Err(Error::invalid(
                "the trace mapping",
                "it does not say where the reply is, or says it twice",
                "set `answer` (with or without `thinking`), or `text`, or `messages`, and only one of the three",
            )),
        }
    }

    /// Thinking and answer of a row.
    fn read(&self, row: &Row, path: &Path) -> Result<(Option<String>, String)> {
        match *self {
            Self::Parts { thinking, answer } => {
                let answer = row.expected_text(answer, path)?.unwrap_or_default();
                let thinking = thinking.map_or(Ok(None), |column| row.text(column, path))?;
                Ok(join(thinking.as_deref(), &answer))
            }
            Self::Text(column) => Ok(think::split(None, &row.expected_text(column, path)?.unwrap_or_default())),
            Self::Messages(column) => {
                let chat = row.get(column).ok_or_else(|| row.no_column(column, path))?;
                let reply = last_assistant_turn(chat).ok_or_else(|| {
                    Error::malformed(
                        path,
                        format!("column {column:?} of row {} is not a chat with an assistant's turn", row.number),
                        "it must be a list of {role, content} or {from, value}",
                    )
                })?;
                Ok(think::split(None, reply))
            }
        }
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

/// The text of a chat's last turn by the assistant.
fn last_assistant_turn(chat: &Value) -> Option<&str> {
    let turn = chat.as_array()?.iter().rev().find(|turn| {
        let role = turn.get("role").or_else(|| turn.get("from"));
        matches!(role.and_then(Value::as_str), Some("assistant" | "gpt"))
    })?;
    turn.get("content").or_else(|| turn.get("value"))?.as_str()
}

/// The names that servers and datasets give to the reasons.
fn finish_reason(name: Option<&str>) -> FinishReason {
    match name.map(str::trim) {
        None | Some("") => FinishReason::Unknown,
        Some("stop" | "eos" | "eos_token" | "end_turn" | "stop_sequence") => FinishReason::Stop,
        Some("length" | "max_tokens") => FinishReason::Length,
        Some(_) => FinishReason::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompts::{FileMapping, load_file};
    use FinishReason::{Length, Other, Stop, Unknown};
    use serde_json::json;

    fn mapping() -> TraceMapping {
        TraceMapping {
            question: "q".into(),
            thinking: None,
            answer: None,
            text: None,
            messages: None,
            teacher: "r1".into(),
            finish_reason: None,
        }
    }

    fn run(rows: &[Value], mapping: &TraceMapping) -> Result<Vec<Trace>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("traces.jsonl");
        let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        import(&path, mapping)
    }

    #[test]
    fn every_shape_of_reply_gives_the_same_trace() {
        let tagged = "<think>\nIt is 4.\n</think>\n\n\\boxed{4}";
        let parts = TraceMapping { thinking: Some("t".into()), answer: Some("a".into()), ..mapping() };
        let text = TraceMapping { text: Some("x".into()), ..mapping() };
        let chat = TraceMapping { messages: Some("m".into()), ..mapping() };
        let expected = run(&[json!({"q": "2+2?", "t": "It is 4.", "a": "\\boxed{4}"})], &parts).unwrap();
        assert_eq!(expected[0].thinking.as_deref(), Some("It is 4."));
        assert_eq!(expected[0].answer, "\\boxed{4}");
        assert_eq!(expected[0].prompt_id, prompt_id("2+2?"));
        assert_eq!((expected[0].sample, expected[0].teacher.as_str()), (0, "r1"));
        let others = [
            run(&[json!({"q": "2+2?", "t": "<think>It is 4.</think>", "a": "\\boxed{4}"})], &parts),
            run(&[json!({"q": "2+2?", "t": "\nIt is 4.\n</think>\n", "a": "\\boxed{4}"})], &parts),
            run(&[json!({"q": "2+2?", "x": tagged})], &text),
            run(
                &[
                    json!({"q": "2+2?", "m": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": tagged}]}),
                ],
                &chat,
            ),
            run(&[json!({"q": "2+2?", "m": [{"from": "gpt", "value": tagged}]})], &chat),
        ];
        for other in others {
            assert_eq!(other.unwrap(), expected);
        }
    }

    #[test]
    fn samples_count_up_within_a_prompt() {
        let text = TraceMapping { text: Some("x".into()), finish_reason: Some("f".into()), ..mapping() };
        let rows = [
            json!({"q": "a", "x": "<think>1</think>2", "f": "stop"}),
            json!({"q": "b", "x": "<think>1</think>2", "f": "length"}),
            json!({"q": " A", "x": "<think>1</think>2", "f": null}),
            json!({"q": "a", "x": "2", "f": "content_filter"}),
        ];
        let traces = run(&rows, &text).unwrap();
        assert_eq!(traces.iter().map(|t| t.sample).collect::<Vec<_>>(), [0, 0, 1, 2]);
        assert_eq!(traces.iter().map(|t| t.finish_reason).collect::<Vec<_>>(), [Stop, Length, Unknown, Other]);
        let ids: std::collections::HashSet<&str> = traces.iter().map(|t| t.id.as_str()).collect();
        assert_eq!(ids.len(), 4, "equal texts of different samples are different traces");
        assert_eq!(run(&rows, &text).unwrap(), traces, "ids are stable");
        assert_eq!(traces[3].thinking, None);
    }

    #[test]
    fn thinking_that_says_it_was_cut_short_stays_unfinished() {
        let parts = TraceMapping { thinking: Some("t".into()), answer: Some("a".into()), ..mapping() };
        let traces = run(&[json!({"q": "a", "t": "<think>So far", "a": null})], &parts).unwrap();
        assert_eq!(traces[0].thinking, None);
        assert!(traces[0].answer.contains("So far"));
    }

    #[test]
    fn a_mapping_must_say_once_where_the_reply_is() {
        for wrong in [
            mapping(),
            TraceMapping { thinking: Some("t".into()), ..mapping() },
            TraceMapping { text: Some("x".into()), answer: Some("a".into()), ..mapping() },
        ] {
            let message = run(&[json!({"q": "a"})], &wrong).unwrap_err().to_string();
            assert!(message.contains("only one of the three"), "{message}");
        }
    }

    #[test]
    fn missing_columns_and_chats_without_a_reply_are_errors_with_their_row() {
        let text = TraceMapping { text: Some("y".into()), ..mapping() };
        let message = run(&[json!({"q": "a", "x": "1"})], &text).unwrap_err().to_string();
        assert!(message.contains("\"y\"") && message.contains("it has: q, x"), "{message}");
        let parts = TraceMapping { answer: Some("x".into()), thinking: Some("y".into()), ..mapping() };
        let message = run(&[json!({"q": "a", "x": "1"})], &parts).unwrap_err().to_string();
        assert!(message.contains("no column \"y\""), "{message}");
        let chat = TraceMapping { messages: Some("m".into()), ..mapping() };
        for wrong in [json!([]), json!("text"), json!([{"role": "user", "content": "a"}])] {
            let message = run(&[json!({"q": "a", "m": wrong})], &chat).unwrap_err().to_string();
            assert!(message.contains("row 1 is not a chat"), "{message}");
        }
    }

    #[test]
    fn published_r1_traces_import_and_verify() {
        let Ok(shared) = std::env::var("R1D_SHARED") else {
            eprintln!("skipped: set R1D_SHARED to a folder with data/traces to import published traces");
            return;
        };
        let path = Path::new(&shared).join("data/traces/deepseek_r1_mcq_6000.jsonl");
        let columns = TraceMapping {
            question: "formated_question".into(),
            thinking: Some("reason".into()),
            answer: Some("gen_ans".into()),
            ..mapping()
        };
        let traces = import(&path, &columns).unwrap();
        assert_eq!(traces.len(), 6000);
        assert!(traces.iter().all(|t| t.thinking.as_deref().is_some_and(|x| !x.contains("think>"))));
        let gold = FileMapping {
            question: "formated_question".into(),
            answer: Some("answer".into()),
            domain: None,
            kind: None,
            tests: None,
        };
        let prompts = load_file(&path, &gold, "exam").unwrap();
        let answers: HashMap<&str, &str> =
            prompts.iter().filter_map(|p| Some((p.id.as_str(), p.answer.as_deref()?))).collect();
        let verdicts: Vec<_> =
            traces.iter().map(|t| crate::verify::verify(answers[t.prompt_id.as_str()], &t.answer)).collect();
        let extracted = verdicts.iter().filter(|v| v.extracted.is_some()).count();
        let correct = verdicts.iter().filter(|v| v.correct()).count();
        eprintln!("extracted {extracted}, correct {correct} of {}", traces.len());
        assert!(extracted >= 5900, "{extracted}");
    }
}
