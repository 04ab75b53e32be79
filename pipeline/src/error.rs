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
    /// Stopped by Ctrl-C; what was done is kept.
    Interrupted = 130,
}

/// A message and its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// How the process ends.
    pub exit: Exit,
    message: String,
    /// The message says itself that it is an error.
    is_whole: bool,
}

impl Failure {
    /// Something the user wrote cannot be used.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into(), is_whole: false }
    }

    /// Mistakes in what the user wrote, shown with their lines.
    pub(crate) fn shown(message: String) -> Self {
        Self { exit: Exit::Usage, message, is_whole: true }
    }

    /// As it is written to the terminal.
    pub(crate) fn in_full(&self) -> String {
        match (self.is_whole, self.exit) {
            (true, _) => self.message.clone(),
            (false, Exit::Interrupted) => format!("stopped: {}", self.message),
            (false, _) => format!("error: {}", self.message),
        }
    }

    /// A stage or command failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into(), is_whole: false }
    }

    /// An endpoint does not do what it is there for.
    pub(crate) fn endpoint(message: impl Into<String>) -> Self {
        Self { exit: Exit::Teacher, message: message.into(), is_whole: false }
    }

    /// The same, said of something.
    pub(crate) fn about(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// The user asked to stop.
    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self { exit: Exit::Interrupted, message: message.into(), is_whole: false }
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
        Self { exit, message: error.to_string(), is_whole: false }
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
            other => Self::endpoint(other.to_string()),
        }
    }
}

/// The result of everything in this crate that a user can see fail.
pub(crate) type Result<T> = std::result::Result<T, Failure>;
