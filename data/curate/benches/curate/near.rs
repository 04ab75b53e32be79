//! Near duplicates alone, beside Python's tools on the same texts in the same run; every run on one core.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use records::parquet_file::{parquet_files, read_records};
use records::record::Trace;
use text::duplicates::{Near, Sketcher, Sketches, clusters};

use crate::Result;
use crate::corpus::Corpus;

/// Rounds that alternate; medians are printed.
const ROUNDS: usize = 3;
/// Traces for the signatures, and for whole deduplication, which the peer takes a minute for.
const TEXTS: (usize, usize) = (4000, 2000);

/// As the peers get them.
fn texts(corpus: &Corpus, count: usize) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for path in parquet_files(&corpus.traces)? {
        let traces: Vec<Trace> = read_records(&path)?;
        texts.extend(traces.iter().map(|t| format!("{}\n{}", t.thinking.as_deref().unwrap_or_default(), t.answer)));
        if texts.len() >= count {
            break;
        }
    }
    texts.truncate(count);
    Ok(texts)
}

/// In a process of its own, bound to one core: prints seconds as the peers do.
pub(crate) fn measure(what: &str, dir: &Path, count: usize) -> Result<()> {
    let texts = texts(&Corpus::at(dir), count)?;
    let near = if what == "signatures" { Near::OURS } else { Near::DATATROVE };
    let mut sketcher = Sketcher::new(near);
    let mut sketches = Sketches::new(near);
    let started = Instant::now();
    for text in &texts {
        let mut bands = Vec::with_capacity(near.bands);
        let (digest, shingles) = sketcher.sketch(text, &mut bands);
        sketches.push(digest, &bands, shingles, 0);
    }
    if what == "datatrove" {
        let load = |rows: &[u32]| Ok(rows.iter().map(|row| sketcher.shingle_set(&texts[*row as usize])).collect());
        std::hint::black_box(clusters(&sketches, usize::MAX, load)?);
    }
    let seconds = started.elapsed().as_secs_f64();
    let megabytes = texts.iter().map(String::len).sum::<usize>() as f64 / 1e6;
    println!(
        "{}",
        serde_json::json!({ "tool": "r1-distill", "seconds": seconds, "mb_per_second": megabytes / seconds })
    );
    Ok(())
}

/// Prints the table.
pub(crate) fn compare(dir: &Path, python: &str) -> Result<()> {
    println!("\n| near duplicates, one core | MB/s | ours by it |\n|---|---|---|");
    for (what, count, rounds) in [("signatures", TEXTS.0, ROUNDS), ("datatrove", TEXTS.1, 1)] {
        let mut found: Vec<(String, Vec<f64>)> = Vec::new();
        for _ in 0..rounds {
            let own = Command::new("taskset")
                .args(["-c", "0"])
                .arg(std::env::current_exe()?)
                .args(["--near", what, "--count", &count.to_string(), "--dir"])
                .arg(dir)
                .env("RAYON_NUM_THREADS", "1")
                .output()?;
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/curate/peers.py");
            let peers = Command::new("taskset")
                .args(["-c", "0", python])
                .arg(script)
                .arg(what)
                .arg(dir.join("traces"))
                .arg(count.to_string())
                .output()?;
            for output in [own, peers] {
                if !output.status.success() {
                    return Err(String::from_utf8_lossy(&output.stderr).into());
                }
                for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with('{')) {
                    let line: serde_json::Value = serde_json::from_str(line)?;
                    let tool = line["tool"].as_str().unwrap_or_default().to_owned();
                    let speed = line["mb_per_second"].as_f64().unwrap_or_default();
                    match found.iter_mut().find(|(known, _)| *known == tool) {
                        Some((_, speeds)) => speeds.push(speed),
                        None => found.push((tool, vec![speed])),
                    }
                }
            }
        }
        let median = |speeds: &[f64]| {
            let mut sorted = speeds.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted[sorted.len() / 2]
        };
        let ours = found.first().map_or(0.0, |(_, speeds)| median(speeds));
        for (tool, speeds) in &found {
            let speed = median(speeds);
            println!("| {what}: {tool} | {speed:.2} | {:.1} |", ours / speed);
        }
    }
    Ok(())
}
