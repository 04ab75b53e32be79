//! Stage 3: verdicts on every trace, and the traces the policy selects.

use std::path::{Path, PathBuf};

use curate::{BalanceLine, Balanced, Curation, FunnelStep, Inputs, Reuse, annotate, benchmark_items, select};
use records::artifact::Artifact;
use records::parquet_file::read_folder;
use records::record::CuratedTrace;
use serde::{Deserialize, Serialize};

use super::collect::{Traces, name};
use super::judge;
use super::judge::JudgeSummary;
use super::prompts::{Prompts, prompts, tests};
use super::replies::folders_in;
use crate::console::say;
use crate::error::{Failure, Result};
use crate::layout;
use crate::run::inputs;
use crate::run::{Halt, Run, realize};

/// The summary of a folder with `verdicts/*.parquet` and `curated/*.parquet`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Curated {
    /// What the policy selected.
    #[serde(flatten)]
    pub curation: Curation,
    /// What the judge did, if the recipe has one.
    pub judge: Option<JudgeSummary>,
}

/// Judges and selects; prints the funnel.
pub(crate) fn stage(
    run: &Run,
    prompts_in: &Artifact<Prompts>,
    traces_in: &Artifact<Traces>,
) -> std::result::Result<Artifact<Curated>, Halt> {
    let describe =
        |Curated { curation, .. }: &Curated| format!("{} of {} traces selected", curation.selected, curation.total);
    let curated = realize(run, &run.plan.curate, describe, |dir| {
        let prompts = prompts(&prompts_in.dir)?;
        let tests = tests(&prompts_in.dir)?;
        let mut items = Vec::new();
        for benchmark in run.recipe.benchmarks() {
            items.extend(benchmark_items(benchmark, &run.options.file(&benchmark.input)?)?);
        }
        let config = &run.recipe.curate;
        let traces = traces_in.dir.join(layout::TRACES);
        let inputs = Inputs {
            prompts: &prompts,
            traces: &traces,
            // The prompts are among what made the traces.
            name: &name(traces_in),
            tests: tests.as_deref(),
            tokenizer: inputs::base_tokenizer(&run.recipe, &run.options)?,
            items,
            earlier: &earlier(run, dir)?,
            sandboxes: run.options.sandboxes,
        };
        print_reuse(&annotate(inputs, config, dir)?);
        let judge = config.judge.as_ref().map(|judge| judge::judge(run, judge, &prompts, &traces, dir)).transpose()?;
        let curation = run.runtime.block_on(select(&prompts, &traces, config, dir))?;
        print_funnel(&curation);
        if let Some(balanced) = &curation.balanced {
            print_quotas(balanced);
        }
        Ok(Curated { curation, judge })
    });
    if matches!(curated, Ok(_) | Err(Halt::Reached)) {
        refuse_nothing(run)?;
    }
    curated
}

/// A selection of nothing is a result, whose verdicts can be asked; but nothing can be made of it.
fn refuse_nothing(run: &Run) -> Result<()> {
    let Some(curated) = run.store.find::<Curated>(&run.plan.curate)? else { return Ok(()) };
    match curated.summary.curation.nothing_selected(&run.recipe.curate) {
        None => Ok(()),
        Some(error) => Err(Failure::usage(format!(
            "{error}: r1-distill sql --run {} \"SELECT * FROM verdicts\"",
            run.store.root.display()
        ))),
    }
}

/// The folders in which earlier runs of this recipe kept what the rules found.
fn earlier(run: &Run, dir: &Path) -> Result<Vec<PathBuf>> {
    let others = folders_in(&run.store.root)?.into_iter().filter(|path| path != dir);
    Ok(others.map(|path| path.join(layout::RULES)).filter(|path| path.is_dir()).collect())
}

/// Says what was judged, where some of it was known from an earlier run or from before a kill.
fn print_reuse(reuse: &[Reuse]) {
    if reuse.iter().all(|group| group.known == 0) {
        return;
    }
    let judged = reuse.iter().filter(|group| group.judged > 0);
    let judged: Vec<String> = judged.map(|group| format!("{} of {} traces", group.group, group.judged)).collect();
    let judged = if judged.is_empty() { "nothing".to_owned() } else { judged.join(", ") };
    say(&format!("    judged: {judged}; the rest is known from before"));
}

fn print_funnel(curation: &Curation) {
    let width = curation.funnel.iter().chain(&curation.others).map(|step| step.rule.chars().count()).max().unwrap_or(0);
    let line =
        |rule: &str, dropped: &str, remaining: &str| say(&format!("    {rule:<width$} {dropped:>10} {remaining:>10}"));
    line("rule", "would drop", "remaining");
    for FunnelStep { rule, dropped, remaining } in &curation.funnel {
        line(rule, &dropped.to_string(), &remaining.to_string());
    }
    // Of those that the policy leaves out, the ones that would make a difference.
    for FunnelStep { rule, dropped, .. } in curation.others.iter().filter(|step| step.dropped > 0) {
        line(rule, &dropped.to_string(), "not applied");
    }
}

fn print_quotas(balanced: &Balanced) {
    let name = |line: &BalanceLine| line.value.clone().unwrap_or_else(|| "not named".to_owned());
    let width = balanced.lines.iter().map(|line| name(line).chars().count()).max().unwrap_or(0).max(balanced.by.len());
    let say_line = |name: &str, numbers: [&str; 4], short: &str| {
        let numbers = numbers.map(|number| format!("{number:>10}")).join(" ");
        say(format!("    {name:<width$} {numbers}  {short}").trim_end());
    };
    say_line(&balanced.by, ["passed", "quota", "kept", "prompts"], "");
    for line in &balanced.lines {
        let quota = line.quota.map_or_else(|| "all".to_owned(), |quota| quota.to_string());
        let short = if line.short() > 0 { format!("short by {}", line.short()) } else { String::new() };
        let numbers = [&line.had.to_string(), &quota, &line.kept.to_string(), &line.prompts.to_string()];
        say_line(&name(line), numbers.map(String::as_str), &short);
    }
}

/// The selected traces.
pub(crate) fn curated(dir: &Path) -> Result<Vec<CuratedTrace>> {
    Ok(read_folder(&dir.join(layout::CURATED))?)
}
