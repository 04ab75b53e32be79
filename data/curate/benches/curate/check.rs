//! What curation found against what was planted.

use std::collections::HashMap;
use std::path::Path;

use records::Result;
use records::parquet_file::{parquet_files, read_records};
use records::record::Verdict;

use crate::corpus::{Corpus, Truth};

/// Found of those that are there, and right of those that were found.
#[derive(Default)]
struct Score {
    planted: usize,
    found: usize,
    flagged: usize,
    right: usize,
}

impl Score {
    /// `planted`: it is there beyond doubt; `possible`: it may be flagged.
    fn add(&mut self, planted: bool, possible: bool, flagged: bool) {
        self.planted += usize::from(planted);
        self.found += usize::from(planted && flagged);
        self.flagged += usize::from(flagged);
        self.right += usize::from(possible && flagged);
    }

    fn line(&self, name: &str) {
        let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
        println!(
            "| {name} | {} | {:.2} % | {} | {:.2} % |",
            self.planted,
            share(self.found, self.planted),
            self.flagged,
            share(self.right, self.flagged)
        );
    }
}

/// A rule, and whether a verdict fails it.
type Rule = (&'static str, fn(&Verdict) -> bool);

const DEFECTS: [Rule; 9] = [
    ("cut", |v| !v.finished),
    ("loop", |v| v.loop_chars > 0),
    ("refusal", |v| v.refusal),
    ("identity", |v| v.identity),
    ("leak", |v| v.leak),
    ("language", |v| v.foreign_script >= 0.1),
    ("code", |v| v.code_blocks > 0),
    ("secret", |v| v.secrets.is_some()),
    ("wrong", |v| v.correct == Some(false)),
];

/// Prints recall and precision of each rule.
pub(crate) fn check(corpus: &Corpus, out: &Path) -> Result<()> {
    let mut truth: HashMap<String, Truth> = HashMap::new();
    for path in parquet_files(&corpus.truth)? {
        truth.extend(read_records::<Truth>(&path)?.into_iter().map(|truth| (truth.trace_id.clone(), truth)));
    }
    let mut same = Score::default();
    let mut near = Score::default();
    let mut prompts = Score::default();
    let mut items = Score::default();
    let mut defects: [Score; DEFECTS.len()] = std::array::from_fn(|_| Score::default());
    for path in parquet_files(&out.join("verdicts"))? {
        for verdict in read_records::<Verdict>(&path)? {
            let Some(truth) = truth.get(verdict.trace_id.as_str()) else { continue };
            let similar = |similarity: f64| (similarity >= 0.8, similarity >= 0.8);
            let exact = truth.copy_of.is_some() && truth.similarity >= 1.0;
            same.add(exact, exact, verdict.duplicate);
            let (planted, possible) = similar(truth.similarity);
            near.add(planted && !exact, possible, verdict.near_duplicate);
            let (planted, possible) = similar(truth.prompt_similarity);
            prompts.add(planted, possible, verdict.prompt_cluster != verdict.prompt_id);
            let original = truth.copy_of.is_none() && truth.prompt_copy_of.is_none();
            items.add(truth.item.is_some() && original, truth.item.is_some(), verdict.contaminated.is_some());
            // An edit may have taken the defect out of a copy.
            if truth.copy_of.is_some() {
                continue;
            }
            for (score, (name, fails)) in defects.iter_mut().zip(DEFECTS) {
                // A wrong answer shows only where there is a gold answer; a cut or refused one is none of its prompt's.
                let there = truth.defect == name && (name != "wrong" || verdict.correct.is_some());
                let possible = there || (name == "wrong" && matches!(truth.defect.as_str(), "cut" | "refusal"));
                score.add(there, possible, fails(&verdict));
            }
        }
    }
    println!("\n| planted | traces | found | flagged | rightly |\n|---|---|---|---|---|");
    same.line("equal trace of the prompt");
    near.line("trace of the prompt, J ≥ 0.8");
    prompts.line("prompt, J ≥ 0.8");
    items.line("item of the benchmark");
    for (score, (name, _)) in defects.iter().zip(DEFECTS) {
        score.line(name);
    }
    Ok(())
}
