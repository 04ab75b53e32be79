//! A training from its newest checkpoint to its last step.

use std::sync::atomic::Ordering;
use std::time::Instant;

use model::Model;
use model::ops::Precision;
use records::record::Metric;
use tokens::pack::PackedRow;

use crate::batch::{Order, supervised};
use crate::checkpoint::{self, Best, Progress};
use crate::log::Log;
use crate::optimizer::AdamW;
use crate::step::{mean_loss, one_step, replica_on};
use crate::{BestEvaluation, Ends, Error, Result, TrainConfig, TrainOptions, TrainSummary};

/// A training between two steps.
pub(crate) struct Training<'a> {
    /// One on each device, tracked; the first is the one that is trained.
    models: Vec<Model>,
    optimizer: AdamW,
    order: Order,
    progress: Progress,
    config: &'a TrainConfig,
    options: &'a TrainOptions<'a>,
    log: Log,
    begun: Instant,
    /// Where this process took over.
    resumed: Progress,
    saved: Instant,
}

impl<'a> Training<'a> {
    pub(crate) fn resume(
        model: Model,
        steps: u32,
        config: &'a TrainConfig,
        options: &'a TrainOptions<'a>,
    ) -> Result<Self> {
        let mut model = model.tracked(false);
        if let Some(lora) = &config.lora {
            model = model.with_adapters(lora, config.seed);
        }
        (model.precision, model.recompute) = (config.precision, options.recompute);
        let mut optimizer = AdamW::new(config.optimizer.clone());
        let mut progress = Progress {
            step: 0,
            steps,
            supervised_tokens: 0,
            tokens: 0,
            seconds: 0.0,
            ends: Ends::default(),
            best: None,
        };
        if let Some(path) = checkpoint::latest(options.dir)? {
            progress = checkpoint::load(&path, &mut model, Some(&mut optimizer))?;
        }
        let log = Log::open(options.dir, &progress)?;
        let (begun, saved) = (Instant::now(), Instant::now());
        let mut models = vec![model.tracked(true)];
        optimizer.reserve(&mut models[0]);
        models.extend(options.further_devices.iter().map(|device| replica_on(&models[0], device)).collect::<Vec<_>>());
        Ok(Self {
            models,
            optimizer,
            order: Order::default(),
            progress,
            config,
            options,
            log,
            begun,
            resumed: progress,
            saved,
        })
    }

    /// All steps are done, or the evaluation loss has not fallen for too long.
    pub(crate) fn finished(&self) -> bool {
        let waited = self.progress.best.map_or(0, |best| best.since);
        let too_long = self.config.early_stopping_patience.is_some_and(|patience| waited >= patience);
        self.progress.step >= self.progress.steps || too_long
    }

    pub(crate) fn step(&mut self, rows: &[PackedRow], held_out: &[PackedRow]) -> Result<()> {
        let started = Instant::now();
        let (step, steps) = (self.progress.step + 1, self.progress.steps);
        let batch = self.order.batch(rows, self.config, step);
        let (models, optimizer, config) = (&mut self.models, &mut self.optimizer, self.config);
        // On a thread of the pool: handing it work from outside would wake it up for every single operation.
        let (loss, grad_norm) = rayon::scope(|_| one_step(models, optimizer, &batch, config, step, steps))?;
        let tokens: u64 = batch.iter().map(|row| row.token_ids.len() as u64).sum();
        let supervised_tokens = supervised(&batch);
        let tokens_per_second = tokens as f64 / started.elapsed().as_secs_f64();
        self.progress.step = step;
        self.progress.ends.add(loss, supervised_tokens);
        self.progress.tokens += tokens;
        self.progress.supervised_tokens += supervised_tokens;
        let eval_loss = self.evaluate(held_out)?;
        self.progress.seconds = self.resumed.seconds + self.begun.elapsed().as_secs_f64();
        let metric = Metric {
            run: self.options.run.to_owned(),
            step,
            loss,
            learning_rate: self.config.optimizer.rate(step, steps),
            grad_norm,
            supervised_tokens,
            tokens,
            tokens_per_second,
            seconds: self.progress.seconds,
            eval_loss,
        };
        self.log.write(&metric).map_err(|e| self.not_saved(e))?;
        let per_step = self.begun.elapsed().as_secs_f64() / f64::from(step - self.resumed.step);
        (self.options.progress)(&metric, steps, per_step * f64::from(steps - step));
        self.save_if_due()
    }

    /// The loss on the held-out rows, if this step is one to measure it after.
    fn evaluate(&mut self, held_out: &[PackedRow]) -> Result<Option<f64>> {
        let Progress { step, steps, best, .. } = self.progress;
        if !self.config.eval_every.is_some_and(|every| step.is_multiple_of(every) || step == steps) {
            return Ok(None);
        }
        let model = self.models[0].clone().tracked(false);
        let go_on = |_| !self.options.stop.load(Ordering::Relaxed);
        let loss = mean_loss(&model, held_out, self.config.rows_per_pass, &go_on)?;
        let lowest = best.map_or(f64::INFINITY, |best| best.loss);
        self.progress.best = if loss < lowest {
            Some(Best { step, loss, since: 0, kept: self.config.keep_best })
        } else {
            best.map(|best| Best { since: best.since + 1, ..best })
        };
        Ok(Some(loss))
    }

    /// Writes a checkpoint where one is due: after the last step, for the user who stops, for the lowest evaluation loss,
    /// and from time to time.
    fn save_if_due(&mut self) -> Result<()> {
        let step = self.progress.step;
        let stopping = self.options.stop.load(Ordering::Relaxed);
        let best = self.progress.best.is_some_and(|best| best.kept && best.step == step);
        let long_ago = self.saved.elapsed().as_secs_f64() > self.options.checkpoint_seconds;
        if self.finished() || stopping || best || long_ago {
            // What is saved is what a later run trusts.
            if let Some(problem) = self.models[0].not_finite() {
                return Err(Error::BrokenWeights { step, problem });
            }
            let (dir, keep) = (self.options.dir, self.options.keep_checkpoints);
            let saved = self.log.sync();
            let saved =
                saved.and_then(|()| checkpoint::save(dir, &self.models[0], &self.optimizer, &self.progress, keep));
            saved.map_err(|e| self.not_saved(e))?;
            self.saved = Instant::now();
        }
        if stopping && !self.finished() {
            return Err(Error::Stopped { after: format!("after step {step}, the checkpoint is saved") });
        }
        Ok(())
    }

    /// What to tell a user whose disk is full.
    fn not_saved(&self, error: Error) -> Error {
        let dir = self.options.dir;
        let kept = match checkpoint::latest(dir) {
            Ok(Some(path)) => {
                format!("the checkpoint {} before it is good", path.file_name().unwrap_or_default().display())
            }
            Ok(None) => "there is no checkpoint before it".to_owned(),
            Err(unreadable) => format!("whether there is a checkpoint before it cannot be said: {unreadable}"),
        };
        Error::NotSaved { dir: dir.to_owned(), step: self.progress.step, source: Box::new(error), kept }
    }

    pub(crate) fn finish(mut self) -> Result<(Model, TrainSummary)> {
        let progress = self.progress;
        let summary = TrainSummary {
            steps: progress.step,
            planned_steps: progress.steps,
            tokens: progress.tokens,
            supervised_tokens: progress.supervised_tokens,
            loss: progress.ends.loss(),
            best: progress.best.map(|best| BestEvaluation { step: best.step, loss: best.loss }),
            seconds: progress.seconds,
            parameters: self.models[0].config.parameters(),
            trained_parameters: self.models[0]
                .trainable()
                .iter()
                .map(|(_, t)| t.dims().iter().product::<usize>() as u64)
                .sum(),
        };
        let mut model = self.models.swap_remove(0).tracked(false);
        model.precision = Precision::F32;
        if progress.best.is_some_and(|best| best.kept && best.step != progress.step) {
            checkpoint::load(&checkpoint::result(self.options.dir)?, &mut model, None)?;
        }
        Ok((model.merged(), summary))
    }
}
