//! The trained student as a Hugging Face model folder that loads everywhere, checked before it is called done.

use std::fs;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use model::Model;
use model::config::ModelConfig;
use model::weights::{StoredDtype, write_model, write_tensors};
use model::{Error, Result};
use records::artifact::{read_json, write_bytes, write_json};
use records::record::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokens::chat::ChatFormat;

use crate::base::tokenizer_files;
use crate::probe::{check_conversation, largest_difference};

/// What an export holds and how it was checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportSummary {
    /// File names and sizes in bytes.
    pub files: Vec<(String, u64)>,
    /// Largest difference between the logits of the folder, loaded again, and of the weights it was written from.
    pub reload_difference: f64,
    /// What rounding the weights to bf16 did.
    pub rounding: Rounding,
    /// Tokens all of this was compared on.
    pub checked_tokens: usize,
}

/// How the model with weights rounded to bf16 differs from the one that was trained in f32, on the same tokens.
///
/// Logits have no scale of their own, and the largest difference among all of them is mostly one of a token that is never
/// sampled. What can be judged are the distributions that tokens are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rounding {
    /// Kullback-Leibler divergence of the rounded model's next-token distribution from the trained one's, mean over the
    /// positions, nats.
    pub divergence: f64,
    /// The share of positions at which the likeliest next token is the same.
    pub same_likeliest: f64,
    /// Largest difference of a logit.
    pub largest_difference: f64,
}

impl Rounding {
    /// The most divergence that rounding may bring without a warning, nats. Quantising Llama 3 8B to 8 bits (`q8_0`),
    /// commonly taken for lossless, brings 0.00136, and f16 instead of bf16 weights 0.000025 (llama.cpp,
    /// tools/perplexity/README.md).
    pub const BOUND: f64 = 1e-3;

    /// Whether the rounded weights are the trained ones for all that matters. Not for NaN.
    pub fn is_within_bound(&self) -> bool {
        self.divergence <= Self::BOUND
    }

    /// Compares logits of the same positions; `vocabulary` of them belong to each position.
    fn between(rounded: &[f32], trained: &[f32], vocabulary: usize) -> Self {
        let (mut divergence, mut same, mut positions) = (0.0, 0usize, 0usize);
        for (q, p) in rounded.chunks_exact(vocabulary).zip(trained.chunks_exact(vocabulary)) {
            let (log_q, log_p) = (log_softmax(q), log_softmax(p));
            divergence += log_p.iter().zip(&log_q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            same += usize::from(likeliest(q) == likeliest(p));
            positions += 1;
        }
        let positions = positions as f64;
        Self {
            // Of equal distributions it is 0, and the sum may be a rounding error below.
            divergence: if divergence < 0.0 { 0.0 } else { divergence / positions },
            same_likeliest: same as f64 / positions,
            largest_difference: largest_difference(rounded, trained),
        }
    }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted: Vec<f64> = logits.iter().map(|logit| f64::from(*logit) - f64::from(highest)).collect();
    let sum = shifted.iter().map(|logit| logit.exp()).sum::<f64>().ln();
    shifted.into_iter().map(|logit| logit - sum).collect()
}

fn likeliest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
}

/// Writes `model` (f32) as bf16 with the tokenizer files of `base` and the card; then loads the folder again and compares.
pub fn export(model: &Model, base: &Path, dir: &Path, card: &str, shard_bytes: u64) -> Result<ExportSummary> {
    fs::create_dir_all(dir).map_err(|e| records::Error::io("create", dir, e))?;
    let format = ChatFormat::from_dir(base)?;
    let mut names = write_model(dir, model, shard_bytes)?;
    for path in tokenizer_files(base)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = fs::read(&path).map_err(|e| records::Error::io("read", &path, e))?;
        write_bytes(&dir.join(&name), &bytes)?;
        names.push(name);
    }
    let context = model.config.max_position_embeddings;
    if context > ModelConfig::from_dir(base)?.max_position_embeddings {
        hold_context(&dir.join("tokenizer_config.json"), context)?;
    }
    let bos = format.bos_id();
    // The token that training taught the model to end with; base models often name another one.
    let eos = format.end_of_turn_id;
    write_json(&dir.join("config.json"), &model.config.to_json(bos, eos))?;
    let generation = json!({
        "bos_token_id": bos, "eos_token_id": eos, "pad_token_id": eos,
        "do_sample": true, "temperature": 0.6, "top_p": 0.95,
    });
    write_json(&dir.join("generation_config.json"), &generation)?;
    write_bytes(&dir.join("README.md"), card.as_bytes())?;
    names.extend(["config.json", "generation_config.json", "README.md"].map(str::to_owned));
    let (reload_difference, rounding, checked_tokens) = check(model, dir)?;
    let files = names
        .into_iter()
        .map(|name| {
            let path = dir.join(&name);
            let size = fs::metadata(&path).map_err(|e| records::Error::io("read", &path, e))?.len();
            Ok((name, size))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(ExportSummary { files, reload_difference, rounding, checked_tokens })
}

/// The recipe raised the context: a tokenizer limited to the base's would warn about what the student was trained on, or
/// cut it.
fn hold_context(path: &Path, tokens: usize) -> Result<()> {
    let mut config: Value = read_json(path)?;
    if config["model_max_length"].as_f64().is_some_and(|limit| limit < tokens as f64) {
        config["model_max_length"] = json!(tokens);
        write_json(path, &config)?;
    }
    Ok(())
}

/// Refuses an export whose template or tokenizer gives other prompts than training had: `prompts` are conversations to
/// render and the ids that training saw.
pub fn check_prompts(dir: &Path, prompts: &[(Vec<Message>, Vec<u32>)]) -> Result<()> {
    let format = ChatFormat::from_dir(dir)?;
    for (messages, trained) in prompts {
        let ids = format.prompt_ids(messages)?;
        if ids != *trained {
            let at = ids.iter().zip(trained).take_while(|(a, b)| a == b).count();
            let around = |ids: &[u32]| format.tokenizer.decode(&ids[at.min(ids.len())..ids.len().min(at + 8)], false);
            let problem = format!(
                "its template renders another prompt than training saw: from token {at} on {:?}, trained on {:?}",
                around(&ids)?,
                around(trained)?
            );
            return Err(Error::model(dir, problem, "did the base's folder change? run again from the pack stage"));
        }
    }
    Ok(())
}

/// Loads the folder as any user would and compares its logits on a prompt that its own template renders.
fn check(model: &Model, dir: &Path) -> Result<(f64, Rounding, usize)> {
    let ids = check_conversation(dir)?;
    let loaded = Model::load(dir, &model.device())?;
    if loaded.config != model.config {
        let problem = format!("its config.json reads back as {:?}, not {:?}", loaded.config, model.config);
        return Err(Error::model(dir, problem, "this is a bug; please report it"));
    }
    let [reloaded, rounded, full] =
        [&loaded, &model.clone().rounded_to_bf16(), model].map(|m| m.logits_of(&ids).concat());
    let reload_difference = largest_difference(&reloaded, &rounded);
    if reload_difference != 0.0 {
        let problem = format!("loaded again it gives other logits (largest difference {reload_difference})");
        return Err(Error::model(dir, problem, "this is a bug; please report it"));
    }
    Ok((reload_difference, Rounding::between(&rounded, &full, model.config.vocab_size), ids.len()))
}

/// Writes the logits of a sequence as one f32 tensor `logits`, to be compared with other implementations.
pub fn write_logits(model: &Model, ids: &[u32], path: &Path) -> Result<()> {
    if let Some(id) = ids.iter().find(|id| **id as usize >= model.config.vocab_size) {
        let problem = format!("{id} is outside the vocabulary of {}", model.config.vocab_size);
        return Err(Error::invalid("--ids", problem, "give ids of this model's tokenizer"));
    }
    let values = model.logits_of(ids).concat();
    let tensor = Tensor::from_data(TensorData::new(values, [ids.len(), model.config.vocab_size]), &model.device());
    write_tensors(path, vec![("logits".to_owned(), tensor)], StoredDtype::F32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_divergence_is_that_of_the_distributions_and_not_of_the_logits() {
        // p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4): 1/2 ln 2 + 1/4 ln 1/2 = 1/4 ln 2.
        let (p, q) = ([2.0f32.ln(), 0.0, 0.0], [0.0, 2.0f32.ln(), 0.0]);
        let found = Rounding::between(&q, &p, 3);
        assert!((found.divergence - 2.0f64.ln() / 4.0).abs() < 1e-7, "{found:?}");
        assert_eq!((found.same_likeliest, found.is_within_bound()), (0.0, false));
        // A second position that is the same halves both.
        let found = Rounding::between(&[q, p].concat(), &[p, p].concat(), 3);
        assert!(
            (found.divergence - 2.0f64.ln() / 8.0).abs() < 1e-7 && (found.same_likeliest - 0.5).abs() < 1e-12,
            "{found:?}"
        );
        // All logits moved together, and one that is never drawn moved far: the distribution is the same.
        let found = Rounding::between(&[43.0, 40.0, -30.0], &[13.0, 10.0, -57.08], 3);
        assert!(
            found.largest_difference > 29.9 && found.is_within_bound() && (found.same_likeliest - 1.0).abs() < 1e-12,
            "{found:?}"
        );
        let broken = Rounding::between(&[f32::NAN, 0.0, 0.0], &p, 3);
        assert!(!broken.is_within_bound(), "{broken:?}");
    }
}
