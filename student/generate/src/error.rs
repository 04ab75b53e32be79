use std::path::Path;

/// What went wrong in sampling from a model; where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A model or a request that cannot be used.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// The engine's thread has ended: it cannot take requests any more, and those that it had are lost.
    #[error("the engine has ended; run the same command again")]
    EngineEnded,
    /// The server cannot listen, or was stopped by the system.
    #[error("server: {source}; start it again")]
    Server {
        /// What the system said.
        source: std::io::Error,
    },
    /// The user asked to stop.
    #[error("stopped {after}; run the same command to go on")]
    Stopped {
        /// Where, as in "after 12 samples".
        after: String,
    },
}

/// The result of everything fallible in this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl From<records::Error> for Error {
    fn from(error: records::Error) -> Self {
        Self::Model(error.into())
    }
}

impl Error {
    /// A model folder or file that cannot be used.
    pub(crate) fn model(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        model::Error::model(path, problem, remedy).into()
    }

    /// A setting or request that cannot be carried out.
    pub(crate) fn invalid(what: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        model::Error::invalid(what, problem, remedy).into()
    }
}
