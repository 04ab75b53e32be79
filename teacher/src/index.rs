//! Which ledger holds which reply, over all collections under a folder of runs: one SQLite file there.
//!
//! It is derived from the ledgers and may be deleted. Each is read from its last reply that was seen, before anything is
//! looked up, and what was seen is committed together with the replies, so that a kill leaves the index behind and never
//! ahead. A ledger that is gone is forgotten, one that was replaced is read anew, and an index that is damaged or of
//! another version is made again. What it cannot read now (locked, damaged, not permitted) it still knows from before.
//!
//! A collection that is about to ask claims the ids it lacks, so that two runs at once do not buy the same; a claim counts
//! while its ledger is locked by its run, and so dies with it.
//!
//! One process at a time has the file open, behind a lock of its own that is held for a look-up and not while teachers are
//! asked. Memory holds a chunk of entries, and 8 bytes for each reply that is found.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use records::record::TraceId;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use crate::ledger::{Ledger, SERVES, is_in_use};
use crate::{Error, Result};

/// The index, and the lock of whoever has it open.
pub(crate) const INDEX_FILE: &str = ".replies.sqlite";
const LOCK_FILE: &str = ".replies.lock";

/// Raised when the tables change.
const LAYOUT: i64 = 1;

/// Replies read from a ledger and committed at a time.
const CHUNK: usize = 100_000;

/// How long others may have it: as long as it takes to read some ten million replies anew.
const WAITS: Duration = Duration::from_mins(2);

const TABLES: &str = "
    CREATE TABLE ledgers (
        number INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, id TEXT NOT NULL, seen INTEGER NOT NULL,
        last TEXT NOT NULL
    ) STRICT;
    CREATE TABLE replies (
        trace_id TEXT NOT NULL, max_tokens INTEGER NOT NULL, ledger INTEGER NOT NULL, finished INTEGER NOT NULL,
        tokens INTEGER, PRIMARY KEY (trace_id, max_tokens, ledger)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE claims (
        ledger INTEGER NOT NULL, trace_id TEXT NOT NULL, PRIMARY KEY (ledger, trace_id)
    ) STRICT, WITHOUT ROWID;
";

/// An open index.
pub(crate) struct Index {
    root: PathBuf,
    path: PathBuf,
    connection: Connection,
    /// SQLite found the file damaged.
    damaged: Cell<bool>,
    _lock: File,
}

/// A ledger that cannot be read now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unreadable {
    /// Relative to the folder of runs.
    pub(crate) place: String,
    pub(crate) why: String,
    /// Its replies that are known from before.
    pub(crate) known: i64,
}

/// Where wanted replies are.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Found {
    /// By ledger: which of the wanted ones, and the limit of the reply that serves.
    pub(crate) readable: BTreeMap<String, Vec<(u32, u32)>>,
    /// How many are in ledgers that cannot be read, and in no other.
    pub(crate) unreadable: BTreeMap<String, usize>,
}

/// Opens the index of a folder, lets `work` use it, and once more after it was made again if it turns out damaged. What
/// there is to say of that is added to `notes`.
pub(crate) fn with_index<T>(root: &Path, notes: &mut Vec<String>, work: impl Fn(&Index) -> Result<T>) -> Result<T> {
    let lock = lock(root)?;
    let mut damaged = false;
    let (mut index, was_there) =
        match Index::open(root, lock.try_clone().map_err(|e| records::Error::io("lock", root, e))?) {
            Ok(opened) => opened,
            Err(Opening::Damaged) => {
                damaged = true;
                (Index::make_again(root, &lock)?, true)
            }
            Err(Opening::Failed(error)) => return Err(error),
        };
    let mut done = work(&index);
    if done.is_err() && index.damaged.get() {
        damaged = true;
        drop(index);
        index = Index::make_again(root, &lock)?;
        done = work(&index);
    }
    let done = done?;
    if damaged || !was_there {
        let replies: i64 = index.count("SELECT count(*) FROM replies")?;
        let ledgers: i64 = index.count("SELECT count(*) FROM ledgers")?;
        if damaged || replies > 0 {
            let what = if damaged { "was damaged" } else { "was not there" };
            let path = index.path.display();
            notes.push(format!("the index {path} {what}: made again from {replies} replies in {ledgers} ledgers"));
        }
    }
    Ok(done)
}

/// Why an index cannot be opened.
enum Opening {
    Damaged,
    Failed(Error),
}

impl Index {
    /// Whether it was there is told too.
    fn open(root: &Path, lock: File) -> std::result::Result<(Self, bool), Opening> {
        let path = root.join(INDEX_FILE);
        let open = || {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            connection.pragma_update(None, "journal_mode", "PERSIST")?;
            connection.pragma_update(None, "cache_size", -65_536)?;
            let is_new = version == 0 && tables == 0;
            if is_new {
                connection.execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {LAYOUT}; COMMIT;"))?;
            }
            Ok((connection, is_new, is_new || version == LAYOUT))
        };
        match open() {
            Ok((connection, is_new, true)) => {
                let root = root.to_owned();
                Ok((Self { root, path, connection, damaged: Cell::new(false), _lock: lock }, !is_new))
            }
            Ok((_, _, false)) => Err(Opening::Damaged),
            Err(error) if is_damage(&error) => Err(Opening::Damaged),
            Err(error) => Err(Opening::Failed(Error::ledger(&path, &error))),
        }
    }

    /// Nobody else has it open: they would hold the lock.
    fn make_again(root: &Path, lock: &File) -> Result<Self> {
        for ending in ["", "-journal"] {
            let path = root.join(format!("{INDEX_FILE}{ending}"));
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(records::Error::io("remove", &path, error).into()),
            }
        }
        let lock = lock.try_clone().map_err(|e| records::Error::io("lock", root, e))?;
        match Self::open(root, lock) {
            Ok((index, _)) => Ok(index),
            Err(Opening::Failed(error)) => Err(error),
            Err(Opening::Damaged) => {
                let problem = "it is damaged as soon as it is made".to_owned();
                Err(Error::Ledger { path: root.join(INDEX_FILE), problem, remedy: "check the disk" })
            }
        }
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        if is_damage(error) {
            self.damaged.set(true);
        }
        Error::ledger(&self.path, error)
    }

    fn count(&self, sql: &str) -> Result<i64> {
        self.connection.query_row(sql, [], |row| row.get(0)).map_err(|e| self.failed(&e))
    }

    /// Reads on in these ledgers and in all that it knows. Returns those that cannot be read.
    pub(crate) fn refresh(&self, ledgers: &[String]) -> Result<Vec<Unreadable>> {
        let mut places: Vec<String> = self.ledgers()?.into_values().chain(ledgers.iter().cloned()).collect();
        places.sort();
        places.dedup();
        let mut unreadable = Vec::new();
        for place in places {
            if let Err(error) = self.read_on(&place)? {
                let why = match error {
                    Error::Ledger { problem, .. } => problem,
                    other => other.to_string(),
                };
                let sql = "SELECT count(*) FROM replies JOIN ledgers ON number = ledger WHERE path = ?1";
                let known = self.connection.query_row(sql, [&place], |row| row.get(0)).map_err(|e| self.failed(&e))?;
                unreadable.push(Unreadable { place, why, known });
            }
        }
        Ok(unreadable)
    }

    fn ledgers(&self) -> Result<BTreeMap<i64, String>> {
        let read = || {
            let mut statement = self.connection.prepare("SELECT number, path FROM ledgers")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|e| self.failed(&e))
    }

    /// Takes in what is new in a ledger. The inner result is the ledger's.
    fn read_on(&self, place: &str) -> Result<Result<()>> {
        let path = self.root.join(place);
        let ledger = match path.metadata() {
            Ok(_) => Ledger::read(&path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => return Ok(Err(records::Error::io("read", &path, error).into())),
        };
        let ledger = match ledger {
            Ok(Some(ledger)) => ledger,
            Ok(None) => return self.forget(place).map(Ok),
            Err(error) => return Ok(Err(error)),
        };
        let known = self.known(place)?;
        let stands = known.as_ref().map_or(Ok(false), |(_, id, seen, last)| {
            Ok(*id == ledger.id()? && (*seen == 0 || ledger.trace_at(*seen)?.as_ref() == Some(last)))
        });
        let (number, mut seen) = match (stands, known) {
            (Ok(true), Some((number, _, seen, _))) => (number, seen),
            (Ok(_), _) => {
                let id = match ledger.id() {
                    Ok(id) => id,
                    Err(error) => return Ok(Err(error)),
                };
                self.forget(place)?;
                (self.add(place, &id)?, 0)
            }
            (Err(error), _) => return Ok(Err(error)),
        };
        loop {
            let entries = match ledger.entries_after(seen, CHUNK) {
                Ok(entries) => entries,
                Err(error) => return Ok(Err(error)),
            };
            let Some(last) = entries.last() else { return Ok(Ok(())) };
            let write = || {
                let transaction = self.connection.unchecked_transaction()?;
                let mut insert = transaction.prepare("INSERT OR IGNORE INTO replies VALUES (?1, ?2, ?3, ?4, ?5)")?;
                for entry in &entries {
                    insert.execute(params![
                        entry.trace_id.as_str(),
                        entry.max_tokens,
                        number,
                        entry.finished,
                        entry.tokens
                    ])?;
                }
                drop(insert);
                let sql = "UPDATE ledgers SET seen = ?1, last = ?2 WHERE number = ?3";
                transaction.execute(sql, params![last.number, last.trace_id.as_str(), number])?;
                transaction.commit()
            };
            write().map_err(|e| self.failed(&e))?;
            seen = last.number;
        }
    }

    /// Number, id, last reply's number and trace of a ledger.
    fn known(&self, place: &str) -> Result<Option<(i64, String, i64, TraceId)>> {
        let sql = "SELECT number, id, seen, last FROM ledgers WHERE path = ?1";
        let read = self.connection.query_row(sql, [place], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, crate::ledger::trace_id(row, 3)?))
        });
        read.optional().map_err(|e| self.failed(&e))
    }

    fn add(&self, place: &str, id: &str) -> Result<i64> {
        let sql = "INSERT INTO ledgers (path, id, seen, last) VALUES (?1, ?2, 0, '') RETURNING number";
        self.connection.query_row(sql, [place, id], |row| row.get(0)).map_err(|e| self.failed(&e))
    }

    /// Takes out all it knows of a ledger.
    pub(crate) fn forget(&self, place: &str) -> Result<()> {
        let write = || {
            let transaction = self.connection.unchecked_transaction()?;
            for table in ["replies", "claims"] {
                let sql = format!("DELETE FROM {table} WHERE ledger IN (SELECT number FROM ledgers WHERE path = ?1)");
                transaction.execute(&sql, [place])?;
            }
            transaction.execute("DELETE FROM ledgers WHERE path = ?1", [place])?;
            transaction.commit()
        };
        if self.known(place)?.is_some() { write().map_err(|e| self.failed(&e)) } else { Ok(()) }
    }

    /// Where replies are that serve this limit, in other ledgers than `own`. Of several the one of that very limit, else of
    /// the smallest; of equal ones that of the first ledger by name.
    pub(crate) fn find<'a>(
        &self,
        own: &str,
        wanted: impl Iterator<Item = (u32, &'a TraceId)>,
        limit: u32,
        unreadable: &[Unreadable],
    ) -> Result<Found> {
        let ledgers = self.ledgers()?;
        let sql = format!("SELECT ledger, max_tokens FROM replies WHERE trace_id = ?1 AND {SERVES}");
        let read = || {
            let mut statement = self.connection.prepare(&sql)?;
            let mut found = Found::default();
            for (n, id) in wanted {
                let rows = statement.query_map(params![id.as_str(), limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
                let mut serving = Vec::new();
                for row in rows {
                    let (ledger, of): (i64, u32) = row?;
                    // A reply without its ledger is none.
                    if let Some(place) = ledgers.get(&ledger).filter(|place| *place != own) {
                        let is_unreadable = unreadable.iter().any(|ledger| ledger.place == *place);
                        serving.push((is_unreadable, of != limit, of, place));
                    }
                }
                match serving.into_iter().min() {
                    Some((false, _, of, place)) => found.readable.entry(place.clone()).or_default().push((n, of)),
                    Some((true, _, _, place)) => *found.unreadable.entry(place.clone()).or_default() += 1,
                    None => {}
                }
            }
            Ok(found)
        };
        read().map_err(|e| self.failed(&e))
    }

    /// Claims these ids for a ledger, in place of what it claimed before, unless another run is asking for some of them:
    /// then that run's ledger and their number are returned, and nothing is claimed.
    pub(crate) fn claim(&self, own: &str, ids: &[&TraceId]) -> Result<Option<(String, usize)>> {
        let write = || {
            let transaction = self.connection.unchecked_transaction()?;
            let sql = "SELECT number, path FROM ledgers
                       WHERE path <> ?1 AND EXISTS (SELECT 1 FROM claims WHERE ledger = number) ORDER BY path";
            let others: Vec<(i64, String)> = transaction
                .prepare(sql)?
                .query_map([own], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            for (number, place) in others.into_iter().filter(|(_, place)| is_in_use(&self.root.join(place))) {
                let mut claimed = transaction.prepare("SELECT 1 FROM claims WHERE ledger = ?1 AND trace_id = ?2")?;
                let mut count = 0;
                for id in ids {
                    count += usize::from(claimed.exists(params![number, id.as_str()])?);
                }
                if count > 0 {
                    return Ok(Some((place, count)));
                }
            }
            let number: i64 =
                transaction.query_row("SELECT number FROM ledgers WHERE path = ?1", [own], |row| row.get(0))?;
            transaction.execute("DELETE FROM claims WHERE ledger = ?1", [number])?;
            let mut insert = transaction.prepare("INSERT OR IGNORE INTO claims VALUES (?1, ?2)")?;
            for id in ids {
                insert.execute(params![number, id.as_str()])?;
            }
            drop(insert);
            transaction.commit()?;
            Ok(None)
        };
        write().map_err(|e| self.failed(&e))
    }

    /// Gives up what a ledger claims, and takes in what came of it.
    pub(crate) fn settle(&self, own: &str) -> Result<()> {
        let read = self.read_on(own)?;
        let sql = "DELETE FROM claims WHERE ledger IN (SELECT number FROM ledgers WHERE path = ?1)";
        self.connection.execute(sql, [own]).map_err(|e| self.failed(&e))?;
        read
    }
}

/// What making the file again mends. An error of no kind is one of its tables.
fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown))
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join(LOCK_FILE);
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|e| records::Error::io("open", &path, e))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < WAITS => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::WouldBlock) => {
                let problem = format!("other runs have had it locked for {} seconds", WAITS.as_secs());
                return Err(Error::Ledger { path, problem, remedy: "see which of them hangs, and run again" });
            }
            Err(TryLockError::Error(e)) => return Err(records::Error::io("lock", &path, e).into()),
        }
    }
}

#[cfg(test)]
mod tests;
