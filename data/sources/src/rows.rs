//! Rows of files that people bring: JSON Lines (plain, .gz or .zst), a JSON array of objects, or Parquet, all as JSON
//! objects.
//!
//! A file is read a batch at a time, so that memory is bounded by [`BATCH_BYTES`] and not by the file. What a single row
//! gets wrong is a [`Flaw`] of that row; what makes the rest of a file unreadable (it was cut short) is an error.

mod array;
mod cells;
mod lines;
mod open;

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use serde_json::{Map, Value};

pub use self::open::{BoundedLines, open};
use hub::FileKind;
use records::{Error, Result};

/// Bytes of text in memory at once: a batch is closed when it holds this much.
const BATCH_BYTES: usize = 8 << 20;
/// Rows of a batch at most.
const BATCH_ROWS: usize = 1024;
/// Bytes of the longest line or element that is read as a row.
const LINE_BYTES: usize = 64 << 20;
/// Characters of an excerpt.
const EXCERPT_CHARS: usize = 300;

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The line in a JSON Lines file, the place in the others, from 1.
    pub number: usize,
    /// The columns.
    pub(crate) columns: Map<String, Value>,
    /// The names of all columns of the file, where not all of them were read.
    pub(crate) all: Option<Arc<[String]>>,
}

/// What is wrong with one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// It lacks a column.
    NoColumn {
        /// The column.
        column: String,
        /// Those that it has.
        present: String,
    },
    /// Anything else, in words.
    Other(String),
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoColumn { column, present } => write!(out, "there is no column {column:?}; there are: {present}"),
            Self::Other(what) => out.write_str(what),
        }
    }
}

impl Flaw {
    pub(crate) fn other(what: impl Into<String>) -> Self {
        Self::Other(what.into())
    }

    /// As an error, where no row may be wrong.
    pub fn at(self, path: &Path, number: usize) -> Error {
        match self {
            Self::NoColumn { column, present } => {
                Error::malformed(path, format!("row {number} has no column {column:?}"), format!("it has: {present}"))
            }
            Self::Other(what) => Error::malformed(path, format!("row {number}: {what}"), "correct or remove it"),
        }
    }
}

/// A row as its file has it, to be parsed later: on another thread, or never.
pub(crate) struct RawRow {
    /// See [`Row::number`].
    pub(crate) number: usize,
    raw: Raw,
}

enum Raw {
    /// A line without its end, or an element of a JSON array.
    Text(Vec<u8>),
    /// The beginning of one that is too long.
    TooLong(Vec<u8>),
    /// A row of a Parquet file, by its place in a batch.
    Cells { batch: Arc<RecordBatch>, index: usize, all: Arc<[String]> },
}

impl RawRow {
    /// The row's columns.
    pub(crate) fn parse(&self) -> std::result::Result<Row, Flaw> {
        let number = self.number;
        let row = |columns| Row { number, columns, all: None };
        match &self.raw {
            Raw::Text(text) => serde_json::from_slice(text)
                .map(row)
                .map_err(|e| Flaw::other(format!("it is not a JSON object: {}", without_position(&e)))),
            Raw::TooLong(_) => Err(Flaw::other(format!("it is longer than {} MiB", LINE_BYTES >> 20))),
            Raw::Cells { batch, index, all } => {
                let columns = cells::columns(batch, *index)?;
                Ok(Row { number, columns, all: Some(Arc::clone(all)) })
            }
        }
    }

    /// The beginning of the row, for a person to recognise it.
    pub(crate) fn excerpt(&self) -> String {
        let text = match &self.raw {
            // Some bytes more than needed, since a character may have up to four.
            Raw::Text(text) | Raw::TooLong(text) => {
                String::from_utf8_lossy(&text[..text.len().min(4 * EXCERPT_CHARS)]).into_owned()
            }
            Raw::Cells { .. } => {
                self.parse().map_or_else(|flaw| flaw.to_string(), |row| Value::Object(row.columns).to_string())
            }
        };
        match text.char_indices().nth(EXCERPT_CHARS) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

/// Rows of a file, a batch at a time.
pub(crate) type Batches<'a> = Box<dyn Iterator<Item = Result<Vec<RawRow>>> + 'a>;

/// Streams the rows of a file. Of a Parquet file only `columns` are read, if any are named.
pub(crate) fn batches<'a>(path: &'a Path, columns: Option<&[String]>) -> Result<Batches<'a>> {
    Ok(match FileKind::of(path) {
        Some(FileKind::JsonLines) => Box::new(lines::batches(path)?),
        Some(FileKind::JsonArray) => Box::new(array::batches(path)?),
        Some(FileKind::Parquet) => Box::new(cells::batches(path, columns)?),
        Some(FileKind::Csv) | None => {
            return Err(Error::malformed(
                path,
                "this kind of file is not read here, going by its extension",
                "give a .jsonl, .jsonl.gz, .jsonl.zst, .json or .parquet file",
            ));
        }
    })
}

/// Streams the rows of a file.
///
/// # Errors
/// The file has no rows or cannot be read; and, in place of the row, a row that cannot be parsed.
pub fn read_rows<'a>(path: &'a Path) -> Result<Box<dyn Iterator<Item = Result<Row>> + 'a>> {
    let rows = batches(path, None)?.flat_map(move |batch| match batch {
        Ok(rows) => rows.iter().map(|raw| raw.parse().map_err(|flaw| flaw.at(path, raw.number))).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    });
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Err(Error::malformed(path, "the file has no rows", "give a file with at least one row"));
    }
    Ok(Box::new(rows))
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
    pub fn text(&self, column: &str) -> std::result::Result<Option<String>, Flaw> {
        let Some(value) = self.get(column) else { return Ok(None) };
        Ok(match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Number(number) => Some(number_text(number)),
            Value::Array(_) | Value::Object(_) => {
                let what = if value.is_array() { "a list" } else { "an object" };
                return Err(Flaw::other(format!(
                    "column {column:?} holds {what} where text is expected; name the part of it that is meant, as in \
                     \"{column}.0\" or \"{column}.text\""
                )));
            }
        })
    }

    /// The text of a column that every row must have, though it may be null.
    pub(crate) fn expected_text(&self, column: &str) -> std::result::Result<Option<String>, Flaw> {
        if self.get(column).is_none() {
            return Err(self.no_column(column));
        }
        self.text(column)
    }

    /// The text of a column that every row must have, neither null nor blank.
    pub fn required_text(&self, column: &str) -> std::result::Result<String, Flaw> {
        match self.expected_text(column)? {
            Some(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(Flaw::other(format!("column {column:?} is empty"))),
        }
    }

    /// What is wrong with a row without this column.
    pub(crate) fn no_column(&self, column: &str) -> Flaw {
        let names: Vec<&str> = match &self.all {
            Some(all) => all.iter().map(String::as_str).collect(),
            None => self.columns.keys().map(String::as_str).collect(),
        };
        Flaw::NoColumn { column: column.to_owned(), present: names.join(", ") }
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
mod tests;
