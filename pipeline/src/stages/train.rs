//! Stage 5: training the student, and the control where the recipe asks for one.

use std::path::Path;

use data::artifact::Artifact;
use data::record::Metric;
use serde_json::{Value, json};
use student::train::{TrainConfig, TrainOptions, TrainSummary, train};

use super::pack::{Packed, base_dir, rows};
use super::{number, realize, summary};
use crate::console::{Progress, duration};
use crate::error::{Failure, Result};
use crate::run::{Halt, Run};

/// Marker: `student/` and `control/`, each with checkpoints and `metrics.jsonl`.
#[derive(Debug)]
pub(crate) struct Checkpoint;

/// Trains; a stopped run goes on from its newest checkpoint.
pub(crate) fn stage(run: &Run, packed: &Artifact<Packed>) -> std::result::Result<Artifact<Checkpoint>, Halt> {
    let describe = |s: &Value| {
        let student = &s["student"];
        let parameters = number(student, "parameters") as f64 / 1e6;
        let loss = student["final_loss"].as_f64().unwrap_or(f64::NAN);
        format!("{} steps of {parameters:.1}M parameters, loss {loss:.3}", number(student, "steps"))
    };
    realize(run, &run.plan.train, describe, |dir| {
        let config = &run.recipe.train;
        let student = one(run, packed, dir, "student", "train", config)?;
        let mut result = json!({"student": summary(&student)?});
        if run.recipe.evaluate.accuracy.as_ref().is_some_and(|a| a.control) {
            // Bare answers are shorter, so the same number of steps is more passes over the same problems.
            let config = TrainConfig { epochs: u32::MAX, max_steps: student.steps, ..config.clone() };
            result["control"] = summary(&one(run, packed, dir, "control", "control", &config)?)?;
        }
        Ok(result)
    })
}

fn one(
    run: &Run,
    packed: &Artifact<Packed>,
    dir: &Path,
    name: &str,
    set: &str,
    config: &TrainConfig,
) -> Result<TrainSummary> {
    let rows = rows(&packed.dir, set)?;
    let base = &run.recipe.student.base;
    let model = base.model(&base_dir(run, &packed.dir)?, &run.options.device.open()?)?;
    let folder = dir.join(name);
    std::fs::create_dir_all(&folder).map_err(|e| data::Error::io("create", &folder, e))?;
    let bar = Progress::new(name, 0);
    let progress = |metric: &Metric, steps: u32, left: f64| {
        let message =
            format!("loss {:.3}, {:.0} tokens/s, {} left", metric.loss, metric.tokens_per_second, duration(left));
        bar.set(u64::from(metric.step), u64::from(steps), &message);
    };
    let options = TrainOptions {
        run: name,
        dir: &folder,
        checkpoint_seconds: run.options.checkpoint_seconds,
        stop: run.stop.flag(),
        progress: &progress,
    };
    let (_, done) = train(model, &rows, config, &options)?;
    if run.stop.asked() {
        return Err(Failure::interrupted("stopped after training; run the same command to go on"));
    }
    Ok(done)
}
