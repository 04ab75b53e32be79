//! How fast answers are verified, and how far the verdicts agree with published labels.
//!
//! `R1D_SHARED=/path cargo bench --workspace --bench verify` prints pairs a second of one core for every labelled set
//! under `data/equivalence`: extraction from the whole answer text and comparison.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::path::Path;
use std::time::Instant;

use mimalloc::MiMalloc;
use verify::verify;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A gold answer, the text that answers, and whether the label says that it is right.
struct Pair {
    gold: String,
    text: String,
    label: bool,
}

/// Least time to measure a set for.
const SECONDS: f64 = 0.5;

fn pairs(path: &Path) -> std::io::Result<Vec<Pair>> {
    let rows = std::fs::read_to_string(path)?;
    let pair = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).ok()?;
        let gold = row["gt"].as_str().map_or_else(|| row["gt"].to_string(), str::to_owned);
        Some(Pair { gold, text: row["code"][0].as_str()?.to_owned(), label: row["score"][0].as_bool()? })
    };
    Ok(rows.lines().filter_map(pair).collect())
}

fn measure(name: &str, pairs: &[Pair]) {
    let agree = pairs.iter().filter(|pair| verify(&pair.gold, &pair.text).correct() == pair.label).count();
    let started = Instant::now();
    let mut done = 0;
    while started.elapsed().as_secs_f64() < SECONDS {
        for pair in pairs {
            std::hint::black_box(verify(&pair.gold, &pair.text));
        }
        done += pairs.len();
    }
    let rate = done as f64 / started.elapsed().as_secs_f64();
    println!("{name:<16} {:>6} pairs {rate:>10.0} pairs/s {:>7.2}% agree", pairs.len(), percent(agree, pairs.len()));
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn main() -> std::io::Result<()> {
    let Ok(shared) = std::env::var("R1D_SHARED") else {
        println!("skipped: set R1D_SHARED to a folder with data/equivalence to measure on labelled answers");
        return Ok(());
    };
    let folder = Path::new(&shared).join("data/equivalence/qwen2.5_3b_instruct_math_evals");
    let mut files: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let set = pairs(&file)?;
        measure(&file.file_stem().unwrap_or_default().to_string_lossy(), &set);
        all.extend(set);
    }
    measure("all", &all);
    Ok(())
}
