use std::path::{Path, PathBuf};

/// What went wrong with a model; where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, record or template problem from the data side.
    #[error(transparent)]
    Data(#[from] records::Error),
    /// A model folder that cannot be loaded.
    #[error("{}: {problem}; {remedy}", path.display())]
    Model {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// A setting that cannot be carried out.
    #[error("{what}: {problem}; {remedy}")]
    Invalid {
        /// The recipe field or argument.
        what: String,
        /// What is wrong with it.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
}

/// The result of everything fallible in this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A model folder or file that cannot be loaded.
    pub fn model(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Model { path: path.to_owned(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A setting that cannot be carried out.
    pub fn invalid(what: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), problem: problem.into(), remedy: remedy.into() }
    }
}
