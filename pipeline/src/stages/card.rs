//! The model card: YAML that the Hub reads, then what was done and measured.

use std::fmt::Write;

use folder::base::Base;
use generate::evaluate::INTERVALS;
use train::{BestEvaluation, TrainSummary};

use super::evaluate::Measured;
use crate::recipe::{Recipe, TraceSource};
use crate::report::number::{count, loss, parameters, training_loss, training_loss_is};
use crate::run::Run;
use crate::run::inputs;
use crate::run::seeds::OtherSeeds;

/// The text of `README.md`.
pub(crate) fn write(run: &Run, measured: &Measured, student: &TrainSummary) -> String {
    let mut card = String::new();
    // Writing to a string cannot fail.
    let _ = compose(&mut card, run, measured, student);
    card
}

fn compose(card: &mut String, run: &Run, measured: &Measured, student: &TrainSummary) -> std::fmt::Result {
    let (recipe, options) = (&run.recipe, &run.options);
    let origin = |input: &str| options.inputs.get(input).and_then(|place| inputs::origin(place));
    let base_origin = recipe.base_input().and_then(origin);
    writeln!(
        card,
        "---\nlicense: {}\nlibrary_name: transformers\npipeline_tag: text-generation",
        recipe.export.license
    )?;
    if let Some((base, _)) = &base_origin {
        writeln!(card, "base_model: {base}")?;
    }
    writeln!(card, "tags:\n- reasoning\n- distillation\n- r1-distill\n---\n")?;
    writeln!(card, "# {}\n\n{}\n", recipe.export.model_name, recipe.description)?;
    writeln!(card, "## How it was made\n")?;
    let base = match (&recipe.student.base, &base_origin) {
        (_, Some((base, commit))) => format!("{base} at commit {commit}"),
        (Base::Folder { input, .. }, None) => format!("the model given as input `{input}`"),
        (Base::Random { .. }, None) => "random weights".to_owned(),
    };
    let traces = match &recipe.collect {
        TraceSource::Teacher(teacher) => format!("sampled from the teacher `{}`", teacher.model),
        TraceSource::Import(file) => match origin(&file.input) {
            Some((dataset, commit)) => format!("{dataset} at commit {commit} (teacher {})", file.teacher),
            None => format!("imported (`{}`, teacher {})", file.input, file.teacher),
        },
        TraceSource::Worked(_) => "solutions written by the problem generator".to_owned(),
    };
    writeln!(card, "- Starting point: {base}")?;
    let quotas = recipe.curate.balance.as_ref().map_or(String::new(), |b| format!(", with quotas by `{}`", b.by));
    writeln!(card, "- Reasoning traces: {traces}, selected by `{}`{quotas}", recipe.curate.policy)?;
    if let Some(judge) = &recipe.curate.judge {
        writeln!(card, "- Judge of answers that rules cannot verify: `{}`", judge.model)?;
    }
    writeln!(
        card,
        "- Supervised fine-tuning on the assistant's part: {} steps, {} tokens ({} supervised), peak learning rate {}",
        student.steps, student.tokens, student.supervised_tokens, recipe.train.optimizer.learning_rate
    )?;
    writeln!(
        card,
        "- Training loss: {} nats a token ({})",
        training_loss(&student.loss),
        training_loss_is(&student.loss)
    )?;
    if let Some(BestEvaluation { step, .. }) = student.best.filter(|_| recipe.train.keep_best) {
        writeln!(card, "- Weights: those after step {step}, where the loss on held-out traces was lowest")?;
    }
    if let Some(lora) = &recipe.train.lora {
        writeln!(
            card,
            "- LoRA of rank {}, alpha {}, dropout {} on {}: {} were trained and merged into the weights",
            lora.rank,
            lora.alpha,
            lora.dropout,
            lora.target_modules.join(", "),
            parameters(student)
        )?;
    }
    writeln!(card, "- Parameters: {}\n", count(student.parameters))?;
    results(card, recipe, &run.plan.seeds, measured)?;
    writeln!(card, "## Limits\n")?;
    writeln!(
        card,
        "It was trained on one kind of traces and measured only as above; nothing was done for safety. Weights are bf16, and \
         were measured so."
    )
}

/// Accuracy and held-out loss, where they were measured.
fn results(card: &mut String, recipe: &Recipe, seeds: &OtherSeeds, measured: &Measured) -> std::fmt::Result {
    if !measured.accuracy.is_empty() || measured.held_out.is_some() {
        writeln!(card, "## What was measured\n")?;
    }
    if let Some(settings) = &recipe.evaluate.accuracy {
        let protocol = &settings.protocol;
        other_seeds(card, seeds)?;
        writeln!(
            card,
            "pass@1 on problems that were not trained on, {} samples each at temperature {}, top-p {}, at most {} tokens; \
             with 95 % intervals. {INTERVALS}\n",
            protocol.samples, protocol.sampling.temperature, protocol.sampling.top_p, protocol.sampling.max_tokens
        )?;
        writeln!(card, "| model | pass@1 | 95 % interval | problems |\n|---|---|---|---|")?;
        for r in &measured.accuracy {
            writeln!(
                card,
                "| {} | {:.1} % | {:.1} – {:.1} % | {} |",
                r.model,
                100.0 * r.accuracy,
                100.0 * r.low,
                100.0 * r.high,
                r.problems
            )?;
        }
        writeln!(card)?;
    }
    if let Some(of) = &measured.held_out {
        writeln!(
            card,
            "Loss on held-out traces: {} nats a token before, {} after ({} supervised tokens).\n",
            loss(of.before),
            loss(of.after),
            of.tokens
        )?;
    }
    Ok(())
}

/// What a reader must know before this run's own number: what other seeds give.
fn other_seeds(card: &mut String, seeds: &OtherSeeds) -> std::fmt::Result {
    if let Some(why) = seeds.missing() {
        return writeln!(card, "{why}\n");
    }
    let OtherSeeds::Table(table) = seeds else { return Ok(()) };
    let Some(after) = table.after() else { return Ok(()) };
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    write!(
        card,
        "**{} pass@1: the median of {} training seeds ({} to {}) on {} problems",
        percent(after.median),
        table.training.len(),
        percent(after.lowest),
        percent(after.highest),
        table.problems
    )?;
    if let Some(before) = table.before() {
        write!(card, "; {} before training", percent(before.median))?;
    }
    if let Some(control) = table.control() {
        write!(card, "; {} after as many steps on the bare answers", percent(control.median))?;
    }
    writeln!(card, ".**\n")?;
    if let Some(data) = table.after_by_data() {
        writeln!(
            card,
            "Other problems and traces to learn from gave {} to {} ({} data seeds).\n",
            percent(data.lowest),
            percent(data.highest),
            table.data.len()
        )?;
    }
    writeln!(
        card,
        "(`{}`, {}, {}.) These weights are one of such trainings:\n",
        table.command, table.machine, table.date
    )
}
