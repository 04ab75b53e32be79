//! One trace with everything that is known of it. It is found by its id, which is a narrow column: the text of other
//! traces is not read.

use std::path::{Path, PathBuf};

use records::parquet_file::{for_each_text, parquet_files, read_rows_at};
use records::record::{Prompt, Trace, TraceId, Verdict};
use records::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{RuleOutcome, VERDICTS, rule_outcomes};

/// Ids that are named when there is no such trace, or more than one.
const NAMED: usize = 5;

/// Where a run keeps what is known; a stage that has not run yet has no folder.
#[derive(Debug, Clone)]
pub struct Places {
    /// Folder of traces.
    pub traces: PathBuf,
    /// Folder of prompts.
    pub prompts: Option<PathBuf>,
    /// What curation found.
    pub judged: Option<Judged>,
    /// Folder of the selected traces.
    pub curated: Option<PathBuf>,
}

/// What curation left.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The stage's folder; `verdicts/` is in it.
    pub folder: PathBuf,
    /// The policy that selected.
    pub policy: String,
    /// Whether traces were compared with benchmarks.
    pub benchmarks: bool,
}

/// One trace and its surroundings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspected {
    /// The trace.
    pub trace: Trace,
    /// What it answers.
    pub prompt: Option<Prompt>,
    /// What the rules found out.
    pub verdict: Option<Verdict>,
    /// Whether it passes each term of the policy, then each common rule that is not in the policy.
    pub rules: Vec<RuleOutcome>,
    /// Whether it was selected, where curation has run.
    pub selected: Option<bool>,
    /// Ids of the other traces that are the same or nearly so, the first one first.
    pub similar: Vec<TraceId>,
}

/// Finds the one trace whose id begins with `prefix`, and gathers what is known of it.
pub async fn inspect(places: &Places, prefix: &str) -> Result<Inspected> {
    let (path, row) = find_one(&places.traces, prefix)?;
    let trace: Trace = row_at(&path, row)?;
    let prompt = match &places.prompts {
        Some(folder) => first_row::<Prompt>(folder, "id", trace.prompt_id.as_str())?,
        None => None,
    };
    let mut verdict = None;
    let (mut rules, mut similar) = (Vec::new(), Vec::new());
    if let Some(Judged { folder, policy, benchmarks }) = &places.judged {
        let folder = folder.join(VERDICTS);
        verdict = first_row::<Verdict>(&folder, "trace_id", trace.id.as_str())?;
        if let Some(verdict) = &verdict {
            rules = Box::pin(rule_outcomes(policy, verdict, *benchmarks)).await?;
            similar = others_of(&folder, verdict)?;
        }
    }
    let selected = match &places.curated {
        Some(folder) => Some(find(folder, "trace_id", trace.id.as_str())?.is_some()),
        None => None,
    };
    Ok(Inspected { trace, prompt, verdict, rules, selected, similar })
}

/// The id of the first of all traces; `None` if there are none.
pub fn first_id(places: &Places) -> Result<Option<TraceId>> {
    for path in parquet_files(&places.traces)? {
        let mut first = None;
        for_each_text(&path, "id", |_, id| {
            first.get_or_insert_with(|| TraceId::from_stored(id));
        })?;
        if first.is_some() {
            return Ok(first);
        }
    }
    Ok(None)
}

/// The file and row of the only trace whose id begins with `prefix`. A whole id is never ambiguous.
fn find_one(folder: &Path, prefix: &str) -> Result<(PathBuf, usize)> {
    let prefix = prefix.trim().to_lowercase();
    let mut matching = Vec::new();
    let mut count = 0;
    let mut exact = None;
    // Those that share the most with what was asked for.
    let mut near: (usize, Vec<String>) = (0, Vec::new());
    let mut total = 0;
    for path in parquet_files(folder)? {
        for_each_text(&path, "id", |row, id| {
            total += 1;
            if id == prefix && exact.is_none() {
                exact = Some((path.clone(), row));
            }
            if id.starts_with(&prefix) {
                count += 1;
                if matching.len() < NAMED {
                    matching.push((id.to_owned(), path.clone(), row));
                }
                return;
            }
            let shared = id.bytes().zip(prefix.bytes()).take_while(|(a, b)| a == b).count();
            if shared > near.0 {
                near = (shared, Vec::new());
            }
            if shared == near.0 && near.1.len() < NAMED {
                near.1.push(id.to_owned());
            }
        })?;
    }
    if let Some(found) = exact {
        return Ok(found);
    }
    if count == 1
        && let Some((_, path, row)) = matching.pop()
    {
        return Ok((path, row));
    }
    let what = format!("trace {prefix:?}");
    if count > 1 {
        let mut names: Vec<String> = matching.into_iter().map(|(id, ..)| id).collect();
        if count > names.len() {
            names.push("...".to_owned());
        }
        return Err(Error::invalid(
            what,
            format!("{count} ids begin like that"),
            format!("write more of one: {}", names.join(", ")),
        ));
    }
    let problem = format!("none of the {total} traces has an id that begins like that");
    Err(Error::invalid(what, problem, format!("the nearest are: {}", near.1.join(", "))))
}

/// The ids of the other traces of a verdict's cluster.
fn others_of(folder: &Path, verdict: &Verdict) -> Result<Vec<TraceId>> {
    let mut ids = Vec::new();
    for path in parquet_files(folder)? {
        let mut rows = Vec::new();
        for_each_text(&path, "cluster", |row, cluster| {
            if cluster == verdict.cluster.as_str() {
                rows.push(row);
            }
        })?;
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            continue;
        }
        for_each_text(&path, "trace_id", |row, id| {
            if rows.next_if_eq(&row).is_some() && id != verdict.trace_id.as_str() {
                ids.push(TraceId::from_stored(id));
            }
        })?;
    }
    Ok(ids)
}

fn first_row<T: DeserializeOwned>(folder: &Path, column: &str, value: &str) -> Result<Option<T>> {
    find(folder, column, value)?.map(|(path, row)| row_at(&path, row)).transpose()
}

/// The first row whose column has this value.
fn find(folder: &Path, column: &str, value: &str) -> Result<Option<(PathBuf, usize)>> {
    for path in parquet_files(folder)? {
        let mut found = None;
        for_each_text(&path, column, |row, text| {
            if text == value && found.is_none() {
                found = Some(row);
            }
        })?;
        if let Some(row) = found {
            return Ok(Some((path, row)));
        }
    }
    Ok(None)
}

fn row_at<T: DeserializeOwned>(path: &Path, row: usize) -> Result<T> {
    let rows: Vec<T> = read_rows_at(path, &[row])?;
    rows.into_iter()
        .next()
        .ok_or_else(|| Error::malformed(path, format!("there is no row {row}"), "was it changed just now?"))
}

#[cfg(test)]
mod tests;
