//! The decoder: Llama's, which with biases on q, k and v is Qwen2's.
//!
//! Pre-norm blocks of grouped-query attention and SwiGLU (Touvron et al. 2023, arXiv 2302.13971; Qwen2, arXiv
//! 2407.10671; Qwen3, arXiv 2505.09388, with norms on q and k). Fields are named as Hugging Face names their weights.
//! All parameters are `Tensor<2>`: vectors (norm weights, biases) are `[1, D]`.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::config::ModelConfig;
use crate::kv_cache::KvCache;
use crate::lora::{Lora, Noise};
use crate::ops::{self, Heads, Precision, Targets, take};
use crate::segments::{Extension, Packed, Rope};

/// The name of the embedding table.
pub const EMBED_TOKENS: &str = "model.embed_tokens.weight";
/// The name of the last norm's weight.
pub const NORM: &str = "model.norm.weight";
pub(crate) const LM_HEAD: &str = "lm_head.weight";

/// A matrix product with an optional bias.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    /// `[out, in]`, Hugging Face's order.
    pub(crate) weight: Tensor<2>,
    /// `[1, out]`.
    pub(crate) bias: Option<Tensor<2>>,
    /// Trained in place of `weight`.
    pub(crate) lora: Option<Lora>,
}

/// One block.
#[derive(Debug, Clone)]
pub struct Block {
    pub(crate) input_layernorm: Tensor<2>,
    pub(crate) q_proj: Linear,
    pub(crate) k_proj: Linear,
    pub(crate) v_proj: Linear,
    /// Norms of each query and key head, `[1, head_dim]`; Qwen3 has them.
    pub(crate) qk_norm: Option<(Tensor<2>, Tensor<2>)>,
    pub(crate) o_proj: Linear,
    pub(crate) post_attention_layernorm: Tensor<2>,
    pub(crate) gate_proj: Linear,
    pub(crate) up_proj: Linear,
    pub(crate) down_proj: Linear,
}

/// A decoder with its weights on a device.
#[derive(Debug, Clone)]
pub struct Model {
    /// The architecture.
    pub config: ModelConfig,
    /// `[V, D]`.
    pub embed_tokens: Tensor<2>,
    /// From the embedding up.
    pub layers: Vec<Block>,
    /// Of the last norm, `[1, D]`.
    pub norm: Tensor<2>,
    /// `None` when tied to `embed_tokens`.
    pub(crate) lm_head: Option<Tensor<2>>,
    /// In which numbers the weight products are computed.
    pub precision: Precision,
    /// Whether training computes blocks again instead of keeping them for the backward pass.
    pub recompute: bool,
    rope: Arc<Rope>,
}

/// Where a block's attention looks.
enum Attending<'a> {
    Packed(&'a Arc<Packed>),
    Cached(&'a mut KvCache, &'a Arc<Extension>),
}

impl Linear {
    fn forward(&self, x: Tensor<2>, precision: Precision, noise: Option<Noise>) -> Tensor<2> {
        let mut y = ops::linear(x.clone(), self.weight.clone(), precision);
        if let Some(lora) = &self.lora {
            y = y + lora.forward(x, precision, noise);
        }
        match &self.bias {
            Some(bias) => ops::add_bias(y, bias.clone()),
            None => y,
        }
    }
}

/// A block's projections by Hugging Face name.
type Linears<'a> = [(&'static str, &'a mut Linear); 7];

impl Block {
    /// x `[N, D]` → `[N, D]`. `attend` makes attention's output of q, k and v; `noise` is what adapters in training draw
    /// their dropout from.
    pub fn forward(
        &self,
        x: Tensor<2>,
        config: &ModelConfig,
        precision: Precision,
        noise: Option<Noise>,
        attend: impl FnOnce(Tensor<2>, Tensor<2>, Tensor<2>, Heads) -> Tensor<2>,
    ) -> Tensor<2> {
        let heads = Heads { query: config.num_attention_heads, key: config.num_key_value_heads, dim: config.head_dim };
        let noise = |module| noise.map(|noise| Noise { module, ..noise });
        let normed = ops::rms_norm(x.clone(), self.input_layernorm.clone(), config.rms_norm_eps);
        let mut q = self.q_proj.forward(normed.clone(), precision, noise(0));
        let mut k = self.k_proj.forward(normed.clone(), precision, noise(1));
        let v = self.v_proj.forward(normed, precision, noise(2));
        if let Some((q_norm, k_norm)) = &self.qk_norm {
            q = norm_heads(q, q_norm, config.rms_norm_eps);
            k = norm_heads(k, k_norm, config.rms_norm_eps);
        }
        let x = x + self.o_proj.forward(attend(q, k, v, heads), precision, noise(3));
        let normed = ops::rms_norm(x.clone(), self.post_attention_layernorm.clone(), config.rms_norm_eps);
        let gate = self.gate_proj.forward(normed.clone(), precision, noise(4));
        let up = self.up_proj.forward(normed, precision, noise(5));
        // An adapter needs the product of the two as its input.
        x + if self.down_proj.lora.is_some() {
            self.down_proj.forward(ops::swiglu(gate, up), precision, noise(6))
        } else {
            ops::swiglu_linear(gate, up, self.down_proj.weight.clone(), precision)
        }
    }

    /// The projections and the norms, by Hugging Face name.
    fn parts_mut(&mut self) -> (Linears<'_>, Vec<(&'static str, &mut Tensor<2>)>) {
        let linears = [
            ("self_attn.q_proj", &mut self.q_proj),
            ("self_attn.k_proj", &mut self.k_proj),
            ("self_attn.v_proj", &mut self.v_proj),
            ("self_attn.o_proj", &mut self.o_proj),
            ("mlp.gate_proj", &mut self.gate_proj),
            ("mlp.up_proj", &mut self.up_proj),
            ("mlp.down_proj", &mut self.down_proj),
        ];
        let mut norms = vec![
            ("input_layernorm", &mut self.input_layernorm),
            ("post_attention_layernorm", &mut self.post_attention_layernorm),
        ];
        if let Some((q_norm, k_norm)) = &mut self.qk_norm {
            norms.extend([("self_attn.q_norm", q_norm), ("self_attn.k_norm", k_norm)]);
        }
        (linears, norms)
    }

    /// The projections by Hugging Face name.
    pub(crate) fn linears_mut(&mut self) -> Linears<'_> {
        self.parts_mut().0
    }

    /// The parameters of this block, which is the `layer`-th, by Hugging Face name; adapters are not among them.
    pub(crate) fn parameters_mut(&mut self, layer: usize) -> Vec<(String, &mut Tensor<2>)> {
        let (linears, norms) = self.parts_mut();
        let mut all = Vec::new();
        for (name, linear) in linears {
            all.push((format!("model.layers.{layer}.{name}.weight"), &mut linear.weight));
            all.extend(linear.bias.as_mut().map(|bias| (format!("model.layers.{layer}.{name}.bias"), bias)));
        }
        all.extend(norms.into_iter().map(|(name, norm)| (format!("model.layers.{layer}.{name}.weight"), norm)));
        all
    }
}

/// x `[N, heads·dim]`, each head normed by itself.
fn norm_heads(x: Tensor<2>, weight: &Tensor<2>, epsilon: f64) -> Tensor<2> {
    let ([rows, width], dim) = (x.dims(), weight.dims()[1]);
    ops::rms_norm(x.reshape([rows * width / dim, dim]), weight.clone(), epsilon).reshape([rows, width])
}

impl Model {
    /// Builds a model out of parameters by Hugging Face name; `parameter(name, [rows, columns])` makes each.
    pub fn build<E>(
        config: &ModelConfig,
        mut parameter: impl FnMut(&str, [usize; 2]) -> Result<Tensor<2>, E>,
    ) -> Result<Self, E> {
        let (d, f) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim);
        let embed_tokens = parameter(EMBED_TOKENS, [config.vocab_size, d])?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for layer in 0..config.num_hidden_layers {
            let mut linear = |name: &str, [o, i]: [usize; 2], bias: bool| {
                let name = format!("model.layers.{layer}.{name}");
                let weight = parameter(&format!("{name}.weight"), [o, i])?;
                let bias = if bias { Some(parameter(&format!("{name}.bias"), [1, o])?) } else { None };
                Ok(Linear { weight, bias, lora: None })
            };
            let bias = config.qkv_bias();
            let q_proj = linear("self_attn.q_proj", [q, d], bias)?;
            let k_proj = linear("self_attn.k_proj", [kv, d], bias)?;
            let v_proj = linear("self_attn.v_proj", [kv, d], bias)?;
            let o_proj = linear("self_attn.o_proj", [d, q], false)?;
            let gate_proj = linear("mlp.gate_proj", [f, d], false)?;
            let up_proj = linear("mlp.up_proj", [f, d], false)?;
            let down_proj = linear("mlp.down_proj", [d, f], false)?;
            let mut norm =
                |name: &str, size: usize| parameter(&format!("model.layers.{layer}.{name}.weight"), [1, size]);
            let qk_norm = if config.qk_norm() {
                Some((norm("self_attn.q_norm", config.head_dim)?, norm("self_attn.k_norm", config.head_dim)?))
            } else {
                None
            };
            let input_layernorm = norm("input_layernorm", d)?;
            let post_attention_layernorm = norm("post_attention_layernorm", d)?;
            layers.push(Block {
                input_layernorm,
                q_proj,
                k_proj,
                v_proj,
                qk_norm,
                o_proj,
                post_attention_layernorm,
                gate_proj,
                up_proj,
                down_proj,
            });
        }
        let norm = parameter(NORM, [1, d])?;
        let lm_head = if config.tie_word_embeddings { None } else { Some(parameter(LM_HEAD, [config.vocab_size, d])?) };
        let rope = Arc::new(Rope::new(config));
        Ok(Self {
            config: config.clone(),
            embed_tokens,
            layers,
            norm,
            lm_head,
            precision: Precision::F32,
            recompute: false,
            rope,
        })
    }

    /// All parameters by Hugging Face name, in the order of [`Model::build`]; adapters are not among them.
    pub fn parameters_mut(&mut self) -> Vec<(String, &mut Tensor<2>)> {
        let mut all = vec![(EMBED_TOKENS.to_owned(), &mut self.embed_tokens)];
        all.extend(self.layers.iter_mut().enumerate().flat_map(|(i, block)| block.parameters_mut(i)));
        all.push((NORM.to_owned(), &mut self.norm));
        all.extend(self.lm_head.as_mut().map(|lm_head| (LM_HEAD.to_owned(), lm_head)));
        all
    }

    /// All parameters by name; tensors are handles, so this copies no numbers.
    pub fn parameters(&self) -> Vec<(String, Tensor<2>)> {
        self.clone().parameters_mut().into_iter().map(|(name, tensor)| (name, tensor.clone())).collect()
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.embed_tokens.device()
    }

    /// The same weights, to train (`true`: those that are trained are tracked by autodiff) or to use (`false`).
    #[must_use]
    pub fn tracked(mut self, track: bool) -> Self {
        let turn = |tensor: Tensor<2>| match (tensor.device().is_autodiff(), track) {
            (false, true) => Tensor::from_inner(tensor),
            (true, false) => tensor.inner(),
            _ => tensor,
        };
        for (_, tensor) in self.parameters_mut() {
            *tensor = turn(take(tensor));
        }
        for (_, tensor) in self.adapters_mut() {
            *tensor = turn(take(tensor));
        }
        if track {
            for (_, tensor) in self.trainable_mut() {
                *tensor = take(tensor).require_grad();
            }
        }
        self
    }

    /// The rotary tables' source.
    pub fn rope(&self) -> &Rope {
        &self.rope
    }

    /// The output projection `[V, D]`.
    pub fn head(&self) -> Tensor<2> {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens).clone()
    }

    /// The name of the output projection's weight.
    pub fn head_name(&self) -> &'static str {
        if self.lm_head.is_some() { LM_HEAD } else { EMBED_TOKENS }
    }

    /// ids `[N]` → their embeddings `[N, D]`.
    pub fn embed(&self, ids: &[u32]) -> Tensor<2> {
        ops::embedding(self.embed_tokens.clone(), integers(ids.iter().map(|id| *id as i32), &self.device()))
    }

    /// ids `[N]` → last hidden states `[N, D]`, normed.
    fn hidden(&self, ids: &[u32], mut attending: Attending<'_>) -> Tensor<2> {
        let config = &self.config;
        let mut x = self.embed(ids);
        for (layer, block) in self.layers.iter().enumerate() {
            x = block.forward(x, config, self.precision, None, |q, k, v, heads| match &mut attending {
                Attending::Packed(layout) => ops::attention(q, k, v, heads, self.precision, layout),
                Attending::Cached(cache, layout) => cache.attend(layer, q, k, v, heads, layout),
            });
        }
        ops::rms_norm(x, self.norm.clone(), config.rms_norm_eps)
    }

    /// Logits `[N, V]` of packed conversations.
    pub fn logits(&self, ids: &[u32], layout: &Arc<Packed>) -> Tensor<2> {
        ops::linear(self.hidden(ids, Attending::Packed(layout)), self.head(), self.precision)
    }

    /// Logits `[len, V]` of one sequence, row by row what follows each of its tokens.
    pub fn logits_of(&self, ids: &[u32]) -> Vec<Vec<f32>> {
        let layout = Packed::new(&[ids.len()], &self.rope);
        let values = self.logits(ids, &layout).into_data().iter::<f32>().collect::<Vec<_>>();
        values.chunks_exact(self.config.vocab_size).map(<[f32]>::to_vec).collect()
    }

    /// Summed cross-entropy of the counted rows times the targets' scale, `[1]`.
    pub fn loss(&self, ids: &[u32], layout: &Arc<Packed>, targets: &Arc<Targets>) -> Tensor<1> {
        let hidden = self.hidden(ids, Attending::Packed(layout));
        ops::cross_entropy(hidden, self.head(), targets, self.precision)
    }

    /// Extends cached sequences by `ids`; logits `[rows.len(), V]` of the given rows.
    pub fn extend(&self, ids: &[u32], cache: &mut KvCache, layout: &Arc<Extension>, rows: &[usize]) -> Tensor<2> {
        let hidden = self.hidden(ids, Attending::Cached(cache, layout));
        let rows = integers(rows.iter().map(|row| *row as i32), &self.device());
        ops::linear(hidden.select(0, rows), self.head(), self.precision)
    }
}

fn integers(values: impl Iterator<Item = i32>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

mod adapters;
