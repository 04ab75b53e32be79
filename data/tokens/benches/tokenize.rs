//! How fast traces are tokenized, by the library and by our own way.
//!
//! `R1D_SHARED=/path cargo bench --workspace --bench tokenize` prints megabytes a second of one core for every tokenizer
//! under `data/tokenizers`, for those of models in the cache of `.ci/run`, and for the embedded teacher's, on real R1 traces.
//! What is counted twice by different ways must be the same.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use mimalloc::MiMalloc;
use tokens::tokenizer::Tokenizer;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Rounds of our own way over all traces; the first one begins without known pieces.
const ROUNDS: usize = 3;
/// The library takes much longer: it gets one trace of so many.
const EVERY: usize = 8;

fn main() -> Result<()> {
    let Some(shared) = std::env::var_os("R1D_SHARED").map(PathBuf::from) else {
        println!("skipped: set R1D_SHARED to a folder with data/tokenizers and data/traces to tokenize real traces");
        return Ok(());
    };
    let rows = std::fs::read_to_string(shared.join("data/traces/deepseek_r1_mcq_6000.jsonl"))?;
    let mut traces = Vec::new();
    for line in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(line)?;
        let text = |column: &str| row[column].as_str().unwrap_or_default().to_owned();
        traces.push(format!("<think>\n{}\n</think>\n\n{}", text("reason"), text("gen_ans")));
    }
    println!(
        "{} traces, {:.1} MB\n| tokenizer | library MB/s | first round MB/s | last round MB/s | first by library | bytes a token |\n|---|---|---|---|---|---|",
        traces.len(),
        megabytes(traces.iter())
    );
    for file in tokenizers(&shared)? {
        measure(&file, &traces)?;
    }
    Ok(())
}

fn tokenizers(shared: &Path) -> Result<Vec<PathBuf>> {
    let cache = std::env::var_os("R1D_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache/r1d")));
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../teacher/assets/tokenizer.json")];
    for folder in [Some(shared.join("data/tokenizers")), cache.map(|cache| cache.join("models"))].into_iter().flatten()
    {
        for entry in folder.is_dir().then(|| std::fs::read_dir(&folder)).transpose()?.into_iter().flatten() {
            files.push(entry?.path().join("tokenizer.json"));
        }
    }
    files.retain(|file| file.is_file());
    files.sort();
    Ok(files)
}

fn measure(file: &Path, traces: &[String]) -> Result<()> {
    let tokenizer = Tokenizer::from_file(file)?;
    let name = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let some: Vec<&String> = traces.iter().step_by(EVERY).collect();
    let started = Instant::now();
    let mut expected = 0;
    for trace in &some {
        expected += tokenizer.encode_by_library(trace)?.len();
    }
    let library = megabytes(some.iter().copied()) / started.elapsed().as_secs_f64();
    let all = megabytes(traces.iter());
    let mut speeds = Vec::new();
    let mut tokens = 0;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        tokens = 0;
        for trace in traces {
            tokens += tokenizer.count(trace)?;
        }
        speeds.push(all / started.elapsed().as_secs_f64());
    }
    let mut counted = 0;
    for trace in some {
        counted += tokenizer.count(trace)?;
    }
    if counted != expected {
        return Err(format!("{name}: {counted} tokens are counted where the library finds {expected}").into());
    }
    println!(
        "| {name} | {library:.1} | {:.0} | {:.0} | {:.1} | {:.2} |",
        speeds[0],
        speeds[ROUNDS - 1],
        speeds[0] / library,
        1e6 * all / tokens as f64
    );
    Ok(())
}

fn megabytes<'a>(texts: impl Iterator<Item = &'a String>) -> f64 {
    texts.map(String::len).sum::<usize>() as f64 / 1e6
}
