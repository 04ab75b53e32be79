use records::record::CuratedTrace;

use super::run;
use crate::{Format, Shown, Written, nearest};

const ALL: Shown = Shown { format: Format::Csv, max_rows: None, cell_chars: 20 };

#[tokio::test]
async fn answers_are_written_whole_in_every_format() {
    let (dir, session) = run().await;
    let sql = "SELECT trace_id, gold, num_tokens FROM curated ORDER BY num_tokens";
    for (name, format) in Format::ALL {
        let path = dir.path().join(format!("out/answer.{name}"));
        let written = session.save(sql, Shown { format, ..ALL }, &path).await.unwrap();
        assert_eq!(written, Written { rows: 20, truncated: false }, "{name}");
        let files = std::fs::read_dir(dir.path().join("out")).unwrap();
        assert!(files.flatten().all(|file| !file.file_name().to_string_lossy().contains("partial")));
    }
    let text = |name: &str| std::fs::read_to_string(dir.path().join("out").join(name)).unwrap();
    assert!(text("answer.csv").starts_with("trace_id,gold,num_tokens\nt0,0,0\nt1,,1\n"));
    assert!(
        text("answer.json")
            .starts_with("{\"trace_id\":\"t0\",\"gold\":\"0\",\"num_tokens\":0}\n{\"trace_id\":\"t1\",\"gold\":null")
    );
    assert!(
        text("answer.markdown")
            .starts_with("| trace_id | gold | num_tokens |\n| --- | --- | ---: |\n| t0 | 0 | 0 |\n| t1 |  | 1 |\n")
    );
    assert_eq!(text("answer.table").lines().count(), 24);
    let some = session.save(sql, Shown { max_rows: Some(5), ..ALL }, &dir.path().join("five.csv")).await.unwrap();
    assert_eq!(some, Written { rows: 5, truncated: true });
}

#[tokio::test]
async fn parquet_keeps_types_and_texts_are_texts() {
    let (dir, session) = run().await;
    let path = dir.path().join("copy.parquet");
    session
        .save("SELECT * FROM curated ORDER BY num_tokens", Shown { format: Format::Parquet, ..ALL }, &path)
        .await
        .unwrap();
    let copy: Vec<CuratedTrace> = records::parquet_file::read_records(&path).unwrap();
    assert_eq!(copy, (0..20).map(super::curated).collect::<Vec<_>>());
    let kinds: Vec<_> = records::parquet_file::read_batches(&path)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .schema()
        .fields()
        .iter()
        .map(|f| f.data_type().to_string())
        .collect();
    assert!(kinds.iter().all(|kind| !kind.contains("View")), "{kinds:?}");
}

#[tokio::test]
async fn rows_come_as_they_are_asked_for() {
    let (_dir, session) = run().await;
    let mut out = Vec::new();
    let shown = Shown { format: Format::Json, max_rows: Some(3), cell_chars: 0 };
    let written = session.write("SELECT num_tokens FROM curated ORDER BY 1", shown, &mut out).await.unwrap();
    assert_eq!(written, Written { rows: 3, truncated: true });
    assert_eq!(String::from_utf8(out).unwrap(), "{\"num_tokens\":0}\n{\"num_tokens\":1}\n{\"num_tokens\":2}\n");
    let shown = Shown { format: Format::Parquet, ..shown };
    assert!(session.write("SELECT 1", shown, &mut Vec::new()).await.unwrap_err().to_string().contains("--output"));
}

#[tokio::test]
async fn a_failed_answer_leaves_nothing_and_tables_are_not_overwritten() {
    let (dir, session) = run().await;
    let path = dir.path().join("new/out.csv");
    for sql in ["SELECT nothing FROM curated", "SELEC", "DROP TABLE curated"] {
        session.save(sql, ALL, &path).await.unwrap_err();
    }
    assert!(!path.parent().unwrap().exists());
    session.save("SELECT CAST(trace_id AS bigint) FROM curated", ALL, &path).await.unwrap_err();
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0, "nothing is left aside");
    let table = &session.tables()[0].path;
    for own in [table.join("part-00000.parquet"), table.join("new.csv"), session.tables()[1].path.clone()] {
        let message = session.save("SELECT 1", ALL, &own).await.unwrap_err().to_string();
        assert!(message.contains("is read from there"), "{message}");
    }
}

#[tokio::test]
async fn a_mistaken_name_is_answered_with_the_one_that_was_meant() {
    let (_dir, session) = run().await;
    let error = async |sql: &str| session.query(sql, 1).await.unwrap_err().to_string();
    assert!(error("SELECT * FROM curatd").await.contains("did you mean curated?"));
    assert!(error("SELECT num_token FROM curated").await.contains("did you mean num_tokens?"));
    assert!(error("SELECT loops(gold), jacard(gold, gold) FROM curated").await.contains("jaccard"));
    assert!(!error("SELECT * FROM quite_another").await.contains("did you mean"));
    assert_eq!(nearest("TRACE", ["traces", "prompts"]), Some("traces"));
    assert_eq!(nearest("x", ["traces"]), None);
}

#[tokio::test]
async fn cells_are_cut_and_cannot_command_a_terminal() {
    let (_dir, session) = run().await;
    let table = async |sql: &str, width| session.query(sql, 9).await.unwrap().text(Format::Table, width).unwrap();
    let text = table("SELECT chr(27) || '[31m' || chr(13) || chr(10) || 'a|b' AS t", 20).await;
    assert!(text.contains("\u{fffd}[31m↵a|b") && !text.contains('\u{1b}'), "{text}");
    let text = session.query("SELECT 'a|b' AS \"x|y\"", 9).await.unwrap().text(Format::Markdown, 20).unwrap();
    assert_eq!(text, "| x\\|y |\n| --- |\n| a\\|b |\n");
    assert!(table("SELECT '12345678' AS t", 8).await.contains("12345678"));
    assert!(table("SELECT '123456789' AS t", 8).await.contains("1234567…"));
}

#[tokio::test]
async fn a_deep_query_is_answered_or_refused() {
    let (_dir, session) = run().await;
    let deep = format!("SELECT {}1{}", "(".repeat(400), ")".repeat(400));
    assert!(session.query(&deep, 1).await.is_err());
    for chain in
        ["SELECT 1 WHERE true".to_owned() + &" AND true".repeat(20_000), "SELECT 1".to_owned() + &"+1".repeat(20_000)]
    {
        let message = session.query(&chain, 1).await.unwrap_err().to_string();
        assert!(message.contains("20000 things") && message.contains("IN (...)"), "{message}");
    }
    let list = format!("SELECT count(*) AS n FROM curated WHERE num_tokens IN (1{})", ", -1".repeat(20_000));
    assert_eq!(session.query(&list, 1).await.unwrap().text(Format::Csv, 0).unwrap(), "n\n1\n");
}
