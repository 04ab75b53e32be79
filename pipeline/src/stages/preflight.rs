//! What a later stage would refuse, found before an earlier one spends anything.

use std::path::Path;

use curate::benchmark_items;
use folder::base::Base;
use generate::engine::Limits;
use generate::evaluate::context;
use records::artifact::Artifact;
use records::record::Prompt;
use sandbox::Sandbox;
use tokens::chat::ChatFormat;
use tokens::fidelity;

use super::prompts::Prompts;
use crate::error::{Failure, Result};
use crate::recipe::Recipe;
use crate::run::Run;
use crate::run::inputs::{base_folder, base_tokenizer};
use crate::run::options::RunOptions;
use crate::run::plan::{Plan, STAGES};
use crate::run::store::{Stage, Store};

/// Sequences that an evaluation decodes together.
const BATCH: usize = 64;

/// Refuses inputs that a later stage would refuse: it reads the benchmarks' columns, the base's tokenizer, template and context.
/// `absent` are the inputs that are still to be downloaded, `to` is the last stage that is run.
pub(crate) fn inputs(
    recipe: &Recipe,
    options: &RunOptions,
    plan: &Plan,
    store: &Store,
    absent: &[&str],
    to: &str,
) -> Result<()> {
    let would_run = |stage: &Stage| Ok::<_, Failure>(reaches(to, stage.name) && !store.is_complete(stage)?);
    let base = recipe.base_input().filter(|name| !absent.contains(name));
    if would_run(&plan.curate)? {
        for benchmark in recipe.benchmarks().filter(|benchmark| !absent.contains(&benchmark.input.as_str())) {
            let of_it = |failure: Failure| failure.about(&format!("the benchmark {:?}", benchmark.name));
            let path = options.file(&benchmark.input)?;
            benchmark_items(benchmark, &path).map_err(|error| of_it(error.into()))?;
        }
        if base.is_some() {
            base_tokenizer(recipe, options)?;
        }
    }
    match base {
        Some(name) if would_run(&plan.pack)? => {
            let folder = options.folder(name)?;
            check_base(&recipe.student.base, &folder, recipe.pack.sequence_length)
        }
        _ => Ok(()),
    }
}

fn check_base(base: &Base, folder: &Path, sequence_length: usize) -> Result<()> {
    fidelity::added_tokens(&ChatFormat::from_dir(folder)?).outcome?;
    let config = base.config(folder)?;
    Ok(base.check_context(&config, "pack.sequence_length", sequence_length)?)
}

/// Makes sure that the programs in the answers of a teacher can be run, before the teacher is asked for them.
pub(crate) fn programs(run: &Run, prompts: &Artifact<Prompts>) -> Result<()> {
    if run.recipe.curate.code.is_none() || !reaches(&run.to, "curate") {
        return Ok(());
    }
    if prompts.summary.tests == 0 {
        return Err(Failure::usage(
            "curate.code: no prompt has tests that programs could be run on; map the file's column of tests in \
             prompts.format.columns.tests, or leave [curate.code] out",
        ));
    }
    Ok(Sandbox::open(1).map(drop)?)
}

/// Whether a run that ends with the stage `to` runs `stage`.
fn reaches(to: &str, stage: &str) -> bool {
    let place = |name: &str| STAGES.iter().position(|stage| *stage == name);
    place(to) >= place(stage)
}

/// Refuses an evaluation that the student's context cannot hold. Asked before training, which would be for nothing.
pub(crate) fn evaluation(run: &Run, problems: &[Prompt], packed: &Path) -> Result<()> {
    let Some(settings) = &run.recipe.evaluate.accuracy else { return Ok(()) };
    let folder = base_folder(&run.recipe, &run.options, packed)?;
    let needed = context(&ChatFormat::from_dir(&folder)?, problems, &settings.protocol)?;
    let base = &run.recipe.student.base;
    let field = "evaluate.accuracy.protocol.sampling.max_tokens with the longest prompt";
    let config = base.config(&folder)?;
    base.check_context(&config, field, needed)?;
    engine_limits(run, needed).fit(&config)?;
    Ok(())
}

/// What the engine of an evaluation may hold, for sequences of so many tokens.
pub(crate) fn engine_limits(run: &Run, context: usize) -> Limits {
    Limits { context, batch: BATCH, cache_bytes: run.options.cache_bytes }
}
