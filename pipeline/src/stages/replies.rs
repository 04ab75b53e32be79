//! Replies that were paid for: where their ledgers are in the folder of runs, and what is said of those taken over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use records::record::Prompt;
use teacher::CollectSummary;

use crate::console::{Progress, say};
use crate::error::{Failure, Result};
use crate::layout;
use crate::recipe::Teacher;
use crate::run::Run;
use crate::run::endpoints;

/// The folders in a stage's result that have a ledger: of collect, of the teacher's measurement, and of the judge.
const FOLDERS: [&str; 3] = [layout::TRACES, layout::TEACHER, layout::JUDGE];

/// Folders shown by name.
const NAMED: usize = 3;

/// All ledgers of all recipes under the folder of runs. A recipe's folder that cannot be listed is named.
pub(crate) fn runs(root: &Path) -> Result<teacher::Runs> {
    let mut ledgers = Vec::new();
    for recipe in folders_in(root)? {
        match folders_in(&recipe) {
            Ok(stages) => {
                let places = stages.iter().flat_map(|stage| FOLDERS.map(|folder| stage.join(folder)));
                ledgers.extend(places.map(|folder| folder.join(teacher::LEDGER_FILE)).filter(|ledger| ledger.exists()));
            }
            Err(error) => say(&format!("    {error}; replies in it are found only where the index knows them")),
        }
    }
    Ok(teacher::Runs { root: root.to_owned(), ledgers })
}

/// The folders in a folder, links and hidden ones left out, in the order of their names. A folder that is not there has
/// none; one that cannot be read is an error, since what is in it would be made or bought again.
pub(crate) fn folders_in(folder: &Path) -> std::result::Result<Vec<PathBuf>, records::Error> {
    let failed = |error| records::Error::io("list", folder, error);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let is_folder = entry.file_type().map_err(failed)?.is_dir();
        if is_folder && !entry.file_name().to_string_lossy().starts_with('.') {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

/// What a recipe's teacher is asked.
pub(crate) fn request(teacher: &Teacher) -> teacher::Request {
    teacher::Request {
        teacher: endpoints::name(teacher),
        instruction: teacher.instruction.clone(),
        samples: teacher.samples,
        sampling: teacher.sampling,
        seed: teacher.seed,
    }
}

/// Asks a teacher for every problem, except for what any collection in the folder of runs holds, and writes all to Parquet in
/// `folder`. The teacher is reached only if something is missing.
pub(super) fn ask(run: &Run, teacher: &Teacher, prompts: &[Prompt], folder: &Path) -> Result<CollectSummary> {
    let who = format!("teacher {}", teacher.model);
    let (request, runs) = (request(teacher), runs(&run.options.runs)?);
    let mut collection = teacher::Collection::open(prompts, &request, folder, Some(&runs))?;
    say_notes(collection.notes(), &mut BTreeSet::new());
    if collection.missing() > 0 {
        let access = endpoints::reach(run, teacher).map_err(|failure| failure.about(&who))?;
        let bar = Progress::new("teacher", collection.total() as u64);
        let progress = |p: teacher::Progress| {
            let message = format!("{} tokens, {} failed", p.completion_tokens, p.failed);
            bar.set(p.done as u64, p.total as u64, &message);
        };
        let stop = run.stop.watch();
        let asking = collection.ask_all(&access.endpoint, &stop, &progress);
        run.runtime.block_on(asking).map_err(|error| Failure::from(error).about(&who))?;
    }
    Ok(collection.to_parquet()?)
}

/// Says what there is to say of other collections, each thing once.
pub(super) fn say_notes(notes: &[String], said: &mut BTreeSet<String>) {
    for note in notes {
        if said.insert(note.clone()) {
            say(&format!("    {note}"));
        }
    }
}

/// How many replies other collections bought, and which; empty if there are none. `from` has the number of each.
pub(super) fn adopted(from: &BTreeMap<String, usize>) -> String {
    match from.values().sum::<usize>() {
        0 => String::new(),
        count => {
            let names: Vec<&str> = from.keys().map(String::as_str).collect();
            format!("{count} adopted from {}", listed(&names))
        }
    }
}

/// Some names, and how many more there are.
fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What asking would come to, for `plan`.
pub(crate) fn estimate(
    runs_folder: &Path,
    teacher: &Teacher,
    prompts: &[Prompt],
    folder: &Path,
) -> Result<Vec<String>> {
    let estimate = teacher::estimate(prompts, &request(teacher), folder, &runs(runs_folder)?)?;
    let teacher::Estimate { held, adopted, missing, notes } = estimate;
    let names: Vec<&str> = adopted.keys().map(String::as_str).collect();
    let taken_over = match adopted.values().sum::<usize>() {
        0 => String::new(),
        count => format!("{count} would be adopted from {}, ", listed(&names)),
    };
    let line = format!("teacher: {held} replies are held, {taken_over}{missing} would be asked for");
    Ok(std::iter::once(line).chain(notes).collect())
}

/// Adds the replies of one collection to those of others.
pub(super) fn add(sum: &mut BTreeMap<String, usize>, more: BTreeMap<String, usize>) {
    for (place, count) in more {
        *sum.entry(place).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_read_is_no_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert_eq!(folders_in(&at("none")).unwrap(), [] as [PathBuf; 0]);
        std::fs::create_dir_all(at("runs/b")).unwrap();
        std::fs::create_dir_all(at("runs/a")).unwrap();
        std::fs::create_dir_all(at("runs/.embedded")).unwrap();
        std::os::unix::fs::symlink("a", at("runs/link")).unwrap();
        std::fs::write(at("runs/file"), "").unwrap();
        assert_eq!(folders_in(&at("runs")).unwrap(), [at("runs/a"), at("runs/b")]);
        // Whatever the system refuses, it is not "nothing there".
        let error = runs(&at("runs/file")).unwrap_err().to_string();
        assert!(error.contains("cannot list") && error.contains("runs/file"), "{error}");
    }

    #[test]
    fn adopted_replies_are_counted_by_name() {
        let of = |from: &[(&str, usize)]| adopted(&from.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect());
        assert_eq!(of(&[]), "");
        assert_eq!(of(&[("a/b", 2), ("c/d", 3)]), "5 adopted from a/b, c/d");
        assert_eq!(of(&["a", "b", "c", "d", "e"].map(|name| (name, 1))), "5 adopted from a, b, c and 2 more");
    }
}
