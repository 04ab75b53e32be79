use records::artifact::read_json;

use super::*;
use crate::Model;
use crate::golden::{self, largest_difference};
use crate::weights::numbers;

fn everywhere() -> LoraConfig {
    let target_modules = MODULES.iter().map(|name| (*name).to_owned()).collect();
    LoraConfig { rank: 5, alpha: 16.0, dropout: 0.25, target_modules }
}

/// Measured: 9e-6, on logits that the adapter moves by up to 11.
#[test]
fn logits_with_an_adapter_equal_those_of_peft() {
    let (model, _) = golden::adapter();
    let expected = golden::tensors(&golden::folder("lora").join("expected.safetensors"));
    for (i, conversation) in golden::conversations("qwen2").conversations.iter().enumerate() {
        let logits = model.logits_of(&conversation.ids).concat();
        let difference = largest_difference(&logits, &expected[&format!("logits.{i}")]);
        println!("conversation {i}: logits differ by {difference:.1e}");
        assert!(difference < 2e-5, "conversation {i}: logits differ by {difference:.1e}");
        let without = golden::model("qwen2").logits_of(&conversation.ids).concat();
        assert!(largest_difference(&without, &logits) > 1.0, "the adapter shows");
    }
}

#[test]
fn merged_weights_give_the_logits_of_base_and_adapter() {
    let (model, _) = golden::adapter();
    let merged = model.clone().merged();
    assert_eq!(merged.clone().adapters_mut().len(), 0);
    let names = |model: &Model| model.parameters().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&merged), names(&golden::model("qwen2")));
    for conversation in golden::conversations("qwen2").conversations {
        let [a, b] = [&merged, &model].map(|model| model.logits_of(&conversation.ids).concat());
        let difference = largest_difference(&a, &b);
        println!("merged logits differ by {difference:.1e}");
        assert!(difference < 2e-5, "merged logits differ by {difference:.1e}");
    }
    // Only what is adapted changes.
    for ((name, before), (_, after)) in golden::model("qwen2").parameters().into_iter().zip(merged.parameters()) {
        let adapted = ["q_proj.weight", "v_proj.weight", "o_proj.weight", "down_proj.weight"];
        let changed = numbers(before) != numbers(after);
        assert_eq!(changed, adapted.iter().any(|end| name.ends_with(end)), "{name}");
    }
}

#[test]
fn an_adapter_is_written_as_peft_writes_it() {
    let (model, config) = golden::adapter();
    let dir = tempfile::tempdir().unwrap();
    crate::peft::write(&model, &config, "qwen2", dir.path()).unwrap();
    let [ours, theirs] = [dir.path(), &golden::folder("lora")].map(|folder| {
        let bytes = std::fs::read(folder.join("adapter_model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors: Vec<_> = file
            .iter()
            .map(|(name, view)| (name.to_owned(), view.dtype(), view.shape().to_vec(), view.data().to_vec()))
            .collect();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        tensors
    });
    assert_eq!(ours.len(), 16);
    assert!(ours == theirs, "other tensors than PEFT's");
    let read =
        |folder: &std::path::Path| -> serde_json::Value { read_json(&folder.join("adapter_config.json")).unwrap() };
    let (ours, theirs) = (read(dir.path()), read(&golden::folder("lora")));
    for (key, value) in ours.as_object().unwrap() {
        let same = *value == theirs[key] || (value.is_number() && value.as_f64() == theirs[key].as_f64());
        assert!(same && theirs.get(key).is_some(), "{key}: {value}, not {}", theirs[key]);
    }
}

#[test]
fn a_new_adapter_changes_nothing_and_is_drawn_from_the_seed() {
    let config = everywhere();
    let model = golden::model("llama").with_adapters(&config, 3);
    let ids: Vec<u32> = (0..40).collect();
    assert_eq!(model.logits_of(&ids), golden::model("llama").logits_of(&ids));
    assert_eq!(model.trainable().len(), 2 * 2 * MODULES.len());
    for (name, tensor) in model.trainable() {
        let ([rows, columns], values) = (tensor.dims(), numbers(tensor));
        if name.ends_with("lora_B.weight") {
            assert!(columns == 5 && values.iter().all(|x| *x == 0.0), "{name}");
            continue;
        }
        let bound = 1.0 / (columns as f32).sqrt();
        let largest = values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!(rows == 5 && largest < bound && largest > 0.9 * bound, "{name}: {largest} of {bound}");
        assert!(mean.abs() < 0.2 * bound, "{name}: {mean}");
    }
    let bits = |seed| -> Vec<_> {
        let model = golden::model("llama").with_adapters(&config, seed);
        model.trainable().into_iter().flat_map(|(_, tensor)| numbers(tensor)).map(f32::to_bits).collect()
    };
    assert!(bits(3) == bits(3) && bits(3) != bits(4));
}

#[test]
fn dropout_keeps_its_share_and_the_mean_and_is_drawn_anew_everywhere() {
    let device = Device::flex();
    let draw = |noise: Noise| numbers(noise.mask([100, 500], 0.2, &device));
    let first = Noise { seed: 7, step: 1, pass: 1, layer: 0, module: 0 };
    let mask = draw(first);
    assert!(mask.iter().all(|x| *x == 0.0 || x.to_bits() == 1.25f32.to_bits()));
    let dropped = mask.iter().filter(|x| **x == 0.0).count() as f64 / mask.len() as f64;
    // Four standard deviations.
    assert!((dropped - 0.2).abs() < 4.0 * (0.16f64 / 50_000.0).sqrt(), "{dropped}");
    assert_eq!(mask, draw(first));
    let others = [
        Noise { seed: 8, ..first },
        Noise { step: 2, ..first },
        Noise { pass: 2, ..first },
        Noise { layer: 1, ..first },
        Noise { module: 1, ..first },
    ];
    for other in others {
        // Two draws of their own are both 0 in a share of 0.04, not 0.2.
        let both = mask.iter().zip(draw(other)).filter(|(a, b)| **a == 0.0 && *b == 0.0).count() as f64;
        assert!((both / mask.len() as f64 - 0.04).abs() < 0.005, "{other:?}: {both}");
    }
}
