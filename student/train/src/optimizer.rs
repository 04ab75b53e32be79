//! AdamW with global-norm clipping and a warmup-cosine schedule, state kept by parameter name.
//!
//! Burn's own optimizers key their state by in-memory id and clip each tensor by itself; resuming and clipping as the
//! literature means it need names and one norm over all gradients.

use std::collections::HashMap;

use burn::tensor::Tensor;
use model::Model;
use model::ops::take;
use model::ops::{self, AdamStep};
use model::weights::is_vector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The numbers of the optimizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Share of all steps that the rate rises over.
    pub warmup_ratio: f64,
    /// The cosine ends at the peak times this.
    pub final_ratio: f64,
    /// Decay of matrices (not of norms and biases).
    pub weight_decay: f64,
    /// First-moment decay.
    pub beta1: f64,
    /// Second-moment decay.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Gradients are scaled so that their global norm is at most this.
    pub max_grad_norm: f64,
}

impl OptimizerConfig {
    /// Learning rate of a step (from 1) out of `steps`: linear warmup, then cosine to `final_ratio` of the peak.
    pub fn rate(&self, step: u32, steps: u32) -> f64 {
        let warmup = (self.warmup_ratio * f64::from(steps)).ceil().max(1.0);
        let step = f64::from(step);
        if step <= warmup {
            return self.learning_rate * step / warmup;
        }
        let progress = (step - warmup) / (f64::from(steps) - warmup).max(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos());
        self.learning_rate * (self.final_ratio + (1.0 - self.final_ratio) * cosine)
    }
}

/// Gradients by parameter name, summed over micro-batches.
#[derive(Default)]
pub(crate) struct Accumulated(HashMap<String, Tensor<2>>);

impl Accumulated {
    /// Takes the gradients of these parameters out of `found`, and adds them where there are some of that name.
    pub(crate) fn take<'a>(
        &mut self,
        parameters: impl IntoIterator<Item = (String, &'a mut Tensor<2>)>,
        found: &mut burn::tensor::Gradients,
    ) {
        for (name, tensor) in parameters {
            let Some(gradient) = tensor.grad_remove(found) else { continue };
            self.insert(name, gradient);
        }
    }

    /// Adds the gradients of another pass, wherever they were computed; the sum stays where this model is. The memory of
    /// the output projection's, which is the largest, becomes `spare` when it was added.
    pub(crate) fn add(&mut self, model: &Model, other: Self, spare: &mut Option<Tensor<2>>) {
        let device = model.device().inner();
        for (name, gradient) in other.0 {
            let gradient = gradient.to_device(&device);
            if name == model.head_name() && self.0.contains_key(&name) {
                *spare = Some(gradient.clone());
            }
            self.insert(name, gradient);
        }
    }

    pub(crate) fn insert(&mut self, name: String, gradient: Tensor<2>) {
        let sum = match self.0.remove(&name) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.0.insert(name, sum);
    }

    /// Adds the gradients of embedded tokens, `[N, D]`, to those of their rows in `table`, whose name is given.
    pub(crate) fn add_rows(&mut self, name: &str, table: &Tensor<2>, ids: &[u32], rows: Tensor<2>) {
        let sum = self.0.remove(name).unwrap_or_else(|| Tensor::zeros(table.dims(), &rows.device()));
        self.0.insert(name.to_owned(), ops::add_rows(sum, ids, rows));
    }

    /// √Σ g² over all that is trained.
    pub(crate) fn norm(&self, model: &mut Model) -> f64 {
        // In the model's order, so that the sum has the same bits every time.
        let squares = model.trainable_mut().into_iter().filter_map(|(name, _)| self.0.get(&name));
        squares.map(ops::sum_of_squares).sum::<f64>().sqrt()
    }

    #[cfg(test)]
    pub(crate) fn get(&self, name: &str) -> Option<&Tensor<2>> {
        self.0.get(name)
    }
}

/// First and second moments by parameter name.
pub(crate) struct AdamW {
    pub(crate) config: OptimizerConfig,
    pub(crate) moments: HashMap<String, (Tensor<2>, Tensor<2>)>,
    /// A gradient of the output projection that was used: memory for the next one.
    pub(crate) spare: Option<Tensor<2>>,
}

impl AdamW {
    pub(crate) fn new(config: OptimizerConfig) -> Self {
        Self { config, moments: HashMap::new(), spare: None }
    }

    /// Takes the memory that steps will need. Taken later it would lie beside what the first step has freed in pieces that
    /// are too small for it.
    pub(crate) fn reserve(&mut self, model: &mut Model) {
        let head = model.head_name();
        for (name, tensor) in model.trainable_mut() {
            let zeros = || tensor.clone().inner().zeros_like();
            if name == head {
                self.spare = Some(zeros());
            }
            self.moments.entry(name).or_insert_with(|| (zeros(), zeros()));
        }
    }

    /// Updates all that is trained in place. `norm` is the gradients' global norm.
    pub(crate) fn step(&mut self, model: &mut Model, gradients: Accumulated, norm: f64, step: u32, steps: u32) {
        let config = &self.config;
        let correction = |beta: f64| (1.0 - beta.powf(f64::from(step))) as f32;
        let settings = AdamStep {
            learning_rate: config.rate(step, steps) as f32,
            beta1: config.beta1 as f32,
            beta2: config.beta2 as f32,
            epsilon: config.epsilon as f32,
            weight_decay: config.weight_decay as f32,
            correction1: correction(config.beta1),
            correction2: correction(config.beta2),
            grad_scale: if norm > config.max_grad_norm { (config.max_grad_norm / norm) as f32 } else { 1.0 },
        };
        let mut gradients = gradients.0;
        self.spare = gradients.get(model.head_name()).cloned();
        for (name, tensor) in model.trainable_mut() {
            let Some(gradient) = gradients.remove(&name) else { continue };
            let weight = take(tensor).inner();
            let moments = self.moments.remove(&name).unwrap_or_else(|| (weight.zeros_like(), weight.zeros_like()));
            let decay = if is_vector(&name) { 0.0 } else { settings.weight_decay };
            let own = AdamStep { weight_decay: decay, ..settings };
            let (weight, m, v) = ops::adamw(weight, gradient, moments, own);
            *tensor = Tensor::from_inner(weight).require_grad();
            self.moments.insert(name, (m, v));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_peaks_and_ends_at_a_tenth() {
        let config = OptimizerConfig {
            learning_rate: 1e-3,
            warmup_ratio: 0.1,
            final_ratio: 0.1,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            max_grad_norm: 1.0,
        };
        let rates: Vec<f64> = (1..=100).map(|step| config.rate(step, 100)).collect();
        assert!((rates[0] - 1e-4).abs() < 1e-12);
        assert!((rates[9] - 1e-3).abs() < 1e-12);
        assert!(rates[9..].windows(2).all(|w| w[1] < w[0]));
        assert!((rates[99] - 1e-4).abs() < 1e-12);
        assert!(config.rate(1, 1).is_finite() && config.rate(1, 1) > 0.0);
    }
}
