//! Horizontal bars: accuracies with their intervals, and the curation funnel.
//!
//! Names and numbers are text beside the bars, so that they wrap on a narrow page; each bar is an SVG as wide as its
//! place, drawn in percent.

use super::colour;
use super::scale::{Axis, Spread};
use crate::report::number::dropped;
use crate::report::number::{count, interval, percent};
use crate::report::text::{each, escape};
use crate::report::{AccuracyRow, FunnelRow, RunReport};

/// The accuracies as bars from zero, each with the whisker of its interval; a dashed line marks the teacher.
pub(in crate::report) fn accuracy_bars(report: &RunReport) -> String {
    let axis = accuracy_axis(&report.accuracy);
    let teacher = report.model("teacher").map(|row| row.accuracy);
    let rows = each(&report.accuracy, |row| {
        let title = format!("{}: {}, 95 % interval {}", row.label, percent(row.accuracy), interval(row.low, row.high));
        let reference = teacher.filter(|_| row.model != "teacher").map_or_else(String::new, |teacher| {
            let x = place(&axis, teacher);
            format!("<line class=\"reference\" x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"100%\"/>")
        });
        let marks = [grid(&axis), reference, bar(&axis, row), whisker(&axis, row)].concat();
        let value = format!("<b>{}</b> <small>{}</small>", percent(row.accuracy), interval(row.low, row.high));
        bar_row(colour(&row.model), 40, &row.label, &title, &marks, &value)
    });
    let labels = each(&axis.ticks, |tick| {
        format!("<text x=\"{}\" y=\"14\">{:.0}&#160;%</text>", place(&axis, *tick), tick * 100.0)
    });
    let key = match teacher {
        Some(_) if report.accuracy.len() > 1 => "<p class=\"note\">The dashed line marks the teacher.</p>",
        _ => "",
    };
    format!(
        "<div class=\"bars\">{rows}<div class=\"bar-row bar-axis\"><svg class=\"track\" height=\"18\" width=\"100%\" \
         aria-hidden=\"true\">{labels}</svg></div></div>{key}"
    )
}

/// Up to 100 %, or to less where all accuracies are small.
fn accuracy_axis(rows: &[AccuracyRow]) -> Axis {
    let ends = rows.iter().flat_map(|row| [row.accuracy, row.high]).filter(|value| value.is_finite());
    let highest = ends.fold(0.0, f64::max);
    if highest > 0.5 || highest <= 0.0 {
        Axis::exact(Spread::Linear, 0.0, 1.0, 5)
    } else {
        Axis::rounded(Spread::Linear, 0.0, highest, 5)
    }
}

/// The funnel: what each rule left (solid) and dropped (hatched).
pub(in crate::report) fn funnel_bars(steps: &[FunnelRow]) -> String {
    let total = steps.iter().map(|step| step.remaining).max().unwrap_or(0).max(1) as f64;
    let axis = Axis::exact(Spread::Linear, 0.0, total, 4);
    let rows = each(steps, |step| {
        let (kept, lost) = (place(&axis, step.remaining as f64), place(&axis, step.dropped as f64));
        let marks = format!(
            "<rect class=\"dropped\" x=\"{kept}\" y=\"5\" height=\"20\" width=\"{lost}\"/><rect class=\"bar\" y=\"5\" \
             height=\"20\" width=\"{kept}\"/>"
        );
        let lost = if step.dropped > 0 { format!("−{}", dropped(step)) } else { String::new() };
        let value = format!("<b>{}</b> <small>{}</small>", count(step.remaining as u64), lost);
        let title = format!("{}: {} left, {} dropped", step.rule, step.remaining, step.dropped);
        bar_row("c-after", 30, &step.rule, &title, &marks, &value)
    });
    let hatch = "<svg class=\"defs\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs><pattern id=\"hatch\" width=\"6\" \
                 height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><rect class=\"hatch-back\" \
                 width=\"6\" height=\"6\"/><rect class=\"hatch-line\" width=\"2\" height=\"6\"/></pattern></defs></svg>";
    format!("{hatch}<div class=\"bars funnel\">{rows}</div>")
}

fn bar_row(class: &str, height: u32, name: &str, title: &str, marks: &str, value: &str) -> String {
    format!(
        "<div class=\"bar-row {class}\"><div class=\"bar-name\"><bdi>{}</bdi></div><svg class=\"track\" role=\"img\" \
         width=\"100%\" height=\"{height}\"><title>{}</title>{marks}</svg><div class=\"bar-value\">{value}</div></div>\n",
        escape(name),
        escape(title)
    )
}

fn grid(axis: &Axis) -> String {
    each(&axis.ticks, |tick| {
        let x = place(axis, *tick);
        format!("<line class=\"grid\" x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"100%\"/>")
    })
}

fn bar(axis: &Axis, row: &AccuracyRow) -> String {
    if !row.accuracy.is_finite() {
        return String::new();
    }
    format!("<rect class=\"bar\" y=\"10\" height=\"20\" rx=\"2\" width=\"{}\"/>", place(axis, row.accuracy))
}

/// The interval as a line with caps: dark on the page, and in the page's colour where it lies on the bar.
fn whisker(axis: &Axis, row: &AccuracyRow) -> String {
    let (low, middle, high) = (row.low, row.accuracy, row.high);
    if ![low, middle, high].into_iter().all(f64::is_finite) {
        return String::new();
    }
    let line = |class: &str, x1: f64, x2: f64, y1: u32, y2: u32| {
        let (x1, x2) = (place(axis, x1), place(axis, x2));
        format!("<line class=\"{class}\" x1=\"{x1}\" x2=\"{x2}\" y1=\"{y1}\" y2=\"{y2}\"/>")
    };
    let (on_bar, on_page) = ("whisker on-bar", "whisker");
    [
        line(on_page, middle.max(low), high, 20, 20),
        line(on_page, high, high, 14, 26),
        line(on_bar, low, middle.min(high), 20, 20),
        line(if low < middle { on_bar } else { on_page }, low, low, 14, 26),
    ]
    .concat()
}

/// A value's place on the axis in percent of its width.
fn place(axis: &Axis, value: f64) -> String {
    format!("{:.2}%", axis.position(value) * 100.0)
}
