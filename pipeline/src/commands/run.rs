//! `r1-distill run`.

use crate::cli::RunArgs;
use crate::commands::runtime;
use crate::console::say;
use crate::error::Result;
use crate::fetch;
use crate::plan::Plan;
use crate::run::{Run, Stop};
use crate::signals;
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
    if let Some(judge) = &recipe.curate.judge
        && options.judge_endpoint.is_none()
        && !["prompts", "collect"].contains(&to.as_str())
        && store.find::<()>(&plan.collect)?.is_none()
    {
        // Traces that are not there yet cannot have been judged.
        return Err(no_judge(judge));
    }
    let (runtime, stop) = (runtime()?, Stop::new());
    signals::stop_gracefully(
        &stop,
        |heard| Some(format!("stopping ({heard}): saving what is done (at most some seconds; again stops at once)")),
        "stopped: at once; the last checkpoint and all collected traces are kept",
    );
    say(&format!("{}: {}", recipe.name, recipe.description));
    crate::run::run(&Run { recipe, recipe_text, options, store, plan, to, runtime, stop })
}
