//! `r1-distill run`.

use std::sync::Mutex;

use crate::args::RunArgs;
use crate::console::say;
use crate::error::Result;
use crate::recipe::Recipe;
use crate::run::Run;
use crate::run::endpoints::no_judge;
use crate::run::inputs;
use crate::run::options::RunOptions;
use crate::run::plan::Plan;
use crate::run::runtime;
use crate::run::store::Store;
use crate::signals;
use crate::signals::Stop;
use crate::stages::preflight;

pub(crate) fn run(args: &RunArgs, to: Option<String>) -> Result<()> {
    let (recipe, recipe_text) = args.recipe()?;
    let run = prepare(recipe, recipe_text, args.options()?, to.unwrap_or_else(|| "report".to_owned()))?;
    say(&format!("{}: {}", run.recipe.name, run.recipe.description));
    crate::pipeline::run(&run)
}

/// Makes a run that can begin. Before anything is spent, the device, the inputs, the judge and the folder must be usable, up
/// to the stage `to`.
pub(crate) fn prepare(recipe: Recipe, recipe_text: String, mut options: RunOptions, to: String) -> Result<Run> {
    for device in options.devices() {
        device.open()?;
    }
    inputs::download_all(&recipe, &mut options)?;
    let plan = Plan::new(&recipe, &options, &[])?;
    let store = Store::lock(&options.runs, &recipe.name)?;
    preflight::inputs(&recipe, &options, &plan, &store, &[], &to)?;
    if let Some(judge) = &recipe.curate.judge
        && options.judge_endpoint.is_none()
        && !["prompts", "collect"].contains(&to.as_str())
        && !store.is_complete(&plan.collect)?
    {
        // Traces that are not there yet cannot have been judged.
        return Err(no_judge(judge));
    }
    // Traces that are paid for are of no use to weights that cannot be trained. Curation needs no weights.
    if let Some(input) = recipe.base_input()
        && !["prompts", "collect", "curate"].contains(&to.as_str())
        && !store.is_complete(&plan.train)?
    {
        recipe.student.base.check_weights(&options.folder(input)?)?;
    }
    let (runtime, stop) = (runtime()?, Stop::new());
    signals::stop_gracefully(
        &stop,
        |heard| Some(format!("stopping ({heard}): saving what is done (at most some seconds; again stops at once)")),
        "stopped: at once; the last checkpoint and all collected traces are kept",
    );
    Ok(Run { recipe, recipe_text, options, store, plan, cached: Mutex::default(), to, runtime, stop })
}
