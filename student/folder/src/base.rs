//! What a student starts from: a folder with `config.json` and tokenizer files, and weights or a seed for them.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use model::Model;
use model::config::{Architecture, ModelConfig};
use model::weights::check_finite;
use model::{Error, Result};
use records::artifact::write_json;
use records::record::CuratedTrace;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokens::chat::{ChatFormat, R1_TEMPLATE};
use tokens::tokenizer::{R1_SPECIAL, Tokenizer};

/// The recipe's choice of base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Base {
    /// A Hugging Face model folder, given by name as an input.
    Folder {
        /// The input's name; `--input NAME=DIR` says where it is.
        input: String,
        /// Longest sequence, in tokens. Left out: the base's own. Qwen2.5-Math bases need more than their 4,096.
        #[serde(skip_serializing_if = "Option::is_none")]
        max_position_embeddings: Option<usize>,
        /// Base of the rotary embedding. Left out: the base's own. A longer context needs a larger one.
        #[serde(skip_serializing_if = "Option::is_none")]
        rope_theta: Option<f64>,
    },
    /// A small new Qwen2 model with random weights and a tokenizer trained on the curated traces.
    Random {
        /// Most tokens of the tokenizer.
        vocab_size: usize,
        /// Model width.
        hidden_size: usize,
        /// Width inside the feed-forward block.
        intermediate_size: usize,
        /// Blocks.
        num_hidden_layers: usize,
        /// Query heads.
        num_attention_heads: usize,
        /// Key and value heads.
        num_key_value_heads: usize,
        /// Longest sequence, in tokens.
        max_position_embeddings: usize,
        /// Standard deviation of the initial weights. GPT-2's 0.02 suits widths around 1,000; a narrow model learns much
        /// faster from about `1 / sqrt(hidden_size)`, which keeps the scale of what goes through a matrix.
        initializer_range: f64,
        /// Seed of the weights.
        seed: u64,
    },
}

impl Base {
    /// Refuses sizes that no model can have. Those of a folder are in its files.
    pub fn check(&self) -> Result<()> {
        if let Self::Random { initializer_range, .. } = self
            && !(*initializer_range > 0.0 && initializer_range.is_finite())
        {
            let problem = format!("is {initializer_range}");
            return Err(Error::invalid("student.base.initializer_range", problem, "write one above 0, as 0.02"));
        }
        if let Self::Folder { max_position_embeddings: Some(0), .. } = self {
            let remedy = "leave it out to take the base's own, or write how many tokens a sequence may have";
            return Err(Error::invalid("student.base.max_position_embeddings", "it is 0", remedy));
        }
        if let Self::Folder { rope_theta: Some(theta), .. } = self
            && !(*theta > 1.0 && theta.is_finite())
        {
            let remedy = "leave it out to take the base's own, or write one above 1, as 300000.0";
            return Err(Error::invalid("student.base.rope_theta", format!("it is {theta}"), remedy));
        }
        self.new_config().map_or(Ok(()), |config| config.check()).map_err(|problem| {
            // It begins with the name of a size, and that of a head is the quotient of two.
            let field = problem.split(' ').next().unwrap_or_default().replace("head_dim", "hidden_size");
            Error::invalid(format!("student.base.{field}"), problem, "correct the sizes")
        })
    }

    /// The config of a new base, whose tokenizer has so many tokens.
    fn sizes(&self, vocab_size: usize) -> Option<ModelConfig> {
        let &Self::Random {
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            max_position_embeddings,
            ..
        } = self
        else {
            return None;
        };
        Some(ModelConfig {
            architecture: Architecture::Qwen2,
            vocab_size,
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim: hidden_size / num_attention_heads.max(1),
            max_position_embeddings,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            rope_scaling: None,
            tie_word_embeddings: true,
        })
    }

    /// The config of a new base, if it is one, with as many tokens as its tokenizer may have.
    pub fn new_config(&self) -> Option<ModelConfig> {
        match self {
            Self::Random { vocab_size, .. } => self.sizes(*vocab_size),
            Self::Folder { .. } => None,
        }
    }

    /// Writes the folder of a random base: `config.json`, `tokenizer.json`, `tokenizer_config.json`.
    pub fn create(&self, traces: &[CuratedTrace], dir: &Path) -> Result<()> {
        let Self::Random { vocab_size, max_position_embeddings, initializer_range, .. } = self else { return Ok(()) };
        let corpus: Vec<String> =
            traces.iter().flat_map(|trace| trace.messages.iter().map(|m| m.content.clone())).collect();
        let tokenizer = Tokenizer::train(&corpus, *vocab_size)?;
        let Some(config) = self.sizes(tokenizer.vocab_size()) else { return Ok(()) };
        config.check().map_err(|e| Error::invalid("student.base", e, "correct the sizes"))?;
        let format = ChatFormat::r1(tokenizer)?;
        format.tokenizer.save(&dir.join("tokenizer.json"))?;
        let bos = format.tokenizer.token_id(R1_SPECIAL[0]);
        let mut config = config.to_json(bos, format.eos_id);
        config["initializer_range"] = json!(initializer_range);
        write_json(&dir.join("config.json"), &config)?;
        // Not Qwen2Tokenizer: this class reads tokenizer.json as it is in every version of transformers.
        let tokenizer_config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": R1_SPECIAL[0],
            "eos_token": R1_SPECIAL[1],
            "pad_token": R1_SPECIAL[1],
            "model_max_length": max_position_embeddings,
            "clean_up_tokenization_spaces": false,
            "chat_template": R1_TEMPLATE,
        });
        write_json(&dir.join("tokenizer_config.json"), &tokenizer_config)?;
        Ok(())
    }

    /// The starting weights. `dir` is the base's folder.
    pub fn model(&self, dir: &Path, device: &Device) -> Result<Model> {
        let config = self.config(dir)?;
        match self {
            Self::Folder { .. } => Model::load_as(&config, dir, device),
            Self::Random { initializer_range, seed, .. } => {
                Ok(Model::random(&config, *initializer_range as f32, *seed, device))
            }
        }
    }

    /// Refuses a folder with a weight that is NaN or infinite, by name. Reads all of them, one at a time.
    pub fn check_weights(&self, dir: &Path) -> Result<()> {
        match self {
            Self::Folder { .. } => check_finite(dir),
            Self::Random { .. } => Ok(()),
        }
    }

    /// The config that the student is trained and exported with: the base's, with the context the recipe gives it.
    ///
    /// Raising the context of a base whose rotary base is 10,000 and leaving that as it is gets refused: the positions
    /// that it has never seen turn further than any it has (R1-Distill's and OpenR1's bases were all given a larger one).
    pub fn config(&self, dir: &Path) -> Result<ModelConfig> {
        let own = ModelConfig::from_dir(dir)?;
        let Self::Folder { max_position_embeddings, rope_theta, .. } = self else { return Ok(own) };
        let mut config = own.clone();
        config.max_position_embeddings = max_position_embeddings.unwrap_or(own.max_position_embeddings);
        config.rope_theta = rope_theta.unwrap_or(own.rope_theta);
        config.check().map_err(|e| Error::invalid("student.base", e, "correct it in the recipe"))?;
        let raised = config.max_position_embeddings > own.max_position_embeddings.max(4096);
        if raised && config.rope_scaling.is_none() && config.rope_theta <= 10_000.0 {
            return Err(Error::invalid(
                "student.base.rope_theta",
                format!(
                    "the context is raised from {} to {} tokens while the rotary base stays {}, which does not reach that far",
                    own.max_position_embeddings, config.max_position_embeddings, config.rope_theta
                ),
                "write a larger one (OpenR1 took 300000 for Qwen2.5-Math at 32768 tokens, OpenMathReasoning 500000 at 131072)",
            ));
        }
        Ok(config)
    }

    /// Refuses to put more tokens than the student's context holds into one sequence. `field` is what asks for them.
    pub fn check_context(&self, config: &ModelConfig, field: &str, tokens: usize) -> Result<()> {
        if tokens <= config.max_position_embeddings {
            return Ok(());
        }
        let remedy = match self {
            Self::Random { .. } => "lower it, or raise student.base.max_position_embeddings".to_owned(),
            Self::Folder { .. } => {
                let wanted = tokens.next_power_of_two();
                let theta = match config.rope_theta {
                    theta if theta <= 10_000.0 => ", and rope_theta with it (as 300000)",
                    _ => "",
                };
                format!("lower it, or write max_position_embeddings = {wanted} into [student.base]{theta}")
            }
        };
        let problem = format!("{tokens} tokens, but the base holds {}", config.max_position_embeddings);
        Err(Error::invalid(field, problem, remedy))
    }
}

/// The files that make up a folder's tokenizer, of those that are there.
pub(crate) fn tokenizer_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let names = [
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "special_tokens_map.json",
        "added_tokens.json",
    ];
    let mut files = Vec::new();
    for name in names {
        files.extend(records::disk::if_there(dir.join(name))?);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_file_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("chat_template.jinja", dir.path().join("chat_template.jinja")).unwrap();
        let message = tokenizer_files(dir.path()).unwrap_err().to_string();
        assert!(message.contains("chat_template.jinja"), "{message}");
    }
}
