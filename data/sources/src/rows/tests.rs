use proptest::prelude::*;
use serde_json::json;

use super::*;

fn file(name: &str, content: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    (dir, path)
}

fn error_of(path: &Path) -> String {
    match read_rows(path) {
        Err(error) => error.to_string(),
        Ok(rows) => rows.filter_map(Result::err).map(|e| e.to_string()).next().unwrap(),
    }
}

#[test]
fn lines_arrays_and_parquet_give_the_same_rows() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Record {
        q: String,
        a: Option<f64>,
        tags: Vec<String>,
    }
    let records = [
        Record { q: "ß \"1\"\n".into(), a: Some(18.0), tags: vec!["x".into(), "y".into()] },
        Record { q: "2".into(), a: None, tags: vec![] },
    ];
    let lines: Vec<String> = records.iter().map(|r| serde_json::to_string(r).unwrap()).collect();
    let (_a, jsonl) = file("r.jsonl", &format!("\u{feff}{}\r\n{}", lines[0], lines[1]));
    let (_b, json) = file("r.json", &format!("[{}]", lines.join(",\n")));
    let dir = tempfile::tempdir().unwrap();
    let parquet = dir.path().join("r.parquet");
    records::parquet_file::write_records(&parquet, &records).unwrap();

    let all = |path: &Path| -> Vec<Row> {
        let rows = read_rows(path).unwrap().map(|row| Row { all: None, ..row.unwrap() });
        rows.collect()
    };
    assert_eq!(all(&jsonl), all(&json));
    assert_eq!(all(&jsonl), all(&parquet));
    let rows = all(&parquet);
    assert_eq!(rows[1].number, 2);
    assert_eq!(rows[0].text("a").unwrap().as_deref(), Some("18"));
    assert_eq!(rows[0].text("tags.1").unwrap().as_deref(), Some("y"));
    assert_eq!(rows[1].get("a"), Some(&Value::Null));
    assert_eq!(rows[1].get("b"), None);
}

#[test]
fn columns_are_found_by_name_before_path() {
    let columns = json!({"a.b": 1, "a": {"b": 2, "c": [{"d": "deep"}]}});
    let row = Row { number: 1, columns: columns.as_object().unwrap().clone(), all: None };
    assert_eq!(row.get("a.b"), Some(&json!(1)));
    assert_eq!(row.get("a.c.0.d"), Some(&json!("deep")));
    for absent in ["a.c.1.d", "a.c.x", "a.b.c", "b", ""] {
        assert_eq!(row.get(absent), None, "{absent}");
    }
}

#[test]
fn numbers_become_the_text_a_person_would_write() {
    for (value, text) in
        [("18.0", "18"), ("18", "18"), ("-0.5", "-0.5"), ("1e3", "1000"), ("true", "true"), ("\"x\"", "x")]
    {
        let row = Row { number: 1, columns: serde_json::from_str(&format!("{{\"v\":{value}}}")).unwrap(), all: None };
        assert_eq!(row.text("v").unwrap().as_deref(), Some(text));
    }
    let row = Row { number: 4, columns: json!({"v": [1]}).as_object().unwrap().clone(), all: None };
    let message = row.text("v").unwrap_err().to_string();
    assert!(message.contains("a list") && message.contains("v.0"), "{message}");
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    let (_a, path) = file("r.jsonl", "{\"q\": 1}\n\n{\"q\": \n");
    let message = error_of(&path);
    assert!(message.contains("r.jsonl") && message.contains("row 3"), "{message}");
    assert!(!message.contains("at line 1"), "{message}");
    let (_b, path) = file("r.jsonl", "[1]\n");
    assert!(error_of(&path).contains("row 1: it is not a JSON object"));
    let (_c, path) = file("r.json", "{\"a\":1}\n{\"a\":2}\n");
    assert!(error_of(&path).contains(".jsonl"));
    for (name, content) in [("e.jsonl", ""), ("e.jsonl", "\n \n"), ("e.json", "[]")] {
        let (_d, path) = file(name, content);
        assert!(error_of(&path).contains("no rows"), "{name}");
    }
    let (_e, path) = file("r.csv", "a,b\n");
    assert!(error_of(&path).contains(".parquet file"));
    let (_f, path) = file("r.parquet", "no");
    assert!(error_of(&path).contains("Parquet"));
    assert!(error_of(Path::new("absent.jsonl")).contains("cannot open absent.jsonl"));
}

#[test]
fn invalid_utf8_is_an_error_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.jsonl");
    std::fs::write(&path, b"{\"q\": \"ok\"}\n{\"q\": \"\xff\"}\n").unwrap();
    assert!(error_of(&path).contains("row 2"));
}

/// What each element of a `.json` file is, or what is wrong with it; or what is wrong with the file.
fn elements(content: impl AsRef<[u8]>) -> Result<Vec<std::result::Result<Value, String>>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.json");
    std::fs::write(&path, content).unwrap();
    let mut all = Vec::new();
    for batch in batches(&path, None)? {
        for raw in batch? {
            assert_eq!(raw.number, all.len() + 1);
            assert!(raw.excerpt().chars().count() <= EXCERPT_CHARS + 1);
            all.push(raw.parse().map(|row| Value::Object(row.columns)).map_err(|flaw| flaw.to_string()));
        }
    }
    Ok(all)
}

#[test]
fn elements_of_an_array_that_are_no_rows_do_not_stop_the_others() {
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let text = format!(
        "\u{feff} [ {{\"a\": \"],}}[\\\"\\\\\"}} , 1,\"x\",{{\"a\": }},[{{}}],null, {{\"d\": {deep}}},,{{\"b\":[{{}}]}}\n,{{\"c\"}}] \n"
    );
    let found = elements(text).unwrap();
    let good: Vec<usize> = (0..found.len()).filter(|i| found[*i].is_ok()).collect();
    assert_eq!((found.len(), good), (10, vec![0, 8]));
    assert_eq!(found[0], Ok(json!({"a": "],}[\"\\"})));
    assert!(found.iter().filter_map(|e| e.as_ref().err()).all(|flaw| flaw.contains("not a JSON object")), "{found:?}");
    let mut bytes = b"[{\"a\": \"\xff\"}, {\"a\": \"".to_vec();
    bytes.extend(vec![b'x'; LINE_BYTES + 1]);
    bytes.extend(b"\"}, {\"a\": 2}]");
    let found = elements(&bytes).unwrap();
    assert!(found[0].as_ref().unwrap_err().contains("not a JSON object"));
    assert!(found[1].as_ref().unwrap_err().contains("longer than 64 MiB"));
    assert_eq!((found.len(), &found[2]), (3, &Ok(json!({"a": 2}))));
}

#[test]
fn an_array_that_does_not_end_or_goes_on_is_refused() {
    let whole = "[{\"a\": \"x, ]}\\\\\\\"\", \"b\": [1, {}]}, {\"c\": null}]";
    assert_eq!(elements(whole).unwrap().len(), 2);
    for end in 0..whole.len() {
        let message = elements(&whole[..end]).unwrap_err().to_string();
        let says = if end == 0 { "not a JSON array" } else { "does not end" };
        assert!(message.contains(says) && message.contains("r.json"), "{end}: {message}");
    }
    for (text, says) in [
        (" ", "not a JSON array"),
        ("{\"a\": [1]}", "not a JSON array"),
        ("\"[]\"", "not a JSON array"),
        ("[{}] [{}]", "more after"),
        ("[]]", "more after"),
        ("[{}\n{}", "does not end"),
    ] {
        let message = elements(text).unwrap_err().to_string();
        assert!(message.contains(says), "{text}: {message}");
    }
    assert_eq!(elements(" [ ] ").unwrap(), []);
    assert_eq!(elements("[{},]").unwrap().len(), 2, "a comma too many is a row that is none");
}

/// An array comes in batches: what is at its end is not read before what is at its beginning was given.
#[test]
fn an_array_is_not_held_whole() {
    let text = "x".repeat(20_000);
    let rows: Vec<String> = (0..3000).map(|n| json!({"n": n, "text": text}).to_string()).collect();
    let (_dir, path) = file("r.json", &format!("[{}, {{\"n\": ", rows.join(", ")));
    let mut seen = 0;
    for batch in batches(&path, None).unwrap() {
        let Ok(batch) = batch else { break };
        let bytes = batch.iter().map(|row| if let Raw::Text(text) = &row.raw { text.len() } else { 0 }).sum::<usize>();
        assert!(batch.len() <= BATCH_ROWS && bytes < BATCH_BYTES + 30_000, "{} rows, {bytes} bytes", batch.len());
        seen += batch.len();
    }
    assert!((2000..3000).contains(&seen), "{seen}");
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[\\[\\]{},:\"\\\\\n a-cé]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[\\[\\]{},\"a-c]{0,4}", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_array_gives_what_a_parser_of_all_of_it_gives(rows in prop::collection::vec(json_value(), 0..6), pretty: bool) {
        let all = Value::from(rows.clone());
        let text = if pretty { serde_json::to_string_pretty(&all).unwrap() } else { all.to_string() };
        let found = elements(text).unwrap();
        prop_assert_eq!(found.len(), rows.len());
        for (found, row) in found.iter().zip(&rows) {
            if row.is_object() {
                prop_assert_eq!(found, &Ok(row.clone()));
            } else {
                prop_assert!(found.is_err());
            }
        }
    }

    #[test]
    fn any_bytes_are_split_or_refused(text in "[\\[\\]{},:\"\\\\ a1]{0,40}") {
        let whole = serde_json::from_str::<Vec<Value>>(&text);
        match (elements(&text), whole) {
            (Ok(found), Ok(values)) => prop_assert_eq!(found.len(), values.len()),
            (Err(_), Ok(_)) => prop_assert!(false, "refused"),
            // Of what is no JSON as a whole, single rows may be.
            (_, Err(_)) => {}
        }
    }
}
