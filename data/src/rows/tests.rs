use super::*;
use serde_json::json;

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
    crate::parquet_file::write_records(&parquet, &records).unwrap();

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
