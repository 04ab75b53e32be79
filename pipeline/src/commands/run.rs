//! `r1-distill run`.

use crate::cli::RunArgs;
use crate::commands::{runtime, stop_on_ctrl_c};
use crate::console::say;
use crate::error::Result;
use crate::fetch;
use crate::options::RunOptions;
use crate::plan::Plan;
use crate::recipe::Recipe;
use crate::run::{Run, Stop};
use crate::stages::no_judge;
use crate::store::Store;

pub(crate) fn run(args: &RunArgs, to: Option<String>) -> Result<()> {
    let (recipe, recipe_text) = args.recipe()?;
    let mut options = args.options();
    // Before anything is spent: the device, the inputs and the folder must be usable.
    for device in options.devices() {
        device.open()?;
    }
    fetch::inputs(&recipe, &mut options)?;
    let plan = Plan::new(&recipe, &options, &[])?;
    let store = Store::lock(&options.runs, &recipe.name)?;
    let to = to.unwrap_or_else(|| "report".to_owned());
    if !["prompts", "collect"].contains(&to.as_str()) {
        judge_is_there(&recipe, &options, &store, &plan)?;
    }
    let (runtime, stop) = (runtime()?, Stop::new());
    stop_on_ctrl_c(&runtime, &stop);
    say(&format!("{}: {}", recipe.name, recipe.description));
    crate::run::run(&Run { recipe, recipe_text, options, store, plan, to, runtime, stop })
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
