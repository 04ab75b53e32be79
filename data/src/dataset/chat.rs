//! Conversations: lists of `{role, content}` or `{from, value}` with one question and one reply.

use serde_json::Value;

use crate::rows::{Flaw, Row};

/// One question and one reply, with the turns they stand in.
pub(super) struct Chat<'a> {
    pub(super) question: &'a str,
    pub(super) reply: &'a str,
    pub(super) user: &'a Value,
    pub(super) assistant: &'a Value,
}

/// The names that datasets give to the two who speak.
fn is_user(role: &str) -> bool {
    matches!(role, "user" | "human")
}

fn is_assistant(role: &str) -> bool {
    matches!(role, "assistant" | "gpt" | "chatgpt" | "model")
}

/// Who speaks in a turn.
pub(crate) fn role(turn: &Value) -> Option<&str> {
    turn.get("role").or_else(|| turn.get("from"))?.as_str()
}

/// What is said in a turn.
pub(crate) fn content(turn: &Value) -> Option<&str> {
    turn.get("content").or_else(|| turn.get("value"))?.as_str()
}

/// The text of a conversation's last turn by the assistant.
pub(crate) fn last_reply(chat: &Value) -> Option<&str> {
    content(chat.as_array()?.iter().rev().find(|turn| role(turn).is_some_and(is_assistant))?)
}

/// Reads a column that holds a conversation. Turns by the system may come first.
pub(super) fn chat<'a>(row: &'a Row, column: &str) -> Result<Chat<'a>, Flaw> {
    let value = row.columns.get(column).ok_or_else(|| row.no_column(column))?;
    let flaw = |what: &str| Flaw::other(format!("column {column:?} {what}"));
    let turns = value.as_array().ok_or_else(|| flaw("is not a list of turns"))?;
    let spoken: Vec<&Value> = turns.iter().skip_while(|turn| role(turn) == Some("system")).collect();
    let &[user, assistant] = spoken.as_slice() else {
        return Err(flaw(&format!("has {} turns; one question and one reply are read", spoken.len())));
    };
    if !role(user).is_some_and(is_user) || !role(assistant).is_some_and(is_assistant) {
        let name = |turn: &Value| role(turn).map_or("nobody".to_owned(), |role| format!("{role:?}"));
        return Err(flaw(&format!("is by {} and {}, not by a user and an assistant", name(user), name(assistant))));
    }
    if assistant.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty()) {
        return Err(flaw("has a reply that calls tools"));
    }
    let question = content(user).map(str::trim).filter(|text| !text.is_empty());
    Ok(Chat {
        question: question.ok_or_else(|| flaw("has an empty question"))?,
        reply: content(assistant).ok_or_else(|| flaw("has a reply without text"))?,
        user,
        assistant,
    })
}
