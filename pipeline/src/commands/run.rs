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
    let mut options = args.options()?;
    // Before anything is spent: the device, the inputs and the folder must be usable.
    for device in options.devices() {
        device.open()?;
    }
    fetch::inputs(&recipe, &mut options)?;
    let plan = Plan::new(&recipe, &options, &[])?;
    let store = Store::lock(&options.runs, &recipe.name)?;
    let to = to.unwrap_or_else(|| "report".to_owned());
    check_inputs(&recipe, &options, &plan, &store, &[], &to)?;
    if !["prompts", "collect"].contains(&to.as_str()) {
        judge_is_there(&recipe, &options, &store, &plan)?;
    }
    // Traces that are paid for are of no use to weights that cannot be trained. Curation needs no weights.
    if let Some(input) = recipe.base_input()
        && !["prompts", "collect", "curate"].contains(&to.as_str())
        && store.find::<()>(&plan.train)?.is_none()
    {
        recipe.student.base.check_weights(&options.folder(input)?)?;
    }
    let (runtime, stop) = (runtime()?, Stop::new());
    signals::stop_gracefully(
        &stop,
        |heard| say(&format!("stopping ({heard}): saving what is done (at most some seconds; again stops at once)")),
        || say("stopped: at once; the last checkpoint and all collected traces are kept"),
    );
    say(&format!("{}: {}", recipe.name, recipe.description));
    crate::run::run(&Run { recipe, recipe_text, options, store, plan, reused: Mutex::default(), to, runtime, stop })
}

/// Refuses a recipe with a judge that cannot be asked, before anything is spent: traces that are not there yet cannot have
/// been judged.
pub(crate) fn judge_is_there(recipe: &Recipe, options: &RunOptions, store: &Store, plan: &Plan) -> Result<()> {
    match &recipe.curate.judge {
        Some(judge) if options.judge_endpoint.is_none() && store.find::<()>(&plan.collect)?.is_none() => {
            Err(no_judge(judge))
        }
        _ => Ok(()),
    }
}
