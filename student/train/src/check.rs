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
    Ok(config.max_steps.map_or(all, |most| all.min(most)))
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
        let optional = [
            ("max_steps", self.max_steps),
            ("eval_every", self.eval_every),
            ("early_stopping_patience", self.early_stopping_patience),
        ];
        if let Some((name, _)) = optional.into_iter().find(|(_, value)| *value == Some(0)) {
            let remedy = "leave it out, or set it to 1 or more";
            return Err(model::Error::invalid(format!("train.{name}"), "it is 0", remedy));
        }
        if let Some(lora) = &self.lora {
            lora.check()?;
        }
        if let Some(every) = self.eval_every
            && held_out == 0
        {
            return Err(model::Error::invalid(
                "train.eval_every",
                format!("it is {every}, but no traces are held out to evaluate on"),
                "set pack.held_out above 0, or leave train.eval_every out",
            ));
        }
        let asks = [("keep_best", self.keep_best), ("early_stopping_patience", self.early_stopping_patience.is_some())];
        if let Some((name, _)) = asks.into_iter().find(|(_, set)| *set && self.eval_every.is_none()) {
            return Err(model::Error::invalid(
                format!("train.{name}"),
                "it goes by the evaluation loss, and there is no train.eval_every",
                format!("set train.eval_every to the steps between evaluations, or leave train.{name} off"),
            ));
        }
        Ok(())
    }
}
