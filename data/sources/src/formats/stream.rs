//! Files to [`Example`]s, a batch at a time: rows are parsed on all cores and taken in order. A row that cannot be used is
//! kept aside with its reason and never stops the rest.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use records::artifact::Aside;
use records::{Error, Result};
use serde_json::json;

use super::{Columns, Example, Format};
use crate::files::Files;
use crate::rows::{Flaw, RawRow, batches};

/// So many rows that lack the same column, and nothing else before them, are not of the format that was named.
const WRONG_SCHEMA_ROWS: u64 = 1000;

/// Rows that were kept aside: `rejected.jsonl`, an object of `file`, `row`, `reason` and `excerpt` each. There is no such
/// file while there is no such row.
#[derive(Debug)]
pub struct Rejected {
    path: PathBuf,
    file: Option<BufWriter<Aside>>,
    count: u64,
    first: Option<(PathBuf, usize, String)>,
}

impl Rejected {
    /// None yet. One that an earlier attempt left in the folder is removed.
    pub fn new(folder: &Path) -> Result<Self> {
        let path = folder.join("rejected.jsonl");
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &path, e)),
            _ => Ok(Self { path, file: None, count: 0, first: None }),
        }
    }

    /// How many there are. Of a row with several replies each may be one.
    pub fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn add(&mut self, place: Place<'_>, reason: &str) -> Result<()> {
        let Place { path, raw } = place;
        let line =
            json!({"file": path.to_string_lossy(), "row": raw.number, "reason": reason, "excerpt": raw.excerpt()});
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::new(Aside::create(&self.path)?)),
        };
        writeln!(file, "{line}").map_err(|e| Error::io("write", &self.path, e))?;
        self.count += 1;
        self.first.get_or_insert_with(|| (path.to_owned(), raw.number, reason.to_owned()));
        Ok(())
    }

    /// Publishes the file.
    pub fn finish(&mut self) -> Result<()> {
        match self.file.take() {
            Some(file) => file.into_inner().map_err(|e| Error::io("write", &self.path, e.into_error()))?.publish(),
            None => Ok(()),
        }
    }
}

/// How far reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Files that were read.
    pub files: usize,
    /// Of so many.
    pub of: usize,
    /// Rows that were read.
    pub rows: u64,
}

/// A row's place.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) path: &'a Path,
    pub(crate) raw: &'a RawRow,
}

/// Whether anything of a row could be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    No,
}

/// Reads all rows and gives each example to `take`, in order; returns the number of rows. `go_on` is told how far it is,
/// and ends it by saying no. Files of which no row can be used are an error.
pub(crate) fn examples<C: Columns>(
    files: &Files,
    format: &Format<C>,
    rejected: &mut Rejected,
    go_on: &dyn Fn(Seen) -> bool,
    mut take: impl FnMut(Place<'_>, Example, &mut Rejected) -> Result<Taken>,
) -> Result<u64> {
    let columns = format.columns();
    let mut unseen: BTreeSet<&str> = format.optional().into_iter().collect();
    let earlier = rejected.first.take();
    let (mut rows, mut used, mut lacking, mut first) = (0, 0, 0, None);
    'files: for (place, path) in files.paths.iter().enumerate() {
        for batch in batches(path, Some(&columns))? {
            let batch = batch?;
            let names = first.is_none();
            let parsed: Vec<_> = batch.par_iter().map(|raw| parse(raw, format, &unseen, names)).collect();
            for (raw, (example, seen, present)) in batch.iter().zip(parsed) {
                unseen.retain(|column| !seen.contains(column));
                first = first.or(present);
                let place = Place { path, raw };
                match example {
                    Ok(example) => used += u64::from(take(place, example, rejected)? == Taken::Yes),
                    Err(flaw) => {
                        lacking += u64::from(matches!(flaw, Flaw::NoColumn { .. }));
                        rejected.add(place, &flaw.to_string())?;
                    }
                }
            }
            rows += batch.len() as u64;
            if used == 0 && lacking == rows && rows >= WRONG_SCHEMA_ROWS {
                break 'files;
            }
            if !go_on(Seen { files: place, of: files.paths.len(), rows }) {
                return Err(Error::Stopped);
            }
        }
    }
    if used == 0 {
        rejected.finish()?;
        return Err(nothing(files, rows, rejected));
    }
    if let (Some(column), Some(present)) = (unseen.first(), first) {
        let columns = format!("it has: {present}");
        return Err(Error::malformed(&files.paths[0], format!("no row has a column {column:?}"), columns));
    }
    rejected.first = earlier.or(rejected.first.take());
    Ok(rows)
}

type Parsed<'a> = (std::result::Result<Example, Flaw>, Vec<&'a str>, Option<String>);

/// What a row says; which of the columns that no row had yet it has; and, if it lacks some and `names` is set, which
/// columns it has.
fn parse<'a, C: Columns>(raw: &RawRow, format: &Format<C>, unseen: &BTreeSet<&'a str>, names: bool) -> Parsed<'a> {
    let row = match raw.parse() {
        Ok(row) => row,
        Err(flaw) => return (Err(flaw), Vec::new(), None),
    };
    let seen: Vec<&str> = unseen.iter().filter(|column| row.get(column).is_some()).copied().collect();
    let present = (names && seen.len() < unseen.len()).then(|| match row.no_column("") {
        Flaw::NoColumn { present, .. } => present,
        Flaw::Other(other) => other,
    });
    (format.example(&row), seen, present)
}

/// Why files gave nothing.
fn nothing(files: &Files, rows: u64, rejected: &Rejected) -> Error {
    let Some((path, number, reason)) = &rejected.first else {
        let what =
            if files.paths.len() == 1 { "the file has no rows" } else { "this file and the others have no rows" };
        return Error::malformed(&files.paths[0], what, "give a file with at least one row");
    };
    let which = if rows == 1 { "its only row cannot".to_owned() } else { format!("none of the {rows} rows read can") };
    Error::malformed(
        path,
        format!("{which} be used; row {number}: {reason}"),
        format!("does `format` name what this is? {} has them all", rejected.path.display()),
    )
}
