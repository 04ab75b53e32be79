//! One run of a recipe: its plan, its options and inputs, the endpoints it asks, and where its results are.

pub(crate) mod endpoints;
pub(crate) mod inputs;
pub(crate) mod options;
pub(crate) mod plan;
pub(crate) mod seeds;
pub(crate) mod store;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use records::artifact::Artifact;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::options::RunOptions;
use self::plan::Plan;
use self::store::{Stage, Store};
use crate::console::{duration, say};
use crate::error::{Failure, Result};
use crate::recipe::Recipe;
use crate::signals::Stop;

/// One run of a recipe.
pub(crate) struct Run {
    /// The recipe.
    pub recipe: Recipe,
    /// Its text, for the report.
    pub recipe_text: String,
    /// How it is run.
    pub options: RunOptions,
    /// Where results are.
    pub store: Store,
    /// Its stages.
    pub plan: Plan,
    /// Those whose results were there already.
    pub cached: Mutex<BTreeSet<&'static str>>,
    /// The last stage to run.
    pub to: String,
    /// For the parts that wait on the network.
    pub runtime: tokio::runtime::Runtime,
    /// Set when the user asks to stop.
    pub stop: Stop,
}

/// Why the pipeline did not come to its last line.
pub(crate) enum Halt {
    /// The stage the user asked for is done.
    Reached,
    /// A stage failed.
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs a stage or finds its result, says so, and halts the pipeline if it was the last one asked for.
pub(crate) fn realize<S: Serialize + DeserializeOwned>(
    run: &Run,
    stage: &Stage,
    describe: impl Fn(&S) -> String,
    build: impl FnOnce(&Path) -> Result<S>,
) -> std::result::Result<Artifact<S>, Halt> {
    let label = format!("{}/8 {:<9}", stage.number, stage.name);
    let (artifact, cached) = run.store.realize(stage, |dir| {
        say(&label);
        build(dir)
    })?;
    if cached {
        run.cached.lock().unwrap_or_else(PoisonError::into_inner).insert(stage.name);
    }
    let seconds = records::artifact::read_record(&artifact.dir)?.map_or(0.0, |record| record.seconds);
    let how = if cached { "cached".to_owned() } else { duration(seconds) };
    say(&format!("{label} {} ({how})", describe(&artifact.summary)));
    if run.to == stage.name { Err(Halt::Reached) } else { Ok(artifact) }
}

/// A runtime for what waits on the network.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("cannot start the runtime: {e}")))
}
