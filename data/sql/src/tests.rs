use super::*;
use records::parquet_file::write_records;
use records::record::{CuratedTrace, Message};

fn curated(n: i64) -> CuratedTrace {
    CuratedTrace {
        trace_id: format!("t{n}"),
        prompt_id: "p".into(),
        domain: "maths".into(),
        kind: String::new(),
        source: "s".into(),
        gold: (n % 2 == 0).then(|| n.to_string()),
        messages: vec![
            Message::user(format!("q{n}")),
            Message::assistant(format!("long, \"{}\"\nend", "x".repeat(50))),
        ],
        num_tokens: Some(n),
    }
}

async fn run() -> (tempfile::TempDir, Session) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a run [1] *?%20é/curated");
    let records: Vec<CuratedTrace> = (0..20).map(curated).collect();
    write_records(&folder.join("part-00000.parquet"), &records[..10]).unwrap();
    write_records(&folder.join("part-00001.parquet"), &records[10..]).unwrap();
    std::fs::write(folder.join(".part-00002.parquet.1.partial"), "half").unwrap();
    let metrics = dir.path().join("metrics.jsonl");
    std::fs::write(&metrics, "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":1.25}\n").unwrap();
    let one = folder.join("part-00000.parquet");
    let tables = [("curated".to_owned(), folder), ("metrics".to_owned(), metrics), ("one".to_owned(), one)];
    let session = session(&tables, None, None).await.unwrap();
    (dir, session)
}

#[tokio::test]
async fn folders_files_and_metrics_are_tables() {
    let (_dir, session) = run().await;
    let csv = async |sql: &str| session.query(sql, 100).await.unwrap().text(Format::Csv, 0).unwrap();
    assert_eq!(csv("SELECT count(*) AS n, sum(num_tokens) AS t FROM curated").await, "n,t\n20,190\n");
    assert_eq!(csv("SELECT count(*) AS n FROM one").await, "n\n10\n");
    assert_eq!(csv("SELECT step, loss FROM metrics ORDER BY loss").await, "step,loss\n2,1.25\n1,2.5\n");
    assert_eq!(
        csv("SELECT array_filter(messages, m -> m['role'] = 'user')[1]['content'] AS q FROM curated \
                 WHERE num_tokens = 12")
        .await,
        "q\nq12\n"
    );
    assert_eq!(csv("SELECT messages[-1]['role'] AS r FROM curated LIMIT 1").await, "r\nassistant\n");
    let names: Vec<&str> = session.tables().iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["curated", "metrics", "one"]);
}

#[tokio::test]
async fn tables_and_columns_can_be_listed() {
    let (_dir, session) = run().await;
    let shown = session.query("SHOW TABLES", 100).await.unwrap().text(Format::Table, 80).unwrap();
    assert!(shown.contains("curated") && shown.contains("metrics"), "{shown}");
    let shown = session.query("DESCRIBE metrics", 100).await.unwrap().text(Format::Table, 80).unwrap();
    assert!(shown.contains("loss") && shown.contains("Float64"), "{shown}");
    let shown = session.query("EXPLAIN SELECT loss FROM metrics", 100).await.unwrap();
    assert!(shown.rows() > 0);
    let cut = session.query("EXPLAIN SELECT loss FROM metrics", 1).await.unwrap();
    assert_eq!((cut.rows(), cut.truncated), (1, true));
}

#[tokio::test]
async fn long_cells_are_cut_in_tables_only() {
    let (_dir, session) = run().await;
    let sql = "SELECT trace_id, gold, messages[2]['content'] AS reply FROM curated ORDER BY num_tokens LIMIT 2";
    let result = session.query(sql, 10).await.unwrap();
    let expected = "\
+----------+------+----------+
| trace_id | gold | reply    |
+----------+------+----------+
| t0       | 0    | long, \"… |
| t1       |      | long, \"… |
+----------+------+----------+";
    assert_eq!(result.text(Format::Table, 8).unwrap(), expected);
    assert!(result.text(Format::Table, 100).unwrap().contains("xx\"↵end"));
    let long = format!("\"long, \"\"{}\"\"\nend\"", "x".repeat(50));
    assert_eq!(result.text(Format::Csv, 0).unwrap(), format!("trace_id,gold,reply\nt0,0,{long}\nt1,,{long}\n"));
    let lines = result.text(Format::Json, 0).unwrap();
    let second: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!(second["gold"], serde_json::Value::Null);
    assert_eq!(second["reply"].as_str().unwrap().len(), 62);
    let nested = session.query("SELECT messages FROM curated LIMIT 1", 1).await.unwrap();
    let line: serde_json::Value = serde_json::from_str(&nested.text(Format::Json, 0).unwrap()).unwrap();
    assert_eq!(line["messages"][0]["role"], "user");
    assert!(nested.text(Format::Csv, 0).unwrap().contains("role: user"));
}

#[tokio::test]
async fn rows_stop_at_the_limit_and_say_so() {
    let (_dir, session) = run().await;
    let all = session.query("SELECT trace_id FROM curated", 20).await.unwrap();
    assert_eq!((all.rows(), all.truncated), (20, false));
    let some = session.query("SELECT trace_id FROM curated", 19).await.unwrap();
    assert_eq!((some.rows(), some.truncated), (19, true));
    let none = session.query("SELECT trace_id FROM curated WHERE false", 19).await.unwrap();
    assert_eq!((none.rows(), none.truncated), (0, false));
    assert_eq!(none.text(Format::Csv, 0).unwrap(), "trace_id\n");
    assert_eq!(none.text(Format::Json, 0).unwrap(), "");
    assert!(none.text(Format::Table, 9).unwrap().contains("trace_id"));
}

#[tokio::test]
async fn nothing_can_be_changed() {
    let (dir, session) = run().await;
    let out = dir.path().join("out.parquet");
    for sql in [
        format!("COPY curated TO '{}'", out.display()),
        "CREATE TABLE t AS SELECT 1".to_owned(),
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/'".to_owned(),
        "DROP TABLE curated".to_owned(),
        "INSERT INTO one SELECT * FROM curated".to_owned(),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        format!("EXPLAIN ANALYZE COPY curated TO '{}'", out.display()),
    ] {
        let message = session.query(&sql, 1).await.err().unwrap_or_else(|| panic!("{sql} was run")).to_string();
        assert!(message.contains("not supported"), "{sql}: {message}");
    }
    assert!(!out.exists());
    assert_eq!(session.query("SELECT * FROM one", 100).await.unwrap().rows(), 10);
}

#[tokio::test]
async fn what_is_not_there_is_answered_with_what_is() {
    let (_dir, session) = run().await;
    let error = async |sql: &str| session.query(sql, 1).await.err().unwrap().to_string();
    let message = error("SELECT * FROM trace").await;
    assert!(message.contains("table 'trace' not found") && message.contains("curated, metrics, one"), "{message}");
    let message = error("SELECT los FROM metrics").await;
    assert!(message.contains("\"los\"") && message.contains("step, loss"), "{message}");
    let message = error("SELECT los").await;
    assert!(message.contains("no table to take \"los\" from; add FROM"), "{message}");
    let message = error("SELEC 1").await;
    assert!(message.contains("SELEC"), "{message}");
    error("SELECT 1; SELECT 2").await;
}

#[tokio::test]
async fn tables_that_cannot_be_opened_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let open =
        async |path: &Path| session(&[("t".to_owned(), path.to_owned())], None, None).await.err().unwrap().to_string();
    assert!(open(dir.path()).await.contains("no data files"));
    assert!(open(&dir.path().join("absent")).await.contains("there is no such file"));
    let broken = dir.path().join("b.parquet");
    std::fs::write(&broken, "no").unwrap();
    assert!(open(&broken).await.contains("b.parquet"));
}

mod answers;
mod functions;
mod near;
mod readme;
mod sources;
