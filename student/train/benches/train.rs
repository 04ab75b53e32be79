//! Speed and memory of training, beside PyTorch's in the same run.
//!
//!     cargo bench --workspace --bench train -- --peer PYTHON            shapes A to D, alternating with torch
//!     cargo bench --workspace --bench train -- --shapes A --rounds 1    ours alone
//!     cargo bench --workspace --bench train -- --lengths 1024,4096 --model DIR --recompute
//!                                     memory by sequence length of a model folder's sizes; `--layers 2`: of fewer layers
//!
//! PYTHON has torch and transformers; the peer is `torch_peer.py` beside this file: the same model, optimizer, clipping
//! and tokens. Every measurement is a process of its own, so that its peak memory is its own. Medians are compared.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints, and ends where it fails"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use mimalloc::MiMalloc;
use model::Model;
use model::config::{Architecture, ModelConfig};
use model::device::DeviceName;
use serde_json::{Value, json};
use tokens::pack::PackedRow;
use train::{OptimizerConfig, Precision, TrainConfig, TrainOptions, train};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A model's sizes and a step's tokens.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    hidden: usize,
    layers: usize,
    heads: usize,
    key_heads: usize,
    inner: usize,
    vocab: usize,
    sequences: usize,
    length: usize,
}

const fn shape(name: &'static str, sizes: [usize; 6], sequences: usize, length: usize) -> Shape {
    let [hidden, layers, heads, key_heads, inner, vocab] = sizes;
    Shape { name, hidden, layers, heads, key_heads, inner, vocab, sequences, length }
}

const SHAPES: [Shape; 4] = [
    shape("A", [256, 6, 4, 2, 768, 4096], 16, 256),
    shape("B", [896, 4, 14, 2, 4864, 32_000], 2, 512),
    shape("C", [256, 6, 4, 2, 768, 4096], 1, 4096),
    shape("D", [896, 2, 14, 2, 4864, 151_936], 1, 1024),
];

impl Shape {
    fn config(&self) -> ModelConfig {
        ModelConfig {
            architecture: Architecture::Qwen2,
            vocab_size: self.vocab,
            hidden_size: self.hidden,
            intermediate_size: self.inner,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.key_heads,
            head_dim: self.hidden / self.heads,
            max_position_embeddings: 32_768,
            rms_norm_eps: 1e-6,
            rope_theta: 1e6,
            rope_scaling: None,
            tie_word_embeddings: true,
        }
    }
}

/// One row of `sequences` conversations of `length` random tokens; all but the first of each are supervised.
fn row(vocab: usize, sequences: usize, length: usize) -> PackedRow {
    let count = sequences * length;
    let mut state = 1u64;
    let mut token = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % vocab as u64) as u32
    };
    PackedRow {
        token_ids: (0..count).map(|_| token()).collect(),
        loss_mask: (0..count).map(|i| i % length > 0).collect(),
        segment_ids: (0..count).map(|i| (i / length) as u32).collect(),
        position_ids: (0..count).map(|i| (i % length) as u32).collect(),
        trace_ids: (0..sequences).map(|i| records::record::TraceId::from_stored(i.to_string())).collect(),
    }
}

/// Floating point operations of a step's matrix products: forward, and twice as many backward. Attention is causal.
fn flops(config: &ModelConfig, sequences: usize, length: usize) -> f64 {
    let (d, q) = (config.hidden_size, config.num_attention_heads * config.head_dim);
    let kv = config.num_key_value_heads * config.head_dim;
    let weights =
        config.num_hidden_layers * (2 * d * q + 2 * d * kv + 3 * d * config.intermediate_size) + config.vocab_size * d;
    let attention = config.num_hidden_layers * q * length;
    6.0 * (weights + attention) as f64 * (sequences * length) as f64
}

fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The most that one matrix product reaches here, in operations a second.
fn measured_peak() -> f64 {
    let n = 1536;
    let (a, b, mut c) = (vec![1.0f32; n * n], vec![1.0f32; n * n], vec![0.0f32; n * n]);
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let started = Instant::now();
        let (columns, rows) = (1, n as isize);
        let threads = gemm::Parallelism::Rayon(0);
        let (to, left, right) = (c.as_mut_ptr(), a.as_ptr(), b.as_ptr());
        // SAFETY: each pointer is to a matrix of n × n, rows one after another; the output is borrowed by nobody else.
        #[expect(unsafe_code, reason = "the crate takes pointers")]
        unsafe {
            gemm::gemm(
                n, n, n, to, columns, rows, false, left, columns, rows, right, columns, rows, 0.0, 1.0, false, false,
                false, threads,
            );
        }
        best = best.min(started.elapsed().as_secs_f64());
    }
    2.0 * (n as f64).powi(3) / best
}

/// Trains `steps` steps in this process and prints what they took.
fn one(model: Model, rows: &[PackedRow], precision: Precision, recompute: bool, steps: u32) {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        epochs: steps,
        max_steps: Some(steps + 1),
        rows_per_step: rows.len(),
        rows_per_pass: rows.len(),
        seed: 1,
        eval_every: None,
        keep_best: false,
        early_stopping_patience: None,
        precision,
        lora: None,
        optimizer: OptimizerConfig {
            learning_rate: 1e-4,
            warmup_ratio: 0.1,
            final_ratio: 0.1,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            max_grad_norm: 1.0,
        },
    };
    let times = Mutex::new(Vec::new());
    let losses = Mutex::new(Vec::new());
    // The checkpoint at the end is not part of training: memory is read before it.
    let peak = Mutex::new(0);
    let stop = AtomicBool::new(false);
    let options = TrainOptions {
        run: "bench",
        dir: dir.path(),
        checkpoint_seconds: f64::INFINITY,
        keep_checkpoints: 1,
        recompute,
        further_devices: &[],
        stop: &stop,
        progress: &|metric, _, _| {
            times.lock().unwrap().push(metric.tokens as f64 / metric.tokens_per_second);
            losses.lock().unwrap().push(metric.loss);
            *peak.lock().unwrap() = peak_memory();
        },
    };
    let result = train(model, rows, &[], &config, &options);
    result.unwrap();
    let line = json!({
        "seconds": *times.lock().unwrap(),
        "losses": *losses.lock().unwrap(),
        "peak_bytes": *peak.lock().unwrap(),
    });
    println!("{line}");
}

/// What a child process printed last.
fn child(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|e| panic!("{command:?}: {e}: {text}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds a step, without the first two, in which both sides fill caches, make the optimizer's state and take memory.
fn step_seconds(result: &Value) -> Vec<f64> {
    result["seconds"].as_array().unwrap().iter().skip(2).map(|s| s.as_f64().unwrap()).collect()
}

#[derive(Default)]
struct Side {
    seconds: Vec<f64>,
    peak: f64,
}

impl Side {
    fn add(&mut self, result: &Value) {
        self.seconds.extend(step_seconds(result));
        self.peak = self.peak.max(result["peak_bytes"].as_f64().unwrap());
    }
}

fn compare(options: &Options) {
    let peak = measured_peak();
    println!("matrix product: {:.0} GFLOP/s\n", peak / 1e9);
    println!("| shape | precision | tokens/s | torch | ratio | MB at most | torch | ratio | MFU |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for shape in SHAPES.iter().filter(|s| options.shapes.iter().any(|name| name == s.name)) {
        for precision in &options.precisions {
            let (mut ours, mut theirs) = (Side::default(), Side::default());
            for _ in 0..options.rounds {
                let mut own = Command::new(std::env::current_exe().unwrap());
                own.args(["--one", shape.name, precision, &options.steps.to_string()]);
                ours.add(&child(&mut own));
                if let Some(python) = &options.peer {
                    theirs.add(&child(&mut peer(python, shape, precision, options.steps)));
                }
            }
            report(shape, precision, &ours, &theirs, peak);
        }
    }
}

fn report(shape: &Shape, precision: &str, ours: &Side, theirs: &Side, peak: f64) {
    let tokens = (shape.sequences * shape.length) as f64;
    let seconds = median(ours.seconds.clone());
    let mfu = flops(&shape.config(), shape.sequences, shape.length) / seconds / peak;
    let megabytes = |side: &Side| side.peak / 1e6;
    let torch = if theirs.seconds.is_empty() {
        ["-", "-", "-", "-"].map(str::to_owned)
    } else {
        let other = median(theirs.seconds.clone());
        [
            format!("{:.0}", tokens / other),
            format!("{:.2}", other / seconds),
            format!("{:.0}", megabytes(theirs)),
            format!("{:.2}", ours.peak / theirs.peak),
        ]
    };
    let [speed, faster, memory, smaller] = torch;
    println!(
        "| {} | {precision} | {:.0} | {speed} | {faster} | {:.0} | {memory} | {smaller} | {:.0} % |",
        shape.name,
        tokens / seconds,
        megabytes(ours),
        100.0 * mfu
    );
}

fn peer(python: &Path, shape: &Shape, precision: &str, steps: u32) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/torch_peer.py");
    let s = shape;
    let sizes = [s.hidden, s.layers, s.heads, s.key_heads, s.inner, s.vocab, s.sequences, s.length, steps as usize];
    let mut command = Command::new(python);
    command.arg(script).arg(precision).args(sizes.map(|n| n.to_string()));
    // glibc as torch users tune it: big buffers are kept, not given back to the kernel after every operation.
    command
        .env("MALLOC_MMAP_THRESHOLD_", "4294967296")
        .env("MALLOC_TRIM_THRESHOLD_", "8589934592")
        .env("MALLOC_TOP_PAD_", "67108864");
    command
}

/// Peak memory and seconds of one step at each length.
fn lengths(options: &Options) {
    let model = options.model.as_ref().expect("--lengths needs --model DIR");
    println!("| tokens | MB at most | seconds a step |\n|---|---|---|");
    for length in &options.lengths {
        let mut own = Command::new(std::env::current_exe().unwrap());
        let recompute = if options.recompute { "recompute" } else { "keep" };
        own.args(["--length", &length.to_string(), &options.layers, &model.to_string_lossy()]);
        own.args([&options.precisions[0], recompute]);
        let result = child(&mut own);
        let seconds =
            result["seconds"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).fold(f64::MAX, f64::min);
        println!("| {length} | {:.0} | {seconds:.1} |", result["peak_bytes"].as_f64().unwrap() / 1e6);
    }
}

struct Options {
    shapes: Vec<String>,
    precisions: Vec<String>,
    rounds: usize,
    steps: u32,
    peer: Option<PathBuf>,
    lengths: Vec<usize>,
    model: Option<PathBuf>,
    recompute: bool,
    layers: String,
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn precision(name: &str) -> Precision {
    serde_json::from_value(json!(name)).expect("a precision is f32 or bf16")
}

fn main() {
    let device = DeviceName::Cpu.open().unwrap();
    let mut options = Options {
        shapes: list("A,B,C,D"),
        precisions: list("f32,bf16"),
        rounds: 3,
        steps: 8,
        peer: None,
        lengths: Vec::new(),
        model: None,
        recompute: false,
        layers: "all".to_owned(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--bench" => {}
            "--shapes" => options.shapes = list(&value()),
            "--precision" => options.precisions = list(&value()),
            "--rounds" => options.rounds = value().parse().unwrap(),
            "--steps" => options.steps = value().parse().unwrap(),
            "--peer" => options.peer = Some(value().into()),
            "--lengths" => options.lengths = list(&value()).iter().map(|n| n.parse().unwrap()).collect(),
            "--model" => options.model = Some(value().into()),
            "--recompute" => options.recompute = true,
            "--layers" => options.layers = value(),
            "--one" => {
                let (name, how, steps) = (value(), value(), value());
                let shape = SHAPES.iter().find(|s| s.name == name).unwrap();
                let model = Model::random(&shape.config(), 0.02, 1, &device);
                let rows = [row(shape.vocab, shape.sequences, shape.length)];
                return one(model, &rows, precision(&how), false, steps.parse().unwrap());
            }
            "--length" => {
                let (length, layers, folder, how, recompute) = (value(), value(), value(), value(), value());
                let mut config = ModelConfig::from_dir(Path::new(&folder)).unwrap();
                let length: usize = length.parse().unwrap();
                // Numbers do not matter here, memory does: random weights, and any length.
                config.max_position_embeddings = config.max_position_embeddings.max(length);
                if layers != "all" {
                    config.num_hidden_layers = layers.parse().unwrap();
                }
                let rows = [row(config.vocab_size, 1, length)];
                // One step has it all: the optimizer's moments are there before it.
                return one(
                    Model::random(&config, 0.02, 1, &device),
                    &rows,
                    precision(&how),
                    recompute == "recompute",
                    1,
                );
            }
            _ => panic!("{argument} is not an option; see the top of student/train/benches/train.rs"),
        }
    }
    if options.lengths.is_empty() { compare(&options) } else { lengths(&options) }
}
