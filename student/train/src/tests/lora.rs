use std::collections::HashMap;

use model::lora::{LoraConfig, MODULES};

use super::*;

fn everywhere(dropout: f64) -> LoraConfig {
    let target_modules = MODULES.iter().map(|name| (*name).to_owned()).collect();
    LoraConfig { rank: 3, alpha: 6.0, dropout, target_modules }
}

fn with(lora: LoraConfig) -> TrainConfig {
    TrainConfig { lora: Some(lora), ..config(2, 1) }
}

fn adapters(model: &Model) -> BTreeMap<String, Vec<f32>> {
    model.trainable().into_iter().map(|(name, tensor)| (name, numbers(tensor))).collect()
}

/// What `tests/parity/make_lora_golden.py` records beside the tensors.
#[derive(Deserialize)]
struct Lora {
    loss: f64,
    optimizer: OptimizerConfig,
    steps: Vec<AdamStep>,
}

fn golden_lora() -> (Lora, Model) {
    let record = read_json(&golden::folder("lora").join("adamw.json")).unwrap();
    (record, golden::adapter().0.tracked(true))
}

#[test]
fn gradients_of_an_adapter_equal_those_of_torch() {
    let (expected, mut model) = golden_lora();
    let row = golden::row(&golden::conversations("qwen2").conversations.iter().collect::<Vec<_>>());
    let noise = Noise::default();
    let (loss, gradients) =
        gradients_of(from_mut(&mut model), &[&row], 1, row.supervised_tokens(), noise, &mut None).unwrap();
    assert!((loss - expected.loss).abs() < 2e-6, "{loss}, not {}", expected.loss);
    let tensors = golden::tensors(&golden::folder("lora").join("expected.safetensors"));
    let theirs = tensors.into_iter().filter_map(|(name, x)| Some((name.strip_prefix("gradient.")?.to_owned(), x)));
    let ours = adapters(&model).into_keys().map(|name| {
        let gradient = numbers(gradients.get(&name).unwrap().clone());
        (name, gradient)
    });
    let (difference, at) = worst(&ours.collect(), &theirs.collect());
    println!("loss differs by {:.1e}, gradients by {difference:.1e} ({at})", (loss - expected.loss).abs());
    assert!(difference < 1e-5, "the gradient of {at} differs by {difference:.1e}");
    // The base's are not computed at all.
    assert!(model.parameters().iter().all(|(name, _)| gradients.get(name).is_none()));
}

#[test]
fn steps_of_an_adapter_equal_those_of_torch() {
    let (record, mut model) = golden_lora();
    let golden = golden::conversations("qwen2").conversations;
    let config = TrainConfig { optimizer: record.optimizer.clone(), ..config(1, 1) };
    let mut optimizer = AdamW::new(record.optimizer);
    let (base, before) = (bits(&model), adapters(&model));
    let steps = record.steps.len() as u32;
    for (step, expected) in (1..).zip(&record.steps) {
        let row = golden::row(&expected.conversations.iter().map(|i| &golden[*i]).collect::<Vec<_>>());
        let (loss, norm) = one_step(from_mut(&mut model), &mut optimizer, &[&row], &config, step, steps).unwrap();
        assert!((loss - expected.loss).abs() < 2e-5, "step {step}: loss {loss}, not {}", expected.loss);
        assert!((norm / expected.grad_norm - 1.0).abs() < 1e-5, "step {step}: norm {norm}, not {}", expected.grad_norm);
    }
    let expected = golden::tensors(&golden::folder("lora").join("adamw.safetensors"));
    let (difference, at) = worst(&adapters(&model), &expected);
    println!("the adapter after {steps} steps differs by {difference:.1e} ({at})");
    assert!(difference < 1e-5, "{at} differs by {difference:.1e}");
    assert!(worst(&before, &expected).0 > 1e-2, "training moved the adapter");
    assert!(bits(&model) == base, "the base's weights were touched");
}

/// Loss and gradients in bits, with dropout, in several passes.
fn dropped(recompute: bool, dropout: f64, step: u32) -> (u64, HashMap<String, Vec<u32>>) {
    let rows = rows();
    let rows: Vec<&PackedRow> = rows.iter().collect();
    let mut model = golden::model("llama").with_adapters(&everywhere(dropout), 1);
    // B is 0 at first, and then A has no gradient.
    for (name, tensor) in model.trainable_mut() {
        if name.ends_with("lora_B.weight") {
            *tensor = tensor.clone() + 0.1;
        }
    }
    let mut model = model.tracked(true);
    model.recompute = recompute;
    let noise = Noise { seed: 5, step, ..Noise::default() };
    let (loss, gradients) = gradients_of(from_mut(&mut model), &rows, 2, supervised(&rows), noise, &mut None).unwrap();
    let of = |name: &String| numbers(gradients.get(name).unwrap().clone()).into_iter().map(f32::to_bits).collect();
    (loss.to_bits(), adapters(&model).into_keys().map(|name| (name.clone(), of(&name))).collect())
}

#[test]
fn dropout_is_the_same_when_blocks_are_recomputed_and_on_any_number_of_threads() {
    let expected = dropped(false, 0.3, 1);
    assert!(expected.1.values().flatten().any(|bits| *bits != 0));
    assert!(dropped(true, 0.3, 1) == expected, "recomputed");
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| dropped(false, 0.3, 1)) == expected, "{threads} threads");
    }
    assert!(dropped(false, 0.3, 2) != expected, "another step draws another dropout");
    assert!(dropped(false, 0.0, 1) == dropped(false, 0.0, 2), "without dropout nothing is drawn");
}

#[test]
fn a_stopped_adapter_training_goes_on_to_the_same_bits() {
    let config = TrainConfig { eval_every: Some(2), keep_best: true, ..with(everywhere(0.2)) };
    let held_out = rows();
    let (straight, halved) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (expected, summary) = run_with(straight.path(), 0, &config, &held_out).unwrap();
    assert!(matches!(run_with(halved.path(), 3, &config, &held_out).unwrap_err(), Error::Stopped { .. }));
    let (model, _) = run_with(halved.path(), 0, &config, &held_out).unwrap();
    assert!(bits(&model) == bits(&expected), "resuming gave other weights");
    assert_eq!(losses(halved.path()), losses(straight.path()));

    // What comes out is merged: a model like any other, with the loss that was measured last, without dropout.
    let names = |model: &Model| model.parameters().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&model), names(&golden::model("qwen2")));
    assert_eq!(model.trainable().len(), model.parameters().len());
    let measured = summary.best.unwrap().loss;
    let merged = mean_loss(&model, &held_out, 1, &|_| true).unwrap();
    assert!((merged - measured).abs() < 2e-6, "{merged}, not {measured}");
    let loaded = load_trained(golden::model("qwen2"), halved.path(), config.lora.as_ref()).unwrap();
    assert!(bits(&loaded) == bits(&model));

    // A checkpoint holds the adapters and their moments, nothing of the base.
    let folder = checkpoint::latest(halved.path()).unwrap().unwrap();
    let trained = golden::model("qwen2").with_adapters(&everywhere(0.2), 5).trainable();
    let expected: Vec<&String> = trained.iter().map(|(name, _)| name).collect();
    for file in ["model", "first_moment", "second_moment"] {
        let stored = golden::tensors(&folder.join(format!("{file}.safetensors")));
        assert_eq!(stored.len(), expected.len(), "{file}");
        assert!(expected.iter().all(|name| stored.contains_key(*name)), "{file}");
    }
    let size = trained.iter().map(|(_, tensor)| tensor.dims().iter().product::<usize>() as u64).sum::<u64>();
    assert_eq!(summary.trained_parameters, size);
    assert!(summary.parameters > 3 * size);
}

#[test]
fn adapters_learn() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig { epochs: 30, ..with(everywhere(0.0)) };
    let before = mean_loss(&golden::model("qwen2"), &rows(), 1, &|_| true).unwrap();
    let (model, _) = run_with(dir.path(), 0, &config, &[]).unwrap();
    let after = mean_loss(&model, &rows(), 1, &|_| true).unwrap();
    assert!(after < 0.8 * before, "{before} → {after}");
}
