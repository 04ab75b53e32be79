//! What the report consists of, in blocks that both formats render: so both say the same.

use curate::Balanced;

use super::blocks::{Block, Cell, Section, Table, heads, row};
use super::charts::{accuracy_bars, colour, funnel_bars, length_histogram};
use super::number::{bytes, count, counted, dropped, duration, interval, number, percent};
use super::summary::{computed_earlier, funnel_steps, kind_columns, length_summary, protocol, total_seconds};
use super::training::training;
use super::{Export, RunReport};

/// The sections that the report has content for.
pub(super) fn sections(report: &RunReport) -> Vec<Section<'_>> {
    let samples = if report.samples.is_empty() { vec![] } else { vec![Block::Samples(&report.samples)] };
    let recipe = if report.recipe_text.trim().is_empty() { vec![] } else { vec![Block::Recipe(&report.recipe_text)] };
    let all = [
        ("accuracy", "Accuracy", accuracy(report)),
        ("training", "Training", training(report)),
        ("traces", "Traces", traces(report)),
        ("samples", "Samples", samples),
        ("export", "Exported model", report.export.as_ref().map_or_else(Vec::new, export)),
        ("stages", "Stages", stages(report)),
        ("recipe", "Recipe", recipe),
    ];
    let filled = all.into_iter().filter(|(_, _, blocks)| !blocks.is_empty());
    filled.map(|(id, title, blocks)| Section { id, title, blocks }).collect()
}

fn accuracy(report: &RunReport) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    if let Some(protocol) = protocol(report) {
        blocks.push(Block::Paragraph(protocol));
        blocks.push(Block::Drawing { html: accuracy_bars(report), instead: None });
        let rows = report.accuracy.iter().map(|of| {
            let numbers = [
                percent(of.accuracy),
                interval(of.low, of.high),
                count(of.problems as u64),
                count(u64::from(of.samples_per_problem)),
                number(of.mean_tokens.round()),
                percent(of.truncated),
            ];
            row(Cell::Model(of.label.clone(), colour(&of.model)), numbers)
        });
        blocks.push(Block::Table(Table {
            caption: "Accuracy of each model",
            heads: heads("Model", &["Pass@1", "95 % interval", "Problems", "Samples each", "Mean tokens", "Cut off"]),
            rows: rows.collect(),
            note: String::new(),
        }));
    }
    blocks.extend(super::seeds::blocks(report));
    if !report.accuracy_by_kind.is_empty() {
        let columns = kind_columns(report);
        let mut heads = heads("Kind", &["Problems"]);
        heads.extend(columns.iter().map(|(model, label)| Cell::Model(label.clone(), colour(model))));
        let rows = report.accuracy_by_kind.iter().map(|of| {
            let share = |model: &String| of.accuracy.get(model).copied().unwrap_or(f64::NAN);
            let mut cells = row(Cell::Text(of.kind.clone()), [count(of.problems as u64)]);
            cells.extend(columns.iter().map(|(model, _)| Cell::share(share(model), colour(model))));
            cells
        });
        blocks.push(Block::Heading("By kind of problem"));
        let (caption, rows, note) = ("Accuracy by kind of problem", rows.collect(), String::new());
        blocks.push(Block::Table(Table { caption, heads, rows, note }));
    }
    blocks
}

fn traces(report: &RunReport) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let steps = funnel_steps(report);
    if !steps.is_empty() {
        let rows =
            steps.iter().map(|step| row(Cell::Text(step.rule.clone()), [count(step.remaining as u64), dropped(step)]));
        let (heads, rows) = (heads("Rule", &["Left", "Dropped"]), rows.collect());
        let instead = Table { caption: "Curation", heads, rows, note: String::new() };
        blocks.push(Block::Heading("Curation"));
        blocks.push(Block::Paragraph(
            "What each rule left of the traces that came to it, and what it dropped.".to_owned(),
        ));
        blocks.push(Block::Drawing { html: funnel_bars(&steps), instead: Some(instead) });
    }
    if let Some(balanced) = &report.balanced {
        blocks.push(Block::Heading("Quotas"));
        blocks.push(Block::Table(quotas(balanced)));
    }
    if let Some(html) = length_histogram(report) {
        let rows = report.lengths.iter().filter_map(|series| {
            let of = length_summary(&series.lengths)?;
            let lengths =
                [of.median, of.mean.round() as u32, of.p95, of.longest].map(|length| count(u64::from(length)));
            let [median, mean, p95, longest] = lengths;
            let numbers = [count(series.lengths.len() as u64), median, mean, p95, longest];
            Some(row(Cell::Text(series.name.clone()), numbers))
        });
        blocks.push(Block::Heading("Length"));
        blocks.push(Block::Drawing { html, instead: None });
        blocks.push(Block::Table(Table {
            caption: "Lengths in numbers",
            heads: heads("Traces", &["Number", "Median", "Mean", "95th percentile", "Longest"]),
            rows: rows.collect(),
            note: if report.length_unit.is_empty() {
                String::new()
            } else {
                format!("Lengths in {}.", report.length_unit)
            },
        }));
    }
    blocks
}

/// What was there of each domain, and what was kept of it.
fn quotas(balanced: &Balanced) -> Table {
    let rows = balanced.lines.iter().map(|line| {
        let value = line.value.clone().unwrap_or_else(|| "not named".to_owned());
        let quota = line.quota.map_or_else(|| "all".to_owned(), count);
        let short = if line.short() > 0 { count(line.short()) } else { String::new() };
        row(Cell::Text(value), [count(line.had), quota, count(line.kept), short, count(line.prompts)])
    });
    let short = balanced.lines.iter().filter(|line| line.short() > 0).count();
    let note = if short > 0 {
        format!(" {} could not be met: there are no more traces that pass the policy.", counted(short, "quota"))
    } else {
        String::new()
    };
    Table {
        caption: "Quotas",
        heads: heads(&balanced.by, &["Passed the policy", "Quota", "Kept", "Short by", "Prompts of those"]),
        rows: rows.collect(),
        note: format!("Every prompt’s first trace comes before any prompt’s second.{note}"),
    }
}

fn export(export: &Export) -> Vec<Block<'_>> {
    let size = export.files.iter().map(|file| file.bytes).sum();
    let files = counted(export.files.len(), "file");
    let mut blocks =
        vec![Block::Paragraph(format!("Hugging Face folder {}: {files}, {}.", export.folder, bytes(size)))];
    if !export.checks.is_empty() {
        blocks.push(Block::Checks(&export.checks));
    }
    if !export.files.is_empty() {
        let rows = export.files.iter().map(|file| row(Cell::Code(file.name.clone()), [bytes(file.bytes)]));
        let (heads, rows) = (heads("File", &["Size"]), rows.collect());
        blocks.push(Block::Table(Table { caption: "Exported files", heads, rows, note: String::new() }));
    }
    blocks
}

fn stages(report: &RunReport) -> Vec<Block<'_>> {
    if report.stages.is_empty() {
        return Vec::new();
    }
    let longest = report.stages.iter().map(|stage| stage.seconds).filter(|s| s.is_finite()).fold(0.0, f64::max);
    let rows = report.stages.iter().map(|stage| {
        vec![
            Cell::Text(stage.stage.clone()),
            Cell::Text(stage.summary.clone()),
            Cell::Text(if stage.cached { "cached" } else { "computed" }.to_owned()),
            Cell::Bar(duration(stage.seconds), stage.seconds / longest, colour("")),
            Cell::Code(stage.fingerprint.clone()),
        ]
    });
    let earlier = computed_earlier(report).map_or_else(String::new, |seconds| {
        format!(" {} of it is from earlier runs, whose results were cached.", duration(seconds))
    });
    let mut tables = vec![Block::Table(Table {
        caption: "Stages of the run",
        heads: ["Stage", "Result", "State", "Time", "Fingerprint"].map(|head| Cell::Text(head.to_owned())).into(),
        rows: rows.collect(),
        note: format!("All stages: {}.{earlier}", duration(total_seconds(report))),
    })];
    if !report.inputs.is_empty() {
        let rows = report.inputs.iter().map(|input| {
            let (place, fingerprint) = (Cell::Code(input.place.clone()), Cell::Code(input.fingerprint.clone()));
            vec![Cell::Text(input.name.clone()), place, fingerprint]
        });
        tables.push(Block::Table(Table {
            caption: "Inputs, where they were read",
            heads: ["Input", "Read from", "Fingerprint"].map(|head| Cell::Text(head.to_owned())).into(),
            rows: rows.collect(),
            note: String::new(),
        }));
    }
    tables
}
