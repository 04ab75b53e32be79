//! Keys and values of sequences being sampled.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use crate::config::ModelConfig;
use crate::layout::Extension;
use crate::model::placeholder;
use crate::ops::{self, Heads};

/// One pair of tensors `[slots · capacity, key heads · head_dim]` a layer; a slot holds one sequence.
#[derive(Debug)]
pub(crate) struct KvCache {
    layers: Vec<(Tensor<2>, Tensor<2>)>,
    pub(crate) slots: usize,
    /// Tokens a slot can hold.
    pub(crate) capacity: usize,
}

impl KvCache {
    pub(crate) fn new(config: &ModelConfig, slots: usize, capacity: usize, device: &Device) -> Self {
        let shape = [slots * capacity, config.num_key_value_heads * config.head_dim];
        let layers = (0..config.num_hidden_layers)
            .map(|_| (Tensor::zeros(shape, device), Tensor::zeros(shape, device)))
            .collect();
        Self { layers, slots, capacity }
    }

    /// Bytes all slots take.
    pub(crate) fn bytes(config: &ModelConfig, slots: usize, capacity: usize) -> u64 {
        let row = config.num_key_value_heads * config.head_dim * 2 * size_of::<f32>();
        (slots * capacity * row * config.num_hidden_layers) as u64
    }

    /// Attention of one layer over the cache, which the rows' keys and values are written into first.
    pub(crate) fn attend(
        &mut self,
        layer: usize,
        q: Tensor<2>,
        k: Tensor<2>,
        v: Tensor<2>,
        heads: Heads,
        layout: &Arc<Extension>,
    ) -> Tensor<2> {
        // Taken out, so that nothing else holds them and they change in place.
        let empty = || placeholder(&q.device());
        let caches = std::mem::replace(&mut self.layers[layer], (empty(), empty()));
        let (o, k, v) = ops::cached_attention(q, k, v, caches, heads, layout);
        self.layers[layer] = (k, v);
        o
    }
}
