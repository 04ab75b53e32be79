//! Keys and values of sequences being sampled.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use crate::config::ModelConfig;
use crate::ops::{self, Heads};
use crate::segments::Extension;

/// One pair of tensors `[slots · capacity + 1, key heads · head_dim]` a layer; a slot holds one sequence. The last row is a
/// slot of one token, for the row that is computed beside a sequence that is alone.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<(Tensor<2>, Tensor<2>)>,
    /// Sequences it can hold.
    pub slots: usize,
    /// Tokens a slot can hold.
    pub capacity: usize,
}

impl KvCache {
    /// An empty cache of so many slots, `capacity` tokens each.
    pub fn new(config: &ModelConfig, slots: usize, capacity: usize, device: &Device) -> Self {
        let shape = [slots * capacity + 1, config.num_key_value_heads * config.head_dim];
        let layers = (0..config.num_hidden_layers)
            .map(|_| (Tensor::zeros(shape, device), Tensor::zeros(shape, device)))
            .collect();
        Self { layers, slots, capacity }
    }

    /// Bytes one token takes in all layers.
    pub fn bytes_per_token(config: &ModelConfig) -> u64 {
        let row = config.num_key_value_heads * config.head_dim * 2 * size_of::<f32>();
        (row * config.num_hidden_layers) as u64
    }

    /// Bytes that are held.
    pub fn bytes(&self) -> u64 {
        let elements =
            |(k, v): &(Tensor<2>, Tensor<2>)| k.dims().iter().product::<usize>() + v.dims().iter().product::<usize>();
        self.layers.iter().map(|layer| (elements(layer) * size_of::<f32>()) as u64).sum()
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
        let empty = || ops::placeholder(&q.device());
        let caches = std::mem::replace(&mut self.layers[layer], (empty(), empty()));
        let (o, k, v) = ops::cached_attention(q, k, v, caches, heads, layout);
        self.layers[layer] = (k, v);
        o
    }
}
