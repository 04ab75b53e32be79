//! What a later stage would refuse, found before an earlier one spends anything.

use curate::benchmark_items;
use folder::base::Base;
use records::artifact::Artifact;
use sandbox::Sandbox;
use tokens::chat::ChatFormat;
use tokens::fidelity;

use super::pack::known_tokenizer;
use super::prompts::Prompts;
use crate::error::{Failure, Result};
use crate::options::RunOptions;
use crate::plan::{Plan, STAGES};
use crate::recipe::Recipe;
use crate::run::Run;
use crate::store::{Stage, Store};

/// Reads what of the inputs is known to be needed: the benchmarks' columns, the base's tokenizer, template and context.
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
            known_tokenizer(recipe, options)?;
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

fn check_base(base: &Base, folder: &std::path::Path, sequence_length: usize) -> Result<()> {
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

/// Whether a run up to a stage comes to another one.
fn reaches(to: &str, stage: &str) -> bool {
    let place = |name: &str| STAGES.iter().position(|stage| *stage == name);
    place(to) >= place(stage)
}
