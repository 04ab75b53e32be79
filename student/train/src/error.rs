use std::path::{Path, PathBuf};

/// What went wrong in a training; where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A model, a checkpoint's files or a setting that cannot be used.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// Loss or gradients stopped being finite: nothing was updated with them.
    #[error("step {step}: {what} is {value}, nothing was updated; {}; the last checkpoint is good", blame(traces, weights.as_deref()))]
    NotFinite {
        /// The optimizer step.
        step: u32,
        /// The loss of a pass, or the gradient norm.
        what: String,
        /// NaN or infinity.
        value: f64,
        /// The traces of the pass, or of the step.
        traces: String,
        /// What is wrong with the weights that it was computed with; `None` if all of them are finite.
        weights: Option<String>,
    },
    /// The loss on held-out traces is not finite.
    #[error("the loss on held-out traces is {value}; {}", blame(traces, weights.as_deref()))]
    HeldOutNotFinite {
        /// NaN or infinity.
        value: f64,
        /// The traces of the pass.
        traces: String,
        /// What is wrong with the weights that it was computed with; `None` if all of them are finite.
        weights: Option<String>,
    },
    /// A step took a weight beyond what a number can hold.
    #[error(
        "after step {step} {problem}; this step is not saved, the last checkpoint is good; lower train.optimizer.learning_rate"
    )]
    BrokenWeights {
        /// The optimizer step.
        step: u32,
        /// Which weight, and how.
        problem: String,
    },
    /// A step was made that could not be written down: most often the disk is full.
    #[error(
        "step {step} cannot be saved in {}: {source}; {kept}; make room there and run the same command to go on",
        dir.display()
    )]
    NotSaved {
        /// The folder of checkpoints.
        dir: PathBuf,
        /// The optimizer step.
        step: u32,
        /// What failed.
        source: Box<Error>,
        /// What there is to go on from.
        kept: String,
    },
    /// The user asked to stop; what was done is kept.
    #[error("stopped {after}; run the same command to go on")]
    Stopped {
        /// Where, as in "after step 12, the checkpoint is saved".
        after: String,
    },
}

/// Where a number that is not finite came from, and what to do: of weights that are broken already no trace is the cause.
fn blame(traces: &str, weights: Option<&str>) -> String {
    match weights {
        None => format!("its traces: {traces}; look at these traces or lower train.optimizer.learning_rate"),
        Some(problem) => {
            format!(
                "the weights were broken before, so no trace is to blame: {problem}; lower train.optimizer.learning_rate"
            )
        }
    }
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
}
