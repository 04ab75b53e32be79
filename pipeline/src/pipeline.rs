//! The whole pipeline. Each line is one row of the table in README.md.

use crate::error::Result;
use crate::run::{Halt, Run};
use crate::stages::{collect, curate, evaluate, export, pack, prompts, report, train};

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
