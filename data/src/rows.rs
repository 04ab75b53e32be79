//! Rows of files that people bring: JSON Lines, a JSON array of objects, or Parquet, all as JSON objects.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::json::writer::{LineDelimited, WriterBuilder};
use serde_json::{Map, Value};

use crate::parquet_file::read_batches;
use crate::{Error, Result};

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// The line in a JSON Lines file, the place in the others, from 1.
    pub(crate) number: usize,
    /// The columns.
    pub(crate) columns: Map<String, Value>,
}

/// Streams the rows of a `.jsonl`, `.json` or `.parquet` file; a file without rows is an error.
pub(crate) fn read_rows<'a>(path: &'a Path) -> Result<Box<dyn Iterator<Item = Result<Row>> + 'a>> {
    let rows: Box<dyn Iterator<Item = Result<Row>> + 'a> = match path.extension().and_then(|e| e.to_str()) {
        Some("jsonl" | "ndjson") => Box::new(json_lines(path)?),
        Some("json") => Box::new(json_array(path)?),
        Some("parquet") => Box::new(parquet(path)?),
        _ => {
            return Err(Error::malformed(
                path,
                "this kind of file is not read here, going by its extension",
                "give a .jsonl, .json or .parquet file",
            ));
        }
    };
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Err(Error::malformed(path, "the file has no rows", "give a file with at least one row"));
    }
    Ok(Box::new(rows))
}

fn json_lines(path: &Path) -> Result<impl Iterator<Item = Result<Row>>> {
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    let mut number = 0;
    Ok(std::iter::from_fn(move || {
        loop {
            line.clear();
            number += 1;
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(Error::io("read", path, error))),
            }
            let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
            if text.is_empty() {
                continue;
            }
            return Some(serde_json::from_slice(text).map(|columns| Row { number, columns }).map_err(|e| {
                let problem = format!("line {number} is not a JSON object: {}", without_position(&e));
                Error::malformed(path, problem, "each line must hold one complete JSON object; correct or remove it")
            }));
        }
    }))
}

fn json_array(path: &Path) -> Result<impl Iterator<Item = Result<Row>>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let rows: Vec<Map<String, Value>> = serde_json::from_slice(bytes).map_err(|e| {
        let problem = format!("not a JSON array of objects: {e}");
        Error::malformed(path, problem, "a file with one object a line should be named .jsonl")
    })?;
    Ok(rows.into_iter().zip(1..).map(|(columns, number)| Ok(Row { number, columns })))
}

fn parquet(path: &Path) -> Result<impl Iterator<Item = Result<Row>>> {
    let mut number = 0;
    Ok(read_batches(path)?.flat_map(move |batch| {
        let rows = batch.and_then(|batch| batch_rows(&batch, path, &mut number));
        match rows {
            Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        }
    }))
}

/// One batch as rows, by way of JSON text: Arrow's own rules for dates, decimals and nested columns.
fn batch_rows(batch: &RecordBatch, path: &Path, number: &mut usize) -> Result<Vec<Row>> {
    let failed = |e: &dyn std::fmt::Display| Error::engine(format!("reading rows of {}", path.display()), e);
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(batch).map_err(|e| failed(&e))?;
    writer.finish().map_err(|e| failed(&e))?;
    let mut rows = Vec::with_capacity(batch.num_rows());
    for columns in serde_json::Deserializer::from_slice(&writer.into_inner()).into_iter::<Map<_, _>>() {
        *number += 1;
        rows.push(Row { number: *number, columns: columns.map_err(|e| failed(&e))? });
    }
    Ok(rows)
}

/// The parser's message; its "at line 1 column 9" would contradict the line of the file.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let column = error.column();
    match message.split_once(" at line ") {
        Some((what, _)) => format!("{what} at column {column}"),
        None => message,
    }
}

impl Row {
    /// The value of a column, `None` if there is no such column. A name with dots that is not itself a column is a
    /// path into nested objects and lists: `meta.answers.0`.
    pub(crate) fn get(&self, column: &str) -> Option<&Value> {
        if let Some(value) = self.columns.get(column) {
            return Some(value);
        }
        let mut parts = column.split('.');
        let mut value = self.columns.get(parts.next()?)?;
        for part in parts {
            value = match value {
                Value::Object(fields) => fields.get(part)?,
                Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(value)
    }

    /// The text of a column; numbers become text (`18.0` is `18`), null is `None`, and so is a missing column.
    pub(crate) fn text(&self, column: &str, path: &Path) -> Result<Option<String>> {
        let Some(value) = self.get(column) else { return Ok(None) };
        Ok(match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Number(number) => Some(number_text(number)),
            Value::Array(_) | Value::Object(_) => {
                let what = if value.is_array() { "a list" } else { "an object" };
                return Err(Error::malformed(
                    path,
                    format!("column {column:?} of row {} holds {what} where text is expected", self.number),
                    format!("name the part of it that is meant, as in \"{column}.0\" or \"{column}.text\""),
                ));
            }
        })
    }

    /// The text of a column that every row must have, though it may be null.
    pub(crate) fn expected_text(&self, column: &str, path: &Path) -> Result<Option<String>> {
        if self.get(column).is_none() {
            return Err(self.no_column(column, path));
        }
        self.text(column, path)
    }

    /// The text of a column that every row must have, neither null nor blank.
    pub(crate) fn required_text(&self, column: &str, path: &Path) -> Result<String> {
        match self.expected_text(column, path)? {
            Some(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(Error::malformed(
                path,
                format!("column {column:?} of row {} is empty", self.number),
                "fill it in or remove the row",
            )),
        }
    }

    /// The error for a column that is not there, with those that are.
    pub(crate) fn no_column(&self, column: &str, path: &Path) -> Error {
        let names: Vec<&str> = self.columns.keys().map(String::as_str).collect();
        Error::malformed(
            path,
            format!("row {} has no column {column:?}", self.number),
            format!("it has: {}", names.join(", ")),
        )
    }
}

fn number_text(number: &serde_json::Number) -> String {
    match number.as_f64() {
        // Whole numbers that a float holds exactly lose their ".0".
        Some(float) if !number.is_i64() && !number.is_u64() && float.fract() == 0.0 && float.abs() < 9e15 => {
            format!("{}", float as i64)
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
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

        let all = |path: &Path| read_rows(path).unwrap().collect::<Result<Vec<Row>>>().unwrap();
        assert_eq!(all(&jsonl), all(&json));
        assert_eq!(all(&jsonl), all(&parquet));
        let rows = all(&parquet);
        assert_eq!(rows[1].number, 2);
        assert_eq!(rows[0].text("a", &parquet).unwrap().as_deref(), Some("18"));
        assert_eq!(rows[0].text("tags.1", &parquet).unwrap().as_deref(), Some("y"));
        assert_eq!(rows[1].get("a"), Some(&Value::Null));
        assert_eq!(rows[1].get("b"), None);
    }

    #[test]
    fn columns_are_found_by_name_before_path() {
        let columns = json!({"a.b": 1, "a": {"b": 2, "c": [{"d": "deep"}]}});
        let row = Row { number: 1, columns: columns.as_object().unwrap().clone() };
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
            let row = Row { number: 1, columns: serde_json::from_str(&format!("{{\"v\":{value}}}")).unwrap() };
            assert_eq!(row.text("v", Path::new("f")).unwrap().as_deref(), Some(text));
        }
        let row = Row { number: 4, columns: json!({"v": [1]}).as_object().unwrap().clone() };
        let message = row.text("v", Path::new("f")).unwrap_err().to_string();
        assert!(message.contains("row 4") && message.contains("v.0"), "{message}");
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_place() {
        let (_a, path) = file("r.jsonl", "{\"q\": 1}\n\n{\"q\": \n");
        let message = error_of(&path);
        assert!(message.contains("r.jsonl") && message.contains("line 3"), "{message}");
        assert!(!message.contains("at line 1"), "{message}");
        let (_b, path) = file("r.jsonl", "[1]\n");
        assert!(error_of(&path).contains("line 1 is not a JSON object"));
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
        assert!(error_of(&path).contains("line 2"));
    }
}
