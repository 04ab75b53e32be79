//! Curation: rules annotate every trace, a policy in SQL selects.
//!
//! R1 was distilled from samples that passed rejection: right answer, readable, complete (arXiv 2501.12948, section
//! 2.3.3). Here a rule never drops a trace. It writes its verdict into a column, and the recipe's policy, a condition on
//! those columns, decides. So a choice can be revisited with one query, and an ablation is a change of one line.
//!
//! Traces are read a part at a time; what is kept of each is narrow (see [`Verdict`]), and text never enters DataFusion:
//! the policy runs over the verdicts and yields row numbers. A part that is judged is kept on disk, so that a run that
//! was killed judges only the rest.

mod code;
mod judge;
mod select;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::code::CodeJudge;
pub use self::select::{RuleOutcome, rule_outcomes};

use self::judge::{Judge, Judged};
use crate::contamination::{Index, Item, Preset};
use crate::duplicates::{Clusters, Near, Sketcher, Sketches, clusters};
use crate::parquet_file::{parquet_files, read_records, read_rows_at, row_count, write_records};
use crate::record::{CuratedTrace, Message, Prompt, Trace, Verdict};
use crate::rows::Flaw;
use crate::sandbox::Limits;
use crate::{Error, Result};

/// Traces in memory at once.
const PART_ROWS: usize = 8192;
/// Sets of shingles in memory at once, in bytes.
const SHINGLE_BYTES: usize = 256 << 20;

/// The recipe's section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurateConfig {
    /// A SQL condition on the columns of the verdicts; the terms joined by AND are the lines of the funnel.
    pub policy: String,
    /// The most traces of one prompt (or of prompts that are duplicates) that are kept, the first ones; 0: all.
    pub traces_per_prompt: u32,
    /// When prompts count as one.
    pub near_prompts: Near,
    /// When traces of one prompt count as one.
    pub near_traces: Near,
    /// Benchmarks that must not be trained on.
    pub contamination: Option<Contamination>,
    /// Programs in answers are run on the tests of their prompts, in sandboxes, with these limits. Without this, nothing
    /// that a model wrote is ever run.
    pub code: Option<Limits>,
}

impl CurateConfig {
    /// Refuses what cannot be carried out.
    pub fn check(&self) -> std::result::Result<(), String> {
        for (name, near) in [("near_prompts", self.near_prompts), ("near_traces", self.near_traces)] {
            let Near { shingle, bands, rows, threshold } = near;
            if !(1..=64).contains(&shingle) || !(1..=256).contains(&bands) || !(1..=64).contains(&rows) {
                return Err(format!(
                    "curate.{name}: shingle and rows must be from 1 to 64 and bands from 1 to 256, not {shingle}, {rows} and {bands}"
                ));
            }
            if !(0.0..=1.0).contains(&threshold) {
                return Err(format!("curate.{name}.threshold is {threshold}; it must be from 0 to 1"));
            }
        }
        self.code.map_or(Ok(()), |limits| limits.check().map_err(|problem| format!("curate.code.{problem}")))
    }
}

/// Benchmarks that must not be trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contamination {
    /// Whose rule.
    pub preset: Preset,
    /// Their files.
    pub benchmarks: Vec<Benchmark>,
}

/// A benchmark's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// Its name in the verdicts.
    pub name: String,
    /// The input's name; `--input NAME=PATH` says where it is.
    pub input: String,
    /// The column of the question.
    pub question: String,
    /// The column of the reference solution.
    pub solution: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curation {
    /// All traces.
    pub total: usize,
    /// The traces that were selected.
    pub selected: usize,
    /// The terms of the policy in order, and the limit of traces per prompt, if there is one.
    pub funnel: Vec<FunnelStep>,
    /// Common rules that are not in the policy, and what each would drop of all traces.
    pub others: Vec<FunnelStep>,
}

/// One line of the funnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelStep {
    /// The rule, in SQL.
    pub rule: String,
    /// How many of all traces fail this rule alone.
    pub dropped: usize,
    /// How many pass this rule and those before it.
    pub remaining: usize,
}

/// Reads the items of a benchmark's file.
pub fn benchmark_items(benchmark: &Benchmark, path: &Path) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for row in crate::rows::read_rows(path)? {
        let row = row?;
        let flawed = |flaw: Flaw| flaw.at(path, row.number);
        let solution = benchmark.solution.as_ref().map_or(Ok(None), |column| row.text(column)).map_err(flawed)?;
        items.push(Item {
            benchmark: benchmark.name.clone(),
            id: row.number.to_string(),
            question: row.required_text(&benchmark.question).map_err(flawed)?,
            solution,
        });
    }
    Ok(items)
}

/// What is judged, and where what was judged before may be found.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The prompts.
    pub prompts: &'a [Prompt],
    /// The folder of traces.
    pub traces: &'a Path,
    /// The items of the benchmarks.
    pub items: Vec<Item>,
    /// Names everything that the judging of single traces depends on: what has another name was judged by other rules.
    pub key: &'a str,
    /// Folders of other runs in which traces may have been judged under that name.
    pub earlier: &'a [PathBuf],
    /// The most programs that are run at a time.
    pub sandboxes: usize,
}

/// Judges all traces of a folder, writes `verdicts/part-*.parquet` for all and `curated/part-*.parquet` for those that
/// are selected, both under `out`. `rules-KEY/` holds what is known of single traces, for runs with another policy.
pub async fn curate(inputs: Inputs<'_>, config: &CurateConfig, out: &Path) -> Result<Curation> {
    let Inputs { prompts, traces, items, key, earlier, sandboxes } = inputs;
    let parts = parts(traces)?;
    if parts.is_empty() {
        return Err(Error::malformed(traces, "there are no traces to curate", "run the stage that collects them"));
    }
    let prompt_clusters = prompt_clusters(prompts, config.near_prompts)?;
    let index = config.contamination.as_ref().map(|c| Index::new(c.preset, items));
    let code = config.code.map(|limits| CodeJudge::new(prompts, limits, sandboxes)).transpose()?;
    let judge = Judge::new(prompts, &prompt_clusters, index, config.near_traces, code);
    let rules = Rules::new(key, out, earlier);
    let judged = judge_all(&judge, &parts, &rules)?;
    let load = |rows: &[u32]| shingle_sets(&parts, rows, config.near_traces);
    let found = clusters(&judged.sketches, SHINGLE_BYTES, load)?;
    write_verdicts(prompts, &parts, &rules, &judged, &found, out)?;

    let curation = Box::pin(select::select(out, config)).await?;
    write_curated(prompts, &parts, &curation.rows, out)?;
    Ok(curation.summary)
}

/// Where judged parts are.
struct Rules {
    /// This run's folder first.
    folders: Vec<PathBuf>,
}

impl Rules {
    fn new(key: &str, out: &Path, earlier: &[PathBuf]) -> Self {
        let name = format!("rules-{key}");
        Self {
            folders: std::iter::once(out)
                .chain(earlier.iter().map(PathBuf::as_path))
                .map(|dir| dir.join(&name))
                .collect(),
        }
    }

    /// A part's file: where it is, or else where it is to be.
    fn path(&self, number: usize) -> PathBuf {
        let name = format!("part-{number:05}.parquet");
        let mut paths = self.folders.iter().map(|folder| folder.join(&name));
        paths.clone().find(|path| path.exists()).or_else(|| paths.next()).unwrap_or_default()
    }
}

/// Some rows of a file of traces.
struct Part {
    path: PathBuf,
    /// The first row in the file.
    from: usize,
    rows: usize,
    /// The first row among all traces.
    first: usize,
}

fn parts(folder: &Path) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut first = 0;
    for path in parquet_files(folder)? {
        let count = row_count(&path)?;
        for from in (0..count).step_by(PART_ROWS) {
            let rows = PART_ROWS.min(count - from);
            parts.push(Part { path: path.clone(), from, rows, first });
            first += rows;
        }
    }
    Ok(parts)
}

impl Part {
    fn all(&self) -> Vec<usize> {
        (self.from..self.from + self.rows).collect()
    }

    fn end(&self) -> usize {
        self.first + self.rows
    }
}

fn part_path(out: &Path, folder: &str, number: usize) -> PathBuf {
    out.join(folder).join(format!("part-{number:05}.parquet"))
}

/// For each prompt the first one that is nearly equal to it and has the same gold answer: a long story with another
/// question at its end is another prompt.
fn prompt_clusters(prompts: &[Prompt], near: Near) -> Result<Vec<u32>> {
    let mut sketches = Sketches::new(near);
    let mut sketcher = Sketcher::new(near);
    for prompt in prompts {
        let mut bands = Vec::with_capacity(near.bands);
        let (digest, shingles) = sketcher.sketch(&prompt.question, &mut bands);
        let gold = prompt.answer.as_deref().map_or(0, |gold| xxhash_rust::xxh3::xxh3_64(gold.trim().as_bytes()) as u32);
        sketches.push(digest, &bands, shingles, gold);
    }
    let load = |rows: &[u32]| {
        Ok(rows
            .par_iter()
            .map_init(|| Sketcher::new(near), |s, row| s.shingle_set(&prompts[*row as usize].question))
            .collect())
    };
    Ok(clusters(&sketches, SHINGLE_BYTES, load)?.first)
}

/// What is kept of all traces.
struct AllJudged {
    sketches: Sketches,
    /// For each trace: its prompt's cluster, a hash of its final answer, and whether that is right.
    answers: Vec<(u32, Option<u64>, Option<bool>)>,
}

/// Judges part by part; parts that were judged before a kill, or in an earlier run, are read back.
fn judge_all(judge: &Judge, parts: &[Part], rules: &Rules) -> Result<AllJudged> {
    let mut all = AllJudged { sketches: Sketches::new(judge.near()), answers: Vec::new() };
    for (number, part) in parts.iter().enumerate() {
        let path = rules.path(number);
        let judged: Vec<Judged> = if path.exists() {
            read_records(&path)?
        } else {
            let traces: Vec<Trace> = read_rows_at(&part.path, &part.all())?;
            let judged = judge.judge(&traces, part.first)?;
            write_records(&path, &judged)?;
            judged
        };
        for row in &judged {
            let cluster = judge.cluster_of(&row.verdict.prompt_id)?;
            all.sketches.push(row.digest(), &row.bands, row.shingles as usize, cluster);
            let answer = row.verdict.extracted.as_ref().map(|text| xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
            all.answers.push((cluster, answer, row.verdict.correct));
        }
    }
    Ok(all)
}

/// The sets of shingles of some traces, read again.
fn shingle_sets(parts: &[Part], rows: &[u32], near: Near) -> Result<Vec<Vec<u32>>> {
    let mut sets = Vec::with_capacity(rows.len());
    for (part, wanted) in by_part(parts, rows) {
        let traces: Vec<Trace> = read_rows_at(&part.path, &wanted)?;
        let found: Vec<Vec<u32>> = traces
            .par_iter()
            .map_init(|| Sketcher::new(near), |s, trace| s.shingle_set(&judge::compared(trace)))
            .collect();
        sets.extend(found);
    }
    Ok(sets)
}

/// Rows of all traces, in order, as rows of the files they are in.
fn by_part<'a>(parts: &'a [Part], mut rows: &[u32]) -> Vec<(&'a Part, Vec<usize>)> {
    let mut found = Vec::new();
    for part in parts {
        let count = rows.partition_point(|row| (*row as usize) < part.end());
        let (here, after) = rows.split_at(count);
        rows = after;
        if !here.is_empty() {
            found.push((part, here.iter().map(|row| *row as usize - part.first + part.from).collect()));
        }
    }
    found
}

/// What the samples of a prompt have in common.
#[derive(Default)]
struct Samples {
    count: u32,
    right: u32,
    judged: u32,
    /// How many samples have each answer, in the order of the answers' first samples.
    answers: Vec<(u64, u32)>,
}

impl Samples {
    fn of_all(answers: &[(u32, Option<u64>, Option<bool>)]) -> HashMap<u32, Self> {
        let mut all: HashMap<u32, Self> = HashMap::new();
        for (cluster, answer, correct) in answers {
            let samples = all.entry(*cluster).or_default();
            samples.count += 1;
            samples.judged += u32::from(correct.is_some());
            samples.right += u32::from(*correct == Some(true));
            if let Some(answer) = answer {
                match samples.answers.iter_mut().find(|(known, _)| known == answer) {
                    Some((_, count)) => *count += 1,
                    None => samples.answers.push((*answer, 1)),
                }
            }
        }
        all
    }

    /// Whether an answer is that of most samples: of more than half of those that have one.
    fn is_majority(&self, answer: u64) -> bool {
        let all: u32 = self.answers.iter().map(|(_, count)| count).sum();
        self.answers.iter().any(|(known, count)| *known == answer && 2 * count > all)
    }
}

/// Completes the verdicts with what only all traces together show.
fn write_verdicts(
    prompts: &[Prompt],
    parts: &[Part],
    rules: &Rules,
    all: &AllJudged,
    found: &Clusters,
    out: &Path,
) -> Result<()> {
    let samples = Samples::of_all(&all.answers);
    // The first traces of clusters, for their names.
    let mut names: HashMap<u32, String> = HashMap::new();
    for (number, part) in parts.iter().enumerate() {
        let judged: Vec<Judged> = read_records(&rules.path(number))?;
        let mut verdicts: Vec<Verdict> = judged.into_iter().map(|judged| judged.verdict).collect();
        for (verdict, row) in verdicts.iter_mut().zip(part.first as u32..) {
            let (cluster, answer, _) = all.answers[row as usize];
            let of_prompt = &samples[&cluster];
            let first = found.first[row as usize];
            if first == row {
                names.insert(row, verdict.trace_id.clone());
            }
            verdict.duplicate = found.exact[row as usize];
            verdict.near_duplicate = first != row && !verdict.duplicate;
            verdict.cluster.clone_from(&names[&first]);
            verdict.prompt_cluster.clone_from(&prompts[cluster as usize].id);
            verdict.samples = of_prompt.count;
            verdict.pass_rate =
                (of_prompt.judged > 0).then(|| f64::from(of_prompt.right) / f64::from(of_prompt.judged));
            verdict.consensus =
                if of_prompt.count > 1 { answer.map(|answer| of_prompt.is_majority(answer)) } else { None };
        }
        write_records(&part_path(out, "verdicts", number), &verdicts)?;
    }
    Ok(())
}

/// Writes the selected traces in the Hub's chat schema.
fn write_curated(prompts: &[Prompt], parts: &[Part], rows: &[u32], out: &Path) -> Result<()> {
    let prompts: HashMap<&str, &Prompt> = prompts.iter().map(|p| (p.id.as_str(), p)).collect();
    for (number, (part, wanted)) in by_part(parts, rows).into_iter().enumerate() {
        let traces: Vec<Trace> = read_rows_at(&part.path, &wanted)?;
        let curated: Vec<CuratedTrace> = traces
            .iter()
            .filter_map(|trace| Some(curated_trace(prompts.get(trace.prompt_id.as_str())?, trace)))
            .collect();
        write_records(&part_path(out, "curated", number), &curated)?;
    }
    Ok(())
}

fn curated_trace(prompt: &Prompt, trace: &Trace) -> CuratedTrace {
    CuratedTrace {
        trace_id: trace.id.clone(),
        prompt_id: trace.prompt_id.clone(),
        domain: prompt.domain.clone(),
        kind: prompt.kind.clone(),
        source: prompt.source.clone(),
        gold: prompt.answer.clone(),
        messages: vec![Message::user(prompt.question.as_str()), Message::assistant(trace.text())],
        num_tokens: trace.completion_tokens.map(i64::from),
    }
}

#[cfg(test)]
mod tests;
