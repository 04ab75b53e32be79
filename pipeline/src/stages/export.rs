//! Stage 7: the student as a Hugging Face folder, with a card that says what was done and measured.

use data::artifact::Artifact;
use serde_json::Value;
use student::export::export;
use student::train::load_trained;

use super::evaluate::{Evaluation, measured};
use super::pack::{Packed, base_dir};
use super::train::Checkpoint;
use super::{card, realize, summary};
use crate::run::{Halt, Run};

/// Marker: `model/`, a Hugging Face folder.
#[derive(Debug)]
pub(crate) struct Exported;

/// Writes the folder, loads it again and compares.
pub(crate) fn stage(
    run: &Run,
    packed: &Artifact<Packed>,
    checkpoint: &Artifact<Checkpoint>,
    evaluation: &Artifact<Evaluation>,
) -> Result<Artifact<Exported>, Halt> {
    let describe = |s: &Value| {
        let files = s["files"].as_array().map_or(0, Vec::len);
        format!("{files} files in {}/export/model, logits equal after reloading", run.store.root.display())
    };
    realize(run, &run.plan.export, describe, |dir| {
        let base = base_dir(run, &packed.dir)?;
        let model = run.recipe.student.base.model(&base, &run.options.device.open()?)?;
        let model = load_trained(model, &checkpoint.dir.join("student"))?;
        let card = card::write(&run.recipe, &measured(&evaluation.dir)?, &checkpoint.summary);
        let shard_bytes = (run.recipe.export.shard_gigabytes * 1e9) as u64;
        summary(&export(&model, &base, &dir.join("model"), &card, shard_bytes)?)
    })
}
