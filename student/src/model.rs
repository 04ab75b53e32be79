//! The decoder: Llama's, which with biases on q, k and v is Qwen2's.
//!
//! Pre-norm blocks of grouped-query attention and SwiGLU (Touvron et al. 2023, arXiv 2302.13971; Qwen2, arXiv
//! 2407.10671). Fields are named as Hugging Face names their weights. All parameters are `Tensor<2>`: vectors (norm
//! weights, biases) are `[1, D]`.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::cache::KvCache;
use crate::config::ModelConfig;
use crate::layout::{Extension, Packed, Rope};
use crate::ops::{self, Heads, Targets};

/// A matrix product with an optional bias.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    /// `[out, in]`, Hugging Face's order.
    pub(crate) weight: Tensor<2>,
    /// `[1, out]`.
    pub(crate) bias: Option<Tensor<2>>,
}

/// One block.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) input_layernorm: Tensor<2>,
    pub(crate) q_proj: Linear,
    pub(crate) k_proj: Linear,
    pub(crate) v_proj: Linear,
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
    pub(crate) embed_tokens: Tensor<2>,
    pub(crate) layers: Vec<Block>,
    pub(crate) norm: Tensor<2>,
    /// `None` when tied to `embed_tokens`.
    pub(crate) lm_head: Option<Tensor<2>>,
    rope: Arc<Rope>,
}

/// Where a block's attention looks.
enum Attending<'a> {
    Packed(&'a Arc<Packed>),
    Cached(&'a mut KvCache, &'a Arc<Extension>),
}

impl Linear {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let y = ops::linear(x, self.weight.clone());
        match &self.bias {
            Some(bias) => ops::add_bias(y, bias.clone()),
            None => y,
        }
    }
}

impl Model {
    /// Builds a model out of parameters by Hugging Face name; `parameter(name, [rows, columns])` makes each.
    pub(crate) fn build<E>(
        config: &ModelConfig,
        mut parameter: impl FnMut(&str, [usize; 2]) -> Result<Tensor<2>, E>,
    ) -> Result<Self, E> {
        let (d, f) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim);
        let embed_tokens = parameter("model.embed_tokens.weight", [config.vocab_size, d])?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for layer in 0..config.num_hidden_layers {
            let mut linear = |name: &str, [o, i]: [usize; 2], bias: bool| {
                let name = format!("model.layers.{layer}.{name}");
                let weight = parameter(&format!("{name}.weight"), [o, i])?;
                let bias = if bias { Some(parameter(&format!("{name}.bias"), [1, o])?) } else { None };
                Ok(Linear { weight, bias })
            };
            let bias = config.qkv_bias();
            let q_proj = linear("self_attn.q_proj", [q, d], bias)?;
            let k_proj = linear("self_attn.k_proj", [kv, d], bias)?;
            let v_proj = linear("self_attn.v_proj", [kv, d], bias)?;
            let o_proj = linear("self_attn.o_proj", [d, q], false)?;
            let gate_proj = linear("mlp.gate_proj", [f, d], false)?;
            let up_proj = linear("mlp.up_proj", [f, d], false)?;
            let down_proj = linear("mlp.down_proj", [d, f], false)?;
            let mut norm = |name: &str| parameter(&format!("model.layers.{layer}.{name}.weight"), [1, d]);
            let input_layernorm = norm("input_layernorm")?;
            let post_attention_layernorm = norm("post_attention_layernorm")?;
            layers.push(Block {
                input_layernorm,
                q_proj,
                k_proj,
                v_proj,
                o_proj,
                post_attention_layernorm,
                gate_proj,
                up_proj,
                down_proj,
            });
        }
        let norm = parameter("model.norm.weight", [1, d])?;
        let lm_head =
            if config.tie_word_embeddings { None } else { Some(parameter("lm_head.weight", [config.vocab_size, d])?) };
        Ok(Self { config: config.clone(), embed_tokens, layers, norm, lm_head, rope: Arc::new(Rope::new(config)) })
    }

    /// All parameters by Hugging Face name, in the order of [`Model::build`].
    pub(crate) fn parameters_mut(&mut self) -> Vec<(String, &mut Tensor<2>)> {
        let mut all = vec![("model.embed_tokens.weight".to_owned(), &mut self.embed_tokens)];
        for (i, block) in self.layers.iter_mut().enumerate() {
            let linears = [
                ("self_attn.q_proj", &mut block.q_proj),
                ("self_attn.k_proj", &mut block.k_proj),
                ("self_attn.v_proj", &mut block.v_proj),
                ("self_attn.o_proj", &mut block.o_proj),
                ("mlp.gate_proj", &mut block.gate_proj),
                ("mlp.up_proj", &mut block.up_proj),
                ("mlp.down_proj", &mut block.down_proj),
            ];
            for (name, linear) in linears {
                all.push((format!("model.layers.{i}.{name}.weight"), &mut linear.weight));
                if let Some(bias) = &mut linear.bias {
                    all.push((format!("model.layers.{i}.{name}.bias"), bias));
                }
            }
            let norms = [
                ("input_layernorm", &mut block.input_layernorm),
                ("post_attention_layernorm", &mut block.post_attention_layernorm),
            ];
            all.extend(norms.map(|(name, norm)| (format!("model.layers.{i}.{name}.weight"), norm)));
        }
        all.push(("model.norm.weight".to_owned(), &mut self.norm));
        if let Some(lm_head) = &mut self.lm_head {
            all.push(("lm_head.weight".to_owned(), lm_head));
        }
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

    /// The same weights, to train (`true`: tracked by autodiff) or to use (`false`).
    #[must_use]
    pub(crate) fn tracked(mut self, track: bool) -> Self {
        for (_, tensor) in self.parameters_mut() {
            let own = std::mem::replace(tensor, placeholder(&tensor.device()));
            *tensor = match (own.device().is_autodiff(), track) {
                (false, true) => Tensor::from_inner(own).require_grad(),
                (true, false) => own.inner(),
                _ => own,
            };
        }
        self
    }

    /// The rotary tables' source.
    pub(crate) fn rope(&self) -> &Rope {
        &self.rope
    }

    /// The output projection `[V, D]`.
    fn head(&self) -> Tensor<2> {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens).clone()
    }

    /// ids `[N]` → last hidden states `[N, D]`, normed.
    fn hidden(&self, ids: &[u32], mut attending: Attending<'_>) -> Tensor<2> {
        let config = &self.config;
        let heads = Heads { query: config.num_attention_heads, key: config.num_key_value_heads, dim: config.head_dim };
        let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        let count = ids.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &self.device());
        let mut x = ops::embedding(self.embed_tokens.clone(), ids);
        for (layer, block) in self.layers.iter().enumerate() {
            let normed = ops::rms_norm(x.clone(), block.input_layernorm.clone(), config.rms_norm_eps);
            let q = block.q_proj.forward(normed.clone());
            let k = block.k_proj.forward(normed.clone());
            let v = block.v_proj.forward(normed);
            let o = match &mut attending {
                Attending::Packed(layout) => ops::attention(q, k, v, heads, layout),
                Attending::Cached(cache, layout) => cache.attend(layer, q, k, v, heads, layout),
            };
            x = x + block.o_proj.forward(o);
            let normed = ops::rms_norm(x.clone(), block.post_attention_layernorm.clone(), config.rms_norm_eps);
            let inner = ops::swiglu(block.gate_proj.forward(normed.clone()), block.up_proj.forward(normed));
            x = x + block.down_proj.forward(inner);
        }
        ops::rms_norm(x, self.norm.clone(), config.rms_norm_eps)
    }

    /// Logits `[N, V]` of packed conversations.
    pub(crate) fn logits(&self, ids: &[u32], layout: &Arc<Packed>) -> Tensor<2> {
        ops::linear(self.hidden(ids, Attending::Packed(layout)), self.head())
    }

    /// Logits `[len, V]` of one sequence, row by row what follows each of its tokens.
    pub fn logits_of(&self, ids: &[u32]) -> Vec<Vec<f32>> {
        let layout = Packed::new(&[ids.len()], &self.rope);
        let values = self.logits(ids, &layout).into_data().iter::<f32>().collect::<Vec<_>>();
        values.chunks_exact(self.config.vocab_size).map(<[f32]>::to_vec).collect()
    }

    /// Summed cross-entropy of the counted rows times the targets' scale, `[1]`.
    pub(crate) fn loss(&self, ids: &[u32], layout: &Arc<Packed>, targets: &Arc<Targets>) -> Tensor<1> {
        ops::linear_cross_entropy(self.hidden(ids, Attending::Packed(layout)), self.head(), targets)
    }

    /// Extends cached sequences by `ids`; logits `[rows.len(), V]` of the given rows.
    pub(crate) fn extend(
        &self,
        ids: &[u32],
        cache: &mut KvCache,
        layout: &Arc<Extension>,
        rows: &[usize],
    ) -> Tensor<2> {
        let hidden = self.hidden(ids, Attending::Cached(cache, layout));
        let rows: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let count = rows.len();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &self.device());
        ops::linear(hidden.select(0, rows), self.head())
    }
}

/// Stands in for a tensor that is taken out to be changed in place.
pub(crate) fn placeholder(device: &Device) -> Tensor<2> {
    Tensor::empty([1, 1], device)
}
