//! Stage 3: verdicts on every trace, and the traces the policy selects.

use std::path::Path;

use data::artifact::{Artifact, fingerprint};
use data::curate::{Curation, FunnelStep, Inputs, annotate, benchmark_items, choose};
use data::parquet_file::read_folder;
use data::record::CuratedTrace;
use serde_json::{Value, json};

use super::collect::{Traces, earlier};
use super::prompts::{Prompts, prompts};
use super::{judge, number, realize, summary};
use crate::console::say;
use crate::error::Result;
use crate::run::{Halt, Run};

/// Marker: `verdicts/*.parquet` and `curated/*.parquet`.
#[derive(Debug)]
pub(crate) struct Curated;

/// Judges and selects; prints the funnel.
pub(crate) fn stage(
    run: &Run,
    prompts_in: &Artifact<Prompts>,
    traces_in: &Artifact<Traces>,
) -> std::result::Result<Artifact<Curated>, Halt> {
    let describe = |s: &Value| format!("{} of {} traces selected", number(s, "selected"), number(s, "total"));
    realize(run, &run.plan.curate, describe, |dir| {
        let prompts = prompts(&prompts_in.dir)?;
        let mut items = Vec::new();
        for benchmark in run.recipe.benchmarks() {
            items.extend(benchmark_items(benchmark, &run.options.file(&benchmark.input)?)?);
        }
        let config = &run.recipe.curate;
        // Another policy judges nothing again.
        let spec = json!({
            "near_traces": summary(&config.near_traces)?,
            "contamination": summary(&config.contamination)?,
            "code": summary(&config.code)?,
        });
        let stage = &run.plan.curate;
        let key = fingerprint("rules", stage.version, &spec, &stage.inputs);
        let traces = traces_in.dir.join("traces");
        let inputs = Inputs {
            prompts: &prompts,
            traces: &traces,
            items,
            key: &key,
            earlier: &earlier(run, dir, ""),
            sandboxes: run.options.sandboxes,
        };
        annotate(inputs, config, dir)?;
        let judged = config.judge.as_ref().map(|judge| judge::judge(run, judge, &prompts, &traces, dir)).transpose()?;
        let curation = run.runtime.block_on(choose(&prompts, &traces, config, dir))?;
        print_funnel(&curation);
        let mut result = summary(&curation)?;
        result["judge"] = summary(&judged)?;
        Ok(result)
    })
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

/// The selected traces.
pub(crate) fn curated(dir: &Path) -> Result<Vec<CuratedTrace>> {
    Ok(read_folder(&dir.join("curated"))?)
}
