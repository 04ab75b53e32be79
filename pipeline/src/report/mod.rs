//! The report of a run: one self-contained HTML page and the same content in Markdown.
//!
//! [`RunReport`] is plain data that the pipeline gathers from the records of its stages; [`html_page()`] and [`markdown()`]
//! are pure functions of it, so that equal runs give equal reports. Both render the same blocks (`content`). What a run
//! does not have (no evaluation, no training) is left out rather than shown empty.
//!
//! Traces are hostile input: a model wrote them, and it may have written markup, control characters or characters that
//! reorder text. Every string goes through `text::Shown` (HTML) or the escapes of `markdown`, and the page forbids
//! itself every request through its content security policy.
//!
//! Charts follow Tufte, "The Visual Display of Quantitative Information" (2001): little ink beside the data, numbers
//! next to the marks. Hues are Okabe and Ito's, which stay apart under the common forms of colour blindness
//! (<https://jfly.uni-koeln.de/color/>); no mark is told from another by colour alone.

mod blocks;
mod charts;
mod content;
mod html;
mod markdown;
pub(crate) mod number;
mod samples;
mod seeds;
mod summary;
mod text;
mod training;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use curate::Balanced;
pub(crate) use html::html_page;
pub(crate) use markdown::markdown;
use serde::Serialize;
use train::TrainingLoss;

use crate::run::seeds::OtherSeeds;

/// All that a report says about a run. Every part but the name may be empty.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct RunReport {
    /// The run's name.
    pub name: String,
    /// The recipe as it was run.
    pub recipe_text: String,
    /// When the report was made, as it should be printed.
    pub date: String,
    /// What the run was computed on, as it should be printed.
    pub device: String,
    /// The stages in the order they ran.
    pub stages: Vec<StageRow>,
    /// What the user gave, as the stages read it.
    pub inputs: Vec<InputRow>,
    /// What each rule of the curation policy dropped, in the order applied.
    pub funnel: Vec<FunnelRow>,
    /// What came of quotas, where the recipe has them.
    pub balanced: Option<Balanced>,
    /// Traces before curation.
    pub traces_total: usize,
    /// Traces after curation.
    pub traces_selected: usize,
    /// Accuracy of each model on the held-out problems, in the order to show.
    pub accuracy: Vec<AccuracyRow>,
    /// The same accuracies by kind of problem.
    pub accuracy_by_kind: Vec<KindRow>,
    /// The student's loss on traces it was not trained on.
    pub held_out_loss: Option<HeldOutLoss>,
    /// One curve for each training.
    pub training: Vec<TrainingCurve>,
    /// Lengths of traces; the first series is drawn behind the others, so put the whole before its parts.
    pub lengths: Vec<LengthSeries>,
    /// What lengths are counted in, in the plural: `tokens` or `characters`.
    pub length_unit: String,
    /// Traces to read.
    pub samples: Vec<SampleTrace>,
    /// The exported model folder.
    pub export: Option<Export>,
    /// What is known of other seeds.
    pub seeds: Option<OtherSeeds>,
}

/// One stage of the pipeline.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StageRow {
    /// The stage's name.
    pub stage: String,
    /// The fingerprint of its artifact.
    pub fingerprint: String,
    /// Seconds it took when it was computed, in this run or in the earlier one it was taken from.
    pub seconds: f64,
    /// Whether its artifact was there already, so that this run did not compute it.
    pub cached: bool,
    /// What came out of it, in a few words.
    pub summary: String,
}

/// One input of the recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct InputRow {
    /// Its name in the recipe.
    pub name: String,
    /// Where it was read: a path, or an address on the Hub with its commit.
    pub place: String,
    /// The hash of its content.
    pub fingerprint: String,
}

/// What one curation rule did to the traces that earlier rules had left.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FunnelRow {
    /// The rule, in words that say what it keeps: "correct answer".
    pub rule: String,
    /// Traces it dropped.
    pub dropped: usize,
    /// Traces left after it.
    pub remaining: usize,
}

/// The accuracy of one model on the held-out problems.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AccuracyRow {
    /// Who answered: `teacher`, `before` and `after` (the student around its distillation) or `control` (the same
    /// student trained on the bare answers). The headline and the colours go by this name.
    pub model: String,
    /// The same in human words: "student after distillation".
    pub label: String,
    /// Pass@1: the mean share of samples that are correct, 0 to 1.
    pub accuracy: f64,
    /// Lower end of the 95 % interval, 0 to 1.
    pub low: f64,
    /// Upper end of the 95 % interval, 0 to 1.
    pub high: f64,
    /// Problems asked.
    pub problems: usize,
    /// Answers sampled for each problem.
    pub samples_per_problem: u32,
    /// Mean tokens of an answer, thinking included.
    pub mean_tokens: f64,
    /// The share of answers that ran into the token limit, 0 to 1.
    pub truncated: f64,
}

/// The accuracies on one kind of problem.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct KindRow {
    /// The kind.
    pub kind: String,
    /// Problems of this kind.
    pub problems: usize,
    /// Accuracy (0 to 1) by [`AccuracyRow::model`].
    pub accuracy: BTreeMap<String, f64>,
}

/// Cross-entropy per supervised token on traces that were kept out of training.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct HeldOutLoss {
    /// Of the base student, nats.
    pub before: f64,
    /// Of the distilled student, nats.
    pub after: f64,
    /// Supervised tokens it was measured on.
    pub tokens: u64,
}

/// How one training went.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TrainingCurve {
    /// `student` or `control`.
    pub name: String,
    /// One point for each logged optimizer step, in order.
    pub points: Vec<TrainingPoint>,
    /// Tokens seen in all steps.
    pub tokens: u64,
    /// Mean speed.
    pub tokens_per_second: f64,
    /// Parameters of the model.
    pub parameters: u64,
    /// Of these, parameters that were trained.
    pub trained_parameters: u64,
    /// The training loss at either end; `None` for what is no training.
    pub loss: Option<TrainingLoss>,
}

/// One optimizer step.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct TrainingPoint {
    /// The step, from 1.
    pub step: u32,
    /// Mean cross-entropy per supervised token, nats.
    pub loss: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Loss on held-out traces after the step, where it was measured.
    pub eval_loss: Option<f64>,
}

/// The lengths of a set of traces.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LengthSeries {
    /// Which traces: "all traces", "selected".
    pub name: String,
    /// One length for each trace, in [`RunReport::length_unit`].
    pub lengths: Vec<u32>,
}

/// A trace to read.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SampleTrace {
    /// Who wrote it and about what.
    pub title: String,
    /// What was found out about it: "verified", "wrong", "cut off". The page filters by it.
    pub verdict: String,
    /// Whether the answer is right, where that is known.
    pub correct: Option<bool>,
    /// The question.
    pub question: String,
    /// The reasoning; empty if there was none.
    pub thinking: String,
    /// What follows the reasoning.
    pub answer: String,
    /// The gold answer, where there is one.
    pub gold: Option<String>,
}

/// The folder that holds the finished model.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Export {
    /// Its path, as it should be printed.
    pub folder: String,
    /// Its files.
    pub files: Vec<ExportFile>,
    /// What was checked of it.
    pub checks: Vec<Check>,
}

/// A check and what came of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Check {
    /// Whether what was found is within the bound that the text states. Only then is there a tick.
    pub passed: bool,
    /// What was compared, what was found, and what that means.
    pub text: String,
}

/// One exported file.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ExportFile {
    /// Its name within the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

impl RunReport {
    /// What was measured of a model (`teacher`, `before`, `after`, `control`), if it was.
    fn model(&self, name: &str) -> Option<&AccuracyRow> {
        self.accuracy.iter().find(|row| row.model == name && row.accuracy.is_finite())
    }
}

impl AccuracyRow {
    /// The accuracy with its interval in whole percents, as the headline prints it.
    fn measured(&self) -> String {
        if self.low.is_finite() && self.high.is_finite() {
            let (low, high) = (self.low * 100.0, self.high * 100.0);
            format!("{} (95 % interval {low:.0}–{high:.0})", number::percent(self.accuracy))
        } else {
            number::percent(self.accuracy)
        }
    }
}
