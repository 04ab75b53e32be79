//! Files that are cut short, empty, wrong or not what they say.

use proptest::prelude::*;

use super::*;

fn at(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn row(number: usize) -> Value {
    json!({"messages": [{"role": "user", "content": format!("{number}?")}, {"role": "assistant", "content": THINK}]})
}

fn message(path: &Path, name: &str) -> String {
    read(path, name).unwrap_err().to_string()
}

#[test]
fn files_that_end_within_their_compressed_data_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text = lines(&(0..3000).map(row).collect::<Vec<_>>());
    for (name, bytes) in [("a.jsonl.gz", gzip(&text)), ("a.jsonl.zst", zstd::encode_all(text.as_bytes(), 1).unwrap())] {
        assert_eq!(read(&at(&dir, name, &bytes), "messages").unwrap().traces.len(), 3000);
        for keep in [1, 5, bytes.len() / 2, bytes.len() - 1] {
            let message = message(&at(&dir, name, &bytes[..keep]), "messages");
            assert!(message.contains(name) && message.contains("cut short"), "{message}");
        }
        let message = message(&at(&dir, name, text.as_bytes()), "messages");
        assert!(message.contains(name), "{message}");
    }
    let path = dir.path().join("b.parquet");
    write_parquet(&path, &batch(&(0..3000).map(row).collect::<Vec<_>>(), &DataType::Utf8));
    let bytes = std::fs::read(&path).unwrap();
    for keep in [0, 4, bytes.len() / 2, bytes.len() - 1] {
        let message = message(&at(&dir, "b.parquet", &bytes[..keep]), "messages");
        assert!(message.contains("b.parquet") && message.contains("copied"), "{message}");
    }
    // Damage in the middle of the rows, the footer being as it was.
    let mut damaged = bytes.clone();
    let end = damaged.len() / 4;
    damaged[4..end].fill(0xaa);
    let message = message(&at(&dir, "b.parquet", &damaged), "messages");
    assert!(message.contains("b.parquet"), "{message}");
}

/// What asks for a window of 2 GiB in its first bytes is refused; what `zstd --long` writes is read.
#[test]
fn windows_of_compressed_files_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0];
    let rows = lines(&[row(0), row(1)]);
    let message = message(&at(&dir, "wide.jsonl.zst", &frame), "messages");
    assert!(
        message.contains("wide.jsonl.zst") && message.contains("2048 MiB") && message.contains("zstd -d"),
        "{message}"
    );
    let later = [zstd::encode_all(rows.as_bytes(), 1).unwrap(), frame.to_vec()].concat();
    let message = self::message(&at(&dir, "later.jsonl.zst", &later), "messages");
    assert!(message.contains("later.jsonl.zst") && message.contains("128 MiB"), "{message}");
    let mut long = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    long.window_log(27).unwrap();
    long.write_all(rows.as_bytes()).unwrap();
    let path = at(&dir, "long.jsonl.zst", &long.finish().unwrap());
    assert_eq!(read(&path, "messages").unwrap().traces.len(), 2);
}

#[test]
fn lines_that_are_no_rows_are_kept_aside_with_their_number() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = format!("\u{feff}{}\r\n\n", row(0)).into_bytes();
    for bad in [b"{\"messages\": ".as_slice(), b"[1]", b"nonsense", b"{\"messages\": \"\xff\xfe\"}", b"\0\0\0", b"null"]
    {
        bytes.extend(bad);
        bytes.push(b'\n');
    }
    bytes.extend(format!("{}1{}\n", "[".repeat(5000), "]".repeat(5000)).bytes());
    bytes.extend(row(1).to_string().bytes());
    let got = read(&at(&dir, "a.jsonl", &bytes), "messages").unwrap();
    assert_eq!(got.traces.len(), 2);
    assert_eq!(got.rejected.iter().map(|r| r["row"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8, 9]);
    assert!(got.rejected.iter().all(|r| r["excerpt"].as_str().unwrap().chars().count() <= 301));
    assert!(got.rejected.iter().all(|r| r["file"].as_str().unwrap().ends_with("a.jsonl")));
}

#[test]
fn a_line_that_is_too_long_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = format!("{}\n{{\"messages\": \"", row(0));
    text.push_str(&"x".repeat(65 << 20));
    text += "\"}\n";
    text += &row(1).to_string();
    text += "\n";
    let got = read(&at(&dir, "a.jsonl", text.as_bytes()), "messages").unwrap();
    assert_eq!((got.traces.len(), got.rejected.len()), (2, 1));
    assert!(
        got.rejected[0]["reason"].as_str().unwrap().contains("longer than 64 MiB"),
        "{}",
        got.rejected[0]["reason"]
    );
}

#[test]
fn nothing_to_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("a.jsonl", b"".as_slice()),
        ("b.jsonl", b"\n \n"),
        ("c.json", b"[]"),
        ("d.jsonl.zst", &zstd::encode_all(b"".as_slice(), 1).unwrap()),
        ("e.jsonl.gz", &gzip("")),
    ] {
        let message = message(&at(&dir, name, bytes), "messages");
        assert!(message.contains(name) && message.contains("no rows"), "{message}");
    }
    let path = dir.path().join("f.parquet");
    write_parquet(&path, &batch(&[row(0)], &DataType::Utf8).slice(0, 0));
    assert!(message(&path, "messages").contains("no rows"));
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    assert!(message(&dir.path().join("empty"), "messages").contains("no data files"));
}

#[test]
fn a_schema_of_another_format_is_named_with_the_columns_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<Value> =
        (0..5000).map(|n| json!({"problem": n.to_string(), "generations": [THINK], "other": 1})).collect();
    let jsonl = at(&dir, "a.jsonl", lines(&rows).as_bytes());
    let parquet = dir.path().join("a.parquet");
    write_parquet(&parquet, &batch(&rows, &DataType::Utf8));
    for path in [jsonl, parquet] {
        assert_eq!(read(&path, "openr1-math").unwrap().traces.len(), 5000);
        for (format, column) in [("messages", "messages"), ("open-thoughts", "conversations")] {
            let message = message(&path, format);
            assert!(message.contains(&format!("no column {column:?}")), "{message}");
            for name in ["problem", "generations", "other"] {
                assert!(message.contains(name), "{message}");
            }
            assert!(!message.contains("5000"), "it is not read to its end: {message}");
        }
    }
}

#[test]
fn rows_that_are_all_wrong_end_in_an_error_with_the_first_reason() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<Value> = (0..3).map(|_| json!({"messages": messages("4")})).collect();
    let path = at(&dir, "a.jsonl", lines(&rows).as_bytes());
    let files = Files::find(&path).unwrap();
    let mut rejected = Rejected::new(dir.path()).unwrap();
    let prompts = [Prompt::new("math", "", "2 + 2?", None, "")];
    let out = dir.path().join("out/traces.parquet");
    let error = import(&files, &format_named("messages"), "r1", &prompts, &out, &mut rejected, &|_| true).unwrap_err();
    assert!(error.to_string().contains("none of the 3 rows read can be used; row 1: it has no thinking"), "{error}");
    assert_eq!(std::fs::read_to_string(dir.path().join("rejected.jsonl")).unwrap().lines().count(), 3);
    assert_eq!(std::fs::read_dir(dir.path().join("out")).unwrap().count(), 0, "nothing is left half written");
}

#[test]
fn types_that_a_column_should_not_have_are_reasons_and_not_panics() {
    let dir = tempfile::tempdir().unwrap();
    let good =
        json!({"problem": "2 + 2?", "generations": [THINK], "answer": 4.0, "finish_reasons": "stop", "source": null});
    let mut rows = vec![good];
    for odd in [
        json!(null),
        json!(true),
        json!(1.5),
        json!("x"),
        json!([]),
        json!([null]),
        json!([1]),
        json!([[THINK]]),
        json!({"a": 1}),
    ] {
        rows.push(json!({"problem": odd, "generations": odd, "answer": odd, "finish_reasons": odd}));
        rows.push(json!({"problem": "q", "generations": odd}));
    }
    let got = read(&at(&dir, "a.jsonl", lines(&rows).as_bytes()), "openr1-math").unwrap();
    assert_eq!((got.traces.len(), got.prompts[0].answer.as_deref()), (1, Some("4")));
    for name in ["messages", "sharegpt", "open-thoughts", "am-deepseek-r1", "nemotron-v1", "open-thoughts3"] {
        assert!(message(&dir.path().join("a.jsonl"), name).contains("no column"));
    }
}

#[test]
fn shards_of_a_folder_are_read_in_order_and_one_may_be_empty() {
    let dir = tempfile::tempdir().unwrap();
    let shard = |n: usize| format!("train-{n:05}-of-00003.jsonl");
    at(&dir, &shard(2), lines(&[row(2)]).as_bytes());
    at(&dir, &shard(0), lines(&[row(0)]).as_bytes());
    at(&dir, &shard(1), b"");
    let got = read(dir.path(), "messages").unwrap();
    assert_eq!(got.prompts.iter().map(|p| p.question.as_str()).collect::<Vec<_>>(), ["0?", "2?"]);
}

#[test]
fn reading_stops_when_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = at(&dir, "a.jsonl", lines(&(0..3000).map(row).collect::<Vec<_>>()).as_bytes());
    let mut tests = Tests::new(&dir.path().join("tests.parquet"));
    let mut rejected = Rejected::new(dir.path()).unwrap();
    let files = Files::find(&path).unwrap();
    let stopped = load(&files, &Format::Messages, "math", &mut rejected, &mut tests, &|seen| seen.rows == 0);
    assert!(matches!(stopped, Err(records::Error::Stopped)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a file holds, it is read or refused.
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0usize..5) {
        let dir = tempfile::tempdir().unwrap();
        let name = ["a.jsonl", "a.json", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"][kind];
        let path = at(&dir, name, &bytes);
        prop_assert!(read(&path, "messages").is_err());
    }

    /// Whatever a chat holds, its row is used or kept aside.
    #[test]
    fn no_chat_makes_it_panic(turns in proptest::collection::vec(("user|assistant|system|human|gpt|", ".{0,9}|<think>a</think>b"), 0..4)) {
        let dir = tempfile::tempdir().unwrap();
        let chat: Vec<Value> = turns.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
        let path = at(&dir, "a.jsonl", lines(&[row(0), json!({"messages": chat})]).as_bytes());
        let got = read(&path, "messages").unwrap();
        prop_assert_eq!(got.traces.len() + got.rejected.len(), 2);
    }
}
