//! What cannot be trained is refused before anything is spent, by the name of the field that is to blame.

use model::Model;
use model::lora::LoraConfig;
use records::Mistake;
use tokens::fidelity;
use tokens::pack::PackedRow;

use crate::{OptimizerConfig, Result, TrainConfig};

/// Refuses what cannot be trained; returns the number of steps.
pub(crate) fn check(model: &Model, rows: &[PackedRow], held_out: &[PackedRow], config: &TrainConfig) -> Result<u32> {
    if let Some(mistake) = config.check(held_out.len()).into_iter().next() {
        return Err(records::Error::from(mistake).into());
    }
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
    /// Settings that cannot be carried out, or that contradict each other; `held_out` is how many traces or rows there are
    /// to evaluate on.
    pub fn check(&self, held_out: usize) -> Vec<Mistake> {
        let mut found = Vec::new();
        let mut refuse = |field: &str, problem: String, remedy: &str| {
            found.push(Mistake::new(format!("train.{field}"), problem, remedy));
        };
        let sizes = [("rows_per_step", self.rows_per_step), ("rows_per_pass", self.rows_per_pass)];
        for (name, value) in sizes.into_iter().chain([("epochs", self.epochs as usize)]) {
            if value == 0 {
                refuse(name, "it is 0".into(), "set it to 1 or more");
            }
        }
        let optional = [
            ("max_steps", self.max_steps),
            ("eval_every", self.eval_every),
            ("early_stopping_patience", self.early_stopping_patience),
        ];
        for (name, _) in optional.into_iter().filter(|(_, value)| *value == Some(0)) {
            refuse(name, "it is 0".into(), "leave it out, or set it to 1 or more");
        }
        if let Some(every) = self.eval_every
            && held_out == 0
        {
            let problem = format!("it is {every}, but no traces are held out to evaluate on");
            refuse("eval_every", problem, "set pack.held_out above 0, or leave train.eval_every out");
        }
        let asks = [("keep_best", self.keep_best), ("early_stopping_patience", self.early_stopping_patience.is_some())];
        for (name, _) in asks.into_iter().filter(|(_, set)| *set && self.eval_every.is_none()) {
            let problem = "it goes by the evaluation loss, and there is no train.eval_every".into();
            let remedy = format!("set train.eval_every to the steps between evaluations, or leave train.{name} off");
            refuse(name, problem, &remedy);
        }
        found.extend(self.lora.iter().flat_map(LoraConfig::check));
        found.extend(self.optimizer.check());
        found
    }
}

impl OptimizerConfig {
    /// Numbers that no training can be made with.
    fn check(&self) -> Vec<Mistake> {
        let above = |x: f64| x > 0.0 && x.is_finite();
        let decay = |x: f64| (0.0..1.0).contains(&x);
        let share = |x: f64| (0.0..=1.0).contains(&x);
        let not_below = |x: f64| x >= 0.0 && x.is_finite();
        let of_shares = "set it from 0 to 1";
        let of_decays = "set it from 0 up to, but not, 1";
        let numbers = [
            ("learning_rate", self.learning_rate, above(self.learning_rate), "set it above 0"),
            ("warmup_ratio", self.warmup_ratio, share(self.warmup_ratio), of_shares),
            ("final_ratio", self.final_ratio, share(self.final_ratio), of_shares),
            ("weight_decay", self.weight_decay, not_below(self.weight_decay), "set it to 0 or more"),
            ("beta1", self.beta1, decay(self.beta1), of_decays),
            ("beta2", self.beta2, decay(self.beta2), of_decays),
            ("epsilon", self.epsilon, above(self.epsilon), "set it above 0"),
            ("max_grad_norm", self.max_grad_norm, above(self.max_grad_norm), "set it above 0"),
        ];
        let wrong = numbers.into_iter().filter(|(_, _, fits, _)| !fits);
        wrong
            .map(|(name, value, _, remedy)| {
                Mistake::new(format!("train.optimizer.{name}"), format!("it is {value}"), remedy)
            })
            .collect()
    }
}
