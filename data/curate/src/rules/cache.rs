//! Groups of rules, and what they found of single traces: judged once, kept, and found again.
//!
//! What a group finds depends on one trace, on some of its prompt, and on the group's settings; so it is kept under the
//! name of the settings, each row with a hash of trace and prompt as its key:
//!
//! ```text
//! rules/GROUP-SETTINGS/TRACES-00003.parquet      the rows of the fourth part of those traces
//! ```
//!
//! A part whose file is there is known: after a kill, under another policy, or where another group's settings changed. A
//! part without one is read, and its rows are looked up by their keys in all files of the same settings, of whatever
//! traces; those that nobody judged are judged. So what is added to a collection costs what was added. Rules that take long
//! leave `unfinished-*.parquet` as they go, which are found in the same way.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use records::artifact::fingerprint;
use records::parquet_file::{parquet_files_if_there, read_columns, read_records, read_rows_at, write_records};
use records::record::{Prompt, Trace, short_hash};
use records::{Error, Result, disk};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::{PART_ROWS, Part, Prompts};

/// How names of files begin that hold less than a part.
const UNFINISHED: &str = "unfinished-";

/// Rules that judge single traces, and change together.
pub(crate) trait Group {
    /// Names its files.
    const NAME: &'static str;
    /// Raised when the code changes what it finds.
    const VERSION: u32;
    /// Traces that a kill may cost.
    const CHUNK: usize = PART_ROWS;
    /// What is kept of a trace: narrow.
    type Row: Clone + Serialize + DeserializeOwned;

    /// What of the recipe decides the rows.
    fn settings(&self) -> Value;

    /// A hash of what of a prompt decides the rows; 0 where nothing does.
    fn of_prompt(&self, prompt: &Prompt) -> u64;

    /// Judges, on all threads.
    fn judge(&self, cases: &[Case<'_>]) -> Result<Vec<Self::Row>>;
}

/// A trace and what it answers.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) prompt: &'a Prompt,
    pub(crate) trace: &'a Trace,
}

/// What a group did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// The group's name.
    pub group: &'static str,
    /// Traces that it judged.
    pub judged: usize,
    /// Traces of which it was known what it would find.
    pub known: usize,
}

/// Where what was found is kept: the folder of this run, then those of others.
#[derive(Debug)]
pub(crate) struct Folders(Vec<PathBuf>);

impl Folders {
    pub(crate) fn new(out: &Path, earlier: &[PathBuf]) -> Self {
        Self(std::iter::once(out.to_owned()).chain(earlier.iter().cloned()).collect())
    }

    fn find(&self, name: &str) -> Result<Option<PathBuf>> {
        for folder in &self.0 {
            if let Some(path) = disk::if_there(folder.join(name))? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// What is kept under this name, or else what `find` finds.
    pub(crate) fn remember<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        find: impl FnOnce() -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        if let Some(path) = self.find(name)? {
            return read_records(&path);
        }
        let found = find()?;
        write_records(&self.0[0].join(name), &found)?;
        Ok(found)
    }
}

/// A row as it is on disk.
#[derive(Serialize, Deserialize)]
struct Known<R> {
    key: u64,
    found: R,
}

/// Of a row only its key.
#[derive(Serialize, Deserialize)]
struct Key {
    key: u64,
}

/// A group with what it found so far.
pub(crate) struct RuleCache<'a, G> {
    group: G,
    folders: &'a Folders,
    /// The folder of its files within each of those.
    place: String,
    /// Names the traces that are judged, and how they are cut into parts.
    traces: String,
    elsewhere: Option<Elsewhere>,
    judged: usize,
    known: usize,
}

impl<'a, G: Group> RuleCache<'a, G> {
    /// `traces` names all traces and prompts.
    pub(crate) fn new(group: G, folders: &'a Folders, traces: &str) -> Self {
        let settings = fingerprint(G::NAME, G::VERSION, &group.settings(), &BTreeMap::new());
        Self {
            group,
            folders,
            place: format!("{}-{settings}", G::NAME),
            traces: short_hash(format!("{traces} {PART_ROWS}").as_bytes()),
            elsewhere: None,
            judged: 0,
            known: 0,
        }
    }

    pub(crate) fn reuse(&self) -> Reuse {
        Reuse { group: G::NAME, judged: self.judged, known: self.known }
    }

    /// The name of a part's file.
    fn name(&self, number: usize) -> String {
        format!("{}/{}-{number:05}.parquet", self.place, self.traces)
    }

    /// Makes sure that all of a part is judged.
    pub(crate) fn complete(&mut self, number: usize, reader: &mut Reader<'_>) -> Result<()> {
        if self.folders.find(&self.name(number))?.is_some() {
            self.known += reader.part.rows;
            return Ok(());
        }
        let read = reader.read()?;
        let cases: Vec<Case<'_>> =
            read.prompts.iter().zip(&read.traces).map(|(prompt, trace)| Case { prompt, trace }).collect();
        let keys: Vec<u64> = cases
            .iter()
            .zip(&read.hashes)
            .map(|(case, hash)| row_key(*hash, self.group.of_prompt(case.prompt)))
            .collect();
        let mut rows: Vec<Option<G::Row>> = self.elsewhere()?.rows(&keys)?;
        let unknown: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].is_none()).collect();
        self.judged += unknown.len();
        self.known += rows.len() - unknown.len();
        for chunk in unknown.chunks(G::CHUNK) {
            let found = self.group.judge(&chunk.iter().map(|row| cases[*row]).collect::<Vec<_>>())?;
            if chunk.len() < unknown.len() {
                let name = format!("{}/{UNFINISHED}{}-{:016x}.parquet", self.place, self.traces, keys[chunk[0]]);
                let keys = chunk.iter().map(|row| keys[*row]);
                write_known(&self.folders.0[0].join(name), keys.zip(found.iter().cloned()))?;
            }
            chunk.iter().zip(found).for_each(|(row, found)| rows[*row] = Some(found));
        }
        let known = keys.into_iter().zip(rows).filter_map(|(key, found)| Some((key, found?)));
        // Should one of them be missing, `rows` counts and says so.
        write_known(&self.folders.0[0].join(self.name(number)), known)
    }

    /// Takes away what is in whole parts now that all are complete.
    pub(crate) fn finish(&self) -> Result<()> {
        let folder = self.folders.0[0].join(&self.place);
        let unfinished = format!("{UNFINISHED}{}", self.traces);
        for path in parquet_files_if_there(&folder)? {
            if path.file_name().unwrap_or_default().to_string_lossy().starts_with(&unfinished) {
                std::fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
            }
        }
        Ok(())
    }

    fn elsewhere(&mut self) -> Result<&Elsewhere> {
        match &mut self.elsewhere {
            Some(found) => Ok(found),
            none => Ok(none.insert(Elsewhere::find(self.folders, &self.place, &self.traces)?)),
        }
    }

    /// What was found of a part that is complete.
    pub(crate) fn rows(&self, number: usize, part: &Part) -> Result<Vec<G::Row>> {
        let name = self.name(number);
        let path = self.folders.find(&name)?.unwrap_or_else(|| self.folders.0[0].join(&name));
        let rows: Vec<Known<G::Row>> = read_records(&path)?;
        if rows.len() != part.rows {
            let problem = format!("there are {} rows for {} traces", rows.len(), part.rows);
            return Err(Error::malformed(&path, problem, "remove it to have them judged again"));
        }
        Ok(rows.into_iter().map(|row| row.found).collect())
    }
}

fn write_known<R: Serialize + DeserializeOwned>(path: &Path, rows: impl Iterator<Item = (u64, R)>) -> Result<()> {
    let rows: Vec<Known<R>> = rows.map(|(key, found)| Known { key, found }).collect();
    write_records(path, &rows)
}

/// Rows that were judged under the same settings as part of other traces, or of a part that was not finished.
#[derive(Default)]
struct Elsewhere {
    files: Vec<PathBuf>,
    /// File and row, by key.
    places: HashMap<u64, (u32, u32)>,
}

impl Elsewhere {
    fn find(folders: &Folders, place: &str, traces: &str) -> Result<Self> {
        let mut found = Self::default();
        for folder in folders.0.iter().map(|folder| folder.join(place)) {
            for path in parquet_files_if_there(&folder)? {
                if path.file_name().unwrap_or_default().to_string_lossy().starts_with(traces) {
                    continue;
                }
                let file = found.files.len() as u32;
                for (row, Key { key }) in (0..).zip(read_columns(&path)?) {
                    found.places.entry(key).or_insert((file, row));
                }
                found.files.push(path);
            }
        }
        Ok(found)
    }

    fn rows<R: Clone + Serialize + DeserializeOwned>(&self, keys: &[u64]) -> Result<Vec<Option<R>>> {
        let mut rows: Vec<Option<R>> = vec![None; keys.len()];
        // File by file, each with its rows in order, and where each of them goes.
        let mut wanted: BTreeMap<u32, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            if let Some((file, row)) = self.places.get(key) {
                wanted.entry(*file).or_default().entry(*row as usize).or_default().push(at);
            }
        }
        for (file, wanted) in wanted {
            let places: Vec<usize> = wanted.keys().copied().collect();
            let found: Vec<Known<R>> = read_rows_at(&self.files[file as usize], &places)?;
            for (known, at) in found.into_iter().zip(wanted.into_values()) {
                for at in at {
                    rows[at] = Some(known.found.clone());
                }
            }
        }
        Ok(rows)
    }
}

/// Reads a part when the first group asks for it.
pub(crate) struct Reader<'a> {
    part: &'a Part,
    prompts: &'a Prompts<'a>,
    read: Option<Read<'a>>,
}

struct Read<'a> {
    traces: Vec<Trace>,
    prompts: Vec<&'a Prompt>,
    hashes: Vec<u64>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(part: &'a Part, prompts: &'a Prompts<'a>) -> Self {
        Self { part, prompts, read: None }
    }

    fn read(&mut self) -> Result<&Read<'a>> {
        match &mut self.read {
            Some(read) => Ok(read),
            none => {
                let traces: Vec<Trace> = read_rows_at(&self.part.path, &self.part.all())?;
                let prompts = traces.iter().map(|trace| self.prompts.of(trace)).collect::<Result<_>>()?;
                let hashes = traces.iter().map(trace_hash).collect();
                Ok(none.insert(Read { traces, prompts, hashes }))
            }
        }
    }
}

/// Of all that a trace is.
fn trace_hash(trace: &Trace) -> u64 {
    let Trace {
        id,
        prompt_id,
        sample,
        thinking,
        answer,
        finish_reason,
        prompt_tokens,
        completion_tokens,
        teacher,
        temperature,
        top_p,
        max_tokens,
        seed,
    } = trace;
    let mut hasher = Xxh3Default::new();
    // Lengths first: where a text ends is part of what it is.
    let mut add = |text: Option<&str>| {
        hasher.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
        hasher.update(text.unwrap_or_default().as_bytes());
    };
    for text in [id.as_str(), prompt_id.as_str(), answer, teacher] {
        add(Some(text));
    }
    add(thinking.as_deref());
    let rest = format!(
        "{sample} {finish_reason:?} {prompt_tokens:?} {completion_tokens:?} {temperature:?} {top_p:?} {max_tokens:?} {seed:?}"
    );
    add(Some(rest.as_str()));
    hasher.digest()
}

fn row_key(trace: u64, of_prompt: u64) -> u64 {
    xxh3_64(&[trace.to_le_bytes(), of_prompt.to_le_bytes()].concat())
}
