//! Stage 6: teacher, student before and after, and control, on problems none of them has seen; and the held-out loss.

use std::collections::HashMap;
use std::path::Path;

use generate::engine::Engine;
use generate::evaluate::{EvalReport, INTERVALS, context, evaluate};
use generate::serve::stop_ids;
use model::Model;
use records::artifact::{Artifact, read_json, write_json};
use records::disk;
use records::parquet_file::{read_folder, read_records, write_records};
use records::record::{Prompt, PromptId, Sample, Trace};
use serde::{Deserialize, Serialize};
use teacher::CollectSummary;
use tokens::chat::ChatFormat;
use train::{load_trained, mean_loss};
use verify::verify;

use super::pack::{Packed, rows};
use super::preflight::{self, engine_limits};
use super::prompts::{Prompts, problems};
use super::replies::{adopted, ask};
use super::train::Checkpoint;
use crate::console::{Progress, say};
use crate::error::{Failure, Result};
use crate::layout;
use crate::recipe::{Accuracy, Teacher, TraceSource};
use crate::report::number::loss;
use crate::run::inputs::base_folder;
use crate::run::{Halt, Run, realize};

/// The summary of a folder with `eval.json` and `samples/*.parquet`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Evaluation {
    /// What was measured; also in `eval.json`.
    pub measured: Measured,
    /// What the teacher's replies came to, if it was measured.
    pub teacher: Option<CollectSummary>,
}

/// What `eval.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Measured {
    /// Accuracy of each model.
    pub accuracy: Vec<EvalReport>,
    /// Loss on held-out traces.
    pub held_out: Option<HeldOut>,
}

/// Mean loss per supervised token on traces that were not trained on, nats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeldOut {
    /// Of the base.
    pub before: f64,
    /// Of the student.
    pub after: f64,
    /// Supervised tokens.
    pub tokens: u64,
}

/// What the teacher's replies came to: kept, since a run that goes on with the samples does not ask again.
const TEACHER_FILE: &str = "teacher.json";

/// Measures all models.
pub(crate) fn stage(
    run: &Run,
    prompts: &Artifact<Prompts>,
    packed: &Artifact<Packed>,
    checkpoint: &Artifact<Checkpoint>,
) -> std::result::Result<Artifact<Evaluation>, Halt> {
    let describe = |made: &Evaluation| headline(&made.measured);
    realize(run, &run.plan.evaluate, describe, |dir| {
        let held_out = held_out(run, packed, checkpoint, dir)?;
        preflight::evaluation(run, &problems(&prompts.dir)?, &packed.dir)?;
        let accuracy = match &run.recipe.evaluate.accuracy {
            Some(settings) => accuracy(run, settings, &problems(&prompts.dir)?, packed, checkpoint, dir)?,
            None => Vec::new(),
        };
        let measured = Measured { accuracy, held_out };
        print_table(&measured);
        write_json(&dir.join("eval.json"), &measured)?;
        let teacher = disk::if_there(dir.join(TEACHER_FILE))?.map(|file| read_json(&file)).transpose()?;
        Ok(Evaluation { measured, teacher })
    })
}

fn headline(measured: &Measured) -> String {
    let of = |name: &str| measured.accuracy.iter().find(|r| r.model == name).map(|r| 100.0 * r.accuracy);
    match (of("before"), of("after"), &measured.held_out) {
        (Some(before), Some(after), _) => format!("accuracy {before:.1} % before, {after:.1} % after"),
        (_, _, Some(of)) => format!("held-out loss {} before, {} after", loss(of.before), loss(of.after)),
        _ => "nothing to measure".into(),
    }
}

fn print_table(measured: &Measured) {
    if !measured.accuracy.is_empty() {
        say(&format!(
            "    {:<8} {:>8}   {:<17} {:>11} {:>8}",
            "model", "pass@1", "95 % interval", "mean tokens", "cut off"
        ));
    }
    for r in &measured.accuracy {
        let interval = format!("{:.1} – {:.1} %", 100.0 * r.low, 100.0 * r.high);
        say(&format!(
            "    {:<8} {:>6.1} %   {interval:<17} {:>11.0} {:>6.1} %",
            r.model,
            100.0 * r.accuracy,
            r.mean_tokens,
            100.0 * r.truncated
        ));
    }
    if !measured.accuracy.is_empty() {
        say(&format!("    {INTERVALS}"));
    }
    if let Some(of) = &measured.held_out {
        let (before, after) = (loss(of.before), loss(of.after));
        say(&format!("    held-out loss {before} before, {after} after ({} supervised tokens)", of.tokens));
    }
}

/// The model of one name, as it is exported: rounded to bf16 where it was trained.
fn model(run: &Run, packed: &Artifact<Packed>, checkpoint: &Artifact<Checkpoint>, name: &str) -> Result<Model> {
    let folder = base_folder(&run.recipe, &run.options, &packed.dir)?;
    let base = run.recipe.student.base.model(&folder, &run.options.device.open()?)?;
    let lora = run.recipe.train.lora.as_ref();
    Ok(match name {
        "before" => base,
        "after" => load_trained(base, &checkpoint.dir.join(layout::STUDENT), lora)?.rounded_to_bf16(),
        _ => load_trained(base, &checkpoint.dir.join(name), lora)?.rounded_to_bf16(),
    })
}

fn held_out(
    run: &Run,
    packed: &Artifact<Packed>,
    checkpoint: &Artifact<Checkpoint>,
    dir: &Path,
) -> Result<Option<HeldOut>> {
    if run.recipe.pack.held_out == 0 {
        return Ok(None);
    }
    let path = dir.join("held_out.json");
    if disk::exists(&path)? {
        return Ok(Some(read_json(&path)?));
    }
    let rows = rows(&packed.dir, "held_out")?;
    let loss = |name| -> Result<f64> {
        let model = model(run, packed, checkpoint, name)?;
        let progress = Progress::new(&format!("held-out loss {name}"), rows.len() as u64);
        let shown = |done: usize| {
            progress.set(done as u64, rows.len() as u64, "");
            !run.stop.requested()
        };
        Ok(mean_loss(&model, &rows, run.recipe.train.rows_per_pass, &shown)?)
    };
    let tokens = rows.iter().map(tokens::pack::PackedRow::supervised_tokens).sum();
    let measured = HeldOut { before: loss("before")?, after: loss("after")?, tokens };
    write_json(&path, &measured)?;
    Ok(Some(measured))
}

/// Samples every model that is measured; each one's samples are kept as they are done, so that a stopped run resumes.
fn accuracy(
    run: &Run,
    settings: &Accuracy,
    problems: &[Prompt],
    packed: &Artifact<Packed>,
    checkpoint: &Artifact<Checkpoint>,
    dir: &Path,
) -> Result<Vec<EvalReport>> {
    let names = [("teacher", settings.teacher), ("before", true), ("after", true), ("control", settings.control)];
    let mut reports = Vec::new();
    for (name, _) in names.into_iter().filter(|(_, wanted)| *wanted) {
        let path = layout::samples_of(dir, name);
        if !disk::exists(&path)? {
            let samples = if name == "teacher" {
                of_teacher(run, settings, problems, dir)?
            } else {
                of_model(run, settings, problems, packed, name, &model(run, packed, checkpoint, name)?)?
            };
            write_records(&path, &samples)?;
        }
        reports.push(EvalReport::of(name, &read_records::<Sample>(&path)?));
    }
    Ok(reports)
}

fn of_model(
    run: &Run,
    settings: &Accuracy,
    problems: &[Prompt],
    packed: &Artifact<Packed>,
    name: &str,
    model: &Model,
) -> Result<Vec<Sample>> {
    let dir = base_folder(&run.recipe, &run.options, &packed.dir)?;
    let format = ChatFormat::from_dir(&dir)?;
    let context = context(&format, problems, &settings.protocol)?;
    let engine = Engine::start(model.clone(), stop_ids(&dir, &format)?, engine_limits(run, context))?;
    let total = (problems.len() * settings.protocol.samples as usize) as u64;
    let bar = Progress::new(name, total);
    let progress = |done: usize| {
        bar.set(done as u64, total, "samples");
        !run.stop.requested()
    };
    Ok(evaluate(&engine, &format, problems, &settings.protocol, name, &progress)?)
}

/// What the recipe's teacher is asked when it is measured.
pub(crate) fn measured_teacher(teacher: &Teacher, settings: &Accuracy) -> Teacher {
    let protocol = &settings.protocol;
    Teacher {
        samples: protocol.samples,
        instruction: protocol.instruction.clone(),
        sampling: protocol.sampling,
        seed: protocol.seed,
        ..teacher.clone()
    }
}

/// The teacher answers at its endpoint, as it did when traces were collected.
fn of_teacher(run: &Run, settings: &Accuracy, problems: &[Prompt], dir: &Path) -> Result<Vec<Sample>> {
    let TraceSource::Teacher(teacher) = &run.recipe.collect else {
        return Err(Failure::usage("evaluate.accuracy.teacher is true, but [collect] names no teacher"));
    };
    let folder = dir.join(layout::TEACHER);
    let replies = ask(run, &measured_teacher(teacher, settings), problems, &folder)?;
    let adopted = adopted(&replies.adopted_from);
    if !adopted.is_empty() {
        say(&format!("    teacher: {adopted}"));
    }
    write_json(&dir.join(TEACHER_FILE), &replies)?;
    let traces: Vec<Trace> = read_folder(&folder)?;
    samples_of(&traces, problems)
}

/// The traces as samples of the problems, all of them: one left out would change what the others are a share of.
fn samples_of(traces: &[Trace], problems: &[Prompt]) -> Result<Vec<Sample>> {
    let by_id: HashMap<&PromptId, &Prompt> = problems.iter().map(|p| (&p.id, p)).collect();
    let samples = traces.iter().map(|trace| {
        let lacks = |what: &str| {
            Failure::failed(format!(
                "the teacher's trace {} answers problem {}, {what}; remove the stage's folder to measure again",
                trace.id, trace.prompt_id
            ))
        };
        let prompt = by_id.get(&trace.prompt_id).ok_or_else(|| lacks("which is not among the problems"))?;
        let gold = prompt.answer.clone().ok_or_else(|| lacks("which has no gold answer"))?;
        let verdict = verify(&gold, &trace.answer);
        Ok(Sample {
            model: "teacher".into(),
            prompt_id: prompt.id.clone(),
            kind: prompt.kind.clone(),
            sample: trace.sample,
            question: prompt.question.clone(),
            completion: trace.text(),
            correct: verdict.correct(),
            extracted: verdict.extracted,
            gold,
            finish_reason: trace.finish_reason,
            tokens: trace.completion_tokens.unwrap_or_default(),
        })
    });
    samples.collect()
}

#[cfg(test)]
mod tests {
    use records::record::{FinishReason, TraceId};

    use super::*;

    fn trace(prompt: &Prompt, answer: &str) -> Trace {
        Trace {
            id: TraceId::from_stored(format!("trace-of-{}", prompt.question)),
            prompt_id: prompt.id.clone(),
            sample: 0,
            thinking: None,
            answer: answer.into(),
            finish_reason: FinishReason::Stop,
            prompt_tokens: None,
            completion_tokens: Some(3),
            teacher: "t".into(),
            temperature: None,
            top_p: None,
            max_tokens: None,
            seed: None,
        }
    }

    #[test]
    fn a_sample_of_the_teachers_never_leaves_the_denominator() {
        let prompt = |question: &str, gold: Option<&str>| Prompt::new("d", "k", question, gold.map(Into::into), "s");
        let (sum, open) = (prompt("two", Some("2")), prompt("open", None));
        let samples = samples_of(&[trace(&sum, "2"), trace(&sum, "3")], std::slice::from_ref(&sum)).unwrap();
        assert_eq!(samples.iter().map(|sample| sample.correct).collect::<Vec<_>>(), [true, false]);
        for (traces, problems, words) in [
            ([trace(&sum, "2"), trace(&prompt("gone", None), "2")], vec![sum.clone()], "not among the problems"),
            ([trace(&sum, "2"), trace(&open, "2")], vec![sum, open], "no gold answer"),
        ] {
            let message = samples_of(&traces, &problems).unwrap_err().to_string();
            assert!(message.contains(words) && message.contains(traces[1].id.as_str()), "{message}");
        }
    }
}
