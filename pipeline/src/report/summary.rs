//! What the numbers of a run say: the headline, the key figures and the derived statistics that both formats print.

use std::cmp::Ordering;

use generate::evaluate::INTERVALS;

use super::number::{compact, count, counted, duration, loss, number, percent};
use super::{AccuracyRow, FunnelRow, RunReport, TrainingCurve, seeds};

/// The result of the run in one sentence, made from the best evidence it has.
pub(super) fn headline(report: &RunReport) -> String {
    let (before, after) = (report.model("before"), report.model("after"));
    if let Some(headline) = seeds::headline(report) {
        return headline;
    }
    if let Some(after) = after {
        let result = after.measured();
        let (verb, of) = match before.map(|row| (after.accuracy.total_cmp(&row.accuracy), percent(row.accuracy))) {
            Some((Ordering::Greater, from)) => (format!("The student went from {from} to"), "on"),
            Some((Ordering::Less, from)) => (format!("The student fell from {from} to"), "on"),
            Some((Ordering::Equal, _)) => ("The student stayed at".to_owned(), "on"),
            None => ("The distilled student solves".to_owned(), "of"),
        };
        let control = report.model("control").map_or_else(String::new, |control| {
            format!("; trained on bare answers instead, it reached {}", percent(control.accuracy))
        });
        return format!("{verb} {result} {of} {}{control}.", counted(after.problems, "unseen problem"));
    }
    if let Some(row) = before.or_else(|| report.accuracy.iter().find(|row| row.accuracy.is_finite())) {
        return format!(
            "{} solves {} of {}.",
            capitalised(&row.label),
            row.measured(),
            counted(row.problems, "unseen problem")
        );
    }
    if let Some(of) = report.held_out_loss.filter(|of| of.before.is_finite() && of.after.is_finite()) {
        let verb = if of.after < of.before { "fell" } else { "went" };
        return format!(
            "The student’s held-out loss {verb} from {} to {} nats per token.",
            loss(of.before),
            loss(of.after)
        );
    }
    if report.traces_total > 0 {
        let share = percent(report.traces_selected as f64 / report.traces_total as f64);
        return format!(
            "{} of {} were selected ({share}).",
            count(report.traces_selected as u64),
            counted(report.traces_total, "trace")
        );
    }
    match report.stages.len() {
        0 => format!("Run {}.", report.name),
        stages => format!("Run {} finished {}.", report.name, counted(stages, "stage")),
    }
}

/// What has to be said beside the headline: the teacher's mark, and where the evidence is thin.
pub(super) fn remarks(report: &RunReport) -> Vec<String> {
    let mut remarks = Vec::new();
    let Some(after) = report.model("after") else { return remarks };
    let before = report.model("before");
    remarks.extend(seeds::remark(report));
    if let Some(teacher) = report.model("teacher") {
        let relation = match before {
            _ if after.accuracy >= teacher.accuracy => ", which the student matches or exceeds".to_owned(),
            Some(before) if before.accuracy < after.accuracy => {
                let closed = (after.accuracy - before.accuracy) / (teacher.accuracy - before.accuracy);
                format!(": the student closed {:.0} % of the distance to it", closed * 100.0)
            }
            _ => String::new(),
        };
        remarks.push(format!("The teacher reaches {}{relation}.", percent(teacher.accuracy)));
    }
    for (other, name) in [(before, "before distillation"), (report.model("control"), "of the control")] {
        if other.is_some_and(|other| overlap(other, after)) {
            remarks.push(format!(
                "The intervals of the student after distillation and {name} overlap: on {} the difference is not settled.",
                counted(after.problems, "problem")
            ));
        }
    }
    if after.truncated >= 0.05 {
        remarks.push(format!("{} of the student’s answers ran into the token limit.", percent(after.truncated)));
    }
    remarks
}

/// How the accuracies were measured; `None` without any.
pub(super) fn protocol(report: &RunReport) -> Option<String> {
    let first = report.accuracy.first()?;
    let alike = |same: fn(&AccuracyRow, &AccuracyRow) -> bool| report.accuracy.iter().all(|row| same(row, first));
    let problems = if alike(|a, b| a.problems == b.problems) {
        format!(" on {} that no training saw", counted(first.problems, "problem"))
    } else {
        " on problems that no training saw".to_owned()
    };
    let samples = if alike(|a, b| a.samples_per_problem == b.samples_per_problem) {
        format!(", {} each", counted(first.samples_per_problem as usize, "sampled answer"))
    } else {
        String::new()
    };
    Some(format!("Pass@1{problems}{samples}, with 95 % intervals. {INTERVALS}"))
}

/// One key figure.
pub(super) struct Figure {
    /// The number.
    pub(super) value: String,
    /// What it counts.
    pub(super) label: String,
}

/// The run in a few numbers.
pub(super) fn figures(report: &RunReport) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |value: String, label: String| figures.push(Figure { value, label });
    if report.traces_total > 0 {
        add(count(report.traces_selected as u64), format!("traces selected of {}", count(report.traces_total as u64)));
    }
    if let Some(curve) = report.training.iter().find(|curve| curve.name == "student").or(report.training.first()) {
        let of = if curve.trained_parameters == curve.parameters {
            String::new()
        } else {
            format!(" of {}", count(curve.parameters))
        };
        add(count(curve.trained_parameters), format!("parameters trained{of}"));
        let speed = if curve.tokens_per_second.is_finite() {
            format!(" at {} a second", number(curve.tokens_per_second))
        } else {
            String::new()
        };
        add(compact(curve.tokens), format!("training tokens{speed}"));
    }
    if let Some(of) = report.held_out_loss {
        add(loss(of.after), format!("held-out loss, from {}", loss(of.before)));
    }
    if !report.stages.is_empty() {
        let cached = report.stages.iter().filter(|stage| stage.cached).count();
        let of_these = if cached > 0 { format!(", {cached} cached") } else { String::new() };
        add(duration(total_seconds(report)), format!("for {}{of_these}", counted(report.stages.len(), "stage")));
    }
    figures
}

/// Seconds of all stages, whenever they were computed.
pub(super) fn total_seconds(report: &RunReport) -> f64 {
    report.stages.iter().map(|stage| stage.seconds).filter(|seconds| seconds.is_finite()).sum()
}

/// Seconds of the stages that this run took from earlier ones; `None` if it computed all.
pub(super) fn computed_earlier(report: &RunReport) -> Option<f64> {
    let cached = || report.stages.iter().filter(|stage| stage.cached);
    cached().next()?;
    Some(cached().map(|stage| stage.seconds).filter(|seconds| seconds.is_finite()).sum())
}

/// The funnel from all traces to those selected, with the ends that the rules leave out.
pub(super) fn funnel_steps(report: &RunReport) -> Vec<FunnelRow> {
    if report.funnel.is_empty() {
        return Vec::new();
    }
    let total = report.traces_total.max(report.funnel[0].remaining + report.funnel[0].dropped);
    let mut steps = vec![FunnelRow { rule: "all traces".to_owned(), dropped: 0, remaining: total }];
    steps.extend(report.funnel.iter().cloned());
    let left = steps.last().map_or(total, |step| step.remaining);
    if left > report.traces_selected {
        let dropped = left - report.traces_selected;
        steps.push(FunnelRow { rule: "selected".to_owned(), dropped, remaining: report.traces_selected });
    }
    steps
}

/// The models that the table by kind has columns for, with their labels: in the order of the accuracies, then others.
pub(super) fn kind_columns(report: &RunReport) -> Vec<(String, String)> {
    let has = |model: &str| report.accuracy_by_kind.iter().any(|row| row.accuracy.contains_key(model));
    let mut columns: Vec<(String, String)> = report
        .accuracy
        .iter()
        .filter(|row| has(&row.model))
        .map(|row| (row.model.clone(), row.label.clone()))
        .collect();
    for model in report.accuracy_by_kind.iter().flat_map(|row| row.accuracy.keys()) {
        if !columns.iter().any(|(known, _)| known == model) {
            columns.push((model.clone(), model.clone()));
        }
    }
    columns
}

/// A training in a row of numbers.
pub(super) struct TrainingSummary {
    /// Steps trained.
    pub(super) steps: u32,
    /// Largest gradient norm.
    pub(super) peak_grad_norm: f64,
    /// Steps whose loss or gradient norm was not finite.
    pub(super) not_finite: usize,
}

/// Summarises a training curve; numbers that cannot be had are NaN, which prints as a dash.
pub(super) fn training_summary(curve: &TrainingCurve) -> TrainingSummary {
    let norms = curve.points.iter().map(|point| point.grad_norm).filter(|norm| norm.is_finite());
    TrainingSummary {
        steps: curve.points.last().map_or(0, |point| point.step),
        peak_grad_norm: norms.reduce(f64::max).unwrap_or(f64::NAN),
        not_finite: curve.points.iter().filter(|point| !point.loss.is_finite() || !point.grad_norm.is_finite()).count(),
    }
}

/// The lengths of a set of traces in a row of numbers.
pub(super) struct LengthSummary {
    /// Half are at most this long.
    pub(super) median: u32,
    /// The mean.
    pub(super) mean: f64,
    /// 95 % are at most this long.
    pub(super) p95: u32,
    /// The longest.
    pub(super) longest: u32,
}

/// Summarises lengths (percentiles by nearest rank); `None` if there are none.
pub(super) fn length_summary(lengths: &[u32]) -> Option<LengthSummary> {
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable();
    let rank = |share: f64| sorted.get(((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied();
    let mean = sorted.iter().map(|length| f64::from(*length)).sum::<f64>() / sorted.len() as f64;
    Some(LengthSummary { median: rank(0.5)?, mean, p95: rank(0.95)?, longest: *sorted.last()? })
}

fn overlap(a: &AccuracyRow, b: &AccuracyRow) -> bool {
    a.low <= b.high && b.low <= a.high
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
