//! What the user is told when something fails, and the exit code that goes with it.

/// Exit codes, documented in `r1-distill --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A stage failed.
    Failed = 1,
    /// The command line, recipe or input cannot be used.
    Usage = 2,
    /// The teacher, the judge or the Hub cannot be reached, or the first two refuse or did not answer everything.
    Teacher = 3,
    /// Stopped by Ctrl-C, SIGTERM or SIGHUP; what was done is kept.
    Interrupted = 130,
}

/// A message and its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// How the process ends.
    pub exit: Exit,
    message: String,
}

impl Failure {
    /// Something the user wrote cannot be used.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// A stage or command failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }

    /// An endpoint does not do what it is there for.
    pub(crate) fn endpoint(message: impl Into<String>) -> Self {
        Self { exit: Exit::Teacher, message: message.into() }
    }

    /// The same, said of something.
    pub(crate) fn about(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// The user asked to stop.
    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self { exit: Exit::Interrupted, message: message.into() }
    }
}

impl From<data::Error> for Failure {
    fn from(error: data::Error) -> Self {
        if matches!(error, data::Error::Stopped) {
            return Self::interrupted(error.to_string());
        }
        let exit = match error {
            data::Error::Invalid { .. } | data::Error::Malformed { .. } => Exit::Usage,
            data::Error::Unreachable { .. } => Exit::Teacher,
            _ => Exit::Failed,
        };
        Self { exit, message: error.to_string() }
    }
}

impl From<student::Error> for Failure {
    fn from(error: student::Error) -> Self {
        match error {
            student::Error::Data(error) => error.into(),
            student::Error::Stopped { .. } => Self::interrupted(error.to_string()),
            student::Error::Model { .. } | student::Error::Invalid { .. } => Self::usage(error.to_string()),
            other => Self::failed(other.to_string()),
        }
    }
}

impl From<teacher::Error> for Failure {
    fn from(error: teacher::Error) -> Self {
        match error {
            teacher::Error::Data(error) => error.into(),
            teacher::Error::Hub { passing: false, .. } => Self::usage(error.to_string()),
            teacher::Error::Stopped { .. } => Self::interrupted(error.to_string()),
            other => Self { exit: Exit::Teacher, message: other.to_string() },
        }
    }
}

/// The result of everything in this crate that a user can see fail.
pub(crate) type Result<T> = std::result::Result<T, Failure>;
