//! What cannot be trained is refused before anything is spent, by the name of the field that is to blame.

use data::pack::PackedRow;

use super::TrainConfig;
use crate::model::Model;
use crate::{Error, Result};

/// Refuses what cannot be trained; returns the number of steps.
pub(super) fn check(model: &Model, rows: &[PackedRow], held_out: &[PackedRow], config: &TrainConfig) -> Result<u32> {
    config.check(held_out.len())?;
    let all = || rows.iter().chain(held_out);
    let longest = all().flat_map(|row| &row.position_ids).max().map_or(0, |p| *p as usize + 1);
    if longest > model.config.max_position_embeddings {
        return Err(Error::invalid(
            "pack.sequence_length",
            format!("a trace has {longest} tokens, the base holds {}", model.config.max_position_embeddings),
            "lower it, or raise the base's context",
        ));
    }
    let largest = all().flat_map(|row| &row.token_ids).max().map_or(0, |id| *id as usize);
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
    let per_epoch = rows.len().div_ceil(config.rows_per_step) as u32;
    let all = per_epoch.saturating_mul(config.epochs);
    Ok(if config.max_steps > 0 { all.min(config.max_steps) } else { all })
}

impl TrainConfig {
    /// Refuses settings that contradict each other; `held_out` is how many traces or rows there are to evaluate on.
    pub fn check(&self, held_out: usize) -> Result<()> {
        let sizes = [("rows_per_step", self.rows_per_step), ("rows_per_pass", self.rows_per_pass)];
        for (name, value) in sizes.into_iter().chain([("epochs", self.epochs as usize)]) {
            if value == 0 {
                return Err(Error::invalid(format!("train.{name}"), "it is 0", "set it to 1 or more"));
            }
        }
        if let Some(lora) = &self.lora {
            lora.check()?;
        }
        if self.eval_every > 0 && held_out == 0 {
            return Err(Error::invalid(
                "train.eval_every",
                format!("it is {}, but no traces are held out to evaluate on", self.eval_every),
                "set pack.held_out above 0, or train.eval_every to 0",
            ));
        }
        let asks = [("keep_best", self.keep_best), ("early_stopping_patience", self.early_stopping_patience > 0)];
        if let Some((name, _)) = asks.into_iter().find(|(_, set)| *set && self.eval_every == 0) {
            return Err(Error::invalid(
                format!("train.{name}"),
                "it goes by the evaluation loss, and train.eval_every is 0",
                format!("set train.eval_every to the steps between evaluations, or leave train.{name} off"),
            ));
        }
        Ok(())
    }
}
