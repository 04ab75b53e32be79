//! What the stages leave in their folders, by name. `r1-distill sql` shows most of it as tables.

use std::path::{Path, PathBuf};

pub(crate) use curate::{CURATED, RULES, VERDICTS};
pub(crate) use train::METRICS_FILE;

/// Stage prompts: the problems to learn from, a folder of Parquet.
pub(crate) const PROMPTS: &str = "prompts";
/// Stage prompts: the problems to measure on, a folder of Parquet.
pub(crate) const PROBLEMS: &str = "problems";
/// Stage prompts: what programs must pass, a folder of Parquet; only where a prompt has tests.
pub(crate) const TESTS: &str = "tests";
/// Stage collect: a folder of Parquet, and the ledger where a teacher was asked.
pub(crate) const TRACES: &str = "traces";
/// Stage curate: the ledger of the judge's replies.
pub(crate) const JUDGE: &str = "judge";
/// Stage pack: the folder of a base with random weights.
pub(crate) const BASE: &str = "base";
/// The tokenizer's file in a base's folder, as the Hub names it.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// Stage train: the student's training. Its log is [`METRICS_FILE`] in it.
pub(crate) const STUDENT: &str = "student";
/// Stage train: the control's training. Stage pack: its rows.
pub(crate) const CONTROL: &str = "control";
/// Stage evaluate: what each model answered, a folder of Parquet.
pub(crate) const SAMPLES: &str = "samples";
/// Stage evaluate: the replies of the teacher that is measured, Parquet and their ledger.
pub(crate) const TEACHER: &str = "teacher";
/// Stage export: the Hugging Face folder.
pub(crate) const MODEL: &str = "model";
/// Stage export: the adapter in PEFT's format; only of a training of adapters.
pub(crate) const ADAPTER: &str = "adapter";

/// The file of a table that has one, as in `prompts/prompts.parquet`.
pub(crate) fn only_file(dir: &Path, table: &str) -> PathBuf {
    dir.join(table).join(format!("{table}.parquet"))
}

/// Stage pack: the rows of a set: `train`, `held_out` or [`CONTROL`].
pub(crate) fn packed_rows(dir: &Path, set: &str) -> PathBuf {
    dir.join("packed").join(format!("{set}.parquet"))
}

/// Stage evaluate: what one model answered.
pub(crate) fn samples_of(dir: &Path, model: &str) -> PathBuf {
    dir.join(SAMPLES).join(format!("{model}.parquet"))
}
