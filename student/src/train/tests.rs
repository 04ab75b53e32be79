use std::collections::BTreeMap;

use data::artifact::read_json;

use super::*;
use crate::golden::{self, Conversation, relative_difference};
use crate::weights::numbers;

fn optimizer() -> OptimizerConfig {
    OptimizerConfig {
        learning_rate: 5e-3,
        warmup_ratio: 0.4,
        final_ratio: 0.1,
        weight_decay: 0.1,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        max_grad_norm: 4.0,
    }
}

fn config(rows_per_step: usize, rows_per_pass: usize) -> TrainConfig {
    TrainConfig { epochs: 3, max_steps: 0, rows_per_step, rows_per_pass, seed: 5, optimizer: optimizer() }
}

/// Loss and gradients by name of rows, as a training step computes them.
fn gradients(name: &str, rows: &[&PackedRow], rows_per_pass: usize, total: u64) -> (f64, BTreeMap<String, Vec<f32>>) {
    let mut model = golden::model(name).tracked(true);
    let (loss, gradients) = gradients_of(&mut model, rows, rows_per_pass, total);
    let named = model.parameters().into_iter().map(|(name, _)| {
        let gradient = gradients.get(&name).unwrap_or_else(|| panic!("{name} has no gradient")).clone();
        (name, numbers(gradient))
    });
    (loss, named.collect())
}

fn sum(a: &BTreeMap<String, Vec<f32>>, b: &BTreeMap<String, Vec<f32>>) -> BTreeMap<String, Vec<f32>> {
    a.iter().map(|(name, a)| (name.clone(), a.iter().zip(&b[name]).map(|(x, y)| x + y).collect())).collect()
}

/// The largest relative difference over all parameters, and whose it is.
fn worst(a: &BTreeMap<String, Vec<f32>>, b: &BTreeMap<String, Vec<f32>>) -> (f64, String) {
    assert!(a.keys().eq(b.keys()), "different parameters");
    let differences = a.iter().map(|(name, a)| (relative_difference(a, &b[name]), name.clone()));
    differences.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

/// Rows of different lengths and supervised shares, so that weighing by row shows.
fn rows() -> Vec<PackedRow> {
    let ids = |length: usize, salt: usize| (0..length).map(|i| ((i * i + salt * 7 + i) % 101) as u32).collect();
    let lengths = [(40, 5), (17, 15), (66, 30), (9, 2), (25, 20), (31, 3), (12, 6)];
    let conversations: Vec<Conversation> = lengths
        .iter()
        .enumerate()
        .map(|(salt, (length, prompt_len))| Conversation { ids: ids(*length, salt), prompt_len: *prompt_len })
        .collect();
    let c = &conversations;
    let mut rows = vec![
        golden::row(&[&c[0], &c[1]]),
        golden::row(&[&c[2]]),
        golden::row(&[&c[3], &c[4], &c[5]]),
        golden::row(&[&c[6]]),
    ];
    for (i, row) in rows.iter_mut().enumerate() {
        row.trace_ids.iter_mut().for_each(|id| *id = format!("row-{i}-{id}"));
    }
    rows
}

/// transformers and this crate differ by 2e-6 at most; float32 itself is 1e-6 away from float64.
#[test]
fn loss_and_every_gradient_equal_those_of_transformers() {
    for name in golden::NAMES {
        let golden = golden::conversations(name);
        let row = golden::row(&golden.conversations.iter().collect::<Vec<_>>());
        let (loss, gradients) = gradients(name, &[&row], 1, row.supervised_tokens());
        let expected = golden::tensors(&golden::folder(name).join("expected.safetensors"));
        let expected = expected
            .into_iter()
            .filter_map(|(name, values)| Some((name.strip_prefix("gradient.")?.to_owned(), values)))
            .collect();
        let (difference, at) = worst(&gradients, &expected);
        println!("{name}: loss differs by {:.1e}, gradients by {difference:.1e} ({at})", (loss - golden.loss).abs());
        assert!((loss - golden.loss).abs() < 2e-6, "{name}: {loss}, not {}", golden.loss);
        assert!(difference < 1e-5, "{name}: the gradient of {at} differs by {difference:.1e}");
    }
}

#[test]
fn packed_conversations_give_what_each_gives_alone() {
    for name in golden::NAMES {
        let golden = golden::conversations(name).conversations;
        let (first, second) = (golden::row(&[&golden[0]]), golden::row(&[&golden[1]]));
        let both = golden::row(&[&golden[0], &golden[1]]);
        let total = both.supervised_tokens();
        let (loss, packed) = gradients(name, &[&both], 1, total);
        let (first_loss, first) = gradients(name, &[&first], 1, total);
        let (second_loss, second) = gradients(name, &[&second], 1, total);
        assert!((loss - first_loss - second_loss).abs() < 1e-6, "{name}: {loss}, not {first_loss} + {second_loss}");
        let (difference, at) = worst(&packed, &sum(&first, &second));
        println!("{name}: packed and unpacked gradients differ by {difference:.1e} ({at})");
        assert!(difference < 1e-5, "{name}: the gradient of {at} differs by {difference:.1e}");

        // Would it show if the second conversation saw the first?
        let mut leaking = both.clone();
        leaking.segment_ids.fill(0);
        let (_, leaking) = gradients(name, &[&leaking], 1, total);
        assert!(worst(&packed, &leaking).0 > 0.1, "{name}: this test does not see a leak between conversations");
    }
}

#[test]
fn the_step_is_the_same_however_it_is_cut_into_passes() {
    let rows = rows();
    let rows: Vec<&PackedRow> = rows.iter().collect();
    let total = supervised(&rows);
    let (loss, whole) = gradients("qwen2", &rows, rows.len(), total);
    for rows_per_pass in [1, 2, 3] {
        let (cut_loss, cut) = gradients("qwen2", &rows, rows_per_pass, total);
        let (difference, at) = worst(&cut, &whole);
        println!("{rows_per_pass} rows a pass: gradients differ by {difference:.1e} ({at})");
        assert!((loss - cut_loss).abs() < 1e-6, "{rows_per_pass} rows a pass: loss {cut_loss}, not {loss}");
        assert!(difference < 1e-5, "{rows_per_pass} rows a pass: the gradient of {at} differs by {difference:.1e}");
    }
    // The mean of the rows' means, which trainers have shipped, weighs short rows more: another loss and gradient.
    let means: Vec<_> = rows.iter().map(|row| gradients("qwen2", &[row], 1, row.supervised_tokens())).collect();
    let mean_loss = means.iter().map(|(loss, _)| loss / means.len() as f64).sum::<f64>();
    assert!((mean_loss - loss).abs() > 1e-2, "these rows do not tell the two normalisations apart");
    let naive = means.iter().skip(1).fold(means[0].1.clone(), |all, (_, one)| sum(&all, one));
    let naive = naive.into_iter().map(|(k, v)| (k, v.iter().map(|x| x / means.len() as f32).collect())).collect();
    assert!(worst(&naive, &whole).0 > 1e-2, "these rows do not tell the two normalisations apart");
}

#[test]
fn mean_loss_is_the_loss_of_training() {
    let rows = rows();
    let all: Vec<&PackedRow> = rows.iter().collect();
    let (loss, _) = gradients("llama", &all, 2, supervised(&all));
    for rows_per_pass in [1, 4] {
        let mean = mean_loss(&golden::model("llama"), &rows, rows_per_pass, &|done| done <= rows.len()).unwrap();
        assert!((mean - loss).abs() < 1e-6, "{rows_per_pass} rows a pass: {mean}, not {loss}");
    }
    let stopped = mean_loss(&golden::model("llama"), &rows, 1, &|done| done < 2);
    assert!(matches!(stopped, Err(Error::Stopped { .. })));
}

/// `adamw.json`.
#[derive(Deserialize)]
struct Adam {
    optimizer: OptimizerConfig,
    steps: Vec<AdamStep>,
}

#[derive(Deserialize)]
struct AdamStep {
    conversations: Vec<usize>,
    loss: f64,
    grad_norm: f64,
    learning_rate: f64,
}

/// Five steps with torch's AdamW and clipping and transformers' schedule end at weights that differ by 1e-6 at most.
#[test]
fn steps_equal_those_of_torch() {
    let folder = golden::folder("qwen2");
    let adam: Adam = read_json(&folder.join("adamw.json")).unwrap();
    let golden = golden::conversations("qwen2").conversations;
    let config = TrainConfig { optimizer: adam.optimizer.clone(), ..config(1, 1) };
    let mut optimizer = AdamW::new(adam.optimizer);
    let mut model = golden::model("qwen2").tracked(true);
    let before = snapshot(&model);
    let steps = adam.steps.len() as u32;
    for (step, expected) in (1..).zip(&adam.steps) {
        let row = golden::row(&expected.conversations.iter().map(|i| &golden[*i]).collect::<Vec<_>>());
        let (loss, norm) = one_step(&mut model, &mut optimizer, &[&row], &config, step, steps).unwrap();
        assert!((loss - expected.loss).abs() < 2e-5, "step {step}: loss {loss}, not {}", expected.loss);
        assert!((norm / expected.grad_norm - 1.0).abs() < 1e-5, "step {step}: norm {norm}, not {}", expected.grad_norm);
        let rate = config.optimizer.rate(step, steps);
        assert!((rate / expected.learning_rate - 1.0).abs() < 1e-12, "step {step}: rate {rate}");
    }
    let after = snapshot(&model);
    let expected = golden::tensors(&folder.join("adamw.safetensors"));
    let (difference, at) = worst(&after, &expected);
    println!("weights after {steps} steps differ by {difference:.1e} ({at})");
    assert!(difference < 1e-5, "{at} differs by {difference:.1e}");
    assert!(worst(&before, &expected).0 > 1e-2, "training moved the weights");
}

fn snapshot(model: &Model) -> BTreeMap<String, Vec<f32>> {
    model.parameters().into_iter().map(|(name, tensor)| (name, numbers(tensor))).collect()
}

fn bits(model: &Model) -> Vec<u32> {
    snapshot(model).into_values().flatten().map(f32::to_bits).collect()
}

#[test]
fn a_loss_that_is_not_finite_updates_nothing_and_names_the_traces() {
    let rows = rows();
    for (poison, parameter) in [(f32::NAN, "model.layers.1.mlp.up_proj.weight"), (f32::INFINITY, "model.norm.weight")] {
        let mut model = golden::model("qwen2");
        for (name, tensor) in model.parameters_mut() {
            if name == parameter {
                let mut values = numbers(tensor.clone());
                values[3] = poison;
                *tensor = burn::tensor::Tensor::from_data(
                    burn::tensor::TensorData::new(values, tensor.dims()),
                    &tensor.device(),
                );
            }
        }
        let mut model = model.tracked(true);
        let mut optimizer = AdamW::new(optimizer());
        let before = bits(&model);
        let batch = [&rows[2], &rows[3]];
        let error = one_step(&mut model, &mut optimizer, &batch, &config(2, 1), 7, 9).unwrap_err();
        let Error::NotFinite { step: 7, what: "the loss", value, traces } = &error else { panic!("{error}") };
        assert!(!value.is_finite());
        assert_eq!(traces, "row-2-trace-0 row-2-trace-1 row-2-trace-2 row-3-trace-0");
        assert_eq!(bits(&model), before, "{parameter}: the weights were touched");
        assert!(optimizer.moments.is_empty(), "{parameter}: the moments were touched");
    }
}

/// A finite loss whose gradients overflow must not pass either.
#[test]
fn a_gradient_norm_that_is_not_finite_updates_nothing() {
    let rows = rows();
    let mut model = golden::model("llama");
    for (name, tensor) in model.parameters_mut() {
        // The norm undoes the first factor going forward; going backward the gradient of the second is the large one.
        let factor = match name.as_str() {
            "model.norm.weight" => 1e-30,
            "lm_head.weight" => 1e30,
            _ => continue,
        };
        *tensor = tensor.clone() * factor;
    }
    let mut model = model.tracked(true);
    let before = bits(&model);
    let error = one_step(&mut model, &mut AdamW::new(optimizer()), &[&rows[0]], &config(1, 1), 1, 9).unwrap_err();
    assert!(matches!(error, Error::NotFinite { what: "the gradient norm", .. }), "{error}");
    assert_eq!(bits(&model), before);
}

/// Trains `dir` on; asks to stop after step `stop_after`.
fn run(dir: &Path, stop_after: u32) -> Result<(Model, TrainSummary)> {
    let stop = AtomicBool::new(false);
    let progress = |metric: &Metric, steps: u32, left: f64| {
        assert!(metric.step <= steps && left >= 0.0);
        stop.store(metric.step == stop_after, Ordering::Relaxed);
    };
    let options = TrainOptions { run: "student", dir, checkpoint_seconds: 1e9, stop: &stop, progress: &progress };
    train(golden::model("qwen2"), &rows(), &config(2, 1), &options)
}

fn losses(dir: &Path) -> Vec<(u32, u64)> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let metrics = text.lines().map(|line| serde_json::from_str::<Metric>(line).unwrap());
    metrics.map(|m| (m.step, m.loss.to_bits())).collect()
}

#[test]
fn a_stopped_training_goes_on_to_the_same_bits() {
    let (straight, halved) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (expected, summary) = run(straight.path(), 0).unwrap();
    assert_eq!(summary.steps, 6);
    let error = run(halved.path(), 3).unwrap_err();
    assert!(matches!(&error, Error::Stopped { after } if after.contains("step 3")), "{error}");
    // As if it had been killed in step 5: two more metrics, the last one cut short, and a half-written checkpoint.
    let log = halved.path().join("metrics.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    let last = text.lines().last().unwrap();
    let later = last.replace("\"step\":3", "\"step\":4");
    assert_ne!(later, last);
    std::fs::write(&log, format!("{text}{later}\n{}", &last[..last.len() / 2])).unwrap();
    std::fs::create_dir(halved.path().join(".writing")).unwrap();
    std::fs::write(halved.path().join(".writing/model.safetensors"), "cut short").unwrap();
    std::fs::create_dir(halved.path().join("step-000099")).unwrap();

    let (model, resumed) = run(halved.path(), 0).unwrap();
    assert!(bits(&model) == bits(&expected), "resuming gave other weights");
    assert_eq!(losses(halved.path()), losses(straight.path()));
    assert_eq!((resumed.tokens, resumed.supervised_tokens), (summary.tokens, summary.supervised_tokens));
    assert!(bits(&load_trained(golden::model("qwen2"), halved.path()).unwrap()) == bits(&expected));
    // Finished: once more changes nothing.
    let (again, _) = run(halved.path(), 0).unwrap();
    assert!(bits(&again) == bits(&expected));
    assert!(bits(&golden::model("qwen2")) != bits(&expected), "training moved the weights");
}

#[test]
fn every_epoch_takes_every_row_once_in_an_order_of_its_own() {
    let rows = rows();
    let config = config(3, 1);
    let epoch = |n: u32| -> Vec<String> {
        let batches = [2 * n + 1, 2 * n + 2].map(|step| batch_of(&rows, &config, step));
        assert_eq!(batches.each_ref().map(Vec::len), [3, 1]);
        batches.concat().iter().map(|row| row.trace_ids[0].clone()).collect()
    };
    let orders: Vec<Vec<String>> = (0..8).map(epoch).collect();
    for order in &orders {
        let mut sorted = order.clone();
        sorted.sort();
        assert_eq!(sorted, ["row-0-trace-0", "row-1-trace-0", "row-2-trace-0", "row-3-trace-0"]);
    }
    assert!(orders.iter().any(|order| *order != orders[0]));
    assert_eq!(orders[3], epoch(3), "the order is the seed's");
}

#[test]
fn what_cannot_be_trained_is_refused_by_name() {
    let model = golden::model("qwen2");
    let with = |change: &dyn Fn(&mut Vec<PackedRow>, &mut TrainConfig)| {
        let (mut rows, mut config) = (rows(), config(2, 1));
        change(&mut rows, &mut config);
        check(&model, &rows, &config).map_err(|e| e.to_string())
    };
    assert_eq!(with(&|_, _| ()), Ok(6));
    assert_eq!(with(&|_, config| config.max_steps = 4), Ok(4));
    let refused = [
        (with(&|rows, _| rows[0].token_ids[3] = 101), "student.base"),
        (with(&|rows, _| rows[1].position_ids[3] = 512), "pack.sequence_length"),
        (with(&|rows, _| rows.iter_mut().for_each(|row| row.loss_mask.fill(false))), "loss mask"),
        (with(&|rows, _| rows.iter_mut().for_each(|row| row.loss_mask.fill(true))), "loss mask"),
        (with(&|_, config| config.rows_per_step = 0), "train.rows_per_step"),
        (with(&|_, config| config.rows_per_pass = 0), "train.rows_per_pass"),
        (with(&|_, config| config.epochs = 0), "train.epochs"),
    ];
    for (result, name) in refused {
        let message = result.unwrap_err();
        assert!(message.contains(name), "{message}");
    }
}
