use std::collections::HashSet;

use records::record::Sampling;

use super::*;

fn trace(id: &str, answer: &str) -> Trace {
    sampled(id, answer, FinishReason::Other, None, 8)
}

fn sampled(id: &str, answer: &str, ended: FinishReason, tokens: Option<u32>, max_tokens: u32) -> Trace {
    Trace::new(TraceId::from_stored(id), PromptId::from_stored("p"), "t", 3)
        .with_text(Some("β ≤ \u{0} \"x\"\n".into()), answer, ended)
        .with_tokens(Some(1), tokens)
        .with_sampling(Sampling { temperature: 0.6, top_p: 0.95, max_tokens }, Some(u64::MAX))
}

fn get(ledger: &Ledger, id: &str, limit: u32) -> Option<Trace> {
    let mut found = None;
    ledger
        .visit(&[TraceId::from_stored(id)], limit, |_, trace| {
            found = trace;
            Ok(())
        })
        .unwrap();
    assert_eq!(has(ledger, &[id], limit).unwrap(), [found.is_some()]);
    found
}

fn has(ledger: &Ledger, names: &[&str], limit: u32) -> Result<Vec<bool>> {
    let ids: Vec<TraceId> = names.iter().map(|&name| TraceId::from_stored(name)).collect();
    ledger.has(&ids, limit)
}

/// The ids of all replies.
fn all(ledger: &Ledger) -> HashSet<TraceId> {
    ledger.entries_after(0, 1000).unwrap().into_iter().map(|entry| entry.trace_id).collect()
}

fn ids(names: &[&str]) -> HashSet<TraceId> {
    names.iter().map(|&name| TraceId::from_stored(name)).collect()
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/ledger.sqlite");
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.insert(&[trace("a", "1"), trace("b", "2")]).unwrap();
    // The first reply stands: the second was bought by mistake, if at all.
    ledger.insert(&[trace("b", "other"), trace("c", "3")]).unwrap();
    let id = ledger.id().unwrap();
    drop(ledger);
    let ledger = Ledger::open(&path).unwrap();
    assert_eq!((all(&ledger), ledger.id().unwrap()), (ids(&["a", "b", "c"]), id));
    assert_eq!(get(&ledger, "b", 8), Some(trace("b", "2")));
    assert_eq!(get(&ledger, "d", 8), None);
    assert_eq!(has(&ledger, &["d", "a", "b"], 8).unwrap(), [false, true, true]);
}

#[test]
fn a_finished_reply_serves_every_limit_it_fits_and_a_cut_one_its_own() {
    use FinishReason::{Length, Other, Stop, Unknown};
    let dir = tempfile::tempdir().unwrap();
    for (ended, tokens, serves) in [
        (Stop, Some(40), [false, true, true, true, true]),
        // One that says nothing of its length may have taken all that it was allowed.
        (Stop, None, [false, false, false, true, true]),
        (Length, Some(100), [false, false, false, true, false]),
        (Other, Some(40), [false, false, false, true, false]),
        (Unknown, Some(40), [false, false, false, true, false]),
    ] {
        let path = dir.path().join(format!("{ended:?}{tokens:?}.sqlite"));
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.insert(&[sampled("a", "x", ended, tokens, 100)]).unwrap();
        let found = [39, 40, 99, 100, 101].map(|limit| get(&ledger, "a", limit).is_some());
        assert_eq!(found, serves, "{ended:?} {tokens:?}");
    }
}

#[test]
fn of_several_that_serve_the_one_of_that_limit_does_then_the_one_of_the_smallest() {
    use FinishReason::{Length, Stop};
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(&dir.path().join("ledger.sqlite")).unwrap();
    for (answer, ended, tokens, limit) in [
        ("of 400", Stop, 30, 400),
        ("cut at 50", Length, 50, 50),
        ("of 200", Stop, 30, 200),
        ("cut at 20", Length, 20, 20),
    ] {
        ledger.insert(&[sampled("a", answer, ended, Some(tokens), limit)]).unwrap();
    }
    let answers = [20, 25, 50, 100, 200, 300, 400, 500].map(|limit| get(&ledger, "a", limit).map(|trace| trace.answer));
    let expected = ["cut at 20", "", "cut at 50", "of 200", "of 200", "of 200", "of 400", "of 200"];
    assert_eq!(answers.map(Option::unwrap_or_default), expected);
}

#[test]
fn what_a_killed_run_left_half_done_is_taken_back_by_whoever_comes_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.insert(&(0..50).map(|n| trace(&n.to_string(), "x")).collect::<Vec<_>>()).unwrap();
    // The files as a kill would leave them: a transaction of which a part is in the file already.
    ledger.connection.execute_batch("PRAGMA cache_size = 1; BEGIN IMMEDIATE; DELETE FROM replies").unwrap();
    ledger.connection.execute_batch("INSERT INTO about SELECT hex(zeroblob(200000))").unwrap();
    for reader in [true, false] {
        let copy = dir.path().join(format!("{reader}.sqlite"));
        std::fs::copy(&path, &copy).unwrap();
        assert!(std::fs::read(&copy).unwrap().len() > 200_000, "nothing of it was written");
        let journal = dir.path().join("ledger.sqlite-journal");
        std::fs::copy(journal, dir.path().join(format!("{reader}.sqlite-journal"))).unwrap();
        let found = if reader { Ledger::read(&copy).unwrap().unwrap() } else { Ledger::open(&copy).unwrap() };
        assert_eq!(all(&found).len(), 50);
    }
}

#[test]
fn one_run_writes_and_others_read_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let mut first = Ledger::open(&path).unwrap();
    first.insert(&[trace("a", "1")]).unwrap();
    let error = Ledger::open(&path).unwrap_err().to_string();
    assert!(error.contains("another run is using it"), "{error}");
    assert!(is_in_use(&path));
    let reader = Ledger::read(&path).unwrap().unwrap();
    first.insert(&[trace("b", "2")]).unwrap();
    assert_eq!(all(&reader), ids(&["a", "b"]));
    drop(first);
    assert!(!is_in_use(&path) && !is_in_use(&dir.path().join("none.sqlite")));
    Ledger::open(&path).unwrap();
}

#[test]
fn a_file_that_is_no_ledger_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    std::fs::write(&path, "not a database, but long enough to look at").unwrap();
    for error in [Ledger::open(&path).unwrap_err(), Ledger::read(&path).unwrap_err()] {
        let error = error.to_string();
        assert!(error.contains("ledger.sqlite: file is not a database; restore it"), "{error}");
    }

    // A good header over damaged pages.
    std::fs::remove_file(&path).unwrap();
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.insert(&(0..200).map(|n| trace(&n.to_string(), "x")).collect::<Vec<_>>()).unwrap();
    drop(ledger);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let error = Ledger::open(&path).and_then(|ledger| has(&ledger, &["7"], 8)).unwrap_err().to_string();
    assert!(error.contains("malformed; restore it"), "{error}");

    // Other tables, as of another version.
    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE replies (trace_id TEXT)").unwrap();
    for error in [Ledger::open(&path).unwrap_err(), Ledger::read(&path).unwrap_err()] {
        assert!(error.to_string().contains("another version of this program"), "{error}");
    }
    // Nothing in it is nothing to read.
    std::fs::write(dir.path().join("empty.sqlite"), "").unwrap();
    assert!(Ledger::read(&dir.path().join("empty.sqlite")).unwrap().is_none());
}

#[test]
fn only_wanted_replies_are_adopted_and_they_say_from_where() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("it's old.sqlite"), dir.path().join("new.sqlite"));
    let mut ledger = Ledger::open(&old).unwrap();
    ledger.insert(&[trace("a", "1"), trace("b", "2"), trace("c", "3")]).unwrap();
    let other = Ledger::read(&old).unwrap().unwrap();
    let mut ledger = Ledger::open(&new).unwrap();
    ledger.insert(&[trace("b", "mine")]).unwrap();
    let [a, b, c, z] = ["a", "b", "c", "z"].map(TraceId::from_stored);
    for _ in 0..2 {
        assert_eq!(
            ledger.adopt(&other, "old", &[(&a, 8), (&b, 8), (&z, 8), (&c, 9)]).unwrap(),
            [true, true, false, false]
        );
    }
    assert_eq!(all(&ledger), ids(&["a", "b"]));
    assert_eq!(get(&ledger, "a", 8), Some(trace("a", "1")));
    assert_eq!(get(&ledger, "b", 8), Some(trace("b", "mine")));
    assert_eq!(ledger.origins([&a, &b, &z], 8).unwrap(), BTreeMap::from([("old".to_owned(), 1)]));
    assert_eq!(all(&other).len(), 3);
}
