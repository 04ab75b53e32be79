//! `r1-distill plan`.

use crate::cli::RunArgs;
use crate::commands::print;
use crate::error::Result;
use crate::plan::{Outlook, Plan, outlook};
use crate::recipe::TraceSource;
use crate::store::Store;

pub(crate) fn plan(args: &RunArgs) -> Result<()> {
    let (recipe, _) = args.recipe()?;
    let options = args.options();
    let plan = Plan::new(&recipe, &options)?;
    let store = Store::open(&options.runs, &recipe.name);
    print(&format!("{}: {}", recipe.name, recipe.description))?;
    for stage in plan.stages() {
        let fingerprint = &stage.fingerprint()[..8];
        let line = match outlook(&store, stage)? {
            Outlook::Cached => "cached".to_owned(),
            Outlook::Runs(why) => format!("would run: {why}"),
        };
        print(&format!("{}/8 {:<9} {fingerprint}  {line}", stage.number, stage.name))?;
        if stage.name == "collect"
            && let TraceSource::Teacher(teacher) = &recipe.collect
            && outlook(&store, stage)? != Outlook::Cached
        {
            print(&format!(
                "              asks {} for {} samples a problem, at most {} tokens each; what is bought is not bought again",
                teacher.model, teacher.samples, teacher.sampling.max_tokens
            ))?;
        }
    }
    Ok(())
}
