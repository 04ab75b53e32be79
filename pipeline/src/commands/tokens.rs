//! `r1-distill tokens`: conversations as the trainer sees them, token by token, with what the loss counts.

use std::fmt::Write;

use clap::Args;
use folder::base::Base;
use model::config::ModelConfig;
use tokens::chat::ChatFormat;
use tokens::fidelity::{Capacity, Finding, findings};
use tokens::pack::{PackedRow, Segment, Supervision, pack};
use tokens::template::TODAY;

use crate::args::RunArgs;
use crate::commands::print;
use crate::console::colour;
use crate::error::{Failure, Result};
use crate::recipe::Recipe;
use crate::run::inputs::{self, base_folder};
use crate::run::options::RunOptions;
use crate::run::plan::Plan;
use crate::run::store::Store;
use crate::stages::curate::{Curated, curated};
use crate::stages::pack::{Packed, rows, set_in_words, settings};

/// Traces that are tokenized to be looked at before the pack stage has run, for each that is shown: some are too long.
const TRIED: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct TokensArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Conversations to show
    #[arg(long, default_value_t = 3, value_name = "N")]
    count: usize,
    /// Show this trace, all pieces of it
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
    /// A table of positions, ids, text and mask instead of running text
    #[arg(long)]
    ids: bool,
    /// Which rows
    #[arg(long, default_value = "train", value_parser = ["train", "held_out", "control"])]
    set: String,
}

pub(crate) fn tokens(args: &TokensArgs) -> Result<()> {
    let (recipe, _) = args.run.recipe()?;
    let mut options = args.run.options()?;
    inputs::download_all(&recipe, &mut options)?;
    let plan = Plan::new(&recipe, &options, &[])?;
    let store = Store::open(&options.runs, &recipe.name);
    let packed = store.find::<Packed>(&plan.pack)?.map(|packed| packed.dir);
    let dir = packed.clone().unwrap_or_else(|| store.dir(&plan.pack));
    let first = || {
        let recipe = args.run.recipe.display();
        Failure::usage(format!(
            "nothing to show yet; run first: r1-distill run {recipe} --to pack (with the same options)"
        ))
    };
    if packed.is_none() && matches!(recipe.student.base, Base::Random { .. }) {
        // Its tokenizer is made there.
        return Err(first());
    }
    let folder = base_folder(&recipe, &options, &dir)?;
    let format = ChatFormat::from_dir(&folder)?;
    let config = recipe.student.base.config(&folder)?;
    let rows = match packed {
        Some(dir) => rows(&dir, &args.set)?,
        None => tokenized_now(args, &recipe, &store.find::<Curated>(&plan.curate)?.ok_or_else(first)?.dir, &format)?,
    };
    let mut shown: Vec<Segment<'_>> = rows.iter().flat_map(PackedRow::segments).collect();
    if let Some(trace) = &args.trace {
        shown.retain(|segment| segment.trace_id.as_str() == trace);
        if shown.is_empty() {
            return Err(Failure::usage(format!(
                "trace {trace} is not in these rows; `r1-distill sql \"SELECT trace_id FROM curated\"` lists those selected"
            )));
        }
    } else {
        shown.truncate(args.count);
    }
    let colour = colour(&std::io::stdout());
    let found = findings(&rows, &format, Capacity::new(config.vocab_size, config.max_position_embeddings));
    print(&header(&recipe, &options, &config, &format, &found)?)?;
    for segment in shown {
        print(&if args.ids { table(segment, &format, colour)? } else { running_text(segment, &format, colour)? })?;
    }
    let length = recipe.pack.sequence_length;
    recipe.student.base.check_context(&config, "pack.sequence_length", length)?;
    let refused = found.into_iter().find_map(|finding| finding.outcome.err());
    refused.map_or(Ok(()), |e| Err(Failure::from(e).about(set_in_words(&args.set))))
}

/// Rows of the first traces, or of the one asked for, as the pack stage would make them.
fn tokenized_now(
    args: &TokensArgs,
    recipe: &Recipe,
    curated_dir: &std::path::Path,
    format: &ChatFormat,
) -> Result<Vec<PackedRow>> {
    let mut traces = curated(curated_dir)?;
    match &args.trace {
        Some(id) => traces.retain(|trace| trace.trace_id.as_str() == id),
        None => traces.truncate(args.count.saturating_mul(TRIED)),
    }
    if traces.is_empty() {
        return Ok(Vec::new());
    }
    let supervision = if args.set == "control" { Supervision::AnswerOnly } else { Supervision::Thinking };
    let packed = pack(&traces, format, supervision, settings(recipe));
    Ok(packed.map_err(|e| Failure::from(e).about(set_in_words(&args.set)))?.0)
}

fn header(
    recipe: &Recipe,
    options: &RunOptions,
    config: &ModelConfig,
    format: &ChatFormat,
    found: &[Finding],
) -> Result<String> {
    let base = match &recipe.student.base {
        Base::Folder { input, .. } => options.given(input)?.display().to_string(),
        Base::Random { .. } => "random weights".into(),
    };
    let named = |text: Option<&str>, id: Option<u32>| match (text, id) {
        (Some(text), Some(id)) => format!("{} {id}", escaped(text)),
        (Some(text), None) => format!("{} (not in the vocabulary)", escaped(text)),
        (None, _) => "none".into(),
    };
    let thinking = if format.template_keeps_thinking()? {
        "it writes the thinking of assistant turns"
    } else {
        "it drops the thinking of assistant turns, so it renders prompts only: what is trained on is the trace's own text"
    };
    let date = if format.template.writes_the_date() {
        format!("; it writes the date: always {TODAY} here, the day of the request in other servers")
    } else {
        String::new()
    };
    let turn = format.tokenizer.token(format.end_of_turn_id);
    let mut out = format!(
        "base      {base}: context {}, RoPE theta {}, vocabulary {}\n\
         template  {}: {thinking}{date}\n\
         special   BOS {} · EOS {} · PAD {} · a turn ends with {}\n",
        config.max_position_embeddings,
        config.rope_theta,
        config.vocab_size,
        format.template.fingerprint(),
        named(format.bos.as_deref(), format.bos_id()),
        named(Some(&format.eos), Some(format.eos_id)),
        named(format.pad.as_deref(), format.pad_id()),
        named(turn.as_deref(), Some(format.end_of_turn_id)),
    );
    for (n, Finding { claim, outcome }) in found.iter().enumerate() {
        let label = if n == 0 { "checks" } else { "" };
        // Writing to a string cannot fail.
        let _ = match outcome {
            Ok(seen) => writeln!(out, "{label:<9} ok: {claim} ({seen})"),
            Err(refusal) => writeln!(out, "{label:<9} REFUSED: {refusal}"),
        };
    }
    Ok(out)
}

fn title(segment: Segment<'_>) -> String {
    let supervised = segment.mask.iter().filter(|counted| **counted).count();
    format!(
        "── trace {}: {} tokens, {} prompt, {supervised} supervised",
        segment.trace_id,
        segment.ids.len(),
        segment.ids.len() - supervised
    )
}

/// The two sides of the mask by colour, and in words for those who see none.
fn painted(text: &str, counted: bool, colour: bool) -> String {
    match (colour, counted) {
        (false, _) => text.to_owned(),
        (true, true) => format!("\u{1b}[32m{text}\u{1b}[0m"),
        (true, false) => format!("\u{1b}[2m{text}\u{1b}[0m"),
    }
}

fn running_text(segment: Segment<'_>, format: &ChatFormat, colour: bool) -> Result<String> {
    let mut out = title(segment);
    let mut start = 0;
    for same in segment.mask.chunk_by(|a, b| a == b) {
        let ids = &segment.ids[start..start + same.len()];
        start += same.len();
        let counted = same[0];
        let what = if counted { "supervised" } else { "prompt, not counted by the loss" };
        let text: Vec<String> = format.tokenizer.decode(ids, false)?.split('\n').map(escaped).collect();
        let _ = write!(out, "\n[{what}: {} tokens]\n{}", ids.len(), painted(&text.join("\n"), counted, colour));
    }
    out.push('\n');
    Ok(out)
}

fn table(segment: Segment<'_>, format: &ChatFormat, colour: bool) -> Result<String> {
    let mut out = format!("{}\nposition      id  loss  text", title(segment));
    for ((id, counted), position) in segment.ids.iter().zip(segment.mask).zip(segment.positions) {
        let mut text = format.tokenizer.decode(&[*id], false)?;
        if text.is_empty() || text.contains(char::REPLACEMENT_CHARACTER) {
            // Part of a character: the vocabulary's own way to write bytes.
            text = format.tokenizer.token(*id).unwrap_or_default();
        }
        let loss = if *counted { "yes" } else { "-" };
        let line = format!("{position:>8} {id:>7}  {loss:<4}  {}", escaped(&text));
        let _ = write!(out, "\n{}", painted(&line, *counted, colour));
    }
    out.push('\n');
    Ok(out)
}

/// A trace is what some model wrote: nothing in it may steer the terminal.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::record::TraceId;
    use tokens::tokenizer::Tokenizer;

    fn shown(view: fn(Segment<'_>, &ChatFormat, bool) -> Result<String>, colour: bool) -> String {
        let corpus: Vec<String> = (0..50).map(|n| format!("What is {n}? so it goes.")).collect();
        let format = ChatFormat::r1(Tokenizer::train(&corpus, 300).unwrap()).unwrap();
        let messages =
            [records::record::Message::user("What?"), records::record::Message::assistant("so\u{1b}[31m\nit ✓")];
        let tokens = format.conversation(&messages).unwrap();
        let mask: Vec<bool> = (0..tokens.ids.len()).map(|i| i >= tokens.prompt_len).collect();
        let positions: Vec<u32> = (0..tokens.ids.len() as u32).collect();
        view(
            Segment { trace_id: &TraceId::from_stored("t1"), ids: &tokens.ids, mask: &mask, positions: &positions },
            &format,
            colour,
        )
        .unwrap()
    }

    #[test]
    fn running_text_says_what_the_loss_counts_in_words_and_in_colour() {
        let plain = shown(running_text, false);
        assert!(plain.contains("[prompt, not counted by the loss"), "{plain}");
        assert!(plain.contains("so\\u{1b}[31m\nit ✓<｜end▁of▁sentence｜>"), "{plain}");
        assert!(!plain.contains('\u{1b}'));
        let coloured = shown(running_text, true);
        assert!(
            coloured.contains("\u{1b}[2m<｜begin▁of▁sentence｜>") && coloured.contains("\u{1b}[32mso"),
            "{coloured}"
        );
    }

    #[test]
    fn the_table_has_a_line_for_every_token() {
        let table = shown(table, false);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[2].contains(" 0       0  -     <｜begin▁of▁sentence｜>"), "{table}");
        assert!(lines.last().unwrap().ends_with("1  yes   <｜end▁of▁sentence｜>"), "{table}");
        assert!(!table.contains(char::REPLACEMENT_CHARACTER) && !table.contains('\u{1b}'));
    }
}
