use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Any error of a library.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb, as in "cannot read".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is there but does not hold what it should.
    #[error("{}: {problem}; {remedy}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong in it, with the row or field.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// A request (a recipe section, a query) that cannot be carried out.
    #[error("{what}: {problem}; {remedy}")]
    Invalid {
        /// The recipe field, query or argument.
        what: String,
        /// What is wrong with it.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// What is elsewhere cannot be had now, and may be had later.
    #[error("{what}: {message}")]
    Unreachable {
        /// The address.
        what: String,
        /// What is wrong, and what the user can do.
        message: String,
    },
    /// A library failed (DataFusion, Arrow, Parquet, tokenizers, an encoder).
    #[error("{doing}: {source}")]
    Engine {
        /// What was being done.
        doing: String,
        /// What the library said.
        source: BoxError,
    },
    /// The user asked to stop.
    #[error("nothing of this stage is kept; the same command begins it again")]
    Stopped,
}

/// The result of everything fallible in the crates of `data/`.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An operating-system error, with the verb and the path it was about.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    /// A file whose content cannot be used.
    pub fn malformed(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A field, query or argument that cannot be carried out.
    pub fn invalid(what: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A failure of a library: its error, or a text where it gives no error of its own.
    pub fn engine(doing: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Engine { doing: doing.into(), source: source.into() }
    }
}

/// A value of a recipe that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The field after its tables, as in `curate.policy`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
    /// A name that was probably meant.
    pub meant: Option<String>,
    /// What the user can do.
    pub remedy: String,
    /// What may be named there, for mistakes in names.
    pub choices: Option<String>,
    /// Where in the field's text, in bytes, if a part of it is wrong.
    pub part: Option<Range<usize>>,
}

impl Mistake {
    /// A mistake of a whole value.
    pub fn new(field: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
            meant: None,
            remedy: remedy.into(),
            choices: None,
            part: None,
        }
    }

    /// The same, of a field of this table.
    #[must_use]
    pub fn within(self, table: &str) -> Self {
        Self { field: format!("{table}.{}", self.field), ..self }
    }

    fn advice(&self) -> String {
        let meant = self.meant.as_ref().map(|name| format!("did you mean {name}?"));
        let remedy = Some(self.remedy.clone()).filter(|remedy| !remedy.is_empty());
        meant.into_iter().chain(remedy).chain(self.choices.clone()).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}; {}", self.field, self.problem, self.advice())
    }
}

impl From<Mistake> for Error {
    fn from(mistake: Mistake) -> Self {
        let remedy = mistake.advice();
        Self::Invalid { what: mistake.field, problem: mistake.problem, remedy }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;

    use super::*;

    #[test]
    fn a_failure_of_a_library_keeps_its_error() {
        let error = Error::engine("reading x", io::Error::from(io::ErrorKind::UnexpectedEof));
        assert_eq!(error.to_string(), "reading x: unexpected end of file");
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::UnexpectedEof));
        assert_eq!(Error::engine("drawing", "nothing to draw from").to_string(), "drawing: nothing to draw from");
    }
}
