//! The named formats: which columns each needs, and what its rows say.

use std::fmt::Write;

use records::record::FinishReason;
use records::test_spec::Language;
use serde_json::Value;

use super::chat::{Chat, chat};
use super::markers::{think, think_and_answer, thought};
use super::{Example, Reply, RowTests};
use crate::rows::{Flaw, Row};
use crate::test_columns::{Cells, spec_of_cells};

/// The column in which open-r1's sets hold tests.
const VERIFICATION: &str = "verification_info";

/// One way in which a format's rows come.
pub(super) struct Form {
    /// Columns without which a row is not of this form.
    pub(super) required: &'static [&'static str],
    /// Columns that are read where they are.
    pub(super) optional: &'static [&'static str],
    /// What a row says.
    pub(super) read: fn(&Row) -> Result<Example, Flaw>,
}

pub(super) const MESSAGES: Form = Form {
    required: &["messages"],
    optional: &["source", VERIFICATION],
    read: |row| {
        let Chat { context, question, reply, .. } = chat(row, "messages")?;
        Ok(Example {
            context,
            source: text(row, "source")?,
            tests: row.get(VERIFICATION).and_then(tests),
            replies: vec![think(reply).map(Reply::of)],
            ..Example::new(question)
        })
    },
};

pub(super) const SHAREGPT: Form = Form {
    required: &["conversations"],
    optional: &[],
    read: |row| {
        let Chat { context, question, reply, .. } = chat(row, "conversations")?;
        Ok(Example { context, replies: vec![think(reply).map(Reply::of)], ..Example::new(question) })
    },
};

pub(super) const OPEN_THOUGHTS3: Form = Form {
    required: &["conversations"],
    optional: &["domain", "source"],
    read: |row| Ok(Example { domain: text(row, "domain")?, source: text(row, "source")?, ..(SHAREGPT.read)(row)? }),
};

pub(super) const OPEN_THOUGHTS: Form = Form {
    required: &["conversations"],
    optional: &[],
    read: |row| {
        let Chat { mut context, question, reply, .. } = chat(row, "conversations")?;
        context.retain(|message| message.role != "system");
        Ok(Example { context, replies: vec![thought(reply).map(Reply::of)], ..Example::new(question) })
    },
};

pub(super) const OPEN_THOUGHTS_METADATA: Form = Form {
    required: &["problem", "deepseek_reasoning", "deepseek_solution"],
    optional: &["ground_truth_solution", "domain", "source", "test_cases", VERIFICATION, "starter_code"],
    read: |row| {
        let mut question = row.required_text("problem")?.trim().to_owned();
        if let Some(code) = text(row, "starter_code")? {
            let _ = write!(question, "\n\n{code}");
        }
        let tests = ["test_cases", VERIFICATION].iter().find_map(|column| tests(row.get(column)?));
        let reply = match (text(row, "deepseek_reasoning")?, text(row, "deepseek_solution")?) {
            (Some(thinking), Some(solution)) => Ok(Reply::of((thinking.trim().to_owned(), solution.trim().to_owned()))),
            (None, _) => Err(Flaw::other("column \"deepseek_reasoning\" is empty")),
            (_, None) => Err(Flaw::other("column \"deepseek_solution\" is empty")),
        };
        Ok(Example {
            // What a program is checked by are its tests.
            answer: if tests.is_some() { None } else { text(row, "ground_truth_solution")?.filter(|s| is_answer(s)) },
            domain: text(row, "domain")?,
            source: text(row, "source")?,
            tests,
            replies: vec![reply],
            ..Example::new(question)
        })
    },
};

pub(super) const OPENR1_MATH: Form = Form {
    required: &["problem", "generations"],
    optional: &["answer", "problem_type", "source", "finish_reasons"],
    read: |row| {
        let generations = row.columns.get("generations").and_then(Value::as_array);
        let generations = generations.ok_or_else(|| Flaw::other("column \"generations\" is not a list"))?;
        let reasons = row.columns.get("finish_reasons").and_then(Value::as_array);
        let replies = generations.iter().enumerate().map(|(place, generation)| -> Result<Reply, Flaw> {
            let wrong = |what: &str| Flaw::other(format!("generation {place}: {what}"));
            let reply = generation.as_str().ok_or_else(|| wrong("it is not text"))?;
            let reply = think(reply).map(Reply::of).map_err(|flaw| wrong(&flaw.to_string()))?;
            let reason = reasons.and_then(|reasons| reasons.get(place)?.as_str());
            Ok(Reply { finish_reason: FinishReason::named(reason), ..reply })
        });
        Ok(Example {
            answer: text(row, "answer")?,
            kind: text(row, "problem_type")?,
            source: text(row, "source")?,
            replies: replies.collect(),
            ..Example::new(row.required_text("problem")?.trim())
        })
    },
};

pub(super) const AM_DEEPSEEK_R1: Form = Form {
    required: &["messages"],
    optional: &[],
    read: |row| {
        let Chat { context, question, reply, user, assistant } = chat(row, "messages")?;
        let info = |turn: &Value, name: &str| turn.get("info").and_then(|info| as_text(info.get(name)?));
        let test_case = user.get("info").and_then(|info| info.get("test_case"));
        let reply = match (info(assistant, "think_content"), info(assistant, "answer_content")) {
            (Some(thinking), Some(answer)) => Ok((thinking.trim().to_owned(), answer.trim().to_owned())),
            _ => think_and_answer(reply),
        };
        Ok(Example {
            context,
            answer: info(user, "reference_answer"),
            source: info(user, "source"),
            tests: test_case.and_then(tests),
            replies: vec![reply.map(Reply::of)],
            ..Example::new(question)
        })
    },
};

pub(super) const NEMOTRON_V1: Form = Form {
    required: &["messages"],
    optional: &["category", "reasoning", "generator", "metadata"],
    read: |row| {
        let Chat { context, question, reply, .. } = chat(row, "messages")?;
        if question == "-" {
            return Err(Flaw::other(
                "its question was left out (\"-\"); the dataset's card says where to take it from",
            ));
        }
        let thinks = text(row, "reasoning")?.is_none_or(|reasoning| reasoning != "off") || reply.contains("</think>");
        let reply = if thinks {
            think(reply).map(Reply::of)
        } else {
            Ok(Reply { thinking: None, ..Reply::of((String::new(), reply.trim().to_owned())) })
        };
        let metadata: Value = match text(row, "metadata")? {
            // The gold answer is in it: a row that lost it would be one that nobody can verify.
            Some(json) => serde_json::from_str(&json)
                .map_err(|_| Flaw::other("column \"metadata\" holds text that is not JSON"))?,
            None => Value::Null,
        };
        let known = |names: &[&str]| names.iter().find_map(|name| as_text(metadata.get(*name)?));
        let teacher = text(row, "generator")?;
        Ok(Example {
            context,
            answer: known(&["expected_answer"]),
            domain: text(row, "category")?,
            source: known(&["problem_source", "source", "dataset"]),
            replies: vec![reply.map(|reply| Reply { teacher, ..reply })],
            ..Example::new(question)
        })
    },
};

/// The text of a column, if it is there and says something.
fn text(row: &Row, column: &str) -> Result<Option<String>, Flaw> {
    Ok(row.text(column)?.filter(|text| !text.trim().is_empty()))
}

/// Text as it is, and anything else but nothing as JSON.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        Value::Array(items) if items.is_empty() => None,
        other => Some(other.to_string()),
    }
}

/// The tests in a cell, if it holds something.
fn tests(value: &Value) -> Option<RowTests> {
    let source = as_text(value)?;
    let cells = Cells { tests: value, setup: None, preamble: None, entry_point: None };
    Some(match spec_of_cells(&cells, None, Language::Python) {
        Ok(spec) => RowTests::Runnable(spec),
        Err(problem) => RowTests::Other { source, problem },
    })
}

/// Whether a reference solution ends in an answer that can be compared: a box, or nothing but the answer.
fn is_answer(solution: &str) -> bool {
    const ANSWER_CHARS: usize = 100;
    solution.contains("\\boxed") || (solution.len() <= ANSWER_CHARS && !solution.trim().contains('\n'))
}
