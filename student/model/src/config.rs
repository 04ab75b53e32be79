//! A model's architecture, from and to Hugging Face's `config.json`.
//!
//! Three architectures: `LlamaForCausalLM`, `Qwen2ForCausalLM` (Llama with biases on q, k and v) and `Qwen3ForCausalLM`
//! (Llama with norms on q and k). Everything that would
//! change the numbers and is not implemented is refused by name rather than ignored.

use std::path::Path;

use records::artifact::read_json;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Error, Result};

/// Which family of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Llama 2, 3.x, SmolLM2.
    Llama,
    /// Qwen2, Qwen2.5.
    Qwen2,
    /// Qwen3 (dense).
    Qwen3,
}

/// Llama 3.1's frequency scaling for long contexts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeScaling {
    /// How much low frequencies are slowed.
    pub factor: f64,
    /// Wavelengths above original length ÷ this are slowed fully.
    pub low_freq_factor: f64,
    /// Wavelengths below original length ÷ this are left alone.
    pub high_freq_factor: f64,
    /// Context length before scaling.
    pub original_max_position_embeddings: usize,
}

/// All that decides the shape of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Family of weights.
    pub architecture: Architecture,
    /// Tokens in the embedding table.
    pub vocab_size: usize,
    /// Model width.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Epsilon of RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
    /// Long-context scaling, if any.
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the output projection is the embedding table.
    pub tie_word_embeddings: bool,
}

/// The fields of `config.json` this crate reads; the others are looked at only to refuse what they would change.
#[derive(Deserialize)]
struct Wire {
    architectures: Option<Vec<String>>,
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    /// transformers 5 writes both of the above into this.
    rope_parameters: Option<Value>,
    tie_word_embeddings: Option<bool>,
    hidden_act: Option<String>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    use_sliding_window: Option<bool>,
    quantization_config: Option<Value>,
}

impl ModelConfig {
    /// Reads `config.json` of a model folder.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        if !records::disk::exists(&path)? {
            return Err(Error::model(
                dir,
                "there is no config.json",
                "give a Hugging Face model folder (config.json, tokenizer.json, *.safetensors)",
            ));
        }
        let wire: Wire = read_json(&path)?;
        Self::from_wire(wire).map_err(|(problem, remedy)| Error::model(&path, problem, remedy))
    }

    fn from_wire(wire: Wire) -> std::result::Result<Self, (String, String)> {
        let refuse = |problem: String| (problem, "use a model this version supports (Llama, Qwen2, Qwen3)".to_owned());
        let named = wire.architectures.as_ref().and_then(|a| a.first());
        let architecture = match (wire.model_type.as_str(), named.map(String::as_str)) {
            ("llama", None | Some("LlamaForCausalLM")) => Architecture::Llama,
            ("qwen2", None | Some("Qwen2ForCausalLM")) => Architecture::Qwen2,
            ("qwen3", None | Some("Qwen3ForCausalLM")) => Architecture::Qwen3,
            (kind, name) => return Err(refuse(format!("model_type {kind:?}, architecture {name:?} is not supported"))),
        };
        let qwen2 = architecture == Architecture::Qwen2;
        let refusals = [
            (wire.hidden_act.as_deref().is_some_and(|act| act != "silu"), "hidden_act other than silu"),
            (!qwen2 && wire.attention_bias == Some(true), "attention_bias"),
            (wire.mlp_bias == Some(true), "mlp_bias"),
            (wire.use_sliding_window == Some(true), "use_sliding_window"),
            (wire.quantization_config.is_some(), "quantization_config (quantised weights)"),
        ];
        if let Some((_, what)) = refusals.iter().find(|(present, _)| *present) {
            return Err(refuse(format!("{what} is not supported")));
        }
        let heads = wire.num_attention_heads;
        let config = Self {
            architecture,
            vocab_size: wire.vocab_size,
            hidden_size: wire.hidden_size,
            intermediate_size: wire.intermediate_size,
            num_hidden_layers: wire.num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: wire.num_key_value_heads.unwrap_or(heads),
            head_dim: wire.head_dim.unwrap_or(match architecture {
                // transformers' default for this family.
                Architecture::Qwen3 => 128,
                _ => wire.hidden_size / heads.max(1),
            }),
            max_position_embeddings: wire.max_position_embeddings,
            rms_norm_eps: wire.rms_norm_eps,
            rope_theta: rope_theta(&wire).map_err(&refuse)?,
            rope_scaling: rope_scaling(&wire).map_err(&refuse)?,
            tie_word_embeddings: wire.tie_word_embeddings.unwrap_or(false),
        };
        config.check().map_err(|problem| (problem, "correct config.json".to_owned()))?;
        Ok(config)
    }

    /// Refuses sizes that no model can have; `Err` says which.
    pub fn check(&self) -> std::result::Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (name, size) in sizes {
            if size == 0 || size > 1 << 24 {
                return Err(format!("{name} is {size}"));
            }
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return Err("num_attention_heads is not a multiple of num_key_value_heads".into());
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("head_dim {} is odd; rotary embedding needs pairs", self.head_dim));
        }
        if !(self.rope_theta > 1.0 && self.rms_norm_eps > 0.0) {
            return Err("rope_theta must be above 1 and rms_norm_eps above 0".into());
        }
        Ok(())
    }

    /// Whether q, k and v have biases.
    pub fn qkv_bias(&self) -> bool {
        self.architecture == Architecture::Qwen2
    }

    /// Whether each query and key head is normed.
    pub fn qk_norm(&self) -> bool {
        self.architecture == Architecture::Qwen3
    }

    /// Parameters of the model.
    pub fn parameters(&self) -> u64 {
        let (d, f) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim);
        let bias = if self.qkv_bias() { q + 2 * kv } else { 0 };
        let norms = 2 * d + if self.qk_norm() { 2 * self.head_dim } else { 0 };
        let block = 2 * d * q + 2 * d * kv + bias + 3 * d * f + norms;
        let heads = if self.tie_word_embeddings { 1 } else { 2 };
        (self.num_hidden_layers * block + heads * self.vocab_size * d + d) as u64
    }

    /// `config.json` as both transformers 4 and 5 (and candle, mistral.rs, vLLM) read it: the rotary settings are written
    /// in the old and the new place, because each reader silently falls back when it misses its own.
    pub fn to_json(&self, bos: Option<u32>, eos: u32) -> Value {
        let (model_type, name) = match self.architecture {
            Architecture::Llama => ("llama", "LlamaForCausalLM"),
            Architecture::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
            Architecture::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
        };
        let scaling = self.rope_scaling.as_ref().map(|s| {
            json!({
                "rope_type": "llama3", "factor": s.factor, "low_freq_factor": s.low_freq_factor,
                "high_freq_factor": s.high_freq_factor,
                "original_max_position_embeddings": s.original_max_position_embeddings,
            })
        });
        let mut rope_parameters = scaling.clone().unwrap_or_else(|| json!({"rope_type": "default"}));
        rope_parameters["rope_theta"] = json!(self.rope_theta);
        let mut config = json!({
            "architectures": [name],
            "model_type": model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": scaling,
            "rope_parameters": rope_parameters,
            "tie_word_embeddings": self.tie_word_embeddings,
            "hidden_act": "silu",
            "attention_dropout": 0.0,
            "use_cache": true,
            "bos_token_id": bos,
            "eos_token_id": eos,
            "torch_dtype": "bfloat16",
            "dtype": "bfloat16",
        });
        if self.architecture != Architecture::Qwen2 || self.head_dim * self.num_attention_heads != self.hidden_size {
            config["head_dim"] = json!(self.head_dim);
        }
        if self.architecture != Architecture::Qwen2 {
            config["attention_bias"] = json!(false);
        }
        if self.architecture == Architecture::Llama {
            config["mlp_bias"] = json!(false);
        } else {
            config["use_sliding_window"] = json!(false);
            config["sliding_window"] = json!(self.max_position_embeddings);
            config["max_window_layers"] = json!(self.num_hidden_layers);
        }
        config
    }
}

fn rope_theta(wire: &Wire) -> std::result::Result<f64, String> {
    let nested = wire.rope_parameters.as_ref().and_then(|p| p["rope_theta"].as_f64());
    match (wire.rope_theta, nested) {
        (Some(a), Some(b)) if (a - b).abs() > f64::EPSILON * a => {
            Err(format!("rope_theta is {a}, but {b} in rope_parameters"))
        }
        (a, b) => a.or(b).ok_or_else(|| "there is no rope_theta".into()),
    }
}

fn rope_scaling(wire: &Wire) -> std::result::Result<Option<RopeScaling>, String> {
    let Some(value) = wire.rope_scaling.as_ref().or(wire.rope_parameters.as_ref()).filter(|v| !v.is_null()) else {
        return Ok(None);
    };
    let kind = value["rope_type"].as_str().or(value["type"].as_str()).unwrap_or("default");
    if kind == "default" {
        return Ok(None);
    }
    if kind != "llama3" {
        return Err(format!("rope scaling {kind:?} is not supported"));
    }
    let number = |name: &str| value[name].as_f64().ok_or_else(|| format!("rope_scaling has no number {name:?}"));
    Ok(Some(RopeScaling {
        factor: number("factor")?,
        low_freq_factor: number("low_freq_factor")?,
        high_freq_factor: number("high_freq_factor")?,
        original_max_position_embeddings: number("original_max_position_embeddings")? as usize,
    }))
}
