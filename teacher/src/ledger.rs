//! The durable store of replies: one SQLite file in WAL mode with `synchronous=FULL`, so that a committed group survives
//! `kill -9` and power loss (<https://sqlite.org/pragma.html#pragma_synchronous>).
//!
//! It is opened with an exclusive lock: two runs on one ledger would buy the same traces twice. That also keeps the WAL
//! index in memory, so that the ledger works on network file systems (<https://sqlite.org/wal.html#noshm>).

use std::path::{Path, PathBuf};
use std::time::Duration;

use data::record::Trace;
use rusqlite::{Connection, OptionalExtension, params};

use crate::{Error, Result};

/// The replies bought so far, by trace id.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    connection: Connection,
}

impl Ledger {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|e| data::Error::io("create", folder, e))?;
        let open = || {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(1))?;
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            // A write, so that the lock is taken now and not after the first reply was bought.
            connection.execute_batch(
                "BEGIN IMMEDIATE;
                 CREATE TABLE IF NOT EXISTS replies (
                     trace_id TEXT PRIMARY KEY, prompt_id TEXT NOT NULL, sample INTEGER NOT NULL, json TEXT NOT NULL
                 ) STRICT;
                 COMMIT;",
            )?;
            Ok(connection)
        };
        let connection = open().map_err(|e| Error::ledger(path, &e))?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Which of these ids have a reply, in their order.
    pub(crate) fn has<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Result<Vec<bool>> {
        let read = || {
            let mut statement = self.connection.prepare("SELECT 1 FROM replies WHERE trace_id = ?1")?;
            ids.into_iter().map(|id| statement.exists([id])).collect::<rusqlite::Result<Vec<bool>>>()
        };
        read().map_err(|e| Error::ledger(&self.path, &e))
    }

    /// Commits a group of replies, durably, all or none. An id that is there already keeps its first reply.
    pub(crate) fn insert(&mut self, traces: &[Trace]) -> Result<()> {
        let rows = traces
            .iter()
            .map(|trace| serde_json::to_string(trace).map(|json| (trace, json)))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|e| data::Error::engine("encoding a trace", e))?;
        let mut write = || {
            let transaction = self.connection.transaction()?;
            let sql = "INSERT OR IGNORE INTO replies (trace_id, prompt_id, sample, json) VALUES (?1, ?2, ?3, ?4)";
            let mut statement = transaction.prepare(sql)?;
            for (trace, json) in &rows {
                statement.execute(params![trace.id, trace.prompt_id, trace.sample, json])?;
            }
            drop(statement);
            transaction.commit()
        };
        write().map_err(|e| Error::ledger(&self.path, &e))
    }

    /// Visits the replies of these ids, in their order, one at a time; `None` where there is none.
    pub(crate) fn visit(
        &self,
        ids: &[String],
        mut visitor: impl FnMut(&str, Option<Trace>) -> Result<()>,
    ) -> Result<()> {
        let failed = |e| Error::ledger(&self.path, &e);
        let mut statement = self.connection.prepare("SELECT json FROM replies WHERE trace_id = ?1").map_err(failed)?;
        for id in ids {
            let json: Option<String> = statement.query_row([id], |row| row.get(0)).optional().map_err(failed)?;
            let trace = json.map(|json| serde_json::from_str(&json)).transpose().map_err(|e| {
                let problem = format!("the reply of trace {id} is not a trace: {e}");
                data::Error::malformed(&self.path, problem, "restore it from a copy, or delete that row and run again")
            })?;
            visitor(id, trace)?;
        }
        Ok(())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Copies the replies of these ids from another ledger, those that are not here yet. Returns how many.
    pub(crate) fn adopt<'a>(&mut self, other: &Path, ids: impl IntoIterator<Item = &'a str>) -> Result<usize> {
        // Opened on its own first, so that what is wrong with it is said of it.
        drop(Self::open(other)?);
        let copy = || {
            self.connection.execute("ATTACH ?1 AS other", [other.to_string_lossy()])?;
            let transaction = self.connection.transaction()?;
            transaction.execute_batch("CREATE TEMP TABLE wanted (trace_id TEXT PRIMARY KEY)")?;
            {
                let mut want = transaction.prepare("INSERT OR IGNORE INTO wanted VALUES (?1)")?;
                for id in ids {
                    want.execute([id])?;
                }
            }
            let copied = transaction.execute(
                "INSERT OR IGNORE INTO replies (trace_id, prompt_id, sample, json)
                 SELECT r.trace_id, r.prompt_id, r.sample, r.json FROM wanted JOIN other.replies AS r USING (trace_id)",
                [],
            )?;
            transaction.execute_batch("DROP TABLE wanted")?;
            transaction.commit()?;
            self.connection.execute_batch("DETACH other")?;
            Ok(copied)
        };
        copy().map_err(|e| Error::ledger(&self.path, &e))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use data::record::FinishReason;

    fn trace(id: &str, answer: &str) -> Trace {
        Trace {
            id: id.into(),
            prompt_id: "p".into(),
            sample: 3,
            thinking: Some("β ≤ \u{0} \"x\"\n".into()),
            answer: answer.into(),
            finish_reason: FinishReason::Other,
            prompt_tokens: Some(1),
            completion_tokens: None,
            teacher: "t".into(),
            temperature: Some(0.6),
            top_p: Some(0.95),
            max_tokens: Some(8),
            seed: Some(u64::MAX),
        }
    }

    fn get(ledger: &Ledger, id: &str) -> Option<Trace> {
        let mut found = None;
        ledger
            .visit(&[id.to_owned()], |_, trace| {
                found = trace;
                Ok(())
            })
            .unwrap();
        found
    }

    /// The ids of all replies.
    fn all(ledger: &Ledger) -> HashSet<String> {
        let mut statement = ledger.connection.prepare("SELECT trace_id FROM replies").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }

    fn ids(names: &[&str]) -> HashSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_was_committed_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/ledger.sqlite");
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.insert(&[trace("a", "1"), trace("b", "2")]).unwrap();
        // The first reply stands: the second was bought by mistake, if at all.
        ledger.insert(&[trace("b", "other"), trace("c", "3")]).unwrap();
        drop(ledger);
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(all(&ledger), ids(&["a", "b", "c"]));
        assert_eq!(get(&ledger, "b"), Some(trace("b", "2")));
        assert_eq!(get(&ledger, "d"), None);
        assert_eq!(ledger.has(["d", "a", "b"]).unwrap(), [false, true, true]);
    }

    #[test]
    fn what_a_killed_run_left_is_recovered() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("ledger.sqlite"), dir.path().join("copy.sqlite"));
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.insert(&[trace("a", "1")]).unwrap();
        // The files as a kill would leave them: the ledger is still open, its log not yet folded in.
        std::fs::copy(&path, &copy).unwrap();
        let log = std::fs::read(dir.path().join("ledger.sqlite-wal")).unwrap();
        std::fs::write(dir.path().join("copy.sqlite-wal"), &log).unwrap();
        assert_eq!(all(&Ledger::open(&copy).unwrap()), ids(&["a"]));
    }

    #[test]
    fn one_run_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.sqlite");
        let first = Ledger::open(&path).unwrap();
        let error = Ledger::open(&path).unwrap_err().to_string();
        assert!(error.contains("another run is using it"), "{error}");
        drop(first);
        Ledger::open(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_ledger_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.sqlite");
        std::fs::write(&path, "not a database, but long enough to look at").unwrap();
        let error = Ledger::open(&path).unwrap_err().to_string();
        assert!(error.contains("ledger.sqlite: file is not a database; restore it"), "{error}");

        // A good header over damaged pages.
        std::fs::remove_file(&path).unwrap();
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.insert(&(0..200).map(|n| trace(&n.to_string(), "x")).collect::<Vec<_>>()).unwrap();
        drop(ledger);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096..].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
        let error = Ledger::open(&path).and_then(|ledger| ledger.has(["7"])).unwrap_err().to_string();
        assert!(error.contains("malformed; restore it"), "{error}");
    }

    #[test]
    fn only_wanted_replies_are_adopted_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("it's old.sqlite"), dir.path().join("new.sqlite"));
        let mut ledger = Ledger::open(&old).unwrap();
        ledger.insert(&[trace("a", "1"), trace("b", "2"), trace("c", "3")]).unwrap();
        drop(ledger);
        let mut ledger = Ledger::open(&new).unwrap();
        ledger.insert(&[trace("b", "mine")]).unwrap();
        assert_eq!(ledger.adopt(&old, ["a", "b", "z"]).unwrap(), 1);
        assert_eq!(ledger.adopt(&old, ["a", "b", "z"]).unwrap(), 0);
        assert_eq!(all(&ledger), ids(&["a", "b"]));
        assert_eq!(get(&ledger, "a"), Some(trace("a", "1")));
        assert_eq!(get(&ledger, "b"), Some(trace("b", "mine")));
        assert_eq!(all(&Ledger::open(&old).unwrap()).len(), 3);
    }
}
