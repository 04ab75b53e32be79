//! Stage 7: the student as a Hugging Face folder, with a card that says what was done and measured.

use std::collections::HashMap;

use data::artifact::Artifact;
use data::pack::PackedRow;
use data::record::{CuratedTrace, Message};
use serde_json::Value;
use student::base::Base;
use student::export::{Rounding, check_prompts, export};
use student::lora::export_adapter;
use student::train::load_trained;

use super::curate::{Curated, curated};
use super::evaluate::{Evaluation, measured};
use super::pack::{Packed, base_dir, rows};
use super::train::Checkpoint;
use super::{card, decode, realize, summary};
use crate::error;
use crate::fetch;
use crate::report::number::{number, percent};
use crate::run::{Halt, Run};

/// Prompts that the exported folder must render as training had them.
const PROMPTS: usize = 256;

/// Messages, and the ids of the prompt they make.
type Conversation = (Vec<Message>, Vec<u32>);

/// Marker: `model/`, a Hugging Face folder; of a training of adapters also `adapter/`, as PEFT loads it over the base.
#[derive(Debug)]
pub(crate) struct Exported;

/// Writes the folder, loads it again and compares.
pub(crate) fn stage(
    run: &Run,
    curated_in: &Artifact<Curated>,
    packed: &Artifact<Packed>,
    checkpoint: &Artifact<Checkpoint>,
    evaluation: &Artifact<Evaluation>,
) -> Result<Artifact<Exported>, Halt> {
    let describe = |s: &Value| {
        let files = s["files"].as_array().map_or(0, Vec::len);
        let adapter = if s["adapter"].is_null() { "" } else { " and the adapter in export/adapter" };
        let rounding = decode::<Rounding>(&s["rounding"]).ok().filter(|rounding| !rounding.is_within_bound());
        let warning =
            rounding.map_or_else(String::new, |rounding| format!("; warning: {}", rounding_in_words(&rounding)));
        let root = run.store.root.display();
        format!("{files} files in {root}/export/model{adapter}, logits equal after reloading{warning}")
    };
    realize(run, &run.plan.export, describe, |dir| {
        let base = base_dir(&run.recipe, &run.options, &packed.dir)?;
        let model = run.recipe.student.base.model(&base, &run.options.device.open()?)?;
        let (train, trained) = (&run.recipe.train, checkpoint.dir.join("student"));
        let adapter = match (&train.lora, &run.recipe.student.base) {
            (Some(lora), Base::Folder { input, .. }) => {
                let origin = fetch::origin(run.options.given(input)?);
                let name = origin.as_ref().map_or(input, |(base, _)| base);
                Some(export_adapter(&model, &trained, lora, name, &base, &dir.join("adapter"))?)
            }
            _ => None,
        };
        let model = load_trained(model, &trained, train.lora.as_ref())?;
        let card = card::write(run, &measured(&evaluation.dir)?, &decode(&checkpoint.summary["student"])?);
        let shard_bytes = (run.recipe.export.shard_gigabytes * 1e9) as u64;
        let mut exported = summary(&export(&model, &base, &dir.join("model"), &card, shard_bytes)?)?;
        check_prompts(&dir.join("model"), &trained_prompts(curated_in, packed)?)?;
        exported["adapter"] = summary(&adapter)?;
        Ok(exported)
    })
}

/// What rounding the weights did, against the bound, and what it means where that is passed.
pub(crate) fn rounding_in_words(rounding: &Rounding) -> String {
    let found = format!(
        "{} nats a token (Kullback-Leibler divergence from the trained weights; bound {}), the likeliest token the same at {} \
         of positions",
        number(rounding.divergence),
        number(Rounding::BOUND),
        percent(rounding.same_likeliest)
    );
    if rounding.is_within_bound() {
        return format!("rounding to bf16 changed the distributions of the next token by {found}");
    }
    format!(
        "rounding to bf16 changed the distributions of the next token by {found}: the exported model is not quite the one \
         that was trained. It is the one that was measured"
    )
}

/// Conversations that training saw, without their last turn, and the tokens of the prompt that it had for them.
fn trained_prompts(curated_in: &Artifact<Curated>, packed: &Artifact<Packed>) -> error::Result<Vec<Conversation>> {
    let rows = rows(&packed.dir, "train")?;
    let trained: HashMap<&str, Vec<u32>> = rows
        .iter()
        .flat_map(PackedRow::segments)
        .take(PROMPTS)
        .map(|segment| {
            let masked = segment.mask.iter().take_while(|counted| !**counted).count();
            (segment.trace_id, segment.ids[..masked].to_vec())
        })
        .collect();
    // The other traces are those that were held out, left out as too long, or come after the first of them.
    let with_prompt = |mut trace: CuratedTrace| {
        trace.messages.pop();
        Some((trace.messages, trained.get(trace.trace_id.as_str())?.clone()))
    };
    let found: Vec<Conversation> = curated(&curated_in.dir)?.into_iter().filter_map(with_prompt).collect();
    if found.len() != trained.len() {
        let (found, all, dir) = (found.len(), trained.len(), curated_in.dir.display());
        return Err(error::Failure::failed(format!(
            "{found} of {all} traces that were trained on are in {dir}; remove the pack stage's folder to pack again"
        )));
    }
    Ok(found)
}
