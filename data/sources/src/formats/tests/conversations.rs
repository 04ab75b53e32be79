//! System prompts and conversations of several turns.

use records::record::Message;

use super::*;

fn turn(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// A conversation in which the assistant thinks each time.
fn long() -> Vec<Value> {
    vec![
        turn("system", "Be brief."),
        turn("user", " 1 + 1? "),
        turn("assistant", "<think>\nEasy.\n</think>\n\nIt is 2."),
        turn("user", "And 2 + 2?"),
        turn("assistant", "It is 4."),
        turn("user", "Sure?"),
        turn("assistant", THINK),
    ]
}

#[test]
fn what_comes_before_the_last_question_is_part_of_the_problem() {
    let context = [
        Message { role: "system".into(), content: "Be brief.".into() },
        Message::user("1 + 1?"),
        Message::assistant("It is 2."),
        Message::user("And 2 + 2?"),
        Message::assistant("It is 4."),
    ];
    let shares = long().iter().map(|turn| json!({"from": turn["role"], "value": turn["content"]})).collect::<Vec<_>>();
    for (name, row) in [("messages", json!({"messages": long()})), ("sharegpt", json!({"conversations": shares}))] {
        let got = everywhere(&[row], name);
        assert_eq!(
            got.prompts,
            [Prompt::new("math", "", "Sure?", None, "set").with_context(context.to_vec())],
            "{name}"
        );
        let trace = &got.traces[0];
        assert_eq!((&trace.prompt_id, trace.thinking.as_deref()), (&got.prompts[0].id, Some("2 and 2.")));
        assert_ne!(trace.prompt_id, PromptId::of(&[], "Sure?"));
    }
}

#[test]
fn the_same_question_after_something_else_is_another_prompt() {
    let rows: Vec<Value> = ["Be brief.", "Be long.", "be  brief.", ""]
        .map(|system| json!({"messages": [turn("system", system), turn("user", "2 + 2?"), turn("assistant", THINK)]}))
        .to_vec();
    let got = everywhere(&rows, "messages");
    assert_eq!((got.prompts.len(), got.traces.len()), (3, 4));
    assert_eq!(got.traces.iter().map(|t| t.sample).collect::<Vec<_>>(), [0, 0, 1, 0]);
    assert_eq!(got.prompts[2], Prompt::new("math", "", "2 + 2?", None, "set"));
    let several = json!({"messages": [turn("system", "A."), turn("system", " "), turn("system", "B."), turn("user", "?"), turn("assistant", THINK)]});
    assert_eq!(everywhere(&[several], "messages").prompts[0].context[0].content, "A.\n\nB.");
}

/// Their system prompts ask for marks that are taken away.
#[test]
fn a_system_prompt_that_asks_for_marks_is_left_out() {
    let mut chat = conversations("user", "assistant", THOUGHT);
    chat.as_array_mut().unwrap().insert(0, json!({"from": "system", "value": "Write <|begin_of_thought|>."}));
    for name in ["open-thoughts", "bespoke-stratos"] {
        is_the_usual_one(&everywhere(&[json!({"conversations": chat})], name).traces[0], "2 + 2?");
    }
}

#[test]
fn turns_out_of_turn_are_kept_aside_with_what_is_wrong() {
    let change = |at: usize, turn: Value| {
        let mut turns = long();
        turns[at] = turn;
        turns
    };
    let without = |at: usize| {
        let mut turns = long();
        turns.remove(at);
        turns
    };
    let call = json!({"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]});
    let cases = [
        (without(1), "by \"assistant\" where a user should ask (turn 1)"),
        (without(2), "by \"user\" where an assistant should reply (turn 2)"),
        (without(6), "no reply"),
        (change(3, turn("tool", "5")), "by \"tool\" where a user should ask (turn 3)"),
        (change(3, turn("system", "New rules.")), "by \"system\""),
        (change(4, call), "calls tools"),
        (change(1, turn("user", " ")), "empty turn"),
        (change(2, json!({"role": "assistant", "content": null})), "empty turn"),
        (change(2, turn("assistant", "<think>and so")), "cannot be told apart"),
        (change(2, turn("assistant", "<think>a</think>")), "without an answer"),
        (change(6, turn("assistant", "It is so.")), "no thinking"),
    ];
    let mut rows: Vec<Value> = cases.iter().map(|(turns, _)| json!({"messages": turns})).collect();
    rows.push(json!({"messages": long()}));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.jsonl");
    std::fs::write(&path, lines(&rows)).unwrap();
    let got = read(&path, "messages").unwrap();
    assert_eq!((got.traces.len(), got.rejected.len()), (1, cases.len()));
    for (line, (_, reason)) in got.rejected.iter().zip(&cases) {
        assert!(line["reason"].as_str().unwrap().contains(reason), "{line}: {reason}");
    }
}
