//! Stage 5: training the student, and the control where the recipe asks for one.

use std::cell::Cell;
use std::path::Path;

use records::artifact::Artifact;
use records::record::Metric;
use serde::{Deserialize, Serialize};
use tokens::chat::ChatFormat;
use tokens::fidelity;
use train::{TrainConfig, TrainOptions, TrainSummary, train};

use super::pack::{Packed, rows, set_in_words};
use super::preflight;
use super::prompts::{Prompts, problems};
use crate::console::{Progress, duration};
use crate::error::{Failure, Result};
use crate::layout;
use crate::report::number::{loss, parameters, training_loss, training_loss_is};
use crate::run::inputs::base_folder;
use crate::run::{Halt, Run, realize};

/// The summary of a folder with `student/` and `control/`, each with checkpoints and `metrics.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// The student's training.
    pub student: TrainSummary,
    /// The control's, if the recipe asks for one.
    pub control: Option<TrainSummary>,
}

/// Trains; a stopped run goes on from its newest checkpoint.
pub(crate) fn stage(
    run: &Run,
    prompts: &Artifact<Prompts>,
    packed: &Artifact<Packed>,
) -> std::result::Result<Artifact<Checkpoint>, Halt> {
    let describe = |made: &Checkpoint| in_words(&made.student);
    realize(run, &run.plan.train, describe, |dir| {
        preflight::evaluation(run, &problems(&prompts.dir)?, &packed.dir)?;
        let config = &run.recipe.train;
        let student = one(run, packed, dir, layout::STUDENT, "train", config)?;
        let mut control = None;
        if run.recipe.evaluate.accuracy.as_ref().is_some_and(|a| a.control) {
            // Bare answers are shorter, so the same number of steps is more passes over the same problems. The loss on
            // held-out thinking says nothing about it.
            let config = TrainConfig {
                epochs: u32::MAX,
                max_steps: Some(student.steps),
                eval_every: None,
                keep_best: false,
                early_stopping_patience: None,
                ..config.clone()
            };
            control = Some(one(run, packed, dir, layout::CONTROL, layout::CONTROL, &config)?);
        }
        Ok(Checkpoint { student, control })
    })
}

fn in_words(of: &TrainSummary) -> String {
    let early =
        if of.steps < of.planned_steps { format!(" (of {}, stopped early)", of.planned_steps) } else { String::new() };
    let best = of.best.map_or_else(String::new, |best| {
        format!("; held-out loss at best {} after step {}", loss(best.loss), best.step)
    });
    format!(
        "{} steps{early} of {}, training loss {} ({}){best}",
        of.steps,
        parameters(of),
        training_loss(&of.loss),
        training_loss_is(&of.loss)
    )
}

fn one(
    run: &Run,
    packed: &Artifact<Packed>,
    dir: &Path,
    name: &str,
    set: &str,
    config: &TrainConfig,
) -> Result<TrainSummary> {
    let held_out = if config.eval_every.is_some() { rows(&packed.dir, "held_out")? } else { Vec::new() };
    let rows = rows(&packed.dir, set)?;
    let base = &run.recipe.student.base;
    let folder = base_folder(&run.recipe, &run.options, &packed.dir)?;
    // Once more before what costs: rows and base may both have been changed since they were packed.
    let format = ChatFormat::from_dir(&folder)?;
    let sizes = base.config(&folder)?;
    let capacity = fidelity::Capacity::new(sizes.vocab_size, sizes.max_position_embeddings);
    for (set, rows) in [(set, &rows), ("held_out", &held_out)].into_iter().filter(|(_, rows)| !rows.is_empty()) {
        fidelity::check(rows, &format, capacity).map_err(|e| Failure::from(e).about(set_in_words(set)))?;
    }
    let model = base.model(&folder, &run.options.device.open()?)?;
    let further_devices = run.options.further_devices.iter();
    let further_devices = further_devices.map(|device| device.open()).collect::<model::Result<Vec<_>>>()?;
    let folder = dir.join(name);
    std::fs::create_dir_all(&folder).map_err(|e| records::Error::io("create", &folder, e))?;
    let bar = Progress::new(name, 0);
    let held_out_loss = Cell::new(None);
    let progress = |metric: &Metric, steps: u32, left: f64| {
        held_out_loss.set(metric.eval_loss.or(held_out_loss.get()));
        let held_out = held_out_loss.get().map_or_else(String::new, |of| format!(", held-out {}", loss(of)));
        let (speed, left) = (metric.tokens_per_second, duration(left));
        let message = format!("loss of the step {}{held_out}, {speed:.0} tokens/s, {left} left", loss(metric.loss));
        bar.set(u64::from(metric.step), u64::from(steps), &message);
    };
    let options = TrainOptions {
        run: name,
        dir: &folder,
        checkpoint_seconds: run.options.checkpoint_seconds,
        keep_checkpoints: run.options.keep_checkpoints,
        recompute: run.options.recompute,
        further_devices: &further_devices,
        stop: run.stop.flag(),
        progress: &progress,
    };
    let (_, done) = train(model, &rows, &held_out, config, &options)?;
    if run.stop.requested() {
        return Err(Failure::interrupted("stopped after training; run the same command to go on"));
    }
    Ok(done)
}
