use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{Format, Session, session};

/// Words that no other text has.
fn words(n: usize, salt: usize) -> Vec<String> {
    (0..n).map(|i| format!("w{}x{salt}", (i * 7919 + salt * 104_729) % 100_003)).collect()
}

/// A text of `n` words of which `changed`, far from each other and from the ends, are other ones. With sequences of 5
/// words each change takes away 5 of n - 4 and adds 5.
fn edited(n: usize, salt: usize, changed: usize, mark: &str) -> String {
    let mut words = words(n, salt);
    for i in 0..changed {
        words[10 + i * 10] = format!("{mark}{i}");
    }
    words.join(" ")
}

fn similarity(n: usize, changed: usize) -> f64 {
    let (all, lost) = ((n - 4) as f64, 5.0 * changed as f64);
    (all - lost) / (all + lost)
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect::<Vec<_>>().concat()
}

async fn ask(session: &Session, sql: &str) -> Vec<Value> {
    let rows = session.query(sql, 10_000).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    rows.text(Format::Json, 0).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn near(session: &Session, arguments: &str) -> BTreeMap<String, (String, f64)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows = ask(session, &format!("SELECT * FROM near_duplicates({arguments})")).await;
    let row = |row: &Value| (text(&row["id"]), (text(&row["duplicate_of"]), row["jaccard"].as_f64().unwrap()));
    rows.iter().map(row).collect()
}

/// Rows of which some are planted duplicates.
fn planted() -> Vec<Value> {
    vec![
        json!({"id": "a", "text": edited(200, 1, 0, "")}),
        json!({"id": "b", "text": edited(200, 2, 0, "")}),
        json!({"id": "a-equal", "text": edited(200, 1, 0, "").to_uppercase()}),
        json!({"id": "a-near", "text": edited(200, 1, 2, "changed")}),
        json!({"id": "a-far", "text": edited(200, 1, 15, "other")}),
        json!({"id": "empty", "text": ""}),
        json!({"id": "blank", "text": " . "}),
        json!({"id": "empty again", "text": ""}),
        json!({"id": "null", "text": null}),
        json!({"id": null, "text": edited(200, 2, 0, "")}),
        json!({"id": "b-near", "text": edited(200, 2, 4, "changed")}),
    ]
}

fn check_planted(found: &BTreeMap<String, (String, f64)>, from: &str) {
    let expected = [("a-equal", "a", 1.0), ("a-near", "a", similarity(200, 2)), ("b-near", "b", similarity(200, 4))];
    let ids: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(ids, expected.map(|(id, ..)| id), "{from}");
    for (id, first, jaccard) in expected {
        assert_eq!(found[id].0, first, "{from}");
        assert!((found[id].1 - jaccard).abs() < 1e-12, "{from}: {id} {}, not {jaccard}", found[id].1);
    }
}

#[tokio::test]
async fn planted_duplicates_are_found_in_tables_and_files_of_every_kind() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let rows = planted();
    fs::write(at("rows.jsonl"), lines(&rows)).unwrap();
    fs::create_dir(at("parts")).unwrap();
    // Duplicates in other files than their firsts.
    for (part, rows) in rows.chunks(3).enumerate() {
        fs::write(at(&format!("parts/{part}.jsonl")), lines(rows)).unwrap();
    }
    let session = session(&[("rows".to_owned(), at("rows.jsonl"))], None, None).await.unwrap();
    let parquet = crate::Shown { format: Format::Parquet, max_rows: None, cell_chars: 0 };
    session.save("SELECT * FROM rows", parquet, &at("rows.parquet")).await.unwrap();
    let csv = crate::Shown { format: Format::Csv, ..parquet };
    session.save("SELECT * FROM rows", csv, &at("rows.csv")).await.unwrap();
    check_planted(&near(&session, "'rows', 'id', 'text'").await, "table");
    check_planted(&near(&session, "'ROWS', 'ID', 'TEXT', 0.8").await, "as SQL writes names");
    for name in ["rows.jsonl", "rows.parquet", "rows.csv", "parts"] {
        let path = at(name).display().to_string();
        let found = near(&session, &format!("'{path}', 'id', 'text'")).await;
        // CSV has no null: an id that is not there is an empty one.
        check_planted(&found.into_iter().filter(|(id, _)| !id.is_empty() && id != "null").collect(), name);
    }
    let kept =
        ask(&session, "SELECT id FROM rows WHERE id NOT IN (SELECT id FROM near_duplicates('rows', 'id', 'text'))")
            .await;
    let kept: Vec<&str> = kept.iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(kept, ["a", "b", "a-far", "empty", "blank", "empty again", "null"]);
}

#[tokio::test]
async fn the_threshold_decides_and_ids_keep_their_type() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("n.jsonl");
    // Similarities of 0.70 and 0.90 to the first.
    let text = |changed| edited(200, 3, changed, &format!("v{changed}"));
    let rows: Vec<Value> = [0, 2, 7].map(|n| json!({"n": n, "the text": text(n)})).to_vec();
    fs::write(&path, lines(&rows)).unwrap();
    let session = session(&[("t".to_owned(), path)], None, None).await.unwrap();
    let ids = async |threshold: &str| near(&session, &format!("'t', 'n', 'the text'{threshold}")).await;
    assert_eq!(ids("").await.keys().collect::<Vec<_>>(), ["2"]);
    assert_eq!(ids(", 0.65").await.keys().collect::<Vec<_>>(), ["2", "7"]);
    assert_eq!(ids(", 0.95").await.len(), 0);
    assert_eq!(ids(", 1").await.len(), 0);
    let rows = ask(
        &session,
        "SELECT max(id) AS m, arrow_typeof(max(duplicate_of)) AS k FROM near_duplicates('t', 'n', 'the text')",
    )
    .await;
    assert_eq!(rows, [json!({"m": 2, "k": "Int64"})]);
}

#[tokio::test]
async fn texts_may_be_parts_and_alike_over_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.jsonl");
    // Each has 3 changes more than the one before: neighbours are alike, the ends are not.
    let reply = |n: usize| {
        let mut words = words(200, 5);
        for i in 0..n * 3 {
            words[5 + i * 6] = format!("c{i}");
        }
        format!("<think>{}</think>The answer.", words.join(" "))
    };
    let rows: Vec<Value> = (0..6)
        .map(|n| json!({"id": n, "messages": [{"role": "user", "content": "same"}, {"role": "assistant", "content": reply(n)}]}))
        .collect();
    fs::write(&path, lines(&rows)).unwrap();
    let session = session(&[("t".to_owned(), path)], None, None).await.unwrap();
    let found = near(&session, "'t', 'id', 'think(messages[2][''content''])'").await;
    assert_eq!(found.len(), 5);
    assert!(found.values().all(|(first, _)| first == "0"));
    assert!(found["1"].1 > 0.8 && found["5"].1 < 0.6, "{found:?}");
}

/// Against all pairs: what is alike is in one cluster, but for the few in a thousand that no band shows, and nothing else is.
#[tokio::test]
async fn clusters_are_those_that_all_pairs_make() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.jsonl");
    let rows: Vec<Value> = (0..240)
        .map(|i| json!({"id": i, "text": edited(60 + i % 60, i % 60, i / 60, &format!("e{}", i % 4))}))
        .collect();
    fs::write(&path, lines(&rows)).unwrap();
    let session = session(&[("t".to_owned(), path)], None, None).await.unwrap();
    let pairs = "SELECT a.id AS a, b.id AS b FROM t a JOIN t b ON a.id < b.id WHERE jaccard(a.text, b.text) >= 0.8";
    let mut first: Vec<usize> = (0..240).collect();
    let pairs: Vec<(usize, usize)> = ask(&session, pairs)
        .await
        .iter()
        .map(|row| (row["a"].as_u64().unwrap() as usize, row["b"].as_u64().unwrap() as usize))
        .collect();
    assert!(pairs.len() > 20, "{}", pairs.len());
    for _ in 0..240 {
        for (a, b) in &pairs {
            let least = first[*a].min(first[*b]);
            (first[*a], first[*b]) = (least, least);
        }
    }
    let expected: BTreeMap<String, String> =
        (0..240).filter(|i| first[*i] != *i).map(|i| (i.to_string(), first[i].to_string())).collect();
    let found = near(&session, "'t', 'id', 'text'").await;
    assert!(found.iter().all(|(id, (first, _))| expected.get(id) == Some(first)), "{found:?}");
    assert!(found.len() + 1 >= expected.len(), "{} of {}", found.len(), expected.len());
}

#[tokio::test]
async fn an_answer_may_be_left_and_joined() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.jsonl");
    let rows: Vec<Value> =
        (0..3000).map(|i| json!({"id": i, "text": format!("{} end{i}", edited(50, 9, 0, ""))})).collect();
    fs::write(&path, lines(&rows)).unwrap();
    let session = session(&[("t".to_owned(), path)], None, None).await.unwrap();
    let sizes = "SELECT duplicate_of AS d, count(*) AS n FROM near_duplicates('t', 'id', 'text') GROUP BY 1";
    assert_eq!(ask(&session, sizes).await, [json!({"d": 0, "n": 2999})]);
    assert_eq!(ask(&session, "SELECT id FROM near_duplicates('t', 'id', 'text') LIMIT 2").await.len(), 2);
    let joined = "SELECT t.id, length(t.text) AS l FROM near_duplicates('t', 'id', 'text') d JOIN t ON t.id = d.id WHERE d.id = 7";
    assert_eq!(ask(&session, joined).await.len(), 1);
    let result = session.query("EXPLAIN SELECT * FROM near_duplicates('t', 'id', 'text')", 10).await.unwrap();
    assert!(result.rows() > 0);
}

#[tokio::test]
async fn what_cannot_be_compared_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.jsonl");
    fs::write(&path, lines(&[json!({"id": 1, "text": "a", "list": ["b"]})])).unwrap();
    let session = session(&[("traces".to_owned(), path)], None, None).await.unwrap();
    let error = async |arguments: &str| {
        let sql = format!("SELECT * FROM near_duplicates({arguments})");
        session.query(&sql, 1).await.err().unwrap_or_else(|| panic!("{sql}")).to_string()
    };
    for (arguments, says) in [
        ("", "given 0 arguments; it is near_duplicates('table'"),
        ("'traces', 'id'", "given 2 arguments"),
        ("'traces', 'id', 'text', 0.8, 1", "given 5 arguments"),
        ("'traces', 'id', 7", "names in quotes"),
        ("traces, id, text", "names in quotes"),
        ("'traces', 'id', 'text', 0.3", "from 0.6 to 1"),
        ("'traces', 'id', 'text', 1.01", "from 0.6 to 1"),
        ("'traces', 'id', 'text', 'much'", "from 0.6 to 1"),
        ("'traces', 'id', 'text', NULL", "from 0.6 to 1"),
        ("'trace', 'id', 'text'", "did you mean traces?"),
        ("'traces', 'id', 'txt'", "did you mean text?"),
        ("'traces', 'id', 'list'", "text[]"),
        ("'traces', 'id', 'text FROM'", "FROM"),
        ("'traces', 'id', 'sum(id)'", "computed from many rows"),
        ("'absent.parquet', 'id', 'text'", "absent.parquet"),
        ("'hf://datasets/a/b/c.parquet', 'id', 'text'", "is not in the Hugging Face cache"),
    ] {
        let message = error(arguments).await;
        assert!(message.contains(says), "{arguments}: {message}");
    }
    let deep = format!("'traces', 'id', 'text{}'", " || text".repeat(5000));
    assert!(error(&deep).await.contains("IN (...)"));
}

/// A file that breaks off is an error of the query and no answer.
#[tokio::test]
async fn a_table_that_cannot_be_read_to_its_end_gives_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.jsonl");
    let rows: Vec<Value> = (0..2000).map(|i| json!({"id": i, "text": edited(50, 1, 0, "")})).collect();
    fs::write(&path, lines(&rows)).unwrap();
    let session = session(&[("t".to_owned(), path.clone())], None, None).await.unwrap();
    cut(&path);
    let message = session.query("SELECT * FROM near_duplicates('t', 'id', 'text')", 1).await.unwrap_err().to_string();
    assert!(message.contains("cannot be read") && message.contains("t.jsonl"), "{message}");
}

fn cut(path: &Path) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 30).unwrap();
}
