/// Evaluation while training: the best checkpoint, early stopping.
mod evaluation;
/// Loss, gradients and steps: transformers', torch's, and the same however rows are packed and dealt out.
mod gradients;
/// Adapters.
mod lora;
/// NaN and infinity stop a training before they are in its weights.
mod not_finite;
/// bf16 products on f32 weights.
mod precision;
/// Recomputed blocks.
mod recompute;
/// The loss curve of TRL's trainer.
mod trl;

use std::collections::BTreeMap;
use std::slice::from_mut;
use std::sync::atomic::Ordering;

use model::lora::Noise;
use model::weights::numbers;
use records::artifact::read_json;
use records::record::TraceId;

use super::*;
use crate::batch::{Order, supervised};
use crate::golden::{self, Conversation, relative_difference};
use crate::optimizer::AdamW;
use crate::step::gradients_of;
use crate::step::{one_step, replica_on};

/// A step of torch's, as the goldens record it.
#[derive(Deserialize)]
struct AdamStep {
    conversations: Vec<usize>,
    loss: f64,
    grad_norm: f64,
    learning_rate: f64,
}

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
    TrainConfig {
        epochs: 3,
        max_steps: None,
        rows_per_step,
        rows_per_pass,
        seed: 5,
        eval_every: None,
        keep_best: false,
        early_stopping_patience: None,
        precision: Precision::F32,
        lora: None,
        optimizer: optimizer(),
    }
}

/// Loss and gradients by name of rows, as a training step computes them.
fn gradients(name: &str, rows: &[&PackedRow], rows_per_pass: usize, total: u64) -> (f64, BTreeMap<String, Vec<f32>>) {
    let mut model = golden::model(name).tracked(true);
    let (loss, gradients) =
        gradients_of(from_mut(&mut model), rows, rows_per_pass, total, Noise::default(), &mut None).unwrap();
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
        row.trace_ids.iter_mut().for_each(|id| *id = TraceId::from_stored(format!("row-{i}-{id}")));
    }
    rows
}

fn snapshot(model: &Model) -> BTreeMap<String, Vec<f32>> {
    model.parameters().into_iter().map(|(name, tensor)| (name, numbers(tensor))).collect()
}

fn bits(model: &Model) -> Vec<u32> {
    snapshot(model).into_values().flatten().map(f32::to_bits).collect()
}

/// Trains `dir` on; asks to stop after step `stop_after`.
fn run(dir: &Path, stop_after: u32) -> Result<(Model, TrainSummary)> {
    run_with(dir, stop_after, &config(2, 1), &[])
}

fn run_with(
    dir: &Path,
    stop_after: u32,
    config: &TrainConfig,
    held_out: &[PackedRow],
) -> Result<(Model, TrainSummary)> {
    let stop = AtomicBool::new(false);
    let progress = |metric: &Metric, steps: u32, left: f64| {
        assert!(metric.step <= steps && left >= 0.0);
        stop.store(metric.step == stop_after, Ordering::Relaxed);
    };
    let options = TrainOptions {
        run: "student",
        dir,
        checkpoint_seconds: 1e9,
        keep_checkpoints: 1,
        recompute: false,
        further_devices: &[],
        stop: &stop,
        progress: &progress,
    };
    train(golden::model("qwen2"), &rows(), held_out, config, &options)
}

fn metrics(dir: &Path) -> Vec<Metric> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn losses(dir: &Path) -> Vec<(u32, u64)> {
    metrics(dir).into_iter().map(|m| (m.step, m.loss.to_bits())).collect()
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
    assert!(bits(&load_trained(golden::model("qwen2"), halved.path(), None).unwrap()) == bits(&expected));
    // Finished: once more changes nothing.
    let (again, _) = run(halved.path(), 0).unwrap();
    assert!(bits(&again) == bits(&expected));
    assert!(bits(&golden::model("qwen2")) != bits(&expected), "training moved the weights");
}

/// Permission bits do not stop root; these do.
#[test]
fn a_checkpoint_that_cannot_be_read_is_an_error_and_not_a_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let training = dir.path().join("student");
    std::fs::write(&training, "a file where the folder should be").unwrap();
    let message = run(&training, 0).map(drop).unwrap_err().to_string();
    assert!(message.contains(&training.display().to_string()), "{message}");
    std::fs::remove_file(&training).unwrap();
    std::os::unix::fs::symlink("student", &training).unwrap();
    let message = run(&training, 0).map(drop).unwrap_err().to_string();
    assert!(message.contains(&training.display().to_string()), "{message}");
    std::fs::remove_file(&training).unwrap();

    std::fs::create_dir(&training).unwrap();
    run(&training, 3).unwrap_err();
    let before = losses(&training);
    let state = training.join("step-000003/state.json");
    let kept = std::fs::read(&state).unwrap();
    std::fs::remove_file(&state).unwrap();
    std::os::unix::fs::symlink("state.json", &state).unwrap();
    let message = run(&training, 0).map(drop).unwrap_err().to_string();
    assert!(message.contains(&state.display().to_string()), "{message}");
    let message = load_trained(golden::model("qwen2"), &training, None).map(drop).unwrap_err().to_string();
    assert!(message.contains(&state.display().to_string()), "{message}");
    assert_eq!(losses(&training), before, "nothing was begun anew");
    std::fs::remove_file(&state).unwrap();
    std::fs::write(&state, kept).unwrap();
    assert_eq!(run(&training, 0).unwrap().1.steps, 6);
}

#[test]
fn metrics_that_cannot_be_read_are_named_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 3).unwrap_err();
    let path = dir.path().join("metrics.jsonl");
    let text = std::fs::read(&path).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let file = path.display().to_string();
    let refused = |what: &str, words: &[&str]| {
        let message = run(dir.path(), 0).map(drop).unwrap_err().to_string();
        for word in words.iter().chain([&file.as_str()]) {
            assert!(message.contains(word), "{what}: {message}");
        }
    };
    let half = &lines[1][..lines[1].len() / 2];
    for (what, damaged, words) in [
        ("cut in the middle", [lines[0], half, b"\n", lines[2]].concat(), "line 2"),
        ("joined", [lines[0], half, lines[2]].concat(), "line 2"),
        ("no text", [lines[0], b"\"caf\xe9\"\n", lines[2]].concat(), "line 2"),
        ("whole, and no metrics", [&text[..], b"{}\n"].concat(), "line 4"),
        ("a line is gone", [lines[0], lines[2]].concat(), "2 of the 3 steps"),
        ("a line of the checkpoint's is cut", [lines[0], lines[1], &lines[2][..9]].concat(), "2 of the 3 steps"),
        ("all are gone", Vec::new(), "0 of the 3 steps"),
    ] {
        std::fs::write(&path, damaged).unwrap();
        refused(what, &[words]);
    }
    std::fs::remove_file(&path).unwrap();
    refused("the file is gone", &["0 of the 3 steps"]);
    std::fs::create_dir(&path).unwrap();
    refused("a folder", &[]);
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("metrics.jsonl", &path).unwrap();
    refused("a loop", &[]);
    std::fs::remove_file(&path).unwrap();
    // What a kill leaves: later steps, the last of them cut short.
    std::fs::write(&path, [&text[..], &lines[2][..20]].concat()).unwrap();
    assert!(
        super::metrics(dir.path()).unwrap_err().to_string().contains("line 4"),
        "a finished training has no such line"
    );
    assert_eq!(run(dir.path(), 0).unwrap().1.steps, 6);
    assert_eq!(super::metrics(dir.path()).unwrap().iter().map(|m| m.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn every_epoch_takes_every_row_once_in_an_order_of_its_own() {
    let rows = rows();
    let config = config(3, 1);
    let epoch = |n: u32| -> Vec<TraceId> {
        let mut order = Order::default();
        let batches = [2 * n + 1, 2 * n + 2].map(|step| order.batch(&rows, &config, step));
        assert_eq!(batches.each_ref().map(Vec::len), [3, 1]);
        batches.concat().iter().map(|row| row.trace_ids[0].clone()).collect()
    };
    let orders: Vec<Vec<TraceId>> = (0..8).map(epoch).collect();
    for order in &orders {
        let mut sorted: Vec<&str> = order.iter().map(TraceId::as_str).collect();
        sorted.sort_unstable();
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
        check(&model, &rows, &[], &config).map_err(|e| e.to_string())
    };
    assert_eq!(with(&|_, _| ()), Ok(6));
    assert_eq!(with(&|_, config| config.max_steps = Some(4)), Ok(4));
    let targets = |names: &[&str]| {
        let target_modules = names.iter().map(|name| (*name).to_owned()).collect();
        LoraConfig { rank: 1, alpha: 1.0, dropout: 0.0, target_modules }
    };
    let lora = || targets(&["up_proj"]);
    assert_eq!(with(&|_, config| config.lora = Some(lora())), Ok(6));
    let refused = [
        (with(&|rows, _| rows[0].token_ids[3] = 101), "student.base"),
        (with(&|rows, _| rows[1].position_ids[3] = 512), "pack.sequence_length"),
        (with(&|rows, _| rows.iter_mut().for_each(|row| row.loss_mask.fill(false))), "loss mask"),
        (with(&|rows, _| rows.iter_mut().for_each(|row| row.loss_mask.fill(true))), "loss mask"),
        (with(&|_, config| config.rows_per_step = 0), "train.rows_per_step"),
        (with(&|_, config| config.rows_per_pass = 0), "train.rows_per_pass"),
        (with(&|_, config| config.epochs = 0), "train.epochs"),
        (with(&|_, config| config.eval_every = Some(3)), "pack.held_out"),
        (with(&|_, config| config.max_steps = Some(0)), "train.max_steps: it is 0; leave it out"),
        (with(&|_, config| config.eval_every = Some(0)), "train.eval_every: it is 0; leave it out"),
        (
            with(&|_, config| config.early_stopping_patience = Some(0)),
            "train.early_stopping_patience: it is 0; leave it",
        ),
        (
            with(&|_, config| config.optimizer.weight_decay = -1.0),
            "train.optimizer.weight_decay: it is -1; set it to 0",
        ),
        (with(&|_, config| config.optimizer.warmup_ratio = 1.5), "train.optimizer.warmup_ratio"),
        (with(&|_, config| config.optimizer.final_ratio = -0.1), "train.optimizer.final_ratio"),
        (with(&|_, config| config.optimizer.beta2 = 1.0), "train.optimizer.beta2"),
        (with(&|_, config| config.optimizer.learning_rate = f64::NAN), "train.optimizer.learning_rate"),
        (with(&|_, config| config.keep_best = true), "train.keep_best"),
        (with(&|_, config| config.early_stopping_patience = Some(2)), "train.early_stopping_patience"),
        (with(&|_, config| config.lora = Some(LoraConfig { rank: 0, ..lora() })), "train.lora.rank"),
        (with(&|_, config| config.lora = Some(LoraConfig { alpha: 0.0, ..lora() })), "train.lora.alpha"),
        (with(&|_, config| config.lora = Some(LoraConfig { dropout: 1.0, ..lora() })), "train.lora.dropout"),
        (with(&|_, config| config.lora = Some(targets(&[]))), "train.lora.target_modules"),
        (with(&|_, config| config.lora = Some(targets(&["q_proj", "lm_head"]))), "\"lm_head\"; name some of q_proj"),
    ];
    for (result, name) in refused {
        let message = result.unwrap_err();
        assert!(message.contains(name), "{message}");
    }
}
