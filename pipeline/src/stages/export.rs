//! Stage 7: the student as a Hugging Face folder, with a card that says what was done and measured.

use std::collections::HashMap;
use std::path::Path;

use folder::base::Base;
use folder::export::{ExportSummary, Rounding, check_prompts, export};
use folder::{AdapterSummary, export_adapter};
use records::artifact::Artifact;
use records::record::{CuratedTrace, Message, TraceId};
use serde::{Deserialize, Serialize};
use tokens::pack::PackedRow;
use train::{load_adapted, load_trained};

use super::card;
use super::curate::{Curated, curated};
use super::evaluate::Evaluation;
use super::pack::{Packed, rows};
use super::train::Checkpoint;
use crate::error;
use crate::layout;
use crate::report::number::{number, percent};
use crate::run::inputs;
use crate::run::inputs::base_folder;
use crate::run::{Halt, Run, realize};

/// Prompts that the exported folder must render as training had them.
const PROMPTS: usize = 256;

/// Messages, and the ids of the prompt they make.
type Conversation = (Vec<Message>, Vec<u32>);

/// The summary of a folder with `model/`, a Hugging Face folder; of a training of adapters also `adapter/`, as PEFT loads
/// it over the base.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Exported {
    /// The model's folder and how it was checked.
    #[serde(flatten)]
    pub model: ExportSummary,
    /// The adapter, if one was trained.
    adapter: Option<AdapterSummary>,
}

/// Writes the folder, loads it again and compares.
pub(crate) fn stage(
    run: &Run,
    curated_in: &Artifact<Curated>,
    packed: &Artifact<Packed>,
    checkpoint: &Artifact<Checkpoint>,
    evaluation: &Artifact<Evaluation>,
) -> Result<Artifact<Exported>, Halt> {
    let describe = |made: &Exported| {
        let (files, rounding) = (made.model.files.len(), &made.model.rounding);
        let adapter = if made.adapter.is_none() { "" } else { " and the adapter in export/adapter" };
        let warning = if rounding.is_within_bound() {
            String::new()
        } else {
            format!("; warning: {}", rounding_in_words(rounding))
        };
        let root = run.store.root.display();
        format!("{files} files in {root}/export/model{adapter}, logits equal after reloading{warning}")
    };
    realize(run, &run.plan.export, describe, |dir| {
        let base = base_folder(&run.recipe, &run.options, &packed.dir)?;
        let model = run.recipe.student.base.model(&base, &run.options.device.open()?)?;
        let (train, trained) = (&run.recipe.train, checkpoint.dir.join(layout::STUDENT));
        let adapter = match (&train.lora, &run.recipe.student.base) {
            (Some(lora), Base::Folder { input, .. }) => {
                let origin = inputs::origin(run.options.given(input)?);
                let name = origin.as_ref().map_or(input, |(base, _)| base);
                let adapted = load_adapted(model.clone(), &trained, lora)?;
                Some(export_adapter(&model, &adapted, lora, name, &base, &dir.join(layout::ADAPTER))?)
            }
            _ => None,
        };
        let model = load_trained(model, &trained, train.lora.as_ref())?;
        let card = card::write(run, &evaluation.summary.measured, &checkpoint.summary.student);
        let shard_bytes = (run.recipe.export.shard_gigabytes * 1e9) as u64;
        let exported = export(&model, &base, &dir.join(layout::MODEL), &card, shard_bytes)?;
        check_prompts(&dir.join(layout::MODEL), &trained_prompts(&curated_in.dir, &packed.dir)?)?;
        Ok(Exported { model: exported, adapter })
    })
}

/// How much rounding the weights to bf16 changed, in words, and a warning where it is more than the bound.
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
fn trained_prompts(curated_dir: &Path, packed_dir: &Path) -> error::Result<Vec<Conversation>> {
    let rows = rows(packed_dir, "train")?;
    let trained: HashMap<&TraceId, Vec<u32>> = rows
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
        Some((trace.messages, trained.get(&trace.trace_id)?.clone()))
    };
    let found: Vec<Conversation> = curated(curated_dir)?.into_iter().filter_map(with_prompt).collect();
    if found.len() != trained.len() {
        let (found, all, dir) = (found.len(), trained.len(), curated_dir.display());
        return Err(error::Failure::failed(format!(
            "{found} of {all} traces that were trained on are in {dir}; remove the pack stage's folder to pack again"
        )));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use records::parquet_file::write_records;

    use super::*;
    use records::record::PromptId;

    #[test]
    fn a_trace_that_was_trained_on_and_is_gone_stops_the_check() {
        let dir = tempfile::tempdir().unwrap();
        let trace = |id: &str| CuratedTrace {
            trace_id: TraceId::from_stored(id),
            prompt_id: PromptId::from_stored(format!("prompt of {id}")),
            domain: "d".to_owned(),
            kind: "k".to_owned(),
            source: "s".to_owned(),
            gold: None,
            messages: vec![Message::user("q"), Message::assistant("a")],
            num_tokens: None,
        };
        let row = PackedRow {
            token_ids: vec![1, 2, 3, 4],
            loss_mask: vec![false, true, false, true],
            segment_ids: vec![0, 0, 1, 1],
            position_ids: vec![0, 1, 0, 1],
            trace_ids: ["a", "b"].map(TraceId::from_stored).to_vec(),
        };
        write_records(&layout::packed_rows(dir.path(), "train"), &[row]).unwrap();
        let check = |traces: &[CuratedTrace]| {
            write_records(&layout::only_file(dir.path(), layout::CURATED), traces).unwrap();
            trained_prompts(dir.path(), dir.path())
        };
        let found = check(&[trace("a"), trace("held out"), trace("b")]).unwrap();
        assert_eq!(
            found.iter().map(|(turns, ids)| (turns.len(), ids.clone())).collect::<Vec<_>>(),
            [(1, vec![1]), (1, vec![3])]
        );
        let problem = check(&[trace("a"), trace("held out")]).unwrap_err().to_string();
        assert!(problem.contains("1 of 2 traces"), "{problem}");
    }
}
