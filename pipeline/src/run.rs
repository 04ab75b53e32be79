//! The whole pipeline. Each line is one row of the table in README.md.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::error::{Failure, Result};
use crate::options::RunOptions;
use crate::plan::Plan;
use crate::recipe::Recipe;
use crate::stages::{collect, curate, evaluate, export, pack, prompts, report, train};
use crate::store::Store;

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
    pub reused: Mutex<BTreeSet<&'static str>>,
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

/// Runs all stages, or those up to `run.to`. What is there already is not made again.
pub(crate) fn run(run: &Run) -> Result<()> {
    match all_stages(run) {
        Ok(()) | Err(Halt::Reached) => Ok(()),
        Err(Halt::Failed(failure)) => Err(failure),
    }
}

fn all_stages(run: &Run) -> std::result::Result<(), Halt> {
    let prompts = prompts::stage(run)?;
    let traces = collect::stage(run, &prompts)?;
    let curated = curate::stage(run, &prompts, &traces)?;
    let packed = pack::stage(run, &curated)?;
    let checkpoint = train::stage(run, &prompts, &packed)?;
    let evaluation = evaluate::stage(run, &prompts, &packed, &checkpoint)?;
    let export = export::stage(run, &curated, &packed, &checkpoint, &evaluation)?;
    report::stage(run, &traces, &curated, &packed, &checkpoint, &evaluation, &export)
}

/// The user's wish to stop, for loops and for futures.
#[derive(Clone)]
pub(crate) struct Stop {
    flag: Arc<AtomicBool>,
    sender: Arc<watch::Sender<bool>>,
}

impl Stop {
    /// Nobody has asked yet.
    pub(crate) fn new() -> Self {
        Self { flag: Arc::default(), sender: Arc::new(watch::channel(false).0) }
    }

    /// Asks to stop.
    pub(crate) fn request(&self) {
        self.flag.store(true, Ordering::Relaxed);
        self.sender.send_replace(true);
    }

    /// Whether somebody asked.
    pub(crate) fn requested(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// For loops.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// For futures.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.sender.subscribe()
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}
