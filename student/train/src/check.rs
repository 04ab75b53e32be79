//! What cannot be trained is refused before anything is spent, by the name of the field that is to blame.

use model::Model;
use tokens::fidelity;
use tokens::pack::PackedRow;

use crate::Result;
use crate::TrainConfig;

/// Refuses what cannot be trained; returns the number of steps.
pub(crate) fn check(model: &Model, rows: &[PackedRow], held_out: &[PackedRow], config: &TrainConfig) -> Result<u32> {
    config.check(held_out.len())?;
    let sets = std::iter::once(rows).chain((!held_out.is_empty()).then_some(held_out));
    let capacity = fidelity::Capacity::new(model.config.vocab_size, model.config.max_position_embeddings);
    for finding in sets.flat_map(|set| fidelity::numbers(set, capacity)) {
        finding.outcome?;
    }
    let per_epoch = rows.len().div_ceil(config.rows_per_step) as u32;
    let all = per_epoch.saturating_mul(config.epochs);
    Ok(if config.max_steps > 0 { all.min(config.max_steps) } else { all })
}

impl TrainConfig {
    /// Refuses settings that contradict each other; `held_out` is how many traces or rows there are to evaluate on.
    pub fn check(&self, held_out: usize) -> model::Result<()> {
        let sizes = [("rows_per_step", self.rows_per_step), ("rows_per_pass", self.rows_per_pass)];
        for (name, value) in sizes.into_iter().chain([("epochs", self.epochs as usize)]) {
            if value == 0 {
                return Err(model::Error::invalid(format!("train.{name}"), "it is 0", "set it to 1 or more"));
            }
        }
        if let Some(lora) = &self.lora {
            lora.check()?;
        }
        if self.eval_every > 0 && held_out == 0 {
            return Err(model::Error::invalid(
                "train.eval_every",
                format!("it is {}, but no traces are held out to evaluate on", self.eval_every),
                "set pack.held_out above 0, or train.eval_every to 0",
            ));
        }
        let asks = [("keep_best", self.keep_best), ("early_stopping_patience", self.early_stopping_patience > 0)];
        if let Some((name, _)) = asks.into_iter().find(|(_, set)| *set && self.eval_every == 0) {
            return Err(model::Error::invalid(
                format!("train.{name}"),
                "it goes by the evaluation loss, and train.eval_every is 0",
                format!("set train.eval_every to the steps between evaluations, or leave train.{name} off"),
            ));
        }
        Ok(())
    }
}
