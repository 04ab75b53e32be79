use FinishReason::{Length, Other, Stop, Unknown};
use records::parquet_file::read_records;
use serde_json::{Value, json};

use super::*;
use crate::prompts::{FileMapping, Tests, load};

fn mapping() -> TraceMapping {
    TraceMapping { question: "q".into(), thinking: None, answer: None, text: None, messages: None, finish_reason: None }
}

fn run(rows: &[Value], mapping: &TraceMapping) -> Result<Vec<Trace>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("traces.jsonl");
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    let prompts: Vec<Prompt> =
        rows.iter().filter_map(|row| Some(Prompt::new("", "", row["q"].as_str()?, None, ""))).collect();
    let mut rejected = Rejected::new(dir.path()).unwrap();
    let out = dir.path().join("out.parquet");
    import(&Files::find(&path)?, &Format::Columns(mapping.clone()), "r1", &prompts, &out, &mut rejected, &|_| true)?;
    assert_eq!(rejected.count(), 0);
    read_records(&out)
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
    assert_eq!(expected[0].prompt_id, PromptId::of(&[], "2+2?"));
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
    let ids: HashSet<&str> = traces.iter().map(|t| t.id.as_str()).collect();
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
    assert!(message.contains("no column \"y\"") && message.contains("there are: q, x"), "{message}");
    let parts = TraceMapping { answer: Some("x".into()), thinking: Some("y".into()), ..mapping() };
    let message = run(&[json!({"q": "a", "x": "1"})], &parts).unwrap_err().to_string();
    assert!(message.contains("no row has a column \"y\"; it has: q, x"), "{message}");
    let chat = TraceMapping { messages: Some("m".into()), ..mapping() };
    for wrong in [json!([]), json!("text"), json!([{"role": "user", "content": "a"}])] {
        let message = run(&[json!({"q": "a", "m": wrong})], &chat).unwrap_err().to_string();
        assert!(message.contains("row 1: column \"m\" is not a chat"), "{message}");
    }
}

#[test]
fn published_r1_traces_import_and_verify() {
    let Some(path) = fixtures::shared("data/traces/deepseek_r1_mcq_6000.jsonl") else { return };
    let columns = TraceMapping {
        question: "formated_question".into(),
        thinking: Some("reason".into()),
        answer: Some("gen_ans".into()),
        ..mapping()
    };
    let dir = tempfile::tempdir().unwrap();
    let mut rejected = Rejected::new(dir.path()).unwrap();
    let gold = FileMapping {
        question: "formated_question".into(),
        answer: Some("answer".into()),
        domain: None,
        kind: None,
        tests: None,
    };
    let files = Files::find(&path).unwrap();
    let mut tests = Tests::new(&dir.path().join("tests.parquet"));
    let prompts = load(&files, &Format::Columns(gold), "exam", &mut rejected, &mut tests, &|_| true).unwrap();
    let out = dir.path().join("traces.parquet");
    import(&files, &Format::Columns(columns), "r1", &prompts, &out, &mut rejected, &|_| true).unwrap();
    let traces: Vec<Trace> = read_records(&out).unwrap();
    assert_eq!(traces.len(), 6000);
    assert!(traces.iter().all(|t| t.thinking.as_deref().is_some_and(|x| !x.contains("think>"))));
    let answers: HashMap<&str, &str> =
        prompts.iter().filter_map(|p| Some((p.id.as_str(), p.answer.as_deref()?))).collect();
    let verdicts: Vec<_> = traces.iter().map(|t| verify::verify(answers[t.prompt_id.as_str()], &t.answer)).collect();
    let extracted = verdicts.iter().filter(|v| v.extracted.is_some()).count();
    let correct = verdicts.iter().filter(|v| v.correct()).count();
    eprintln!("extracted {extracted}, correct {correct} of {}", traces.len());
    assert!(extracted >= 5900, "{extracted}");
}
