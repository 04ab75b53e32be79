//! Every format in every kind of file, from rows made here; and files that nobody should have to meet.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use arrow::json::ReaderBuilder;
use arrow::json::reader::infer_json_schema_from_iterator;
use parquet::arrow::ArrowWriter;
use records::parquet_file::{read_records, write_records};
use records::record::{CuratedTrace, Message, Prompt, PromptId, PromptTests, Trace, TraceId};
use records::test_spec::Language;
use serde_json::{Value, json};

use super::export::{Schema, export};
use super::*;
use crate::files::Files;
use crate::import::{Imported, TraceMapping, import};
use crate::prompts::{FileMapping, Tests, load};

const THINK: &str = "<think>\n2 and 2.\n</think>\n\nIt is \\boxed{4}.";
const THOUGHT: &str = "<|begin_of_thought|>\n\n2 and 2.\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\nIt is \
                       \\boxed{4}.\n\n<|end_of_solution|>";

fn format_named(name: &str) -> Format<TraceMapping> {
    serde_json::from_value(json!(name)).unwrap()
}

/// What a file gives.
#[derive(Debug)]
struct Got {
    prompts: Vec<Prompt>,
    tests: Vec<PromptTests>,
    traces: Vec<Trace>,
    imported: Imported,
    /// File, row and reason of each.
    rejected: Vec<Value>,
}

fn read(input: &Path, name: &str) -> records::Result<Got> {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::find(input)?;
    let prompts_format: Format<FileMapping> = serde_json::from_value(json!(name)).unwrap();
    let mut tests = Tests::new(&dir.path().join("tests.parquet"));
    let mut rejected = Rejected::new(dir.path())?;
    let prompts = load(&files, &prompts_format, "math", &mut rejected, &mut tests, &|_| true)?;
    rejected.finish()?;
    let count = tests.finish()?;
    let any = count.runnable + count.other > 0;
    let tests = if any { read_records(&dir.path().join("tests.parquet"))? } else { Vec::new() };
    let mut rejected = Rejected::new(dir.path())?;
    let path = dir.path().join("traces.parquet");
    let imported = import(&files, &format_named(name), "r1", &prompts, &path, &mut rejected, &|_| true)?;
    let lines = std::fs::read_to_string(dir.path().join("rejected.jsonl")).unwrap_or_default();
    let rejected = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Ok(Got { prompts, tests, traces: read_records(&path)?, imported, rejected })
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect::<Vec<_>>().concat()
}

/// The rows as a batch of Arrow's.
fn batch(rows: &[Value], text: &DataType) -> RecordBatch {
    let schema = infer_json_schema_from_iterator(rows.iter().map(Ok)).unwrap();
    let fields: Vec<Field> = schema.fields().iter().map(|field| with_text(field, text)).collect();
    let mut decoder = ReaderBuilder::new(Arc::new(ArrowSchema::new(fields))).build_decoder().unwrap();
    decoder.serialize(rows).unwrap();
    decoder.flush().unwrap().unwrap()
}

/// The field with another type of text wherever it holds some.
fn with_text(field: &Field, text: &DataType) -> Field {
    let kind = match field.data_type() {
        DataType::Utf8 => text.clone(),
        DataType::List(item) => DataType::List(Arc::new(with_text(item, text))),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| with_text(field, text)).collect()),
        other => other.clone(),
    };
    Field::new(field.name(), kind, true)
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Writes the rows in every kind of file that is read.
fn every_file(dir: &Path, rows: &[Value]) -> Vec<PathBuf> {
    let text = lines(rows);
    let path = |name: &str| dir.join(name);
    std::fs::write(path("set.jsonl"), &text).unwrap();
    std::fs::write(path("set.json"), Value::from(rows).to_string()).unwrap();
    std::fs::write(path("set.jsonl.gz"), gzip(&text)).unwrap();
    // Two frames, as parallel compressors write them.
    let (a, b) = text.split_at(text.len() / 2);
    let frames = [a, b].map(|part| zstd::encode_all(part.as_bytes(), 1).unwrap()).concat();
    std::fs::write(path("set.jsonl.zst"), frames).unwrap();
    let mut paths = vec![path("set.jsonl"), path("set.json"), path("set.jsonl.gz"), path("set.jsonl.zst")];
    for (kind, text) in [("utf8", DataType::Utf8), ("large", DataType::LargeUtf8), ("view", DataType::Utf8View)] {
        std::fs::create_dir_all(path(kind)).unwrap();
        paths.push(path(kind).join("set.parquet"));
        write_parquet(paths.last().unwrap(), &batch(rows, &text));
    }
    paths
}

/// Reads the rows from every kind of file; all of them must say the same.
#[track_caller]
fn everywhere(rows: &[Value], name: &str) -> Got {
    let dir = tempfile::tempdir().unwrap();
    let mut got: Option<Got> = None;
    for path in every_file(dir.path(), rows) {
        let other = read(&path, name).unwrap_or_else(|e| panic!("{e}"));
        let first = got.get_or_insert_with(|| read(&path, name).unwrap());
        assert_eq!((&other.prompts, &other.tests), (&first.prompts, &first.tests), "{}", path.display());
        assert_eq!((&other.traces, &other.imported), (&first.traces, &first.imported), "{}", path.display());
    }
    got.unwrap()
}

/// The one trace of the rows that all formats can say.
#[track_caller]
fn is_the_usual_one(trace: &Trace, question: &str) {
    assert_eq!(trace.prompt_id, PromptId::of(&[], question));
    assert_eq!((trace.thinking.as_deref(), trace.answer.as_str()), (Some("2 and 2."), "It is \\boxed{4}."));
}

fn messages(reply: &str) -> Value {
    json!([{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": reply}])
}

fn conversations(user: &str, assistant: &str, reply: &str) -> Value {
    json!([{"from": user, "value": "2 + 2?"}, {"from": assistant, "value": reply}])
}

#[test]
fn mixture_of_thoughts() {
    let got = everywhere(
        &[json!({"messages": messages(THINK), "num_tokens": 12, "source": "open-r1/OpenR1-Math-220k"})],
        "mixture-of-thoughts",
    );
    is_the_usual_one(&got.traces[0], "2 + 2?");
    assert_eq!(got.traces[0].teacher, "r1");
    assert_eq!(got.prompts, [Prompt::new("math", "", "2 + 2?", None, "open-r1/OpenR1-Math-220k")]);
    assert_eq!(got.imported, Imported { rows: 1, traces: 1, elsewhere: 0, rejected: 0 });
}

#[test]
fn openr1_math_has_a_trace_for_each_generation() {
    let row = |problem: &str, generations: &[&str]| {
        json!({
            "problem": problem, "solution": "4", "answer": "4", "problem_type": "Algebra", "question_type": "math-word-problem",
            "source": "olympiads", "uuid": "u", "is_reasoning_complete": [true, false, true],
            "generations": generations, "correctness_math_verify": [true, false, false], "correctness_llama": null,
            "finish_reasons": ["stop", "length", null], "correctness_count": 1, "messages": messages(THINK)
        })
    };
    let rows = [row("2 + 2?", &[THINK, "<think>2 and", THINK]), row("1 + 3?", &[THINK]), row("2 + 2?", &[THINK])];
    let got = everywhere(&rows, "openr1-math");
    assert_eq!(got.prompts[0], Prompt::new("math", "Algebra", "2 + 2?", Some("4".into()), "olympiads"));
    let samples: Vec<(bool, u32)> = got.traces.iter().map(|t| (t.prompt_id == got.prompts[0].id, t.sample)).collect();
    assert_eq!(samples, [(true, 0), (true, 2), (false, 0), (true, 3)], "a place in the list is a sample's number");
    assert_eq!(got.traces[0].finish_reason, FinishReason::Stop);
    assert_eq!(got.traces[1].finish_reason, FinishReason::Unknown);
    assert_eq!(got.imported.rejected, 1);
    assert!(got.rejected[0]["reason"].as_str().unwrap().contains("generation 1: its thinking does not end"));
    assert_eq!(got.traces.iter().map(|t| t.id.as_str()).collect::<HashSet<_>>().len(), 4);
}

#[test]
fn open_thoughts_in_both_of_its_forms() {
    let system = "Your role as an assistant involves thoroughly exploring questions";
    let got = everywhere(
        &[json!({"system": system, "conversations": conversations("user", "assistant", THOUGHT)})],
        "open-thoughts",
    );
    is_the_usual_one(&got.traces[0], "2 + 2?");
    let row = |problem: &str, truth: Option<&str>, domain: &str, tests: Option<&str>, code: Option<&str>| {
        json!({
            "problem": problem, "deepseek_reasoning": "2 and 2.\n", "deepseek_solution": "It is \\boxed{4}.",
            "ground_truth_solution": truth, "domain": domain, "source": "numina_math", "test_cases": tests, "starter_code": code
        })
    };
    let tests = "{\"inputs\": [\"2 2\"], \"outputs\": [\"4\"]}";
    let rows = [
        row("2 + 2?", Some("So \\boxed{4}."), "math", None, None),
        row("Add.", Some("print(4)"), "code", Some(tests), Some("def add(a, b):")),
        row("Why?", Some("A long\nexplanation."), "physics", None, None),
    ];
    let got = everywhere(&rows, "open-thoughts");
    is_the_usual_one(&got.traces[0], "2 + 2?");
    is_the_usual_one(&got.traces[1], "Add.\n\ndef add(a, b):");
    let expected = [
        Prompt::new("math", "", "2 + 2?", Some("So \\boxed{4}.".into()), "numina_math"),
        Prompt::new("code", "", "Add.\n\ndef add(a, b):", None, "numina_math"),
        Prompt::new("physics", "", "Why?", None, "numina_math"),
    ];
    assert_eq!(got.prompts, expected);
    assert_eq!(got.tests.len(), 1);
    assert_eq!((&got.tests[0].prompt_id, got.tests[0].language), (&expected[1].id, Some(Language::Python)));
    assert!(got.tests[0].spec.as_ref().unwrap().contains(r#""input":"2 2","output":"4""#), "{:?}", got.tests);
}

#[test]
fn open_thoughts3_bespoke_stratos_and_sharegpt() {
    for assistant in ["gpt", "assistant"] {
        let rows = [
            json!({"difficulty": 8, "source": "s", "domain": "code", "conversations": conversations("human", assistant, THINK)}),
        ];
        let got = everywhere(&rows, "open-thoughts3");
        is_the_usual_one(&got.traces[0], "2 + 2?");
        assert_eq!(got.prompts, [Prompt::new("code", "", "2 + 2?", None, "s")]);
    }
    let got = everywhere(
        &[json!({"system": "s", "conversations": conversations("user", "assistant", THOUGHT)})],
        "bespoke-stratos",
    );
    is_the_usual_one(&got.traces[0], "2 + 2?");
    assert_eq!(got.prompts[0].source, "set");
    is_the_usual_one(
        &everywhere(&[json!({"conversations": conversations("human", "gpt", THINK)})], "sharegpt").traces[0],
        "2 + 2?",
    );
}

#[test]
fn am_deepseek_r1() {
    let content = "<think>2 and 2.</think><answer>It is \\boxed{4}.</answer>";
    let row = |info: Value, beside: Value| {
        json!({"messages": [
            {"role": "user", "content": "2 + 2?", "info": info},
            {"role": "assistant", "content": content, "info": beside}
        ]})
    };
    let user = json!({"source": "openr1_math", "reference_answer": "4", "test_case": null});
    let split = json!({"think_content": "2 and 2.\n", "answer_content": "It is \\boxed{4}."});
    let of_code = json!({"source": "KodCode", "reference_answer": null, "test_case": {"cases": [1, 2]}});
    let dir = tempfile::tempdir().unwrap();
    for (user, assistant, source, gold) in [
        (&user, &split, "openr1_math", Some("4".to_owned())),
        (&user, &Value::Null, "openr1_math", Some("4".to_owned())),
        (&of_code, &split, "KodCode", None),
    ] {
        let path = dir.path().join("am.jsonl.zst");
        let line = lines(&[row(user.clone(), assistant.clone())]);
        std::fs::write(&path, zstd::encode_all(line.as_bytes(), 1).unwrap()).unwrap();
        let got = read(&path, "am-deepseek-r1").unwrap();
        is_the_usual_one(&got.traces[0], "2 + 2?");
        assert_eq!(got.prompts, [Prompt::new("math", "", "2 + 2?", gold, source)]);
        let tests: Vec<&str> = got.tests.iter().filter_map(|t| t.source.as_deref()).collect();
        assert_eq!(tests, if source == "KodCode" { vec!["{\"cases\":[1,2]}"] } else { vec![] });
    }
}

#[test]
fn nemotron_v1() {
    let row = |question: &str, reply: &str, reasoning: &str, calls: Value| {
        json!({
            "uuid": "u", "license": "cc-by-4.0", "generator": "DeepSeek-R1-0528", "version": "v1", "category": "math",
            "reasoning": reasoning, "metadata": "{\"expected_answer\": \"4\", \"problem_source\": \"aops\"}",
            "messages": [
                {"role": "system", "content": "", "tool_calls": []},
                {"role": "user", "content": question, "tool_calls": []},
                {"role": "assistant", "content": reply, "tool_calls": calls}
            ]
        })
    };
    let call = json!([{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let rows = [
        row("2 + 2?", THINK, "on", call.clone()),
        row("2 + 2?", THINK, "on", json!([])),
        row("Hello?", "Good day.", "off", json!([])),
        row("-", THINK, "on", json!([])),
        row("3 + 1?", "It is 4.", "on", json!([])),
    ];
    let got = everywhere(&rows, "nemotron-v1");
    is_the_usual_one(&got.traces[0], "2 + 2?");
    assert_eq!(got.traces[0].teacher, "DeepSeek-R1-0528");
    assert_eq!((got.traces[1].thinking.as_deref(), got.traces[1].answer.as_str()), (None, "Good day."));
    assert_eq!(got.prompts[0], Prompt::new("math", "", "2 + 2?", Some("4".into()), "aops"));
    let reasons: Vec<&str> = got.rejected.iter().map(|r| r["reason"].as_str().unwrap()).collect();
    assert_eq!(got.rejected.iter().map(|r| r["row"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 4, 5]);
    assert!(
        reasons[0].contains("calls tools") && reasons[1].contains("left out") && reasons[2].contains("no thinking")
    );
}

#[test]
fn a_dictionary_of_text_is_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.parquet");
    let plain = batch(&[json!({"messages": messages(THINK), "source": "s"})], &DataType::Utf8);
    let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let source = cast(plain.column_by_name("source").unwrap(), &kind).unwrap();
    let messages = plain.column_by_name("messages").unwrap();
    let batch = RecordBatch::try_from_iter([("messages", Arc::clone(messages)), ("source", source)]).unwrap();
    write_parquet(&path, &batch);
    let got = read(&path, "messages").unwrap();
    assert_eq!(got.prompts[0].source, "s");
}

#[test]
fn what_is_no_single_question_and_reply_is_kept_aside_with_its_reason() {
    let turn = |role: &str, content: Value| json!({"role": role, "content": content});
    let rows: Vec<(Value, &str)> = vec![
        (json!({"messages": messages(THINK)}), ""),
        (json!({"messages": messages("<think>2 and")}), "does not end"),
        (json!({"messages": messages("4")}), "no thinking"),
        (json!({"messages": []}), "0 turns"),
        (json!({"messages": null}), "not a list"),
        (json!({"messages": "text"}), "not a list"),
        (json!({"messages": [1, 2]}), "by \"nobody\" where a user should ask (turn 1)"),
        (json!({"messages": [turn("user", json!("2 + 2?"))]}), "no reply"),
        (
            json!({"messages": [turn("assistant", json!(THINK)), turn("user", json!("?"))]}),
            "by \"assistant\" where a user should ask",
        ),
        (json!({"messages": [turn("user", json!(" ")), turn("assistant", json!(THINK))]}), "empty question"),
        (json!({"messages": [turn("user", json!("?")), turn("assistant", Value::Null)]}), "without text"),
        (json!({"chat": []}), "no column \"messages\"; there are: chat"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.jsonl");
    let all: Vec<Value> = rows.iter().map(|(row, _)| row.clone()).collect();
    std::fs::write(&path, lines(&all)).unwrap();
    let got = read(&path, "messages").unwrap();
    is_the_usual_one(&got.traces[0], "2 + 2?");
    assert_eq!(got.imported, Imported { rows: 12, traces: 1, elsewhere: 0, rejected: 11 });
    for (line, (number, (_, reason))) in got.rejected.iter().zip((1..).zip(&rows).skip(1)) {
        assert_eq!(line["row"], number);
        assert!(line["reason"].as_str().unwrap().contains(reason), "{line}");
    }
}

/// Exporting and importing again gives the same thinking, answers, questions and sources.
#[test]
fn what_is_exported_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let trace = |n: i64| {
        let text = format!("<think>\nβ{n} \\n \"x\"\n\nso\n</think>\n\n\\boxed{{{n}}}");
        CuratedTrace {
            trace_id: TraceId::from_stored(n.to_string()),
            prompt_id: PromptId::of(&[], &format!("What is {n}?")),
            domain: "code".into(),
            kind: String::new(),
            source: "somewhere".into(),
            gold: None,
            messages: vec![Message::user(format!("What is {n}?")), Message::assistant(text)],
            num_tokens: (n % 2 == 0).then_some(n),
        }
    };
    let traces: Vec<CuratedTrace> = (0..3000).map(trace).collect();
    let curated = dir.path().join("curated");
    write_records(&curated.join("part-00000.parquet"), &traces[..1000]).unwrap();
    write_records(&curated.join("part-00001.parquet"), &traces[1000..]).unwrap();
    for (schema, name, domain, source) in [
        (Schema::MixtureOfThoughts, "mixture-of-thoughts", "math", "somewhere"),
        (Schema::OpenThoughts3, "open-thoughts3", "code", "somewhere"),
        (Schema::Sharegpt, "sharegpt", "math", "out"),
        (Schema::Messages, "messages", "math", "out"),
    ] {
        for extension in ["parquet", "jsonl", "jsonl.zst"] {
            let path = dir.path().join(name).join(format!("out.{extension}"));
            assert_eq!(export(&curated, schema, &path).unwrap(), 3000);
            let got = read(&path, name).unwrap();
            assert_eq!((got.imported.traces, got.imported.rejected), (3000, 0), "{name} {extension}");
            for ((original, trace), prompt) in traces.iter().zip(&got.traces).zip(&got.prompts) {
                assert_eq!(trace.prompt_id, original.prompt_id);
                assert_eq!(trace.text(), original.messages[1].content);
                assert_eq!(
                    (prompt.question.as_str(), prompt.domain.as_str()),
                    (original.messages[0].content.as_str(), domain)
                );
                assert_eq!(prompt.source, source);
            }
        }
    }
    let error = export(&curated, Schema::Messages, &dir.path().join("out.csv")).unwrap_err().to_string();
    assert!(error.contains(".jsonl.zst"), "{error}");
    assert!(!dir.path().join("out.csv").exists());
}

#[test]
fn formats_are_named_in_recipes_and_nothing_else_is() {
    for name in [
        "mixture-of-thoughts",
        "openr1-math",
        "open-thoughts",
        "open-thoughts3",
        "bespoke-stratos",
        "am-deepseek-r1",
        "nemotron-v1",
        "sharegpt",
        "messages",
    ] {
        assert_eq!(serde_json::to_value(format_named(name)).unwrap(), json!(name));
    }
    let error = serde_json::from_value::<Format<TraceMapping>>(json!("alpaca")).unwrap_err().to_string();
    assert!(error.contains("mixture-of-thoughts") && error.contains("columns"), "{error}");
    let columns = json!({"columns": {"question": "q", "anwser": "a"}});
    assert!(serde_json::from_value::<Format<TraceMapping>>(columns).unwrap_err().to_string().contains("anwser"));
    let both = json!({"columns": {"question": "q", "answer": "a"}, "sharegpt": null});
    assert!(serde_json::from_value::<Format<TraceMapping>>(both).is_err());
}

mod conversations;
mod hostile;
mod programs;
