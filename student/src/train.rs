//! Supervised fine-tuning.
//!
//! One step: rows of packed conversations, in micro-batches; the loss is summed over supervised tokens and divided by
//! the supervised tokens of the whole step (not by micro-batch, which would weigh short batches more); loss and gradient
//! norm are checked before anything is updated; then clipping and AdamW on f32 weights.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use data::pack::PackedRow;
use data::record::Metric;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Progress};
use crate::layout::Packed;
use crate::model::Model;
use crate::ops::Targets;
use crate::optimizer::{Accumulated, AdamW, OptimizerConfig};
use crate::{Error, Result};

/// The recipe's training section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the data.
    pub epochs: u32,
    /// Stop after this many steps even if the epochs are not done; 0 for no limit.
    pub max_steps: u32,
    /// Packed rows in one optimizer step.
    pub rows_per_step: usize,
    /// Packed rows in memory at once; a step is cut into as many passes as it takes.
    pub rows_per_pass: usize,
    /// Order of the data, and initial weights where they are random.
    pub seed: u64,
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
    /// Set when the user asks to stop.
    pub stop: &'a AtomicBool,
    /// Called after each step with its metrics, the number of steps and the seconds left, estimated.
    pub progress: &'a dyn Fn(&Metric, u32, f64),
}

/// What a training did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainSummary {
    /// Optimizer steps.
    pub steps: u32,
    /// Tokens seen.
    pub tokens: u64,
    /// Of these, supervised.
    pub supervised_tokens: u64,
    /// Loss of the last step.
    pub final_loss: f64,
    /// Seconds, over all resumes.
    pub seconds: f64,
    /// Parameters of the model.
    pub parameters: u64,
}

/// Checkpoints that are kept.
const KEEP: usize = 2;

/// Trains, resuming from the newest checkpoint in `options.dir`; returns the trained model, untracked.
pub fn train(
    model: Model,
    rows: &[PackedRow],
    config: &TrainConfig,
    options: &TrainOptions<'_>,
) -> Result<(Model, TrainSummary)> {
    let steps = check(&model, rows, config)?;
    let mut model = model.tracked(false);
    let mut optimizer = AdamW::new(config.optimizer.clone());
    let mut progress = Progress { step: 0, steps, supervised_tokens: 0, tokens: 0, seconds: 0.0, loss: f64::NAN };
    if let Some(path) = checkpoint::latest(options.dir)? {
        progress = checkpoint::load(&path, &mut model, Some(&mut optimizer))?;
    }
    let mut model = model.tracked(true);
    let mut log = MetricsLog::open(&options.dir.join("metrics.jsonl"), progress.step)?;
    let begun = Instant::now();
    let (first_step, seconds_before) = (progress.step, progress.seconds);
    let mut saved = Instant::now();
    while progress.step < steps {
        let started = Instant::now();
        let step = progress.step + 1;
        let batch = batch_of(rows, config, step);
        let (loss, norm) = one_step(&mut model, &mut optimizer, &batch, config, step, steps)?;
        let tokens: u64 = batch.iter().map(|row| row.token_ids.len() as u64).sum();
        let supervised_tokens = supervised(&batch);
        let seconds = seconds_before + begun.elapsed().as_secs_f64();
        progress = Progress {
            step,
            steps,
            supervised_tokens: progress.supervised_tokens + supervised_tokens,
            tokens: progress.tokens + tokens,
            seconds,
            loss,
        };
        let metric = Metric {
            run: options.run.to_owned(),
            step,
            loss,
            learning_rate: config.optimizer.rate(step, steps),
            grad_norm: norm,
            supervised_tokens,
            tokens,
            tokens_per_second: tokens as f64 / started.elapsed().as_secs_f64(),
            seconds,
        };
        log.write(&metric)?;
        let per_step = begun.elapsed().as_secs_f64() / f64::from(step - first_step);
        (options.progress)(&metric, steps, per_step * f64::from(steps - step));
        let stopping = options.stop.load(Ordering::Relaxed);
        if step == steps || stopping || saved.elapsed().as_secs_f64() > options.checkpoint_seconds {
            checkpoint::save(options.dir, &model, &optimizer, progress, KEEP)?;
            saved = Instant::now();
        }
        if stopping && step < steps {
            return Err(Error::Stopped { after: format!("after step {step}, the checkpoint is saved") });
        }
    }
    let summary = TrainSummary {
        steps,
        tokens: progress.tokens,
        supervised_tokens: progress.supervised_tokens,
        final_loss: progress.loss,
        seconds: progress.seconds,
        parameters: model.config.parameters(),
    };
    Ok((model.tracked(false), summary))
}

/// A trained model from the newest checkpoint of a finished training; `model` gives the architecture and device.
pub fn load_trained(mut model: Model, dir: &Path) -> Result<Model> {
    let path = checkpoint::latest(dir)?
        .ok_or_else(|| Error::model(dir, "there is no checkpoint", "remove the folder to train again"))?;
    checkpoint::load(&path, &mut model, None)?;
    Ok(model)
}

/// Refuses what cannot be trained; returns the number of steps.
fn check(model: &Model, rows: &[PackedRow], config: &TrainConfig) -> Result<u32> {
    let longest = rows.iter().flat_map(|row| &row.position_ids).max().map_or(0, |p| *p as usize + 1);
    if longest > model.config.max_position_embeddings {
        return Err(Error::invalid(
            "pack.sequence_length",
            format!("a trace has {longest} tokens, the base holds {}", model.config.max_position_embeddings),
            "lower it, or raise the base's context",
        ));
    }
    let largest = rows.iter().flat_map(|row| &row.token_ids).max().map_or(0, |id| *id as usize);
    if largest >= model.config.vocab_size {
        return Err(Error::invalid(
            "student.base",
            format!("token id {largest} does not exist in a vocabulary of {}", model.config.vocab_size),
            "use the tokenizer that belongs to this base",
        ));
    }
    let supervised = rows.iter().map(PackedRow::supervised_tokens).sum::<u64>();
    let tokens = rows.iter().map(|row| row.token_ids.len() as u64).sum::<u64>();
    if supervised == 0 || supervised == tokens {
        return Err(Error::invalid(
            "pack",
            format!("the loss mask counts {supervised} of {tokens} tokens"),
            "the traces need a user turn and an assistant turn",
        ));
    }
    for (name, value) in [("rows_per_step", config.rows_per_step), ("rows_per_pass", config.rows_per_pass)] {
        if value == 0 {
            return Err(Error::invalid(format!("train.{name}"), "it is 0", "set it to 1 or more"));
        }
    }
    let per_epoch = rows.len().div_ceil(config.rows_per_step) as u32;
    let all = per_epoch.saturating_mul(config.epochs);
    let steps = if config.max_steps > 0 { all.min(config.max_steps) } else { all };
    if steps == 0 {
        return Err(Error::invalid("train.epochs", "it is 0", "set it to 1 or more"));
    }
    Ok(steps)
}

/// The rows of a step: each epoch is a shuffle of its own, drawn from the seed and the epoch alone.
fn batch_of<'a>(rows: &'a [PackedRow], config: &TrainConfig, step: u32) -> Vec<&'a PackedRow> {
    let per_epoch = rows.len().div_ceil(config.rows_per_step);
    let (epoch, within) = ((step as usize - 1) / per_epoch, (step as usize - 1) % per_epoch);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    rng.set_stream(epoch as u64);
    order.shuffle(&mut rng);
    order.chunks(config.rows_per_step).nth(within).unwrap_or_default().iter().map(|i| &rows[*i]).collect()
}

fn supervised(rows: &[&PackedRow]) -> u64 {
    rows.iter().map(|row| row.supervised_tokens()).sum()
}

/// One optimizer step; returns loss per supervised token and gradient norm.
fn one_step(
    model: &mut Model,
    optimizer: &mut AdamW,
    batch: &[&PackedRow],
    config: &TrainConfig,
    step: u32,
    steps: u32,
) -> Result<(f64, f64)> {
    let total = supervised(batch);
    let (loss, gradients) = gradients_of(model, batch, config.rows_per_pass, total);
    let norm = gradients.norm(model);
    for (what, value) in [("the loss", loss), ("the gradient norm", norm)] {
        if !value.is_finite() {
            let ids: Vec<&str> = batch.iter().flat_map(|row| &row.trace_ids).map(String::as_str).collect();
            return Err(Error::NotFinite { step, what, value, traces: ids.join(" ") });
        }
    }
    optimizer.step(model, gradients, norm, step, steps);
    Ok((loss, norm))
}

/// Mean loss over `total` supervised tokens and its gradients, in passes of `rows_per_pass` rows.
fn gradients_of(model: &mut Model, batch: &[&PackedRow], rows_per_pass: usize, total: u64) -> (f64, Accumulated) {
    let mut gradients = Accumulated::default();
    let mut loss = 0.0;
    for pass in batch.chunks(rows_per_pass) {
        let pass = Pass::new(pass, model, total);
        if pass.targets.rows.is_empty() {
            continue;
        }
        let value = model.loss(&pass.ids, &pass.layout, &pass.targets);
        loss += f64::from(value.clone().into_scalar::<f32>());
        gradients.add(model, value.backward());
    }
    (loss, gradients)
}

/// Rows flattened for the model.
struct Pass {
    ids: Vec<u32>,
    layout: Arc<Packed>,
    targets: Arc<Targets>,
}

impl Pass {
    fn new(rows: &[&PackedRow], model: &Model, total: u64) -> Self {
        let ids: Vec<u32> = rows.iter().flat_map(|row| row.token_ids.iter().copied()).collect();
        let lengths: Vec<usize> =
            rows.iter().flat_map(|row| row.segment_ids.chunk_by(|a, b| a == b).map(<[u32]>::len)).collect();
        let mut targets = Targets { rows: Vec::new(), ids: Vec::new(), scale: 1.0 / total as f32 };
        let mut start = 0;
        for row in rows {
            for i in 1..row.token_ids.len() {
                // The token before predicts this one, unless it belongs to another conversation.
                if row.loss_mask[i] && row.segment_ids[i] == row.segment_ids[i - 1] {
                    targets.rows.push(start + i - 1);
                    targets.ids.push(row.token_ids[i]);
                }
            }
            start += row.token_ids.len();
        }
        Self { ids, layout: Packed::new(&lengths, model.rope()), targets: Arc::new(targets) }
    }
}

/// Mean loss per supervised token over rows, without training. `progress` is called with the rows done; it returns
/// `false` to stop.
pub fn mean_loss(
    model: &Model,
    rows: &[PackedRow],
    rows_per_pass: usize,
    progress: &dyn Fn(usize) -> bool,
) -> Result<f64> {
    let all: Vec<&PackedRow> = rows.iter().collect();
    let total = supervised(&all);
    let (mut loss, mut done) = (0.0, 0);
    for rows in all.chunks(rows_per_pass.max(1)) {
        let pass = Pass::new(rows, model, total);
        loss += f64::from(model.loss(&pass.ids, &pass.layout, &pass.targets).into_scalar::<f32>());
        done += rows.len();
        if !progress(done) {
            return Err(Error::Stopped { after: format!("after {done} held-out rows") });
        }
    }
    Ok(loss)
}

/// `metrics.jsonl`: one line a step, cut back to the checkpoint when training resumes.
struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    fn open(path: &Path, last_step: u32) -> Result<Self> {
        let io = |action| move |e| Error::from(data::Error::io(action, path, e));
        let kept = match File::open(path) {
            Ok(file) => BufReader::new(file)
                .lines()
                .map_while(std::result::Result::ok)
                .filter(|line| serde_json::from_str::<Metric>(line).is_ok_and(|m| m.step <= last_step))
                .fold(String::new(), |text, line| text + &line + "\n"),
            Err(_) => String::new(),
        };
        data::artifact::write_bytes(path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(io("open"))?;
        Ok(Self { path: path.to_owned(), file })
    }

    fn write(&mut self, metric: &Metric) -> Result<()> {
        let line = serde_json::to_string(metric).map_err(|e| data::Error::engine("encoding a metric", e))? + "\n";
        self.file.write_all(line.as_bytes()).map_err(|e| data::Error::io("write", &self.path, e))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
