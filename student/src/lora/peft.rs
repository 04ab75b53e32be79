//! An adapter as PEFT saves it: `PeftModel.from_pretrained(base, folder)` loads it over the base.

use std::fs;
use std::path::Path;

use records::artifact::write_json;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::LoraConfig;
use crate::checkpoint::read_like;
use crate::export::{check_conversation, largest_difference};
use crate::model::Model;
use crate::train::load_adapted;
use crate::weights::{StoredDtype, TensorFile, write_tensors};
use crate::{Error, Result};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// How a written adapter was checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterSummary {
    /// Parameters of the adapter.
    pub parameters: u64,
    /// Largest difference between the logits of base and adapter and those of the merged weights, before bf16.
    pub merge_difference: f64,
}

/// Writes the adapter that was trained in `training` (in f32); then loads it again onto `base` and compares. `base_name`
/// is what the adapter says it belongs to, `tokenizer` a folder to take the compared conversation's tokens from.
pub fn export_adapter(
    base: &Model,
    training: &Path,
    config: &LoraConfig,
    base_name: &str,
    tokenizer: &Path,
    dir: &Path,
) -> Result<AdapterSummary> {
    let adapted = load_adapted(base.clone(), training, config)?;
    write(&adapted, config, base_name, dir)?;
    let ids = check_conversation(tokenizer)?;
    let again = read(base.clone(), config, dir)?;
    let [expected, reloaded, merged] =
        [&adapted, &again, &adapted.clone().merged()].map(|m| m.logits_of(&ids).concat());
    let reload_difference = largest_difference(&reloaded, &expected);
    if reload_difference != 0.0 {
        let problem = format!("loaded again it gives other logits (largest difference {reload_difference})");
        return Err(Error::model(dir, problem, "this is a bug; please report it"));
    }
    let parameters = adapted.trainable().iter().map(|(_, tensor)| tensor.dims().iter().product::<usize>() as u64).sum();
    Ok(AdapterSummary { parameters, merge_difference: largest_difference(&merged, &expected) })
}

pub(super) fn write(model: &Model, config: &LoraConfig, base_name: &str, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|e| records::Error::io("create", dir, e))?;
    write_tensors(&dir.join(WEIGHTS), model.trainable(), StoredDtype::F32)?;
    Ok(write_json(&dir.join(CONFIG), &peft_config(config, base_name))?)
}

/// Puts an adapter's weights over a base.
pub(super) fn read(base: Model, config: &LoraConfig, dir: &Path) -> Result<Model> {
    let mut model = base.with_adapters(config, 0);
    let mut file = TensorFile::open(&dir.join(WEIGHTS))?;
    let device = model.device();
    for (name, tensor) in model.adapters_mut() {
        *tensor = read_like(&mut file, &name, tensor.dims(), &device, dir)?;
    }
    Ok(model)
}

/// What PEFT needs to know; it fills in the rest as it is here.
pub(super) fn peft_config(config: &LoraConfig, base_name: &str) -> Value {
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "revision": null,
        "inference_mode": true,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": config.target_modules,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "use_rslora": false,
        "use_dora": false,
        "modules_to_save": null,
        "layers_to_transform": null,
        "rank_pattern": {},
        "alpha_pattern": {},
    })
}
