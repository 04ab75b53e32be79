//! The stages, one file each. A stage takes the artifacts of those before it, so that leaving one out or swapping two
//! does not compile; its work is done by the crates below.

pub(crate) mod collect;
pub(crate) mod curate;
pub(crate) mod evaluate;
pub(crate) mod export;
pub(crate) mod pack;
pub(crate) mod prompts;
pub(crate) mod replies;
pub(crate) mod report;
pub(crate) mod train;

mod card;
mod judge;
mod preflight;
mod teacher_access;

use std::path::Path;
use std::sync::PoisonError;

pub(crate) use preflight::inputs as check_inputs;
use records::artifact::Artifact;
use serde::Serialize;
use serde::de::DeserializeOwned;
pub(crate) use teacher_access::no_judge;

use crate::console::{duration, say};
use crate::error::Result;
use crate::run::{Halt, Run};
use crate::store::Stage;

/// Runs a stage or finds its result, says so, and halts the pipeline if it was the last one asked for.
fn realize<S: Serialize + DeserializeOwned>(
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
        run.reused.lock().unwrap_or_else(PoisonError::into_inner).insert(stage.name);
    }
    let seconds = records::artifact::read_record(&artifact.dir)?.map_or(0.0, |record| record.seconds);
    let how = if cached { "cached".to_owned() } else { duration(seconds) };
    say(&format!("{label} {} ({how})", describe(&artifact.summary)));
    if run.to == stage.name { Err(Halt::Reached) } else { Ok(artifact) }
}
