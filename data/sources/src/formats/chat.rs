//! Conversations: lists of `{role, content}` or `{from, value}` in which a user and an assistant take turns.

use records::record::Message;
use records::think;
use serde_json::Value;

use crate::rows::{Flaw, Row};

/// The last question and its reply, with the turns they stand in and what comes before them.
pub(super) struct Chat<'a> {
    pub(super) context: Vec<Message>,
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

/// Reads a column that holds a conversation. Turns by the system may come first, then the two take turns.
pub(super) fn chat<'a>(row: &'a Row, column: &str) -> Result<Chat<'a>, Flaw> {
    let value = row.columns.get(column).ok_or_else(|| row.no_column(column))?;
    let flaw = |what: &str| Flaw::other(format!("column {column:?} {what}"));
    let turns = value.as_array().ok_or_else(|| flaw("is not a list of turns"))?;
    let systems = turns.iter().take_while(|turn| role(turn) == Some("system")).count();
    let (system, spoken) = turns.split_at(systems);
    in_turns(spoken).map_err(|what| flaw(&what))?;
    let Some((earlier, [user, assistant])) = spoken.split_last_chunk::<2>() else {
        return Err(flaw(&format!("has {} turns, which are no question and reply", spoken.len())));
    };
    let said = |turn: &'a Value| content(turn).map(str::trim).filter(|text| !text.is_empty());
    let question = said(user).ok_or_else(|| flaw("has an empty question"))?;
    let reply = content(assistant).ok_or_else(|| flaw("has a reply without text"))?;
    let mut context = Vec::new();
    // One that says nothing asks for nothing; one whose text is not text asks for something that is not understood.
    if system.iter().any(|turn| content(turn).is_none()) {
        return Err(flaw("has a turn by the system without text"));
    }
    let system: Vec<&str> = system.iter().filter_map(said).collect();
    if !system.is_empty() {
        context.push(Message { role: "system".into(), content: system.join("\n\n") });
    }
    for pair in earlier.chunks(2) {
        let [question, reply] = [0, 1].map(|n| pair.get(n).and_then(said));
        let (question, reply) =
            question.zip(reply).ok_or_else(|| flaw("has an empty turn before its last question"))?;
        context.push(Message::user(question));
        context.push(Message::assistant(earlier_reply(reply).map_err(flaw)?));
    }
    Ok(Chat { context, question, reply, user, assistant })
}

/// Refuses turns that are not by a user and an assistant in this order, each time.
fn in_turns(spoken: &[Value]) -> Result<(), String> {
    for (pair, number) in spoken.chunks(2).zip((1..).step_by(2)) {
        let [user, assistant] = [0, 1].map(|n| pair.get(n).map(|turn| role(turn).unwrap_or("nobody")));
        if let Some(role) = user.filter(|role| !is_user(role)) {
            return Err(format!("has a turn by {role:?} where a user should ask (turn {number})"));
        }
        match assistant {
            None => return Err("ends with a question that has no reply".into()),
            Some(role) if !is_assistant(role) => {
                return Err(format!("has a turn by {role:?} where an assistant should reply (turn {})", number + 1));
            }
            Some(_) => {}
        }
        let calls =
            |turn: &Value| turn.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty());
        if pair.iter().any(calls) {
            return Err("has a reply that calls tools".into());
        }
    }
    Ok(())
}

/// A reply as it stands in a conversation that went on: without its thinking.
fn earlier_reply(text: &str) -> Result<String, &'static str> {
    let (_, answer) = think::split(None, text);
    if answer.contains("<think>") || answer.contains("</think>") {
        return Err("has an earlier reply in which thinking and answer cannot be told apart");
    }
    if answer.is_empty() { Err("has an earlier reply without an answer") } else { Ok(answer) }
}
