//! Supervised fine-tuning.
//!
//! One step: rows of packed conversations, in micro-batches; the loss is summed over supervised tokens and divided by
//! the supervised tokens of the whole step (not by micro-batch, which would weigh short batches more); loss and gradient
//! norm are checked before anything is updated; then clipping and AdamW on f32 weights.

mod batch;
mod check;
#[cfg(test)]
#[path = "../../../tests/checked.rs"]
mod checked;
mod checkpoint;
mod ends;
mod error;
#[cfg(test)]
#[path = "../../../tests/golden.rs"]
#[expect(dead_code, reason = "tests of the other crates use the rest of it")]
mod golden;
mod gradients;
mod log;
mod optimizer;
mod step;
mod tensorboard;
mod training;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use model::Model;
use model::lora::LoraConfig;
pub use model::ops::Precision;
use records::record::Metric;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokens::pack::PackedRow;

use self::check::check;
use self::ends::Ends;
pub use self::ends::TrainingLoss;
pub use self::error::{Error, Result};
pub use self::log::{METRICS_FILE, metrics};
pub use self::optimizer::OptimizerConfig;
pub use self::step::mean_loss;
use self::training::Training;

/// The recipe's training section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the data.
    pub epochs: u32,
    /// Stop after this many steps even if the epochs are not done. Left out: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u32>,
    /// Packed rows in one optimizer step.
    pub rows_per_step: usize,
    /// Packed rows in memory at once; a step is cut into as many passes as it takes.
    pub rows_per_pass: usize,
    /// Order of the data, and initial weights where they are random.
    pub seed: u64,
    /// The held-out traces are scored after every so many steps, and after the last. Left out: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_every: Option<u32>,
    /// The result is the checkpoint with the lowest evaluation loss, not the last one.
    pub keep_best: bool,
    /// Training ends after so many evaluations in a row that were not the lowest so far. Left out: it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping_patience: Option<u32>,
    /// In which numbers the weights' products are computed; weights, sums and everything else are f32.
    pub precision: Precision,
    /// Trains adapters beside the base's weights; left out, the weights themselves are trained.
    pub lora: Option<LoraConfig>,
    /// Optimizer and schedule.
    pub optimizer: OptimizerConfig,
}

/// What decides nothing about the result.
pub struct TrainOptions<'a> {
    /// Name of this training in metrics (`student`, `control`).
    pub run: &'a str,
    /// Where checkpoints and `metrics.jsonl` go.
    pub dir: &'a Path,
    /// A checkpoint is written at least this often.
    pub checkpoint_seconds: f64,
    /// So many of the newest checkpoints are kept, beside the best one.
    pub keep_checkpoints: usize,
    /// Blocks are computed again in the backward pass instead of being kept: less memory, a third more time.
    pub recompute: bool,
    /// Further devices that passes are computed on; the model's own is the first and holds the optimizer.
    pub further_devices: &'a [Device],
    /// Set when the user asks to stop.
    pub stop: &'a AtomicBool,
    /// Called after each step with its metrics, the number of steps and the seconds left, estimated.
    pub progress: &'a dyn Fn(&Metric, u32, f64),
}

/// What a training did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainSummary {
    /// Optimizer steps done.
    pub steps: u32,
    /// Steps there would have been without early stopping.
    pub planned_steps: u32,
    /// Tokens seen.
    pub tokens: u64,
    /// Of these, supervised.
    pub supervised_tokens: u64,
    /// The training loss at either end.
    pub loss: TrainingLoss,
    /// The lowest evaluation loss, where there was an evaluation.
    pub best: Option<BestEvaluation>,
    /// Seconds, over all resumes.
    pub seconds: f64,
    /// Parameters of the model.
    pub parameters: u64,
    /// Parameters that were trained: all of them, or those of the adapters.
    pub trained_parameters: u64,
}

/// The lowest evaluation loss of a training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BestEvaluation {
    /// The step it was measured after.
    pub step: u32,
    /// Mean loss per supervised token of the held-out rows, nats.
    pub loss: f64,
}

/// Trains, resuming from the newest checkpoint in `options.dir`; returns the trained model, untracked, with adapters merged
/// into its weights. `held_out` is what evaluations during training are made on; it may be empty where the recipe asks for
/// none.
pub fn train(
    model: Model,
    rows: &[PackedRow],
    held_out: &[PackedRow],
    config: &TrainConfig,
    options: &TrainOptions<'_>,
) -> Result<(Model, TrainSummary)> {
    let steps = check(&model, rows, held_out, config)?;
    let mut training = Training::resume(model, steps, config, options)?;
    while !training.finished() {
        training.step(rows, held_out)?;
    }
    training.finish()
}

/// A trained model from the checkpoints of a finished training; `model` is the base that it began with. Adapters are merged
/// into its weights.
pub fn load_trained(mut model: Model, dir: &Path, lora: Option<&LoraConfig>) -> Result<Model> {
    if let Some(lora) = lora {
        return Ok(load_adapted(model, dir, lora)?.merged());
    }
    checkpoint::load(&checkpoint::result(dir)?, &mut model, None)?;
    Ok(model)
}

/// The base with the adapters of a finished training beside its weights.
pub fn load_adapted(base: Model, dir: &Path, lora: &LoraConfig) -> Result<Model> {
    let mut model = base.with_adapters(lora, 0);
    checkpoint::load(&checkpoint::result(dir)?, &mut model, None)?;
    Ok(model)
}

#[cfg(test)]
mod tests;
