//! An adapter as PEFT saves it: `PeftModel.from_pretrained(base, folder)` loads it over the base.

use std::fs;
use std::path::Path;

use records::artifact::write_json;
use serde_json::{Value, json};

use crate::Result;
use crate::decoder::Model;
use crate::lora::LoraConfig;
use crate::weights::{StoredDtype, TensorFile, write_tensors};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// Writes the adapter of `model` in f32. `base_name` is what it says it belongs to.
pub fn write(model: &Model, config: &LoraConfig, base_name: &str, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|e| records::Error::io("create", dir, e))?;
    write_tensors(&dir.join(WEIGHTS), model.trainable(), StoredDtype::F32)?;
    Ok(write_json(&dir.join(CONFIG), &peft_config(config, base_name))?)
}

/// Puts an adapter's weights over a base.
pub fn read(base: Model, config: &LoraConfig, dir: &Path) -> Result<Model> {
    let mut model = base.with_adapters(config, 0);
    let mut file = TensorFile::open(&dir.join(WEIGHTS))?;
    let device = model.device();
    for (name, tensor) in model.adapters_mut() {
        *tensor = file.read_like(&name, tensor.dims(), &device)?;
    }
    Ok(model)
}

/// What PEFT needs to know; it fills in the rest as it is here.
fn peft_config(config: &LoraConfig, base_name: &str) -> Value {
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
