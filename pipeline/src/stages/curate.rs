//! Stage 3: verdicts on every trace, and the traces the policy selects.

use std::path::Path;

use data::artifact::Artifact;
use data::curate::Curation;
use data::parquet_file::read_folder;
use data::record::CuratedTrace;
use serde_json::Value;

use super::collect::{Traces, traces};
use super::prompts::{Prompts, prompts};
use super::{number, realize, summary};
use crate::console::say;
use crate::error::Result;
use crate::run::{Halt, Run};

/// Marker: `verdicts/*.parquet` and `curated/*.parquet`.
#[derive(Debug)]
pub(crate) struct Curated;

/// Judges and selects; prints the funnel.
pub(crate) fn stage(
    run: &Run,
    prompts_in: &Artifact<Prompts>,
    traces_in: &Artifact<Traces>,
) -> std::result::Result<Artifact<Curated>, Halt> {
    let describe = |s: &Value| format!("{} of {} traces selected", number(s, "selected"), number(s, "total"));
    realize(run, &run.plan.curate, describe, |dir| {
        let (prompts, traces) = (prompts(&prompts_in.dir)?, traces(&traces_in.dir)?);
        let policy = &run.recipe.curate.policy;
        let curation = run.runtime.block_on(data::curate::curate(&prompts, &traces, policy, dir))?;
        print_funnel(&curation);
        summary(&curation)
    })
}

fn print_funnel(curation: &Curation) {
    say(&format!("    {:<14} {:>10} {:>10}", "rule", "would drop", "remaining"));
    for step in &curation.funnel {
        say(&format!("    {:<14} {:>10} {:>10}", step.rule, step.dropped, step.remaining));
    }
}

/// The selected traces.
pub(crate) fn curated(dir: &Path) -> Result<Vec<CuratedTrace>> {
    Ok(read_folder(&dir.join("curated"))?)
}
