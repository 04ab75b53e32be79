//! What reads bytes that others wrote, as functions of bytes. They may refuse what they are given, but not panic. The
//! targets of cargo-fuzz and `tests/fuzzing.rs` call the same ones.

use std::path::Path;

use records::{Result, think};
use sources::files::Files;
use sources::formats::{Format, Rejected};
use sources::import::{TraceMapping, import};
use sources::prompts::{FileMapping, Tests, load};
use sql::session;
use tokens::tokenizer::Tokenizer;
use verify::{AnswerKind, extract_answer, verify};

/// Formats and kinds of files; the first byte chooses among both.
const FORMATS: [&str; 9] = [
    "\"messages\"",
    "\"sharegpt\"",
    "\"open-thoughts\"",
    "\"openr1-math\"",
    "\"am-deepseek-r1\"",
    "\"nemotron-v1\"",
    "\"mixture-of-thoughts\"",
    "\"bespoke-stratos\"",
    "\"open-thoughts3\"",
];
const ROW_FILES: [&str; 5] = ["a.jsonl", "a.json", "a.parquet", "a.jsonl.zst", "a.jsonl.gz"];
const TABLE_FILES: [&str; 4] = ["a.jsonl", "a.csv", "a.parquet", "a.jsonl.zst"];

/// The first byte for a format and a kind of file.
pub(crate) fn choice(format: usize, file: usize) -> u8 {
    (format * ROW_FILES.len() + file) as u8
}

/// Answers: the gold one, and after a zero byte the text that is judged.
pub(crate) fn answers(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (gold, answer) = text.split_once('\0').unwrap_or((&text, &text));
    let found = verify(gold, answer);
    assert_eq!(found, verify(gold, answer), "a verdict changes");
    verify(answer, gold);
    for kind in [AnswerKind::Choice, AnswerKind::Number, AnswerKind::Text] {
        if let Some(found) = extract_answer(answer, kind) {
            assert!(answer.contains(&found) || kind == AnswerKind::Choice, "{found:?} is made up");
        }
    }
    true
}

/// Replies: all in one text, and after a zero byte apart.
pub(crate) fn replies(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (thinking, answer) = think::split(None, &text);
    assert!(text.contains(&answer) && thinking.is_none_or(|thinking| text.contains(&thinking)), "text is made up");
    if let Some((reasoning, content)) = text.split_once('\0') {
        think::split(Some(reasoning), content);
    }
    true
}

/// A file of problems and traces in a published format.
pub(crate) fn rows(bytes: &[u8]) -> bool {
    let Some((choice, content)) = bytes.split_first() else { return false };
    let choice = usize::from(*choice);
    let name = ROW_FILES[choice % ROW_FILES.len()];
    read(name, FORMATS[choice / ROW_FILES.len() % FORMATS.len()], content).is_ok()
}

fn read(name: &str, format: &str, content: &[u8]) -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at(name), content).expect("a temporary file");
    let files = Files::find(&at(name))?;
    let mut rejected = Rejected::new(dir.path())?;
    let mut tests = Tests::new(&at("tests.parquet"));
    let problems: Format<FileMapping> = serde_json::from_str(format).expect("a format");
    let prompts = load(&files, &problems, "math", &mut rejected, &mut tests, &|_| true)?;
    rejected.finish()?;
    tests.finish()?;
    let traces: Format<TraceMapping> = serde_json::from_str(format).expect("a format");
    let mut rejected = Rejected::new(dir.path())?;
    let imported = import(&files, &traces, "r1", &prompts, &at("traces.parquet"), &mut rejected, &|_| true)?;
    assert_eq!(imported.elsewhere, 0, "a trace answers no prompt of its own file");
    Ok(())
}

/// A `tokenizer.json`, and after a zero byte a text that it encodes.
pub(crate) fn tokenizer(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (file, text) = bytes.split_at(end);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("tokenizer.json");
    std::fs::write(&path, file).expect("a temporary file");
    let Ok(tokenizer) = Tokenizer::from_file(&path) else { return false };
    let text = String::from_utf8_lossy(text);
    let encoded = tokenizer.encode(&text);
    let Ok(theirs) = tokenizer.encode_by_library(&text) else { return false };
    assert_eq!(encoded.expect("ids where the library finds some"), theirs, "other ids than the library's");
    // Whether they can be decoded is not the question.
    let _ = tokenizer.decode(&theirs, false);
    true
}

/// A file that is asked in SQL.
pub(crate) fn tables(bytes: &[u8]) -> bool {
    let Some((choice, content)) = bytes.split_first() else { return false };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join(TABLE_FILES[usize::from(*choice) % TABLE_FILES.len()]);
    std::fs::write(&path, content).expect("a temporary file");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(Box::pin(ask(&path))).is_ok()
}

async fn ask(path: &Path) -> Result<()> {
    let session = session(&[("t".to_owned(), path.to_owned())], None, None).await?;
    let rows = session.query("SELECT * FROM t", 100).await?;
    rows.text(sql::Format::Json, 0)?;
    // Datasets have neither an id nor a text.
    if session.query("SELECT * FROM near_duplicates('t', 'id', 'text')", 10).await.is_err() {
        session.query("SELECT * FROM near_duplicates('t', 'source', 'source')", 10).await?;
    }
    Ok(())
}
