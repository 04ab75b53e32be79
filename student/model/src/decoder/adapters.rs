//! Adapters beside a decoder's projections: put in, trained in place of the weights, worked into them.
//!
//! Parameters are named as PEFT names them in its files, and begin as PEFT begins them.

use burn::tensor::Tensor;
use burn::tensor::TensorData;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Block, Model};
use crate::lora::{Lora, LoraConfig};
use crate::ops::{self, Precision, take};

impl Block {
    fn has_adapters(&mut self) -> bool {
        self.linears_mut().iter().any(|(_, linear)| linear.lora.is_some())
    }

    /// The adapters' matrices by PEFT's names.
    fn adapters_mut(&mut self, layer: usize) -> Vec<(String, &mut Tensor<2>)> {
        let mut all = Vec::new();
        for (name, linear) in self.linears_mut() {
            let Some(lora) = &mut linear.lora else { continue };
            let name = format!("base_model.model.model.layers.{layer}.{name}");
            all.push((format!("{name}.lora_A.weight"), &mut lora.a));
            all.push((format!("{name}.lora_B.weight"), &mut lora.b));
        }
        all
    }

    /// What is trained of this block: its adapters, or all of it if it has none.
    pub fn trainable_mut(&mut self, layer: usize) -> Vec<(String, &mut Tensor<2>)> {
        if self.has_adapters() { self.adapters_mut(layer) } else { self.parameters_mut(layer) }
    }
}

impl Model {
    /// Gives the projections adapters that change nothing yet: A is drawn from `seed`, uniform within ±1/√in, and B is 0.
    #[must_use]
    pub fn with_adapters(mut self, config: &LoraConfig, seed: u64) -> Self {
        let device = self.device();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Epochs draw the order of the data from the first streams of the same seed.
        rng.set_stream(u64::MAX);
        for (name, linear) in self.layers.iter_mut().flat_map(Block::linears_mut) {
            if !config.target_modules.iter().any(|module| name.ends_with(module.as_str())) {
                continue;
            }
            let [outer, inner] = linear.weight.dims();
            let bound = 1.0 / (inner as f32).sqrt();
            let a: Vec<f32> = (0..config.rank * inner).map(|_| rng.random_range(-bound..bound)).collect();
            linear.lora = Some(Lora {
                a: Tensor::from_data(TensorData::new(a, [config.rank, inner]), &device),
                b: Tensor::zeros([outer, config.rank], &device),
                scale: config.alpha / config.rank as f64,
                dropout: config.dropout,
            });
        }
        self
    }

    /// The model with its adapters worked into the weights; as it is if it has none.
    #[must_use]
    pub fn merged(mut self) -> Self {
        for (_, linear) in self.layers.iter_mut().flat_map(Block::linears_mut) {
            let Some(Lora { a, b, scale, .. }) = linear.lora.take() else { continue };
            linear.weight = take(&mut linear.weight) + ops::linear(b, a.transpose(), Precision::F32) * scale;
        }
        self
    }

    /// What is trained, by name: the adapters, or all parameters if there are none.
    pub fn trainable_mut(&mut self) -> Vec<(String, &mut Tensor<2>)> {
        if self.layers.iter_mut().any(Block::has_adapters) { self.adapters_mut() } else { self.parameters_mut() }
    }

    /// The adapters' matrices of all blocks by PEFT's names; none if the model has no adapters.
    pub fn adapters_mut(&mut self) -> Vec<(String, &mut Tensor<2>)> {
        self.layers.iter_mut().enumerate().flat_map(|(i, block)| block.adapters_mut(i)).collect()
    }

    /// As [`Model::trainable_mut`]; tensors are handles, so this copies no numbers.
    pub fn trainable(&self) -> Vec<(String, Tensor<2>)> {
        self.clone().trainable_mut().into_iter().map(|(name, tensor)| (name, tensor.clone())).collect()
    }
}
