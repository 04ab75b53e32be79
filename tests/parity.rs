//! r1-distill's model equals transformers': logits, loss and greedy tokens of the golden models, through the public API.
//! How the goldens are made: `parity/make_golden.py`. Gradients and optimizer steps: `student/train/src/tests`.

use std::fs;
use std::path::{Path, PathBuf};

use generate::engine::{Completion, Engine, Limits, Request};
use model::Model;
use model::device::DeviceName;
use records::record::{FinishReason, Sampling, TraceId};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tokens::pack::PackedRow;
use train::mean_loss;

const NAMES: [&str; 3] = ["qwen2", "llama", "qwen3"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/golden").join(name)
}

fn load(dir: &Path) -> Model {
    Model::load(dir, &DeviceName::Cpu.open().unwrap()).unwrap()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A model's conversations, (ids, prompt length), and what transformers computes: their logits and mean loss.
struct Golden {
    conversations: Vec<(Vec<u32>, usize)>,
    logits: Vec<Vec<f32>>,
    loss: f64,
}

impl Golden {
    fn read(name: &str) -> Self {
        let json = read_json(&folder(name).join("conversations.json"));
        let conversations: Vec<_> = json["conversations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| (serde_json::from_value(c["ids"].clone()).unwrap(), c["prompt_len"].as_u64().unwrap() as usize))
            .collect();
        let bytes = fs::read(folder(name).join("expected.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let floats = |name: String| {
            let view = file.tensor(&name).unwrap();
            view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        let logits = (0..conversations.len()).map(|i| floats(format!("logits.{i}"))).collect();
        Self { conversations, logits, loss: json["loss"].as_f64().unwrap() }
    }

    /// All conversations in one row.
    fn packed(&self) -> PackedRow {
        let parts = || self.conversations.iter().enumerate();
        PackedRow {
            token_ids: parts().flat_map(|(_, (ids, _))| ids.clone()).collect(),
            loss_mask: parts().flat_map(|(_, (ids, prompt))| (0..ids.len()).map(move |i| i >= *prompt)).collect(),
            segment_ids: parts().flat_map(|(i, (ids, _))| vec![i as u32; ids.len()]).collect(),
            position_ids: parts().flat_map(|(_, (ids, _))| 0..ids.len() as u32).collect(),
            trace_ids: parts().map(|(i, _)| TraceId::from_stored(i.to_string())).collect(),
        }
    }

    /// The largest difference between a model's logits and the expected ones.
    fn difference(&self, model: &Model) -> f64 {
        let mut most = 0.0f64;
        for ((ids, _), expected) in self.conversations.iter().zip(&self.logits) {
            let logits = model.logits_of(ids).concat();
            assert_eq!(logits.len(), expected.len());
            for (a, b) in logits.iter().zip(expected) {
                assert!(a.is_finite());
                most = most.max(f64::from((a - b).abs()));
            }
        }
        most
    }
}

/// Measured: 4e-6 on logits of ±9. float32 itself is 3e-6 away from float64.
#[test]
fn logits_equal_those_of_transformers() {
    for name in NAMES {
        let difference = Golden::read(name).difference(&load(&folder(name)));
        println!("{name}: logits differ by {difference:.1e}");
        assert!(difference < 2e-5, "{name}: logits differ by {difference:.1e}");
    }
}

#[test]
fn the_mean_loss_of_a_packed_row_equals_that_of_transformers() {
    for name in NAMES {
        let golden = Golden::read(name);
        let loss = mean_loss(&load(&folder(name)), &[golden.packed()], 1, &|_| true).unwrap();
        assert!((loss - golden.loss).abs() < 2e-6, "{name}: {loss}, not {}", golden.loss);
    }
}

/// A copy of a golden folder with another `config.json`.
fn with_config(name: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(folder(name).join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let mut config = read_json(&folder(name).join("config.json"));
    change(&mut config);
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    dir
}

/// transformers 4 wrote `rope_theta` and `rope_scaling` where transformers 5 writes `rope_parameters`.
#[test]
fn the_rotary_settings_are_read_from_either_place() {
    for name in NAMES {
        let old = with_config(name, |config| {
            let mut rope = config.as_object_mut().unwrap().remove("rope_parameters").unwrap();
            config["rope_theta"] = rope.as_object_mut().unwrap().remove("rope_theta").unwrap();
            config["rope_scaling"] = if rope["rope_type"] == "llama3" { rope } else { Value::Null };
        });
        assert!(Golden::read(name).difference(&load(old.path())) < 2e-5, "{name}");
    }
}

/// Settings whose loss would go unnoticed on short prompts: here each of them shows.
#[test]
fn each_setting_that_decides_the_logits_is_used() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 6] = [
        ("llama", |config| config["rope_parameters"]["rope_type"] = json!("default")),
        ("llama", |config| config["rope_parameters"]["factor"] = json!(4.0)),
        ("llama", |config| config["rope_parameters"]["rope_theta"] = json!(10_000.0)),
        ("llama", |config| config["rms_norm_eps"] = json!(1e-2)),
        ("qwen2", |config| config["rope_parameters"]["rope_theta"] = json!(10_000.0)),
        ("qwen3", |config| config["rms_norm_eps"] = json!(1e-2)),
    ];
    for (i, (name, change)) in changes.into_iter().enumerate() {
        let dir = with_config(name, change);
        let difference = Golden::read(name).difference(&load(dir.path()));
        assert!(difference > 1e-3, "change {i} of {name} moves the logits by {difference:.1e} only");
    }
}

/// Where transformers' own greedy decoding would go from the end of each prompt is what its logits say.
#[test]
fn greedy_decoding_starts_with_the_largest_expected_logit() {
    for name in NAMES {
        let golden = Golden::read(name);
        let limits = Limits { context: 512, batch: 2, cache_bytes: 1 << 30 };
        let engine = Engine::start(load(&folder(name)), Vec::new(), limits).unwrap();
        for ((ids, _), logits) in golden.conversations.iter().zip(&golden.logits) {
            let vocab = logits.len() / ids.len();
            let sampling = Sampling { temperature: 0.0, top_p: 1.0, max_tokens: 1 };
            // Every prefix is a prompt.
            let requests = (1..=ids.len()).map(|n| Request { prompt: ids[..n].to_vec(), sampling, seed: 0 }).collect();
            let completions = engine.complete(requests, &|_| true).unwrap();
            for (n, (completion, row)) in completions.iter().zip(logits.chunks_exact(vocab)).enumerate() {
                let largest = (0..vocab).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as u32;
                let expected = Completion { token_ids: vec![largest], finish_reason: FinishReason::Length };
                assert_eq!(*completion, expected, "{name}, a prompt of {} tokens", n + 1);
            }
        }
    }
}
