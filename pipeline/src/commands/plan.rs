//! `r1-distill plan`.

use crate::cli::RunArgs;
use crate::commands::print;
use crate::error::Result;
use crate::fetch;
use crate::plan::{Outlook, Plan, outlook};
use crate::recipe::TraceSource;
use crate::store::Store;

pub(crate) fn plan(args: &RunArgs) -> Result<()> {
    let (recipe, _) = args.recipe()?;
    let mut options = args.options();
    let inputs = fetch::look(&recipe, &mut options)?;
    let absent: Vec<&str> = inputs.iter().filter(|input| !input.is_here).map(|input| input.input.as_str()).collect();
    let plan = Plan::new(&recipe, &options, &absent)?;
    let store = Store::open(&options.runs, &recipe.name);
    print(&format!("{}: {}", recipe.name, recipe.description))?;
    for fetch::Outlook { input, words, .. } in &inputs {
        print(&format!("input {input}: {words}"))?;
    }
    // What depends on content that is not here has no fingerprint yet.
    let mut unknown: Vec<String> = absent.iter().map(|name| format!("input {name}")).collect();
    for stage in plan.stages() {
        let outlook = if stage.inputs.keys().any(|input| unknown.contains(input)) {
            unknown.push(stage.name.to_owned());
            None
        } else {
            Some(outlook(&store, stage)?)
        };
        let fingerprint = if outlook.is_some() { stage.fingerprint()[..8].to_owned() } else { "?".repeat(8) };
        let line = match &outlook {
            Some(Outlook::Cached) => "cached".to_owned(),
            Some(Outlook::Runs(why)) => format!("would run: {why}"),
            None => "would run after the download, unless its content is that of an earlier run".to_owned(),
        };
        print(&format!("{}/8 {:<9} {fingerprint}  {line}", stage.number, stage.name))?;
        if stage.name == "collect"
            && let TraceSource::Teacher(teacher) = &recipe.collect
            && outlook != Some(Outlook::Cached)
        {
            print(&format!(
                "              asks {} for {} samples a problem, at most {} tokens each; what is bought is not bought again",
                teacher.model, teacher.samples, teacher.sampling.max_tokens
            ))?;
        }
    }
    Ok(())
}
