//! The section on the trainings: loss, gradient norm and learning rate over the steps, and each training in numbers.

use maud::{Markup, html};
use train::TrainingLoss;

use super::blocks::{Block, Cell, Table, heads, row};
use super::charts::{HELD_OUT, LineChart, colour, line_chart, sparkline};
use super::number::{MISSING, count, counted, loss, number, training_loss, training_loss_is};
use super::summary::training_summary;
use super::text::each;
use super::{RunReport, TrainingCurve, TrainingPoint};

const LOSS: LineChart = LineChart {
    id: "loss",
    title: "Loss, nats per token",
    height: 260,
    noisy: true,
    value: |point| point.loss,
    // Of a training what the table says too; of the held-out traces what was measured last.
    end: |curve| match &curve.loss {
        Some(of) => Some(training_loss_end(of)),
        None => curve.points.last().map(|point| format!("ends at {}", loss(point.loss))),
    },
};
const GRAD_NORM: LineChart = LineChart {
    id: "norm",
    title: "Gradient norm",
    height: 150,
    noisy: true,
    value: |point| point.grad_norm,
    end: |_| None,
};
const LEARNING_RATE: LineChart = LineChart {
    id: "rate",
    title: "Learning rate",
    height: 150,
    noisy: false,
    value: |point| point.learning_rate,
    end: |curve| curve.points.last().map(|point| format!("ends at {}", number(point.learning_rate))),
};

fn training_loss_end(of: &TrainingLoss) -> String {
    match (of.start, of.steps) {
        (None, 1) => format!("{} in its only step", loss(of.end)),
        (None, steps) => format!("{} over its {steps} steps", loss(of.end)),
        (Some(_), steps) => format!("{} over the last {steps} steps", loss(of.end)),
    }
}

pub(super) fn training(report: &RunReport) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let draw = |chart: &LineChart| line_chart(chart, &report.training);
    let losses = loss_curves(report);
    if let Some(html) = line_chart(&LOSS, &losses) {
        let rows = losses.iter().map(|curve| {
            vec![Cell::Model(curve.name.clone(), colour(&curve.name)), Cell::Text(sparkline(curve, LOSS.value))]
        });
        let heads = vec![Cell::Text("Training".to_owned()), Cell::Text("Loss over the steps".to_owned())];
        let (caption, rows, note) = ("Loss", rows.collect(), String::new());
        blocks.push(Block::Drawing { html, instead: Some(Table { caption, heads, rows, note }) });
    }
    let small: Vec<Markup> = [GRAD_NORM, LEARNING_RATE].iter().filter_map(draw).collect();
    if !small.is_empty() {
        let html = html! { div class="pair" { @for chart in &small { (chart) } } };
        blocks.push(Block::Drawing { html, instead: None });
    }
    if !report.training.is_empty() {
        blocks.push(Block::Table(training_table(report)));
    }
    if let Some(of) = report.held_out_loss {
        blocks.push(Block::Paragraph(format!(
            "On {} supervised tokens of traces kept out of training the loss of the student, rounded to bf16 as it is \
             exported, is {} nats per token (perplexity {}), before distillation {} (perplexity {}).",
            count(of.tokens),
            loss(of.after),
            number(of.after.exp()),
            loss(of.before),
            number(of.before.exp())
        )));
    }
    blocks
}

/// The trainings, and beside the student's its loss on held-out traces.
fn loss_curves(report: &RunReport) -> Vec<TrainingCurve> {
    let mut curves = report.training.clone();
    if let Some(at) = report.training.iter().position(|curve| curve.name == "student") {
        let student = &report.training[at];
        let measured =
            student.points.iter().filter_map(|point| Some(TrainingPoint { loss: point.eval_loss?, ..*point }));
        let points: Vec<TrainingPoint> = measured.collect();
        if !points.is_empty() {
            curves.insert(at + 1, TrainingCurve { name: HELD_OUT.to_owned(), points, loss: None, ..student.clone() });
        }
    }
    curves
}

fn training_table(report: &RunReport) -> Table {
    let summaries: Vec<_> = report.training.iter().map(training_summary).collect();
    let rows = report.training.iter().zip(&summaries).map(|(curve, summary)| {
        let numbers = [
            count(curve.trained_parameters),
            count(u64::from(summary.steps)),
            count(curve.tokens),
            number(curve.tokens_per_second),
            curve.loss.as_ref().map_or_else(|| MISSING.to_owned(), training_loss),
            number(summary.peak_grad_norm),
        ];
        row(Cell::Model(curve.name.clone(), colour(&curve.name)), numbers)
    });
    // Trainings of the same number of steps have the same ends.
    let mut means: Vec<String> =
        report.training.iter().filter_map(|curve| curve.loss.as_ref()).map(training_loss_is).collect();
    means.dedup();
    let means = match means.as_slice() {
        [] => String::new(),
        [same] => format!("Loss: {same}."),
        _ => {
            each(report.training.iter().filter_map(|curve| Some((&curve.name, curve.loss.as_ref()?))), |(name, of)| {
                format!("Loss of {name}: {}. ", training_loss_is(of))
            })
        }
    };
    let broken: usize = summaries.iter().map(|summary| summary.not_finite).sum();
    let broken = match broken {
        0 => String::new(),
        _ => format!(" {} with a loss or gradient norm that is not finite left out.", counted(broken, "step")),
    };
    Table {
        caption: "Trainings in numbers",
        heads: heads("Training", &["Parameters trained", "Steps", "Tokens", "Tokens/s", "Loss", "Peak gradient norm"]),
        rows: rows.collect(),
        note: format!("{means}{broken}"),
    }
}
