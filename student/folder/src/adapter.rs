//! An adapter's folder, checked by what it gives on its base.

use std::path::Path;

use model::lora::LoraConfig;
use model::{Error, Model, Result, peft};
use serde::{Deserialize, Serialize};

use crate::probe::{check_conversation, largest_difference};

/// How a written adapter was checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterSummary {
    /// Parameters of the adapter.
    pub parameters: u64,
    /// Largest difference between the logits of base and adapter and those of the merged weights, before bf16.
    pub merge_difference: f64,
}

/// Writes the adapter of `adapted` (in f32); then loads it again onto `base` and compares. `base_name` is what the adapter
/// says it belongs to, `tokenizer` a folder to take the compared conversation's tokens from.
pub fn export_adapter(
    base: &Model,
    adapted: &Model,
    config: &LoraConfig,
    base_name: &str,
    tokenizer: &Path,
    dir: &Path,
) -> Result<AdapterSummary> {
    peft::write(adapted, config, base_name, dir)?;
    let ids = check_conversation(tokenizer)?;
    let again = peft::read(base.clone(), config, dir)?;
    let [expected, reloaded, merged] = [adapted, &again, &adapted.clone().merged()].map(|m| m.logits_of(&ids).concat());
    let reload_difference = largest_difference(&reloaded, &expected);
    if reload_difference != 0.0 {
        let problem = format!("loaded again it gives other logits (largest difference {reload_difference})");
        return Err(Error::model(dir, problem, "this is a bug; please report it"));
    }
    let parameters = adapted.trainable().iter().map(|(_, tensor)| tensor.dims().iter().product::<usize>() as u64).sum();
    Ok(AdapterSummary { parameters, merge_difference: largest_difference(&merged, &expected) })
}
