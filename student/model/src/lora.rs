//! Low-rank adapters: the base's weights stay as they are, and beside some of its projections a product of two small
//! matrices is trained (Hu et al. 2021, arXiv 2106.09685): `x·Wᵀ + alpha/rank · dropout(x)·Aᵀ·Bᵀ`.
//!
//! Only a training knows of adapters. What comes out of it is merged, `W + alpha/rank · B·A`: a model like any other.
//! Parameters are named as PEFT names them in its files, and begin as PEFT begins them.

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use records::Mistake;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ops::{self, Precision};

/// The projections that can be adapted.
pub const MODULES: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// The recipe's section on adapters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rows of A and columns of B.
    pub rank: usize,
    /// The product counts alpha / rank times.
    pub alpha: f64,
    /// Share of an adapter's inputs that are 0 in training.
    pub dropout: f64,
    /// Which projections of every block are adapted, by Hugging Face name without prefix.
    pub target_modules: Vec<String>,
}

impl LoraConfig {
    /// What cannot be trained with.
    pub fn check(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        let mut refuse = |field: &str, problem: String, remedy: &str| {
            found.push(Mistake::new(format!("train.lora.{field}"), problem, remedy));
        };
        if self.rank == 0 {
            refuse("rank", "it is 0".into(), "set it to 1 or more");
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            refuse("alpha", format!("it is {}", self.alpha), "set it above 0");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            refuse("dropout", format!("it is {}", self.dropout), "set it to 0 or more and below 1");
        }
        let known = format!("name some of {}", MODULES.join(", "));
        if let Some(name) = self.target_modules.iter().find(|name| !MODULES.contains(&name.as_str())) {
            refuse("target_modules", format!("there is no projection {name:?}"), &known);
        }
        if self.target_modules.is_empty() {
            refuse("target_modules", "it is empty".into(), &known);
        }
        found
    }
}

/// The adapter of one projection.
#[derive(Debug, Clone)]
pub(crate) struct Lora {
    /// `[rank, in]`.
    pub(crate) a: Tensor<2>,
    /// `[out, rank]`.
    pub(crate) b: Tensor<2>,
    /// alpha / rank.
    pub(crate) scale: f64,
    pub(crate) dropout: f64,
}

impl Lora {
    /// x `[N, in]` → what is added to the projection's output, `[N, out]`. Inputs are dropped only where there is `noise`.
    pub(crate) fn forward(&self, x: Tensor<2>, precision: Precision, noise: Option<Noise>) -> Tensor<2> {
        let x = match noise {
            Some(noise) if self.dropout > 0.0 => {
                let mask = noise.mask(x.dims(), self.dropout, &x.device());
                x * mask
            }
            _ => x,
        };
        let low = ops::linear(x, self.a.clone(), precision) * self.scale;
        ops::linear(low, self.b.clone(), precision)
    }
}

/// What dropout is drawn from: these numbers alone, so that a block that is computed again draws the same.
#[derive(Debug, Clone, Copy, Default)]
pub struct Noise {
    /// The training's seed.
    pub seed: u64,
    /// Optimizer step.
    pub step: u32,
    /// Pass within the step.
    pub pass: u32,
    /// Block of the decoder.
    pub layer: u32,
    /// Projection within the block.
    pub module: u32,
}

impl Noise {
    /// Each element 0 with probability `dropout`, else 1 / (1 − dropout).
    fn mask(self, shape: [usize; 2], dropout: f64, device: &Device) -> Tensor<2> {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        let numbers = [self.step, self.pass, self.layer, self.module];
        for (to, number) in key[8..].chunks_exact_mut(4).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        let (limit, kept) = ((dropout * 2f64.powi(32)) as u32, (1.0 / (1.0 - dropout)) as f32);
        let draw = |_| if rng.random::<u32>() < limit { 0.0 } else { kept };
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(draw).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

#[cfg(test)]
pub(crate) mod tests;
