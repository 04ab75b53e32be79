//! What the user is told when something fails, and the exit code that goes with it.

/// Exit codes, documented in `r1-distill --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A stage failed, a disk is full, or another run holds what is needed.
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

    /// The system refuses a place that the user named: it cannot be used as it is, unless it is the disk that is full or
    /// fails.
    pub(crate) fn of_place(error: &std::io::Error, message: String) -> Self {
        use std::io::ErrorKind::{
            AlreadyExists, InvalidFilename, IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
        };
        match error.kind() {
            NotFound | PermissionDenied | AlreadyExists | NotADirectory | IsADirectory | InvalidFilename
            | ReadOnlyFilesystem => Self::usage(message),
            _ => Self::failed(message),
        }
    }

    /// A teacher, a judge or the Hub cannot be reached, or refuses.
    pub(crate) fn endpoint(message: impl Into<String>) -> Self {
        Self { exit: Exit::Teacher, message: message.into(), is_whole: false }
    }

    /// The same, with what it is about in front.
    pub(crate) fn about(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// The user asked to stop.
    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self { exit: Exit::Interrupted, message: message.into(), is_whole: false }
    }
}

// Every variant by its name, here and below: what is added has to be decided on.

impl From<records::Error> for Failure {
    fn from(error: records::Error) -> Self {
        use records::Error::{Engine, Invalid, Io, Malformed, Stopped, Unreachable};
        let exit = match &error {
            Io { .. } | Engine { .. } => Exit::Failed,
            Invalid { .. } | Malformed { .. } => Exit::Usage,
            Unreachable { .. } => Exit::Teacher,
            Stopped => Exit::Interrupted,
        };
        Self { exit, message: error.to_string(), is_whole: false }
    }
}

impl From<model::Error> for Failure {
    fn from(error: model::Error) -> Self {
        use model::Error::{Data, Invalid, Model};
        match error {
            Data(error) => error.into(),
            Model { .. } | Invalid { .. } => Self::usage(error.to_string()),
        }
    }
}

impl From<train::Error> for Failure {
    fn from(error: train::Error) -> Self {
        use train::Error::{BrokenWeights, HeldOutNotFinite, Model, NotFinite, NotSaved, Stopped};
        let exit = match error {
            Model(error) => return error.into(),
            NotFinite { .. } | HeldOutNotFinite { .. } | BrokenWeights { .. } | NotSaved { .. } => Exit::Failed,
            Stopped { .. } => Exit::Interrupted,
        };
        Self { exit, message: error.to_string(), is_whole: false }
    }
}

impl From<generate::Error> for Failure {
    fn from(error: generate::Error) -> Self {
        use generate::Error::{EngineEnded, Model, Server, Stopped};
        let exit = match error {
            Model(error) => return error.into(),
            EngineEnded | Server { .. } => Exit::Failed,
            Stopped { .. } => Exit::Interrupted,
        };
        Self { exit, message: error.to_string(), is_whole: false }
    }
}

impl From<teacher::Error> for Failure {
    fn from(error: teacher::Error) -> Self {
        use teacher::Error::{Data, Endpoint, GaveUp, HubRefused, HubUnavailable, Incomplete, Ledger, Stopped};
        let exit = match error {
            Data(error) => return error.into(),
            // The disk is full, another run has it locked, or it is damaged: no matter of the teacher's.
            Ledger { .. } => Exit::Failed,
            HubRefused { .. } => Exit::Usage,
            HubUnavailable { .. } | Endpoint { .. } | GaveUp { .. } | Incomplete { .. } => Exit::Teacher,
            Stopped { .. } => Exit::Interrupted,
        };
        Self { exit, message: error.to_string(), is_whole: false }
    }
}

/// The result of everything in this crate that a user can see fail.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};
    use std::path::PathBuf;

    use super::*;

    fn text() -> String {
        "x".into()
    }

    fn of_data() -> [(records::Error, Exit); 6] {
        let full = Error::from(ErrorKind::StorageFull);
        [
            (records::Error::Io { action: "write", path: PathBuf::new(), source: full }, Exit::Failed),
            (records::Error::engine("x", "y"), Exit::Failed),
            (records::Error::malformed(&PathBuf::new(), "x", "y"), Exit::Usage),
            (records::Error::invalid("x", "y", "z"), Exit::Usage),
            (records::Error::Unreachable { what: text(), message: text() }, Exit::Teacher),
            (records::Error::Stopped, Exit::Interrupted),
        ]
    }

    /// A variant that is added does not compile until it is matched; that each has a line in these tables is counted.
    #[test]
    fn every_variant_of_every_crate_has_its_exit_code() {
        let path = PathBuf::new;
        for (error, exit) in of_data() {
            assert_eq!(Failure::from(error).exit, exit);
        }
        let of_model = || {
            let own = [
                (model::Error::model(&path(), "x", "y"), Exit::Usage),
                (model::Error::invalid("x", "y", "z"), Exit::Usage),
            ];
            own.into_iter().chain(of_data().map(|(error, exit)| (model::Error::Data(error), exit)))
        };
        for (error, exit) in of_model() {
            assert_eq!(Failure::from(error).exit, exit);
        }
        let of_train = [
            (
                train::Error::NotFinite { step: 1, what: text(), value: f64::NAN, traces: text(), weights: None },
                Exit::Failed,
            ),
            (train::Error::HeldOutNotFinite { value: f64::NAN, traces: text(), weights: None }, Exit::Failed),
            (train::Error::BrokenWeights { step: 1, problem: text() }, Exit::Failed),
            (
                train::Error::NotSaved {
                    dir: path(),
                    step: 1,
                    source: Box::new(records::Error::Stopped.into()),
                    kept: text(),
                },
                Exit::Failed,
            ),
            (train::Error::Stopped { after: text() }, Exit::Interrupted),
        ];
        for (error, exit) in of_train.into_iter().chain(of_model().map(|(error, exit)| (error.into(), exit))) {
            assert_eq!(Failure::from(error).exit, exit);
        }
        let of_generate = [
            (generate::Error::EngineEnded, Exit::Failed),
            (generate::Error::Server { source: ErrorKind::Other.into() }, Exit::Failed),
            (generate::Error::Stopped { after: text() }, Exit::Interrupted),
        ];
        for (error, exit) in of_generate.into_iter().chain(of_model().map(|(error, exit)| (error.into(), exit))) {
            assert_eq!(Failure::from(error).exit, exit);
        }
        let of_teacher = [
            (teacher::Error::Endpoint { url: text(), problem: text(), remedy: text() }, Exit::Teacher),
            (teacher::Error::HubUnavailable { what: text(), problem: text(), remedy: text() }, Exit::Teacher),
            (teacher::Error::HubRefused { what: text(), problem: text(), remedy: text() }, Exit::Usage),
            (teacher::Error::Ledger { path: path(), problem: text(), remedy: "" }, Exit::Failed),
            (teacher::Error::Stopped { kept: 0, total: 1 }, Exit::Interrupted),
            (teacher::Error::GaveUp { url: text(), problem: text(), kept: 0, total: 1 }, Exit::Teacher),
            (teacher::Error::Incomplete { kept: 0, failed: 1, first_error: text() }, Exit::Teacher),
        ];
        let wrapped = of_data().map(|(error, exit)| (teacher::Error::Data(error), exit));
        for (error, exit) in of_teacher.into_iter().chain(wrapped) {
            assert_eq!(Failure::from(error).exit, exit);
        }
    }

    #[test]
    fn a_place_that_cannot_be_used_is_the_users_and_a_full_disk_is_not() {
        for (kind, exit) in [
            (ErrorKind::NotADirectory, Exit::Usage),
            (ErrorKind::PermissionDenied, Exit::Usage),
            (ErrorKind::StorageFull, Exit::Failed),
            (ErrorKind::QuotaExceeded, Exit::Failed),
            (ErrorKind::Other, Exit::Failed),
        ] {
            assert_eq!(Failure::of_place(&kind.into(), text()).exit, exit, "{kind}");
        }
    }
}
