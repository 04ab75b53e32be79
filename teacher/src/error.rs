use std::path::{Path, PathBuf};

/// What went wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a request that `data` refuses.
    #[error(transparent)]
    Data(#[from] records::Error),
    /// The endpoint cannot be used as it is.
    #[error("{url}: {problem}; {remedy}")]
    Endpoint {
        /// The base URL as given.
        url: String,
        /// What is wrong.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// The Hugging Face Hub does not give what an address names.
    #[error("{what}: {problem}; {remedy}")]
    Hub {
        /// The address, or the setting that is wrong.
        what: String,
        /// What is wrong.
        problem: String,
        /// What the user can do.
        remedy: String,
        /// The same request may succeed later.
        passing: bool,
    },
    /// The ledger cannot be used.
    #[error("ledger {}: {problem}; {remedy}", path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        problem: String,
        /// What the user can do.
        remedy: &'static str,
    },
    /// The caller asked to stop.
    #[error("{kept} of {total} replies are kept; run again to ask for the rest")]
    Stopped {
        /// Replies in the ledger.
        kept: usize,
        /// Replies asked for.
        total: usize,
    },
    /// The endpoint answers no request, so that going on would only cost time.
    #[error(
        "{url}: gave up: {problem}; {kept} of {total} replies are kept: \
         mend the endpoint and run again to ask for the rest"
    )]
    GaveUp {
        /// The base URL as given.
        url: String,
        /// The failure that was one too many.
        problem: String,
        /// Replies in the ledger.
        kept: usize,
        /// Replies asked for.
        total: usize,
    },
    /// All was asked for, and some requests failed for good.
    #[error(
        "{failed} requests failed, {kept} replies are kept; the first failure: {first_error}; \
         run again to ask for the missing ones only"
    )]
    Incomplete {
        /// Replies in the ledger.
        kept: usize,
        /// Requests that failed after all attempts.
        failed: usize,
        /// The first failure, with its prompt.
        first_error: String,
    },
}

/// The result of everything fallible in this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What to do about a file that somebody else has locked.
    pub(crate) const IN_USE: &'static str = "another run is using it: wait until that has ended";

    /// An endpoint that cannot be used, by its base URL.
    pub(crate) fn endpoint(url: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Endpoint { url: url.to_owned(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A failure of SQLite's, with the remedy its kind calls for.
    pub(crate) fn ledger(path: &Path, source: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let remedy = match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                "restore it from a copy, or move it away and buy its traces again"
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::IN_USE,
            Some(ErrorCode::DiskFull) => "free some disk space and run again",
            _ => "check that the folder is there and writable",
        };
        Self::Ledger { path: path.to_owned(), problem: source.to_string(), remedy }
    }
}
