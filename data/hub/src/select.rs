//! Which names in a folder, of this machine or of a repository, are data.

use std::collections::BTreeSet;
use std::path::Path;

use records::{Error, Result};

/// What of a folder is data, by the end of a file's name. A `.json` is read where it is named itself: folders of datasets hold
/// descriptions in such files.
pub const EXTENSIONS: [&str; 7] =
    [".jsonl", ".jsonl.zst", ".jsonl.gz", ".ndjson", ".ndjson.zst", ".ndjson.gz", ".parquet"];
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

/// Which of the files in a folder are data, in order: those whose names end in one of `extensions`. Files of two kinds are most likely the same data twice, and missing
/// shards a download that was stopped: both are refused.
pub fn of_folder(
    folder: &Path,
    mut names: Vec<String>,
    folders: &[String],
    extensions: &[&'static str],
) -> Result<Vec<String>> {
    let kind = |name: &str| extensions.iter().find(|extension| name.ends_with(**extension)).copied();
    names.retain(|name| !name.starts_with('.') && kind(name).is_some());
    names.sort();
    if names.is_empty() {
        let mut folders: Vec<&str> = folders.iter().map(String::as_str).filter(|name| !name.starts_with('.')).collect();
        folders.sort_unstable();
        let remedy = match folders.as_slice() {
            [] => format!("name a folder with files of these kinds: {}", extensions.join(", ")),
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
