//! The durable store of replies: one SQLite file. A group of replies is committed with `synchronous=FULL`, so that it
//! survives `kill -9` and power loss (<https://sqlite.org/pragma.html#pragma_synchronous>).
//!
//! A reply is known by its trace's id and by the token limit it was sampled under: the limit decides nothing but where a
//! text is cut off. So a reply that came to its own end serves every limit that its tokens fit (one of unknown length: its
//! own limit and higher ones), and any other serves its own limit only. Where several serve, the one of that very limit
//! does, else the one of the smallest.
//!
//! One run writes, many read. A file beside it (`.lock`) is locked for as long as a run writes to it: two would buy the
//! same traces twice. Readers take SQLite's own locks, for one chunk of rows at a time. The file has a rollback journal
//! and no write-ahead log, because a log that several processes read needs memory that they share, which network file
//! systems do not offer (<https://sqlite.org/wal.html#noshm>). The price: 1,600 replies of 20 KB a second instead of
//! 4,500, where a teacher writes some tens.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use records::record::{FinishReason, PromptId, Trace, TraceId};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::{Error, Result};

/// How long a writer waits for readers, which take no longer than a chunk of rows.
const WRITER_WAITS: Duration = Duration::from_secs(10);

/// How long a reader waits for the writer's commit.
const READER_WAITS: Duration = Duration::from_secs(2);

/// How long the lock is asked for: whoever looks whether it is held holds it for a moment.
const LOCK_WAITS: Duration = Duration::from_secs(1);

/// Raised when the tables change.
const LAYOUT: i64 = 2;

/// Replies that are copied in one commit, and so are in memory together: whichever comes first.
const COPY_ROWS: usize = 10_000;
const COPY_BYTES: usize = 32 << 20;

const TABLES: &str = "
    CREATE TABLE about (id TEXT NOT NULL) STRICT;
    INSERT INTO about VALUES (lower(hex(randomblob(8))));
    CREATE TABLE replies (
        number INTEGER PRIMARY KEY AUTOINCREMENT, trace_id TEXT NOT NULL, max_tokens INTEGER NOT NULL,
        finished INTEGER NOT NULL, tokens INTEGER, prompt_id TEXT NOT NULL, sample INTEGER NOT NULL, origin TEXT,
        json TEXT NOT NULL, UNIQUE (trace_id, max_tokens)
    ) STRICT;
";

/// Whether a reply serves the limit `?2`, and which of several does.
pub(crate) const SERVES: &str = "(max_tokens = ?2 OR (finished AND coalesce(tokens, max_tokens) <= ?2))";
pub(crate) const BEST: &str = "max_tokens <> ?2, max_tokens";

const INSERT: &str =
    "INSERT OR IGNORE INTO replies (trace_id, max_tokens, finished, tokens, prompt_id, sample, origin, json)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// The replies of one collection.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    connection: Connection,
    _lock: Option<File>,
}

/// What the index keeps of a reply.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    /// Counts the ledger's replies; never used again.
    pub(crate) number: i64,
    pub(crate) trace_id: TraceId,
    pub(crate) max_tokens: u32,
    pub(crate) finished: bool,
    pub(crate) tokens: Option<u32>,
}

/// A reply on its way from one ledger to another.
struct Copied {
    id: TraceId,
    limit: u32,
    finished: bool,
    tokens: Option<u32>,
    prompt_id: PromptId,
    sample: u32,
    json: String,
}

impl Ledger {
    /// Opens the file to write to it, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|e| records::Error::io("create", folder, e))?;
        let lock = lock(path)?;
        let open = || {
            let connection = Connection::open(path)?;
            connection.busy_timeout(WRITER_WAITS)?;
            let layout = layout(&connection)?;
            if layout == Layout::Other {
                return Ok((connection, layout));
            }
            connection.pragma_update(None, "journal_mode", "PERSIST")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            // A write, so that what stands in the way of one is told now and not after the first reply was bought.
            connection.execute_batch("BEGIN IMMEDIATE")?;
            if layout == Layout::Empty {
                connection.execute_batch(TABLES)?;
            }
            connection.pragma_update(None, "user_version", LAYOUT)?;
            connection.execute_batch("COMMIT")?;
            Ok((connection, layout))
        };
        let (connection, layout) = open().map_err(|e| Error::ledger(path, &e))?;
        layout.check(path)?;
        Ok(Self { path: path.to_owned(), connection, _lock: Some(lock) })
    }

    /// Opens the file to read from it, whoever else does; `None` if there is nothing in it yet.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let open = || {
            // What a killed writer left half done is taken back, which is a write.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(READER_WAITS)?;
            let layout = layout(&connection)?;
            Ok((connection, layout))
        };
        let (connection, layout) = open().map_err(|e| Error::ledger(path, &e))?;
        layout.check(path)?;
        Ok((layout == Layout::Ours).then(|| Self { path: path.to_owned(), connection, _lock: None }))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        Error::ledger(&self.path, error)
    }

    /// Which of these ids have a reply that serves this limit, in their order.
    pub(crate) fn has<'a>(&self, ids: impl IntoIterator<Item = &'a TraceId>, limit: u32) -> Result<Vec<bool>> {
        let read = || {
            let sql = format!("SELECT 1 FROM replies WHERE trace_id = ?1 AND {SERVES}");
            let mut statement = self.connection.prepare(&sql)?;
            ids.into_iter()
                .map(|id| statement.exists(params![id.as_str(), limit]))
                .collect::<rusqlite::Result<Vec<bool>>>()
        };
        read().map_err(|e| self.failed(&e))
    }

    /// Commits a group of replies, durably, all or none. One that is there already, of the same limit, keeps its text.
    pub(crate) fn insert(&mut self, traces: &[Trace]) -> Result<()> {
        let mut rows = Vec::with_capacity(traces.len());
        for trace in traces {
            let json = serde_json::to_string(trace).map_err(|e| records::Error::engine("encoding a trace", e))?;
            let limit = trace.max_tokens.ok_or_else(|| {
                let problem = format!("trace {} was asked for without a token limit", trace.id);
                records::Error::invalid("a reply", problem, "ask with one")
            })?;
            rows.push((trace, limit, json));
        }
        let mut write = || {
            let transaction = self.connection.transaction()?;
            let mut statement = transaction.prepare(INSERT)?;
            for (trace, limit, json) in &rows {
                let Trace { id, prompt_id, sample, completion_tokens, .. } = trace;
                let finished = trace.finish_reason == FinishReason::Stop;
                statement.execute(params![
                    id.as_str(),
                    limit,
                    finished,
                    completion_tokens,
                    prompt_id.as_str(),
                    sample,
                    None::<&str>,
                    json
                ])?;
            }
            drop(statement);
            transaction.commit()
        };
        write().map_err(|e| Error::ledger(&self.path, &e))
    }

    /// Visits the replies of these ids that serve this limit, in their order, one at a time; `None` where none does.
    pub(crate) fn visit(
        &self,
        ids: &[TraceId],
        limit: u32,
        mut visitor: impl FnMut(&TraceId, Option<Trace>) -> Result<()>,
    ) -> Result<()> {
        let failed = |e| self.failed(&e);
        let sql = format!("SELECT json FROM replies WHERE trace_id = ?1 AND {SERVES} ORDER BY {BEST} LIMIT 1");
        let mut statement = self.connection.prepare(&sql).map_err(failed)?;
        for id in ids {
            let json: Option<String> =
                statement.query_row(params![id.as_str(), limit], |row| row.get(0)).optional().map_err(failed)?;
            let trace = json.map(|json| serde_json::from_str(&json)).transpose().map_err(|e| {
                let problem = format!("the reply of trace {id} is not a trace: {e}");
                records::Error::malformed(
                    &self.path,
                    problem,
                    "restore it from a copy, or delete that row and run again",
                )
            })?;
            visitor(id, trace)?;
        }
        Ok(())
    }

    /// From which other collections the replies came that serve these ids, with their number.
    pub(crate) fn origins<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a TraceId>,
        limit: u32,
    ) -> Result<BTreeMap<String, usize>> {
        let read = || {
            let sql = format!("SELECT origin FROM replies WHERE trace_id = ?1 AND {SERVES} ORDER BY {BEST} LIMIT 1");
            let mut statement = self.connection.prepare(&sql)?;
            let mut origins = BTreeMap::new();
            for id in ids {
                let origin: Option<Option<String>> =
                    statement.query_row(params![id.as_str(), limit], |row| row.get(0)).optional()?;
                if let Some(origin) = origin.flatten() {
                    *origins.entry(origin).or_default() += 1;
                }
            }
            Ok(origins)
        };
        read().map_err(|e| self.failed(&e))
    }

    /// Copies replies from another ledger, known by id and their very limit; `origin` says where that is. Returns which of
    /// them were there.
    pub(crate) fn adopt(&mut self, other: &Self, origin: &str, wanted: &[(&TraceId, u32)]) -> Result<Vec<bool>> {
        let sql =
            "SELECT finished, tokens, prompt_id, sample, json FROM replies WHERE trace_id = ?1 AND max_tokens = ?2";
        let failed = |e| other.failed(&e);
        let mut statement = other.connection.prepare(sql).map_err(failed)?;
        let mut there = Vec::with_capacity(wanted.len());
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for (id, limit) in wanted {
            let copy = |row: &rusqlite::Row<'_>| {
                let (id, limit) = ((*id).clone(), *limit);
                let prompt_id = PromptId::from_stored(row.get::<_, Box<str>>(2)?);
                let (finished, tokens, sample) = (row.get(0)?, row.get(1)?, row.get(3)?);
                Ok(Copied { id, limit, finished, tokens, prompt_id, sample, json: row.get(4)? })
            };
            let row = statement.query_row(params![id.as_str(), limit], copy).optional().map_err(failed)?;
            there.push(row.is_some());
            bytes += row.as_ref().map_or(0, |row| row.json.len());
            rows.extend(row);
            if rows.len() >= COPY_ROWS || bytes >= COPY_BYTES {
                self.insert_copies(&rows, origin)?;
                rows.clear();
                bytes = 0;
            }
        }
        self.insert_copies(&rows, origin)?;
        Ok(there)
    }

    fn insert_copies(&mut self, rows: &[Copied], origin: &str) -> Result<()> {
        let mut write = || {
            let transaction = self.connection.transaction()?;
            let mut statement = transaction.prepare(INSERT)?;
            for Copied { id, limit, finished, tokens, prompt_id, sample, json } in rows {
                statement.execute(params![
                    id.as_str(),
                    limit,
                    finished,
                    tokens,
                    prompt_id.as_str(),
                    sample,
                    origin,
                    json
                ])?;
            }
            drop(statement);
            transaction.commit()
        };
        if rows.is_empty() { Ok(()) } else { write().map_err(|e| Error::ledger(&self.path, &e)) }
    }

    /// A name of its own, by which a copy or another file in its place is told from it.
    pub(crate) fn id(&self) -> Result<String> {
        self.connection.query_row("SELECT id FROM about", [], |row| row.get(0)).map_err(|e| self.failed(&e))
    }

    /// The trace of a reply's number.
    pub(crate) fn trace_at(&self, number: i64) -> Result<Option<TraceId>> {
        let sql = "SELECT trace_id FROM replies WHERE number = ?1";
        self.connection.query_row(sql, [number], |row| trace_id(row, 0)).optional().map_err(|e| self.failed(&e))
    }

    /// The next replies after that number, in order.
    pub(crate) fn entries_after(&self, number: i64, most: usize) -> Result<Vec<Entry>> {
        let read = || {
            let sql = "SELECT number, trace_id, max_tokens, finished, tokens FROM replies WHERE number > ?1
                       ORDER BY number LIMIT ?2";
            let mut statement = self.connection.prepare(sql)?;
            let entry = |row: &rusqlite::Row<'_>| {
                Ok(Entry {
                    number: row.get(0)?,
                    trace_id: trace_id(row, 1)?,
                    max_tokens: row.get(2)?,
                    finished: row.get(3)?,
                    tokens: row.get(4)?,
                })
            };
            statement.query_map(params![number, most as i64], entry)?.collect::<rusqlite::Result<Vec<Entry>>>()
        };
        read().map_err(|e| self.failed(&e))
    }
}

/// The id of a trace in a column of a row.
pub(crate) fn trace_id(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<TraceId> {
    row.get::<_, Box<str>>(column).map(TraceId::from_stored)
}

/// What a file's tables are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Layout {
    Empty,
    Ours,
    Other,
}

impl Layout {
    fn check(self, path: &Path) -> Result<()> {
        match self {
            Self::Empty | Self::Ours => Ok(()),
            Self::Other => Err(Error::Ledger {
                path: path.to_owned(),
                problem: "it was made by another version of this program, which named requests otherwise".to_owned(),
                remedy: "move it away, or read it with that version",
            }),
        }
    }
}

fn layout(connection: &Connection) -> rusqlite::Result<Layout> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (version, tables) {
        (LAYOUT, 1..) => Layout::Ours,
        (0, 0) => Layout::Empty,
        _ => Layout::Other,
    })
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".lock");
    name.into()
}

fn lock(path: &Path) -> Result<File> {
    let place = lock_path(path);
    let file = File::options().write(true).create(true).truncate(false).open(&place);
    let file = file.map_err(|e| records::Error::io("open", &place, e))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_WAITS => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                let problem = "it is in use".to_owned();
                return Err(Error::Ledger { path: path.to_owned(), problem, remedy: Error::IN_USE });
            }
            Err(TryLockError::Error(e)) => return Err(records::Error::io("lock", &place, e).into()),
        }
    }
}

/// Whether a run writes to the ledger at this path. Where that cannot be told, one may.
pub(crate) fn is_in_use(path: &Path) -> bool {
    match File::open(lock_path(path)) {
        Ok(file) => file.try_lock_shared().is_err(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests;
