use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{curated, run};
use crate::{Format, Session, session};
use records::parquet_file::write_records;

async fn csv(session: &Session, sql: &str) -> String {
    session.query(sql, 100).await.unwrap_or_else(|e| panic!("{sql}: {e}")).text(Format::Csv, 0).unwrap()
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let lines = b"\xef\xbb\xbf{\"id\": 1, \"text\": \"a\"}\n\n{\"id\": 2, \"text\": \"b\", \"more\": {\"x\": 1}}\n";
    let place = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    fs::write(place("plain.jsonl"), lines).unwrap();
    fs::write(place("packed.jsonl.zst"), zstd::encode_all(&lines[..], 1).unwrap()).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines).unwrap();
    fs::write(place("packed.jsonl.gz"), gzip.finish().unwrap()).unwrap();
    fs::write(place("mixed.jsonl"), "{\"n\": 1}\n{\"n\": \"one\"}\n{\"m\": true}\n").unwrap();
    fs::write(place("table.csv"), "id,text\n1,\"two\nlines, \"\"quoted\"\"\"\n2,b\n").unwrap();
    fs::write(place("table.tsv"), "id\ttext\n1\ta,b\n").unwrap();
    fs::write(place("many/a.jsonl"), "{\"id\": 1}\n").unwrap();
    fs::write(place("many/b.jsonl"), "{\"id\": 2, \"other\": 1.5}\n").unwrap();
    fs::write(place("many/.c.jsonl"), "not read").unwrap();
    for (name, from) in [("parts/x-0.parquet", 0), ("parts/x-1.parquet", 3), ("parts/y.parquet", 6)] {
        write_records(&place(name), &(from..from + 3).map(curated).collect::<Vec<_>>()).unwrap();
    }
    dir
}

#[tokio::test]
async fn files_folders_and_globs_are_tables() {
    let dir = folder();
    let tables = [("packed", "packed.jsonl.zst"), ("many", "many"), ("x", "parts/x-*.parquet"), ("c", "table.csv")];
    let tables = tables.map(|(name, path)| (name.to_owned(), dir.path().join(path)));
    let session = session(&tables, None, None).await.unwrap();
    assert_eq!(csv(&session, "SELECT id, text, more['x'] AS x FROM packed").await, "id,text,x\n1,a,\n2,b,1\n");
    assert_eq!(csv(&session, "SELECT id, other FROM many ORDER BY id").await, "id,other\n1,\n2,1.5\n");
    assert_eq!(csv(&session, "SELECT count(*) AS n FROM x").await, "n\n6\n");
    assert_eq!(csv(&session, "SELECT text FROM c WHERE id = 1").await, "text\n\"two\nlines, \"\"quoted\"\"\"\n");
    let types: Vec<(String, String)> = session.describe("packed").await.unwrap().columns;
    let types: Vec<String> = types.into_iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    assert_eq!(types, ["id bigint", "text text", "more struct(x bigint)"]);
    assert_eq!(session.row_count(&session.describe("x").await.unwrap()).await.unwrap(), 6);
    assert!(session.describe("absent").await.unwrap_err().to_string().contains("packed, many, x, c"));
}

#[tokio::test]
async fn a_query_may_name_a_file() {
    let dir = folder();
    let session = session(&[], None, None).await.unwrap();
    let from = |name: &str| format!("FROM '{}'", dir.path().join(name).display());
    for name in ["plain.jsonl", "packed.jsonl.gz", "packed.jsonl.zst"] {
        assert_eq!(csv(&session, &format!("SELECT id, text {}", from(name))).await, "id,text\n1,a\n2,b\n", "{name}");
    }
    assert_eq!(csv(&session, &format!("SELECT count(*) AS n {}", from("parts"))).await, "n\n9\n");
    assert_eq!(csv(&session, &format!("SELECT n {}", from("mixed.jsonl"))).await, "n\n1\none\n\"\"\n");
    assert_eq!(csv(&session, &format!("SELECT text {}", from("table.tsv"))).await, "text\n\"a,b\"\n");
    let joined = format!(
        "SELECT count(*) AS n {} a JOIN '{}' b ON a.id = b.id",
        from("plain.jsonl"),
        dir.path().join("table.csv").display()
    );
    assert_eq!(csv(&session, &joined).await, "n\n2\n");
    let path = dir.path().join("plain.jsonl");
    assert_eq!(session.row_count(&session.describe(&format!("'{}'", path.display())).await.unwrap()).await.unwrap(), 2);
}

/// A few bytes do not make a query hold gigabytes: not by a window, and not by a line. What `zstd --long` writes is read.
#[tokio::test]
async fn what_compressed_files_ask_for_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0];
    fs::write(dir.path().join("wide.jsonl.zst"), frame).unwrap();
    let later = [zstd::encode_all(&b"{\"a\": 1}\n"[..], 1).unwrap(), frame.to_vec()].concat();
    fs::write(dir.path().join("later.jsonl.zst"), later).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"{\"a\": 1}\n{\"a\": \"").unwrap();
    gzip.write_all(&vec![b'x'; 65 << 20]).unwrap();
    gzip.write_all(b"\"}\n").unwrap();
    fs::write(dir.path().join("bomb.jsonl.gz"), gzip.finish().unwrap()).unwrap();
    for (name, says) in [
        ("wide.jsonl.zst", ["2048 MiB", "zstd -d"]),
        ("later.jsonl.zst", ["128 MiB", "zstd -d"]),
        ("bomb.jsonl.gz", ["line 2", "64 MiB"]),
    ] {
        let path = dir.path().join(name);
        let error = session(&[("t".to_owned(), path)], None, None).await.err().unwrap_or_else(|| panic!("{name}"));
        let message = error.to_string();
        assert!(message.contains(name) && says.iter().all(|part| message.contains(part)), "{message}");
    }
    let mut long = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    long.window_log(27).unwrap();
    long.write_all(b"{\"a\": 1}\n").unwrap();
    fs::write(dir.path().join("long.jsonl.zst"), long.finish().unwrap()).unwrap();
    let session = session(&[("t".to_owned(), dir.path().join("long.jsonl.zst"))], None, None).await.unwrap();
    assert_eq!(csv(&session, "SELECT a FROM t").await, "a\n1\n");
}

#[tokio::test]
async fn lambdas_work_on_messages() {
    let (_dir, session) = run().await;
    let sql = "SELECT array_filter(messages, m -> m['role'] = 'assistant')[1]['content'] AS reply FROM curated WHERE num_tokens = 3";
    let lines = session.query(sql, 9).await.unwrap().text(Format::Json, 0).unwrap();
    let row: serde_json::Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(row["reply"], format!("long, \"{}\"\nend", "x".repeat(50)));
    let sql = "SELECT sum(words(array_filter(messages, m -> m['role'] = 'assistant')[1]['content'])) AS n FROM curated";
    assert_eq!(csv(&session, sql).await, "n\n60\n");
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let dir = folder();
    fs::write(dir.path().join("broken.jsonl"), "{\"a\": 1}\n{\"a\": \n").unwrap();
    fs::write(dir.path().join("empty.jsonl"), "").unwrap();
    fs::write(dir.path().join("late.jsonl.zst"), b"no zstd").unwrap();
    fs::write(dir.path().join("text.txt"), "x").unwrap();
    fs::create_dir(dir.path().join("nothing")).unwrap();
    fs::write(dir.path().join("parts/z.csv"), "a\n1\n").unwrap();
    fs::create_dir(dir.path().join("cut")).unwrap();
    fs::write(dir.path().join("cut/t-00000-of-00002.jsonl"), "{}\n").unwrap();
    let open = async |name: &str| {
        let path: PathBuf = dir.path().join(name);
        session(&[("t".to_owned(), path)], None, None).await.err().unwrap_or_else(|| panic!("{name}")).to_string()
    };
    for (name, word) in [
        ("broken.jsonl", "not JSON Lines"),
        ("empty.jsonl", "no rows"),
        ("late.jsonl.zst", "late.jsonl.zst"),
        ("text.txt", "not read here"),
        ("nothing", "no data files"),
        ("parts", "several kinds"),
        ("absent.parquet", "absent.parquet"),
        ("parts/*", "different kinds"),
        ("table.*", "different kinds"),
        ("cut", "t-00001-of-00002.jsonl is missing"),
        ("q-*.parquet", "no file has a name like that"),
    ] {
        let message = open(name).await;
        assert!(message.contains(word), "{name}: {message}");
    }
    for (name, target) in [("parts/z.parquet", "z.parquet"), ("parts/z.parquet", "gone")] {
        fs::remove_file(dir.path().join("parts/z.csv")).ok();
        std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
        for whole in ["parts", "parts/*.parquet"] {
            let message = open(whole).await;
            assert!(message.contains(name), "{whole}, {target}: {message}");
        }
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    // DataFusion passes over such a file.
    fs::write(dir.path().join("parts/z.parquet"), "").unwrap();
    for name in ["parts", "parts/z.parquet"] {
        let message = open(name).await;
        assert!(message.contains("parts/z.parquet") && message.contains("it is empty"), "{name}: {message}");
    }
    let message = open("text.txt/a.parquet").await;
    assert!(message.contains("text.txt/a.parquet") && !message.contains("no such file or folder"), "{message}");
    let session = session(&[], None, None).await.unwrap();
    let error = async |from: &str| session.query(&format!("SELECT * FROM '{from}'"), 1).await.unwrap_err().to_string();
    assert!(error("absent.parquet").await.contains("absent.parquet: there is no such file or folder"));
    assert!(error("hf://datasets/a/b/c.parquet").await.contains("not in the Hugging Face cache"));
    assert!(error("word").await.contains("--table NAME=PATH"));
    assert!(error(&dir.path().join("broken.jsonl").display().to_string()).await.contains("not JSON Lines"));
    assert!(Path::new(&dir.path().join("text.txt")).exists());
}
