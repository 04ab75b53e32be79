//! `r1-distill run`.

use std::sync::Mutex;

use crate::cli::RunArgs;
use crate::commands::runtime;
use crate::console::say;
use crate::error::Result;
use crate::fetch;
use crate::options::RunOptions;
use crate::plan::Plan;
use crate::recipe::Recipe;
use crate::run::{Run, Stop};
use crate::signals;
use crate::stages::{check_inputs, no_judge};
use crate::store::Store;

pub(crate) fn run(args: &RunArgs, to: Option<String>) -> Result<()> {
    let (recipe, recipe_text) = args.recipe()?;
    let run = prepare(recipe, recipe_text, args.options()?, to.unwrap_or_else(|| "report".to_owned()))?;
    say(&format!("{}: {}", run.recipe.name, run.recipe.description));
    crate::run::run(&run)
}

/// Makes a run that can begin. Before anything is spent, the device, the inputs, the judge and the folder must be usable, up
/// to the stage `to`.
pub(crate) fn prepare(recipe: Recipe, recipe_text: String, mut options: RunOptions, to: String) -> Result<Run> {
    for device in options.devices() {
        device.open()?;
    }
    fetch::inputs(&recipe, &mut options)?;
    let plan = Plan::new(&recipe, &options, &[])?;
    let store = Store::lock(&options.runs, &recipe.name)?;
    check_inputs(&recipe, &options, &plan, &store, &[], &to)?;
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
    Ok(Run { recipe, recipe_text, options, store, plan, reused: Mutex::default(), to, runtime, stop })
}
