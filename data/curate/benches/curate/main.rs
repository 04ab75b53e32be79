//! Curation of hundreds of thousands of traces: time, memory, and what is found of what was planted.
//!
//!     cargo bench --workspace --bench curate                                      100K, 200K, 400K and 800K traces
//!     cargo bench --workspace --bench curate -- --traces 20000 --dir DIR          one size; the corpus is kept in DIR
//!     cargo bench --workspace --bench curate -- --traces 20000 --peers PYTHON     and near duplicates beside Python's tools
//!
//! Tokens are counted by the embedded teacher's tokenizer, or by that of `--tokenizer FILE`, a `tokenizer.json`.
//!
//! A corpus is made first (see `corpus`). Each size is curated by a process of its own, so that its peak memory is its
//! own. PYTHON has the tools that `peers.py` beside this file runs on the same texts.

#![expect(clippy::print_stdout, reason = "a bench prints its tables")]

mod check;
mod corpus;
mod near;
mod words;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use curate::{Contamination, CurateConfig, Inputs, annotate, select};
use mimalloc::MiMalloc;
use records::parquet_file::{parquet_files, read_folder, read_records};
use records::record::Trace;
use text::contamination::Preset;
use text::duplicates::Near;
use tokens::tokenizer::Tokenizer;

use crate::corpus::{Corpus, items};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Arguments {
    sizes: Vec<usize>,
    bytes: usize,
    dir: Option<PathBuf>,
    peers: Option<String>,
    tokenizer: PathBuf,
    /// Of a child: curate the corpus of this folder.
    curate: Option<PathBuf>,
    /// Of a child: what to measure of near duplicates, and on how many texts.
    near: Option<String>,
    count: usize,
}

fn arguments() -> Result<Arguments> {
    let mut found = Arguments {
        sizes: vec![100_000, 200_000, 400_000, 800_000],
        bytes: 5000,
        dir: None,
        peers: None,
        tokenizer: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../teacher/assets/tokenizer.json"),
        curate: None,
        near: None,
        count: 0,
    };
    let mut rest = std::env::args().skip(1);
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--bench" => {}
            "--traces" => found.sizes = value()?.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?,
            "--bytes" => found.bytes = value()?.parse()?,
            "--dir" => found.dir = Some(value()?.into()),
            "--curate" => found.curate = Some(value()?.into()),
            "--tokenizer" => found.tokenizer = value()?.into(),
            "--peers" => found.peers = Some(value()?),
            "--near" => found.near = Some(value()?),
            "--count" => found.count = value()?.parse()?,
            _ => {
                return Err(format!("{argument} is not known; see the beginning of data/benches/curate/main.rs").into());
            }
        }
    }
    Ok(found)
}

fn main() -> Result<()> {
    let arguments = arguments()?;
    if let Some(dir) = &arguments.curate {
        return child(dir, &arguments.tokenizer);
    }
    let scratch = tempfile::tempdir()?;
    let root = arguments.dir.as_deref().unwrap_or(scratch.path());
    if let Some(what) = &arguments.near {
        return near::measure(what, root, arguments.count);
    }
    println!(
        "| traces | MB of text | seconds | CPU seconds | MB/s | MB at most | selected |\n|---|---|---|---|---|---|---|"
    );
    let mut last = None;
    for size in arguments.sizes {
        let corpus = corpus(root, size, arguments.bytes)?;
        let dir = folder(root, size);
        print_run(&dir, &corpus, size, &arguments.tokenizer)?;
        last = Some((corpus, dir));
    }
    let Some((corpus, dir)) = last else { return Ok(()) };
    check::check(&corpus, &dir.join("out"))?;
    arguments.peers.map_or(Ok(()), |python| near::compare(&dir, &python))
}

fn folder(root: &Path, size: usize) -> PathBuf {
    root.join(format!("corpus-{size}"))
}

/// A corpus that is there already, or is made.
fn corpus(root: &Path, size: usize, bytes: usize) -> Result<Corpus> {
    let dir = folder(root, size);
    let corpus = Corpus::at(&dir);
    let complete = dir.join("complete");
    if !complete.exists() {
        corpus.write(size, bytes)?;
        std::fs::write(complete, "")?;
    }
    Ok(corpus)
}

fn print_run(dir: &Path, corpus: &Corpus, size: usize, tokenizer: &Path) -> Result<()> {
    let out = dir.join("out");
    if out.exists() {
        std::fs::remove_dir_all(&out)?;
    }
    let started = Instant::now();
    let output =
        Command::new(std::env::current_exe()?).arg("--curate").arg(dir).arg("--tokenizer").arg(tokenizer).output()?;
    let seconds = started.elapsed().as_secs_f64();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let mut text = 0;
    for path in parquet_files(&corpus.traces)? {
        let traces: Vec<Trace> = read_records(&path)?;
        text += traces.iter().map(|t| t.answer.len() + t.thinking.as_ref().map_or(0, String::len)).sum::<usize>();
    }
    let megabytes = text as f64 / 1e6;
    let found: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    println!(
        "| {size} | {megabytes:.0} | {seconds:.1} | {:.1} | {:.0} | {} | {} of {} |",
        found["cpu"].as_f64().unwrap_or_default(),
        megabytes / seconds,
        found["peak_mb"],
        found["selected"],
        found["total"],
    );
    Ok(())
}

/// Everything but programs and a judge, by the rules that most recipes have.
fn child(dir: &Path, tokenizer: &Path) -> Result<()> {
    let corpus = Corpus::at(dir);
    let config = CurateConfig {
        policy: "well_formed AND finished AND ending = 'complete' AND correct IS NOT FALSE AND loop_chars = 0 \
                 AND most_repeated_20gram <= 20 AND foreign_script < 0.1 AND code_blocks = 0 AND NOT identity \
                 AND NOT refusal AND NOT leak AND secrets IS NULL AND contaminated IS NULL \
                 AND NOT duplicate AND NOT near_duplicate"
            .into(),
        traces_per_prompt: Some(4),
        near_prompts: Near::OURS,
        near_traces: Near::OURS,
        contamination: Some(Contamination { preset: Preset::Strict, benchmarks: Vec::new() }),
        code: None,
        judge: None,
        balance: None,
    };
    let prompts = read_folder(&corpus.prompts)?;
    let inputs = Inputs {
        prompts: &prompts,
        traces: &corpus.traces,
        name: "bench",
        tests: None,
        tokenizer: Some(Tokenizer::from_file(tokenizer)?),
        items: items(),
        earlier: &[],
        sandboxes: 1,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let out = dir.join("out");
    annotate(inputs, &config, &out)?;
    let curation = runtime.block_on(select(&prompts, &corpus.traces, &config, &out))?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    println!(
        "{}",
        serde_json::json!({
            "selected": curation.selected,
            "total": curation.total,
            "peak_mb": peak.map(|kilobytes: u64| kilobytes / 1000),
            "cpu": cpu_seconds()?,
        })
    );
    Ok(())
}

/// User and system time of this process: fields 14 and 15 of proc(5)'s stat, in hundredths of a second.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Ok(fields.map(str::parse::<f64>).sum::<std::result::Result<f64, _>>()? / 100.0)
}
