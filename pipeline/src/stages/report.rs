//! Stage 8: `report.html` and `report.md`, one page that shows the whole run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::PoisonError;

use curate::Curation;
use folder::export::ExportSummary;
use records::artifact::{Artifact, read_record, write_bytes};
use records::parquet_file::{read_folder, read_records};
use records::record::{Prompt, PromptId, Sample, Trace, TraceId, Verdict};
use serde::{Deserialize, Serialize};
use train::metrics;

use super::collect::{Source, Traces, traces};
use super::curate::Curated;
use super::evaluate::{Evaluation, Measured};
use super::export::{Exported, rounding_in_words};
use super::pack::Packed;
use super::prompts;
use super::replies::adopted;
use super::train::Checkpoint;
use crate::console::today;
use crate::error::{Failure, Result};
use crate::layout;
use crate::report::number::counted;
use crate::report::{
    AccuracyRow, Check, Export, ExportFile, FunnelRow, HeldOutLoss, InputRow, KindRow, LengthSeries, RunReport,
    SampleTrace, StageRow, TrainingCurve, TrainingPoint, html_page, markdown,
};
use crate::run::{Halt, Run, realize};

/// The summary of a folder with `report.html` and `report.md`.
#[derive(Debug, Serialize, Deserialize)]
struct Report {}

/// Traces shown in full.
const SAMPLES: usize = 12;

/// Writes both pages.
pub(crate) fn stage(
    run: &Run,
    traces_in: &Artifact<Traces>,
    curated: &Artifact<Curated>,
    packed: &Artifact<Packed>,
    checkpoint: &Artifact<Checkpoint>,
    evaluation: &Artifact<Evaluation>,
    exported: &Artifact<Exported>,
) -> std::result::Result<(), Halt> {
    let describe = |_: &Report| format!("{}/report/report.html", run.store.root.display());
    realize(run, &run.plan.report, describe, |dir| {
        let (curation, measured) = (&curated.summary.curation, &evaluation.summary.measured);
        let notes = notes(&traces_in.summary, &curated.summary, &packed.summary, &evaluation.summary);
        let all = traces(&traces_in.dir)?;
        let verdicts: Vec<Verdict> = read_folder(&curated.dir.join(layout::VERDICTS))?;
        let selected = selected(&curated.dir)?;
        let (lengths, unit) = lengths(&all, &selected);
        let report = RunReport {
            name: run.recipe.name.clone(),
            recipe_text: run.recipe_text.clone(),
            date: today(),
            device: run.options.devices().map(|device| device.to_string()).collect::<Vec<_>>().join(", "),
            stages: stages(run, &notes)?,
            inputs: inputs(run)?,
            funnel: funnel(curation),
            balanced: curation.balanced.clone(),
            traces_total: curation.total,
            traces_selected: curation.selected,
            accuracy: accuracy(measured),
            accuracy_by_kind: by_kind(measured),
            held_out_loss: measured.held_out.as_ref().map(|l| HeldOutLoss {
                before: l.before,
                after: l.after,
                tokens: l.tokens,
            }),
            training: training(checkpoint)?,
            lengths,
            length_unit: unit.to_owned(),
            samples: samples(run, &all, &verdicts, &evaluation.dir)?,
            export: Some(export(run, &exported.summary.model)),
            seeds: Some(run.plan.seeds.clone()),
        };
        write_bytes(&dir.join("report.html"), html_page(&report).as_bytes())?;
        write_bytes(&dir.join("report.md"), markdown(&report).as_bytes())?;
        Ok(Report {})
    })?;
    Ok(())
}

/// What is said of a stage beside its time, by its name.
fn notes(
    traces: &Traces,
    curated: &Curated,
    packed: &Packed,
    evaluation: &Evaluation,
) -> BTreeMap<&'static str, String> {
    let collected = match &traces.source {
        Source::Teacher(collected) => adopted(&collected.adopted_from),
        Source::Import(_) | Source::Worked { .. } => String::new(),
    };
    let judged = curated.judge.as_ref().map_or_else(String::new, |judge| adopted(&judge.adopted_from));
    let measured = evaluation.teacher.as_ref().map_or_else(String::new, |teacher| adopted(&teacher.adopted_from));
    [("collect", collected), ("curate", judged), ("pack", packed.in_words()), ("evaluate", measured)].into()
}

fn stages(run: &Run, notes: &BTreeMap<&'static str, String>) -> Result<Vec<StageRow>> {
    let cached = run.cached.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut rows = Vec::new();
    for stage in run.plan.stages() {
        if let Some(record) = read_record(&run.store.dir(stage))? {
            rows.push(StageRow {
                stage: stage.name.to_owned(),
                fingerprint: record.fingerprint,
                seconds: record.seconds,
                cached: cached.contains(stage.name),
                summary: notes.get(stage.name).cloned().unwrap_or_default(),
            });
        }
    }
    Ok(rows)
}

/// Where each input was read, as the stage says that read it first.
fn inputs(run: &Run) -> Result<Vec<InputRow>> {
    let mut rows = BTreeMap::new();
    for stage in run.plan.stages() {
        for (input, place) in read_record(&run.store.dir(stage))?.into_iter().flat_map(|record| record.sources) {
            // A part of one is read by another stage as a whole.
            let Some(name) = input.strip_prefix("input ").map(str::to_owned) else { continue };
            let fingerprint = stage.inputs.get(&input).cloned().unwrap_or_default();
            rows.entry(name.clone()).or_insert(InputRow { name, place, fingerprint });
        }
    }
    Ok(rows.into_values().collect())
}

fn funnel(curation: &Curation) -> Vec<FunnelRow> {
    let mut before = curation.total;
    let rows = curation.funnel.iter().map(|step| {
        let dropped = before.saturating_sub(step.remaining);
        before = step.remaining;
        FunnelRow { rule: step.rule.clone(), dropped, remaining: step.remaining }
    });
    rows.collect()
}

fn accuracy(measured: &Measured) -> Vec<AccuracyRow> {
    let label = |model: &str| match model {
        "teacher" => "teacher",
        "before" => "student before distillation",
        "after" => "student after distillation",
        _ => "control: same steps on bare answers",
    };
    let rows = measured.accuracy.iter();
    rows.map(|r| AccuracyRow {
        model: r.model.clone(),
        label: label(&r.model).to_owned(),
        accuracy: r.accuracy,
        low: r.low,
        high: r.high,
        problems: r.problems,
        samples_per_problem: r.samples,
        mean_tokens: r.mean_tokens,
        truncated: r.truncated,
    })
    .collect()
}

fn by_kind(measured: &Measured) -> Vec<KindRow> {
    let mut kinds: BTreeMap<&str, KindRow> = BTreeMap::new();
    for report in &measured.accuracy {
        for kind in &report.by_kind {
            let row = kinds.entry(&kind.kind).or_insert_with(|| KindRow {
                kind: kind.kind.clone(),
                problems: kind.problems,
                accuracy: BTreeMap::new(),
            });
            row.accuracy.insert(report.model.clone(), kind.accuracy);
        }
    }
    kinds.into_values().collect()
}

fn training(checkpoint: &Artifact<Checkpoint>) -> Result<Vec<TrainingCurve>> {
    let Checkpoint { student, control } = &checkpoint.summary;
    let mut curves = Vec::new();
    for (name, summary) in
        std::iter::once((layout::STUDENT, student)).chain(control.iter().map(|of| (layout::CONTROL, of)))
    {
        let points = metrics(&checkpoint.dir.join(name))?
            .into_iter()
            .map(|m| TrainingPoint {
                step: m.step,
                loss: m.loss,
                learning_rate: m.learning_rate,
                grad_norm: m.grad_norm,
                eval_loss: m.eval_loss,
            })
            .collect();
        curves.push(TrainingCurve {
            name: name.to_owned(),
            points,
            tokens: summary.tokens,
            tokens_per_second: summary.tokens as f64 / summary.seconds.max(1e-9),
            parameters: summary.parameters,
            trained_parameters: summary.trained_parameters,
            loss: Some(summary.loss),
        });
    }
    Ok(curves)
}

fn selected(dir: &Path) -> Result<std::collections::HashSet<TraceId>> {
    let curated: Vec<records::record::CuratedTrace> = read_folder(&dir.join(layout::CURATED))?;
    Ok(curated.into_iter().map(|trace| trace.trace_id).collect())
}

/// Lengths in tokens where the teacher said how many, else in characters.
fn lengths(all: &[Trace], selected: &std::collections::HashSet<TraceId>) -> (Vec<LengthSeries>, &'static str) {
    let known = all.iter().all(|t| t.completion_tokens.is_some());
    let length = |t: &Trace| t.completion_tokens.filter(|_| known).unwrap_or_else(|| t.text().chars().count() as u32);
    let series = |name: &str, keep: &dyn Fn(&Trace) -> bool| LengthSeries {
        name: name.to_owned(),
        lengths: all.iter().filter(|t| keep(t)).map(length).collect(),
    };
    let both = vec![series("all traces", &|_| true), series("selected", &|t| selected.contains(&t.id))];
    (both, if known { "tokens" } else { "characters" })
}

/// Some of the student's answers where it was sampled, and some traces: right and wrong ones.
fn samples(run: &Run, all: &[Trace], verdicts: &[Verdict], evaluation: &Path) -> Result<Vec<SampleTrace>> {
    let mut shown = Vec::new();
    let path = layout::samples_of(evaluation, "after");
    if records::disk::exists(&path)? {
        let samples: Vec<Sample> = read_records(&path)?;
        let (right, wrong): (Vec<_>, Vec<_>) = samples.into_iter().partition(|s| s.correct);
        for sample in right.into_iter().take(SAMPLES / 4).chain(wrong.into_iter().take(SAMPLES / 4)) {
            let (thinking, answer) = records::think::split(None, &sample.completion);
            shown.push(SampleTrace {
                title: format!("student, {}", sample.kind),
                verdict: if sample.correct { "verified" } else { "wrong" }.into(),
                correct: Some(sample.correct),
                question: sample.question,
                thinking: thinking.unwrap_or_default(),
                answer,
                gold: Some(sample.gold),
            });
        }
    }
    let prompts = prompts::prompts(&run.store.dir(&run.plan.prompts))?;
    let prompts: BTreeMap<&PromptId, &Prompt> = prompts.iter().map(|p| (&p.id, p)).collect();
    let room = SAMPLES - shown.len();
    let (right, wrong): (Vec<_>, Vec<_>) =
        judged(all, verdicts)?.into_iter().partition(|(_, v)| v.correct != Some(false));
    let few_wrong = wrong.into_iter().take(room / 2);
    let count = room - few_wrong.len();
    for (trace, verdict) in right.into_iter().take(count).chain(few_wrong) {
        let prompt = prompts.get(&trace.prompt_id).ok_or_else(|| {
            Failure::failed(format!("trace {} answers prompt {}, which is not there", trace.id, trace.prompt_id))
        })?;
        // A tick stands for an answer that was found right in a trace that is whole, and for nothing else.
        let (word, correct) = match verdict {
            Verdict { well_formed: false, .. } => ("malformed", None),
            Verdict { finished: false, .. } => ("cut off", None),
            Verdict { correct: Some(true), .. } => ("verified", Some(true)),
            Verdict { correct: Some(false), .. } => ("wrong", Some(false)),
            Verdict { correct: None, .. } => ("not verified", None),
        };
        shown.push(SampleTrace {
            title: format!("teacher {}, {}", trace.teacher, prompt.kind).trim_end_matches(", ").to_owned(),
            verdict: word.into(),
            correct,
            question: prompt.question.clone(),
            thinking: trace.thinking.clone().unwrap_or_default(),
            answer: trace.answer.clone(),
            gold: prompt.answer.clone(),
        });
    }
    Ok(shown)
}

/// Each trace with its verdict.
fn judged<'a>(traces: &'a [Trace], verdicts: &'a [Verdict]) -> Result<Vec<(&'a Trace, &'a Verdict)>> {
    let pairs: Vec<(&Trace, &Verdict)> = traces.iter().zip(verdicts).collect();
    if traces.len() != verdicts.len() || pairs.iter().any(|(trace, verdict)| trace.id != verdict.trace_id) {
        let problem = format!("{} verdicts are not those on the {} traces", verdicts.len(), traces.len());
        return Err(Failure::failed(format!("{problem}; remove the curate stage's folder to judge them again")));
    }
    Ok(pairs)
}

fn export(run: &Run, summary: &ExportSummary) -> Export {
    let tokens = counted(summary.checked_tokens, "token");
    let reloaded = Check {
        passed: summary.reload_difference == 0.0,
        text: format!(
            "loaded again, its logits on {tokens} equal those of the weights it was written from (largest difference {}, \
             bound 0)",
            summary.reload_difference
        ),
    };
    let rounded = Check {
        passed: summary.rounding.is_within_bound(),
        text: format!("on {tokens} {}", rounding_in_words(&summary.rounding)),
    };
    let checks = vec![reloaded, rounded];
    let files = summary.files.iter().map(|(name, bytes)| ExportFile { name: name.clone(), bytes: *bytes }).collect();
    Export { folder: format!("{}/export/model", run.store.root.display()), files, checks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_on_other_traces_are_refused() {
        let traces = [Trace::new(TraceId::from_stored("t"), PromptId::from_stored("p"), "teacher", 0)];
        assert!(judged(&[], &[]).unwrap().is_empty());
        let problem = judged(&traces, &[]).unwrap_err().to_string();
        assert!(problem.contains("0 verdicts are not those on the 1 traces"), "{problem}");
    }
}
