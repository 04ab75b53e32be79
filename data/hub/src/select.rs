//! Which names in a folder, of this machine or of a repository, are data.

use std::collections::BTreeSet;
use std::path::Path;

use records::{Error, Result};

/// How a data file is written. The ending of its name says it, which also says how the file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// One JSON object per line; also compressed with gzip or zstd.
    JsonLines,
    /// Apache Parquet.
    Parquet,
    /// One JSON array of objects. It has to be named itself: folders of datasets hold descriptions in `.json`.
    JsonArray,
    /// Cells with commas or, in `.tsv`, tabs between them (RFC 4180).
    Csv,
}

/// All endings of names that are read somewhere in this project.
const ENDINGS: [(&str, FileKind); 10] = [
    (".jsonl", FileKind::JsonLines),
    (".jsonl.zst", FileKind::JsonLines),
    (".jsonl.gz", FileKind::JsonLines),
    (".ndjson", FileKind::JsonLines),
    (".ndjson.zst", FileKind::JsonLines),
    (".ndjson.gz", FileKind::JsonLines),
    (".parquet", FileKind::Parquet),
    (".json", FileKind::JsonArray),
    (".csv", FileKind::Csv),
    (".tsv", FileKind::Csv),
];

impl FileKind {
    /// What is taken out of a folder of prompts or traces.
    pub const ROWS: &[Self] = &[Self::JsonLines, Self::Parquet];
    /// What is taken out of a folder that SQL reads as a table.
    pub const TABLES: &[Self] = &[Self::JsonLines, Self::Parquet, Self::Csv];

    /// The kind of a file, by the ending of its name; `None` for other endings.
    pub fn of(path: &Path) -> Option<Self> {
        ending(&path.file_name()?.to_string_lossy()).map(|(_, kind)| kind)
    }
}

/// A file's name without the ending of a data file, if it has one.
pub fn stem(name: &str) -> Option<&str> {
    ending(name).and_then(|(ending, _)| name.strip_suffix(ending))
}

fn ending(name: &str) -> Option<(&'static str, FileKind)> {
    ENDINGS.into_iter().find(|(ending, _)| name.ends_with(ending))
}

/// A `*` ends at a `/` (`**` does not) and does not stand for the dot of a hidden file.
pub(crate) const MATCHING: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// A pattern of an input.
pub(crate) fn pattern(input: &str, text: &str) -> Result<glob::Pattern> {
    glob::Pattern::new(text).map_err(|e| not_a_pattern(input, &e))
}

/// The error for a text that is no pattern.
pub fn not_a_pattern(input: &str, problem: &glob::PatternError) -> Error {
    let remedy = "* stands for any part of a name, ** for any folders";
    Error::invalid(input, format!("not a pattern: {problem}"), remedy)
}

/// Which of the files in a folder are data of some kinds, in the order of their names. `folders` are the names of the folders
/// in it, which the error names where there are no such files.
///
/// # Errors
/// There are none; there are files of two endings, which most likely hold the same data twice; or a shard is missing, as
/// after a download that was stopped.
pub fn of_folder(folder: &Path, mut names: Vec<String>, folders: &[String], kinds: &[FileKind]) -> Result<Vec<String>> {
    let kind = |name: &str| ending(name).filter(|(_, kind)| kinds.contains(kind)).map(|(ending, _)| ending);
    names.retain(|name| !name.starts_with('.') && kind(name).is_some());
    names.sort();
    if names.is_empty() {
        let mut folders: Vec<&str> = folders.iter().map(String::as_str).filter(|name| !name.starts_with('.')).collect();
        folders.sort_unstable();
        let remedy = match folders.as_slice() {
            [] => {
                let read = ENDINGS.iter().filter(|(_, kind)| kinds.contains(kind)).map(|(ending, _)| *ending);
                format!("name a folder with files of these kinds: {}", read.collect::<Vec<_>>().join(", "))
            }
            some => format!("name one of its folders: {}", some.join(", ")),
        };
        return Err(Error::malformed(folder, "no data files are in this folder", remedy));
    }
    let kinds: BTreeSet<&str> = names.iter().filter_map(|name| kind(name)).collect();
    if kinds.len() > 1 {
        let kinds: Vec<&str> = kinds.into_iter().collect();
        return Err(Error::malformed(
            folder,
            format!("files of several kinds are in this folder: {}", kinds.join(", ")),
            format!("name those that are meant by a pattern, as in {}/*{}", folder.display(), kinds[0]),
        ));
    }
    complete(folder, &names)?;
    Ok(names)
}

/// Refuses a folder that lacks some of the shards that its own names count (`train-00003-of-00010.parquet`).
fn complete(folder: &Path, names: &[String]) -> Result<()> {
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let series: BTreeSet<(&str, &str)> = names
        .iter()
        .filter_map(|name| {
            let (before, rest) = name.split_once("-of-")?;
            Some((before.rsplit_once('-')?.0, rest))
        })
        .collect();
    for (prefix, rest) in series {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(count) = rest[..digits].parse::<usize>() else { continue };
        // The search ends at the first missing shard, so that a name with a huge count takes no time.
        let missing =
            (0..count).map(|n| format!("{prefix}-{n:0digits$}-of-{rest}")).find(|name| !names.contains(name.as_str()));
        if let Some(missing) = missing {
            return Err(Error::malformed(
                folder,
                format!("{missing} is missing of {count} shards"),
                "download the rest, or name those that are meant by a pattern with *",
            ));
        }
    }
    Ok(())
}
