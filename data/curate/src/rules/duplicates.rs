//! Which prompts and which traces are the same or nearly so; found once for the same prompts, traces and settings.

use rayon::prelude::*;
use records::Result;
use records::artifact::fingerprint;
use records::parquet_file::read_rows_at;
use records::record::{Prompt, Trace};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use text::duplicates::{Near, Sketcher, Sketches, clusters};
use xxhash_rust::xxh3::xxh3_64;

use crate::rules::cache::{Folders, Group};
use crate::rules::groups::{Similarity, compared};
use crate::{CurateConfig, Part, Prompts, Rules, by_part};

/// Sets of shingles in memory at once, in bytes.
const SHINGLE_BYTES: usize = 256 << 20;

/// Who is like whom.
pub(crate) struct Duplicates {
    pub(crate) prompts: Vec<First>,
    pub(crate) traces: Vec<First>,
}

/// The first one that a prompt or trace is like: itself, if it is no duplicate.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct First {
    pub(crate) first: u32,
    /// An earlier one is equal.
    pub(crate) exact: bool,
}

/// Finds duplicates, or has found them before.
pub(crate) fn find_duplicates(
    prompts: &Prompts<'_>,
    parts: &[Part],
    rules: &Rules<'_>,
    config: &CurateConfig,
    folders: &Folders,
    name: &str,
) -> Result<Duplicates> {
    let CurateConfig { near_prompts, near_traces, .. } = config;
    let file = |what: &str, settings: Value| {
        format!(
            "{what}-{}.parquet",
            fingerprint(what, Similarity::VERSION, &settings, &[("of".into(), name.into())].into())
        )
    };
    let of_prompts =
        folders.remember(&file("prompts", json!(near_prompts)), || prompt_clusters(prompts.all, *near_prompts))?;
    let of_traces = folders.remember(&file("traces", json!([near_prompts, near_traces])), || {
        let mut sketches = Sketches::new(*near_traces);
        for (number, part) in parts.iter().enumerate() {
            let formed = rules.form.rows(number, part)?;
            for (form, sketch) in formed.iter().zip(rules.likeness.rows(number, part)?) {
                let group = of_prompts[prompts.place(&form.prompt_id, &form.trace_id)?].first;
                sketches.push(sketch.digest(), &sketch.bands, sketch.shingles as usize, group);
            }
        }
        firsts(&sketches, |rows| shingle_sets(parts, rows, *near_traces))
    })?;
    Ok(Duplicates { prompts: of_prompts, traces: of_traces })
}

fn firsts(sketches: &Sketches, load: impl FnMut(&[u32]) -> Result<Vec<Vec<u32>>>) -> Result<Vec<First>> {
    let found = clusters(sketches, SHINGLE_BYTES, load)?;
    Ok(found.first.into_iter().zip(found.exact).map(|(first, exact)| First { first, exact }).collect())
}

/// What of a prompt is compared with others: what the user says, but no system prompt, which others share that ask
/// something else.
fn user_text(prompt: &Prompt) -> String {
    prompt.user_turns().collect::<Vec<_>>().join("\n")
}

/// For each prompt the first one that is nearly equal to it and has the same gold answer: a long story with another
/// question at its end is another prompt.
fn prompt_clusters(prompts: &[Prompt], near: Near) -> Result<Vec<First>> {
    let mut sketches = Sketches::new(near);
    let mut sketcher = Sketcher::new(near);
    for prompt in prompts {
        let mut bands = Vec::with_capacity(near.bands);
        let (digest, shingles) = sketcher.sketch(&user_text(prompt), &mut bands);
        let gold = prompt.answer.as_deref().map_or(0, |gold| xxh3_64(gold.trim().as_bytes()) as u32);
        sketches.push(digest, &bands, shingles, gold);
    }
    firsts(&sketches, |rows| {
        Ok(rows
            .par_iter()
            .map_init(|| Sketcher::new(near), |s, row| s.shingle_set(&user_text(&prompts[*row as usize])))
            .collect())
    })
}

/// The sets of shingles of some traces, read again.
fn shingle_sets(parts: &[Part], rows: &[u32], near: Near) -> Result<Vec<Vec<u32>>> {
    let mut sets = Vec::with_capacity(rows.len());
    for (part, wanted) in by_part(parts, rows) {
        let traces: Vec<Trace> = read_rows_at(&part.path, &wanted)?;
        let found: Vec<Vec<u32>> =
            traces.par_iter().map_init(|| Sketcher::new(near), |s, trace| s.shingle_set(&compared(trace))).collect();
        sets.extend(found);
    }
    Ok(sets)
}
