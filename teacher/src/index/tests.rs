use std::collections::HashSet;
use std::fs;

use records::record::{FinishReason, Prompt, Sampling, Trace, TraceId};

use super::*;
use crate::adopt::{Runs, estimate};
use crate::ask::{LEDGER_FILE, Request, jobs};

/// A folder of runs with collections in it.
struct Folder {
    dir: tempfile::TempDir,
    prompts: Vec<Prompt>,
}

fn request(max_tokens: u32) -> Request {
    let sampling = Sampling { temperature: 0.6, top_p: 0.95, max_tokens };
    Request { teacher: "t".into(), instruction: String::new(), samples: 1, sampling, seed: 7 }
}

impl Folder {
    fn new() -> Self {
        let prompts = (0..6).map(|n| Prompt::new("math", "", &format!("{n}?"), None, "s")).collect();
        Self { dir: tempfile::tempdir().unwrap(), prompts }
    }

    fn ledger(&self, name: &str) -> PathBuf {
        self.dir.path().join(name).join("traces").join(LEDGER_FILE)
    }

    fn runs(&self) -> Runs {
        let names = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut ledgers: Vec<PathBuf> = names.map(|path| path.join("traces").join(LEDGER_FILE)).collect();
        ledgers.retain(|path| path.exists());
        Runs { root: self.dir.path().to_owned(), ledgers }
    }

    fn reply(&self, n: usize, text: &str, ended: FinishReason, tokens: u32, limit: u32) -> Trace {
        let id = &jobs(&self.prompts, &request(limit)).unwrap()[n].id;
        Trace::new(id.clone(), self.prompts[n].id.clone(), "t", 0)
            .with_text(None, text, ended)
            .with_tokens(None, Some(tokens))
            .with_sampling(request(limit).sampling, Some(1))
    }

    /// A collection that bought finished replies to these prompts.
    fn bought(&self, name: &str, numbers: &[usize]) {
        let traces = numbers.iter().map(|&n| self.reply(n, &format!("{name} {n}"), FinishReason::Stop, 10, 64));
        Ledger::open(&self.ledger(name)).unwrap().insert(&traces.collect::<Vec<_>>()).unwrap();
    }

    /// What a collection holds after taking over what there is: the answers, and what was said.
    fn adopt(&self, name: &str, limit: u32) -> Result<(Vec<String>, Vec<String>)> {
        let mut ledger = Ledger::open(&self.ledger(name))?;
        let (answers, notes) = self.adopt_into(&mut ledger, limit)?;
        self.runs().settle(&self.ledger(name))?;
        Ok((answers, notes))
    }

    fn adopt_into(&self, ledger: &mut Ledger, limit: u32) -> Result<(Vec<String>, Vec<String>)> {
        let request = request(limit);
        let jobs = jobs(&self.prompts, &request)?;
        let ids: Vec<TraceId> = jobs.iter().map(|job| job.id.clone()).collect();
        let mut held = ledger.has(&ids, limit)?;
        let notes = self.runs().adopt(&jobs, limit, &mut held, ledger)?;
        assert_eq!(ledger.has(&ids, limit)?, held);
        let mut answers = Vec::new();
        ledger.visit(&ids, limit, |_, trace| {
            answers.extend(trace.map(|trace| trace.answer));
            Ok(())
        })?;
        Ok((answers, notes))
    }

    fn index(&self) -> PathBuf {
        self.dir.path().join(INDEX_FILE)
    }
}

#[test]
fn replies_are_found_in_other_collections_whatever_their_names() {
    let folder = Folder::new();
    folder.bought("b", &[0, 1]);
    folder.bought("a", &[1, 2]);
    let (answers, notes) = folder.adopt("new", 64).unwrap();
    assert_eq!(answers, ["b 0", "a 1", "a 2"], "of equal ones that of the first by name");
    assert_eq!(notes.len(), 1, "the index was not there: {notes:?}");
    // What is bought later is read on; what is gone is forgotten.
    folder.bought("b", &[3]);
    fs::remove_dir_all(folder.dir.path().join("a")).unwrap();
    let look = estimate(&folder.prompts, &request(64), &folder.dir.path().join("new/traces"), &folder.runs()).unwrap();
    assert_eq!((look.held, look.missing), (3, 2));
    assert_eq!(look.adopted, BTreeMap::from([("b/traces".to_owned(), 1)]));
    let (answers, notes) = folder.adopt("new", 64).unwrap();
    assert_eq!((answers.len(), notes), (4, Vec::new()));
}

#[test]
fn a_limit_is_served_by_what_fits_it() {
    let folder = Folder::new();
    let of = |n, text: &str, ended, tokens, limit| folder.reply(n, text, ended, tokens, limit);
    let mut ledger = Ledger::open(&folder.ledger("a")).unwrap();
    ledger.insert(&[of(0, "whole", FinishReason::Stop, 40, 64), of(1, "cut", FinishReason::Length, 64, 64)]).unwrap();
    ledger.insert(&[of(2, "of 64", FinishReason::Stop, 5, 64)]).unwrap();
    drop(ledger);
    let mut ledger = Ledger::open(&folder.ledger("b")).unwrap();
    ledger.insert(&[of(2, "of 32", FinishReason::Stop, 5, 32), of(2, "of 100", FinishReason::Stop, 5, 100)]).unwrap();
    drop(ledger);
    assert_eq!(folder.adopt("more", 128).unwrap().0, ["whole", "of 32"]);
    assert_eq!(folder.adopt("same", 64).unwrap().0, ["whole", "cut", "of 64"]);
    assert_eq!(folder.adopt("less", 33).unwrap().0, ["of 32"]);
    assert_eq!(folder.adopt("exact", 100).unwrap().0, ["whole", "of 100"]);
}

#[test]
fn an_index_that_is_damaged_is_made_again_and_says_so() {
    let folder = Folder::new();
    folder.bought("a", &[0, 1, 2]);
    folder.adopt("first", 64).unwrap();
    let whole = fs::read(folder.index()).unwrap();
    let mut zeroed = whole.clone();
    zeroed[4096..].fill(0);
    let (half, other) = (whole[..whole.len() / 2].to_vec(), b"this is something else altogether, not SQLite".to_vec());
    for (n, damage) in [zeroed, half, other].into_iter().enumerate() {
        fs::write(folder.index(), damage).unwrap();
        let (answers, notes) = folder.adopt(&format!("after {n}"), 64).unwrap();
        assert_eq!(answers.len(), 3, "{n}");
        assert!(notes[0].contains("was damaged: made again from "), "{n}: {notes:?}");
    }
    // One of another version is made again too.
    Connection::open(folder.index()).unwrap().pragma_update(None, "user_version", 77).unwrap();
    assert_eq!(folder.adopt("later", 64).unwrap().0.len(), 3);
}

#[test]
fn a_ledger_that_was_replaced_or_lost_rows_is_read_anew() {
    let folder = Folder::new();
    folder.bought("a", &[0, 1, 2]);
    folder.adopt("first", 64).unwrap();
    fs::remove_dir_all(folder.dir.path().join("first")).unwrap();
    // A row of the middle: the index does not see it until it wants that very row.
    let connection = Connection::open(folder.ledger("a")).unwrap();
    connection.execute("DELETE FROM replies WHERE number = 2", []).unwrap();
    drop(connection);
    let (answers, notes) = folder.adopt("second", 64).unwrap();
    assert_eq!(answers, ["a 0", "a 2"]);
    assert!(notes[0].contains("1 replies that it held are gone from it"), "{notes:?}");
    // Another file in its place, with as many replies.
    fs::remove_dir_all(folder.dir.path().join("a")).unwrap();
    fs::remove_dir_all(folder.dir.path().join("second")).unwrap();
    folder.bought("a", &[3, 4, 5]);
    assert_eq!(folder.adopt("third", 64).unwrap().0, ["a 3", "a 4", "a 5"]);
}

#[test]
fn a_kill_leaves_the_index_behind_and_never_ahead() {
    let folder = Folder::new();
    folder.bought("a", &[0]);
    folder.adopt("first", 64).unwrap();
    let before = fs::read(folder.index()).unwrap();
    folder.bought("a", &[1, 2]);
    folder.adopt("second", 64).unwrap();
    // As if the second had never come to write it.
    fs::write(folder.index(), before).unwrap();
    fs::remove_dir_all(folder.dir.path().join("second")).unwrap();
    assert_eq!(folder.adopt("third", 64).unwrap().0, ["a 0", "a 1", "a 2"]);
}

#[test]
fn a_neighbour_that_cannot_be_read_is_named_and_costs_nothing_unless_it_has_what_is_wanted() {
    let folder = Folder::new();
    folder.bought("a", &[0, 1]);
    folder.adopt("first", 64).unwrap();
    let locked = Connection::open(folder.ledger("a")).unwrap();
    locked.execute_batch("BEGIN EXCLUSIVE").unwrap();
    // All that it has is held: named.
    let (answers, notes) = folder.adopt("first", 64).unwrap();
    assert_eq!(answers.len(), 2);
    let path = folder.ledger("a").display().to_string();
    assert!(notes.len() == 1 && notes[0].contains(&path) && notes[0].contains("locked"), "{notes:?}");
    // The same where it is only there.
    fs::remove_dir_all(folder.dir.path().join("first")).unwrap();
    let error = folder.adopt("second", 64).unwrap_err().to_string();
    for words in [path.as_str(), "2 of the 6 replies wanted are there", "nothing was asked for"] {
        assert!(error.contains(words), "no {words:?} in: {error}");
    }
    drop(locked);
    assert_eq!(folder.adopt("second", 64).unwrap().0.len(), 2);
    // No ledger at all, and none of this version.
    fs::create_dir_all(folder.ledger("folder")).unwrap();
    fs::create_dir_all(folder.ledger("old").parent().unwrap()).unwrap();
    Connection::open(folder.ledger("old")).unwrap().execute_batch("CREATE TABLE replies (trace_id TEXT)").unwrap();
    let (answers, notes) = folder.adopt("third", 64).unwrap();
    assert_eq!((answers.len(), notes.len()), (2, 2), "{notes:?}");
}

#[test]
fn what_another_run_is_asking_for_is_not_asked_for_too() {
    let folder = Folder::new();
    let mut first = Ledger::open(&folder.ledger("a")).unwrap();
    folder.adopt_into(&mut first, 64).unwrap();
    first.insert(&[folder.reply(0, "a 0", FinishReason::Stop, 10, 64)]).unwrap();
    // What it has is taken over while it runs, what it is asking for is not asked for.
    let error = folder.adopt("b", 64).unwrap_err().to_string();
    let path = folder.ledger("a").display().to_string();
    for words in [path.as_str(), "5 of the 5 replies wanted are being asked for", "wait until that run has ended"] {
        assert!(error.contains(words), "no {words:?} in: {error}");
    }
    // It was killed: its claims are still written down.
    drop(first);
    assert_eq!(folder.adopt("b", 64).unwrap().0, ["a 0"]);
}

#[test]
fn several_runs_use_it_at_once() {
    let folder = Folder::new();
    folder.bought("a", &[0, 1, 2, 3, 4, 5]);
    let folder = &folder;
    let found: HashSet<Vec<String>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|n| scope.spawn(move || folder.adopt(&format!("new {n}"), 64).unwrap().0)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(found, HashSet::from([(0..6).map(|n| format!("a {n}")).collect()]));
}
