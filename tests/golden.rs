//! The golden models of `tests/parity` and what transformers computes with them. The tests of the student's crates have
//! this file as a module.

use records::record::TraceId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use model::lora::LoraConfig;
use model::{Model, peft};
use records::artifact::read_json;
use safetensors::SafeTensors;
use serde::Deserialize;
use tokens::pack::PackedRow;

/// The models: biases and a tied head; scaled rotary embedding, wide heads and an untied output; norms on q and k.
pub(crate) const NAMES: [&str; 3] = ["qwen2", "llama", "qwen3"];

/// `conversations.json`.
#[derive(Deserialize)]
pub(crate) struct Conversations {
    pub(crate) conversations: Vec<Conversation>,
    /// Mean over the supervised tokens of all of them.
    pub(crate) loss: f64,
}

#[derive(Deserialize)]
pub(crate) struct Conversation {
    pub(crate) ids: Vec<u32>,
    pub(crate) prompt_len: usize,
}

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/golden").join(name)
}

pub(crate) fn model(name: &str) -> Model {
    Model::load(&folder(name), &Device::flex()).unwrap()
}

pub(crate) fn conversations(name: &str) -> Conversations {
    read_json(&folder(name).join("conversations.json")).unwrap()
}

/// All tensors of an f32 safetensors file, read by the format's own crate.
pub(crate) fn tensors(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            assert_eq!(view.dtype(), safetensors::Dtype::F32, "{name}");
            (name.to_owned(), view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
        })
        .collect()
}

/// Conversations packed into one row; trace ids are `trace-0`, `trace-1`, ...
pub(crate) fn row(conversations: &[&Conversation]) -> PackedRow {
    let mut row = PackedRow {
        token_ids: Vec::new(),
        loss_mask: Vec::new(),
        segment_ids: Vec::new(),
        position_ids: Vec::new(),
        trace_ids: Vec::new(),
    };
    for (segment, conversation) in conversations.iter().enumerate() {
        let length = conversation.ids.len();
        row.token_ids.extend(&conversation.ids);
        row.loss_mask.extend((0..length).map(|i| i >= conversation.prompt_len));
        row.segment_ids.extend(std::iter::repeat_n(segment as u32, length));
        row.position_ids.extend(0..length as u32);
        row.trace_ids.push(TraceId::from_stored(format!("trace-{segment}")));
    }
    row
}

/// The largest difference of two lists of one length.
pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(x, y)| f64::from((x - y).abs()));
    differences.fold(0.0, |most, d| if d > most || d.is_nan() { d } else { most })
}

/// ‖a − b‖ / ‖b‖.
pub(crate) fn relative_difference(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(x, y)| f64::from(*x) - f64::from(*y)));
    difference / norm(&mut b.iter().map(|x| f64::from(*x)))
}

/// The golden base with the adapter that PEFT saved, and that adapter's settings.
pub(crate) fn adapter() -> (Model, LoraConfig) {
    let folder = folder("lora");
    let saved: serde_json::Value = read_json(&folder.join("adapter_config.json")).unwrap();
    let config = LoraConfig {
        rank: saved["r"].as_u64().unwrap() as usize,
        alpha: saved["lora_alpha"].as_f64().unwrap(),
        dropout: saved["lora_dropout"].as_f64().unwrap(),
        target_modules: serde_json::from_value(saved["target_modules"].clone()).unwrap(),
    };
    (peft::read(model("qwen2"), &config, &folder).unwrap(), config)
}
