//! Stage 4: token rows with loss mask, segments and positions; and the base's folder where it is a new one.

use std::path::Path;

use records::artifact::Artifact;
use records::parquet_file::{read_records, write_records};
use records::record::{CuratedTrace, short_hash};
use serde::{Deserialize, Serialize};
use tokens::chat::ChatFormat;
use tokens::fidelity;
use tokens::pack::{PackReport, PackSettings, PackedRow, Supervision, pack};

use super::curate::{Curated, curated};
use crate::error::{Failure, Result};
use crate::layout::{self, CONTROL, packed_rows};
use crate::recipe::{Pack, Recipe};
use crate::run::inputs::base_folder;
use crate::run::{Halt, Run, realize};

/// The summary of a folder with `packed/*.parquet`, and `base/` for a base made from random weights.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Packed {
    /// The student's rows.
    train: PackReport,
    /// The rows that are not trained on, if there are any.
    held_out: Option<PackReport>,
    /// The control's rows, if the recipe asks for one.
    control: Option<PackReport>,
}

impl Packed {
    /// The training set, and of the others what is not in their rows.
    pub(crate) fn in_words(&self) -> String {
        let PackReport { rows, tokens, utilization, .. } = &self.train;
        let full = 100.0 * utilization;
        let mut words =
            vec![format!("{rows} rows, {tokens} tokens, {full:.1} % full, {}", self.train.too_long_in_words())];
        for (set, report) in [("held_out", &self.held_out), (CONTROL, &self.control)] {
            if let Some(report) = report.as_ref().filter(|report| report.too_long > 0) {
                words.push(format!("of {}: {}", set_in_words(set), report.too_long_in_words()));
            }
        }
        words.join("; ")
    }
}

/// Tokenizes and packs the student's rows, the held-out rows and the control's rows.
pub(crate) fn stage(run: &Run, input: &Artifact<Curated>) -> std::result::Result<Artifact<Packed>, Halt> {
    realize(run, &run.plan.pack, Packed::in_words, |dir| {
        let curated = curated(&input.dir)?;
        let base = &run.recipe.student.base;
        base.create(&curated, &dir.join(layout::BASE))?;
        let folder = base_folder(&run.recipe, &run.options, dir)?;
        let format = ChatFormat::from_dir(&folder)?;
        fidelity::added_tokens(&format).outcome?;
        let config = base.config(&folder)?;
        let settings = settings(&run.recipe);
        base.check_context(&config, "pack.sequence_length", settings.sequence_length)?;
        let (held_out, training) = split(curated, run.recipe.pack.held_out, run.recipe.pack.seed)?;
        let one = |name: &str, traces: &[CuratedTrace], supervision: Supervision| -> Result<PackReport> {
            let of_set = |error: records::Error| Failure::from(error).about(set_in_words(name));
            let (rows, report) = pack(traces, &format, supervision, settings).map_err(of_set)?;
            fidelity::check(&rows, &format, fidelity::Capacity::new(config.vocab_size, config.max_position_embeddings))
                .map_err(of_set)?;
            write_records(&packed_rows(dir, name), &rows)?;
            Ok(report)
        };
        let train = one("train", &training, Supervision::Thinking)?;
        let held_out = match held_out.as_slice() {
            [] => None,
            traces => Some(one("held_out", traces, Supervision::Thinking)?),
        };
        let control = match &run.recipe.evaluate.accuracy {
            Some(accuracy) if accuracy.control => Some(one(CONTROL, &training, Supervision::AnswerOnly)?),
            _ => None,
        };
        Ok(Packed { train, held_out, control })
    })
}

/// A set of rows as people know it.
pub(crate) fn set_in_words(name: &str) -> &'static str {
    match name {
        "held_out" => "the held-out set",
        CONTROL => "the control's set",
        _ => "the training set",
    }
}

/// How the recipe packs.
pub(crate) fn settings(recipe: &Recipe) -> PackSettings {
    let Pack { sequence_length, too_long, seed, .. } = recipe.pack;
    PackSettings { sequence_length, too_long, seed }
}

/// Takes `count` traces out, drawn by prompt, so that no problem is on both sides.
pub(crate) fn split(
    curated: Vec<CuratedTrace>,
    count: usize,
    seed: u64,
) -> Result<(Vec<CuratedTrace>, Vec<CuratedTrace>)> {
    let mut order: Vec<(String, CuratedTrace)> = curated
        .into_iter()
        .map(|trace| (short_hash(format!("{seed}\u{1f}{}", trace.prompt_id).as_bytes()), trace))
        .collect();
    order.sort_by(|a, b| (&a.0, &a.1.trace_id).cmp(&(&b.0, &b.1.trace_id)));
    let mut cut = count.min(order.len());
    while cut > 0 && cut < order.len() && order[cut].0 == order[cut - 1].0 {
        cut += 1;
    }
    if cut == order.len() {
        return Err(Failure::usage(format!(
            "pack.held_out is {count}, and only {cut} traces were selected; nothing would be left to train on"
        )));
    }
    let training = order.split_off(cut);
    let plain = |side: Vec<(String, CuratedTrace)>| side.into_iter().map(|(_, trace)| trace).collect();
    Ok((plain(order), plain(training)))
}

/// The rows of one set: `train`, `held_out` or `control`.
pub(crate) fn rows(dir: &Path, name: &str) -> Result<Vec<PackedRow>> {
    Ok(read_records(&packed_rows(dir, name))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_of_any_set_is_said() {
        let report = |too_long: usize| PackReport {
            examples: 10 - too_long,
            too_long,
            dropped: too_long,
            split_pieces: 0,
            rows: 4,
            tokens: 900,
            supervised_tokens: 500,
            utilization: 0.5,
        };
        let words = |held_out: usize, control: usize| {
            let (train, held_out, control) = (report(0), report(held_out), report(control));
            Packed { train, held_out: Some(held_out), control: Some(control) }.in_words()
        };
        assert_eq!(words(0, 0), "4 rows, 900 tokens, 50.0 % full, none too long");
        assert_eq!(
            words(2, 1),
            "4 rows, 900 tokens, 50.0 % full, none too long; of the held-out set: 2 too long and left out; of the control's \
             set: 1 too long and left out"
        );
        let alone = Packed { train: report(3), held_out: None, control: None };
        assert_eq!(alone.in_words(), "4 rows, 900 tokens, 50.0 % full, 3 too long and left out");
    }
}
