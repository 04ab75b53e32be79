//! `r1-distill plan`.

use std::path::Path;

use curate::{JudgeConfig, rows_to_judge};
use records::artifact::ArtifactRecord;
use records::record::Prompt;

use crate::args::RunArgs;
use crate::commands::print;
use crate::error::Result;
use crate::layout;
use crate::recipe::{Recipe, Teacher, TraceSource};
use crate::run::inputs;
use crate::run::options::RunOptions;
use crate::run::plan::{OF_TOKENIZER, Plan, StageState, state};
use crate::run::runtime;
use crate::run::store::{Stage, Store};
use crate::stages::collect::Traces;
use crate::stages::evaluate::measured_teacher;
use crate::stages::prompts::{problems, prompts};
use crate::stages::{preflight, replies};

pub(crate) fn plan(args: &RunArgs) -> Result<()> {
    let (recipe, _) = args.recipe()?;
    let mut options = args.options()?;
    let inputs = inputs::estimate(&recipe, &mut options)?;
    let absent: Vec<&str> = inputs.iter().filter(|input| !input.is_here).map(|input| input.input.as_str()).collect();
    let plan = Plan::new(&recipe, &options, &absent)?;
    let store = Store::open(&options.runs, &recipe.name);
    preflight::inputs(&recipe, &options, &plan, &store, &absent, "report")?;
    print(&format!("{}: {}", recipe.name, recipe.description))?;
    for inputs::InputState { input, words, .. } in &inputs {
        print(&format!("input {input}: {words}"))?;
    }
    // What depends on content that is not here has no fingerprint yet.
    let mut unknown: Vec<String> = absent.iter().map(|name| format!("input {name}")).collect();
    for stage in plan.stages() {
        let state = if stage.inputs.keys().any(|input| is_unknown(&unknown, input)) {
            unknown.push(stage.name.to_owned());
            None
        } else {
            Some(state(&store, stage)?)
        };
        let fingerprint = if state.is_some() { stage.fingerprint()[..8].to_owned() } else { "?".repeat(8) };
        let line = match &state {
            Some(StageState::Cached) => "cached".to_owned(),
            Some(StageState::Runs(why)) => format!("would run: {why}"),
            None => "would run after the download, unless its content is that of an earlier run".to_owned(),
        };
        print(&format!("{}/8 {:<9} {fingerprint}  {line}", stage.number, stage.name))?;
        if state == Some(StageState::Cached) {
            continue;
        }
        print_asked(&store, &plan, &recipe, &options, stage)?;
    }
    Ok(())
}

/// Who would be asked by a stage, and for how much.
fn print_asked(store: &Store, plan: &Plan, recipe: &Recipe, options: &RunOptions, stage: &Stage) -> Result<()> {
    match (stage.name, &recipe.collect, &recipe.evaluate.accuracy, &recipe.curate.judge) {
        ("collect", TraceSource::Teacher(teacher), ..) => {
            print(&format!(
                "              asks {} for {} samples a problem, at most {} tokens each; what is bought is not bought again",
                teacher.model, teacher.samples, teacher.sampling.max_tokens
            ))?;
            print_replies(store, plan, options, teacher, prompts, &store.dir(stage).join(layout::TRACES))
        }
        ("evaluate", TraceSource::Teacher(teacher), Some(accuracy), _) if accuracy.teacher => {
            let (teacher, folder) = (measured_teacher(teacher, accuracy), store.dir(stage).join(layout::TEACHER));
            print_replies(store, plan, options, &teacher, problems, &folder)
        }
        ("curate", _, _, Some(judge)) => print(&format!(
            "              asks {} about {}, at most {} tokens each, once more if a reply cannot be read; what is bought is not \
             bought again",
            judge.model,
            to_judge(store, plan, judge)?,
            judge.sampling.max_tokens
        )),
        _ => Ok(()),
    }
}

/// How many of a teacher's replies are there and would be asked for, where the stage that makes the prompts is done.
fn print_replies(
    store: &Store,
    plan: &Plan,
    options: &RunOptions,
    teacher: &Teacher,
    prompts: impl Fn(&Path) -> Result<Vec<Prompt>>,
    folder: &Path,
) -> Result<()> {
    if !store.is_complete(&plan.prompts)? {
        return Ok(());
    }
    let lines = match replies::estimate(&options.runs, teacher, &prompts(&store.dir(&plan.prompts))?, folder) {
        Ok(lines) => lines,
        Err(error) => vec![format!("what is held cannot be counted: {error}")],
    };
    for line in lines {
        print(&format!("              {line}"))?;
    }
    Ok(())
}

/// Whether an input of a stage is among those, or a part of one.
fn is_unknown(unknown: &[String], input: &str) -> bool {
    unknown.iter().any(|name| input.strip_prefix(OF_TOKENIZER).unwrap_or(input) == name)
}

/// Which traces the judge would be asked about: counted, where a run has left verdicts on the same traces.
fn to_judge(store: &Store, plan: &Plan, judge: &JudgeConfig) -> Result<String> {
    let Some(traces) = store.find::<Traces>(&plan.collect)?.map(|traces| traces.summary.source.traces()) else {
        return Ok(format!("the traces where {}", judge.condition));
    };
    let same = |record: &ArtifactRecord| record.version == plan.curate.version && record.inputs == plan.curate.inputs;
    let Some(earlier) = store.records(plan.curate.name)?.into_iter().find(same) else {
        return Ok(format!("those of {traces} traces where {}", judge.condition));
    };
    let dir = store.dir(&Stage { spec: earlier.spec, ..plan.curate.clone() });
    let rows = runtime()?.block_on(rows_to_judge(&dir, &judge.condition))?;
    Ok(format!("{} of {traces} traces", rows.len()))
}
