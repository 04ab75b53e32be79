//! Horizontal bars: accuracies with their intervals, and the curation funnel.
//!
//! Names and numbers are text beside the bars, so that they wrap on a narrow page; each bar is an SVG as wide as its
//! place, drawn in percent.

use maud::{Markup, PreEscaped, html};

use super::colour;
use super::scale::{Axis, Spread};
use crate::report::number::{count, dropped, interval, percent};
use crate::report::text::Shown;
use crate::report::{AccuracyRow, FunnelRow, RunReport};

/// The accuracies as bars from zero, each with the whisker of its interval; a dashed line marks the teacher.
pub(in crate::report) fn accuracy_bars(report: &RunReport) -> Markup {
    let axis = accuracy_axis(&report.accuracy);
    let teacher = report.model("teacher").map(|row| row.accuracy);
    html! {
        div class="bars" {
            @for row in &report.accuracy {
                @let interval = interval(row.low, row.high);
                @let title = format!("{}: {}, 95 % interval {interval}", row.label, percent(row.accuracy));
                @let marks = html! {
                    (grid(&axis))
                    @if let Some(teacher) = teacher.filter(|_| row.model != "teacher") {
                        @let x = place(&axis, teacher);
                        line class="reference" x1=(x) x2=(x) y1="0" y2="100%" {}
                    }
                    (bar(&axis, row))
                    (whisker(&axis, row))
                };
                @let value = html! { b { (percent(row.accuracy)) } " " small { (interval) } };
                (bar_row(colour(&row.model), 40, &row.label, &title, &marks, &value))
            }
            div class="bar-row bar-axis" {
                svg class="track" height="18" width="100%" aria-hidden="true" {
                    @for tick in &axis.ticks {
                        text x=(place(&axis, *tick)) y="14" {
                            (PreEscaped(format!("{:.0}&#160;%", tick * 100.0)))
                        }
                    }
                }
            }
        }
        @if teacher.is_some() && report.accuracy.len() > 1 { p class="note" { "The dashed line marks the teacher." } }
    }
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
pub(in crate::report) fn funnel_bars(steps: &[FunnelRow]) -> Markup {
    let total = steps.iter().map(|step| step.remaining).max().unwrap_or(0).max(1) as f64;
    let axis = Axis::exact(Spread::Linear, 0.0, total, 4);
    html! {
        svg class="defs" width="0" height="0" aria-hidden="true" {
            defs {
                pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect class="hatch-back" width="6" height="6" {}
                    rect class="hatch-line" width="2" height="6" {}
                }
            }
        }
        div class="bars funnel" {
            @for step in steps {
                @let (kept, lost) = (place(&axis, step.remaining as f64), place(&axis, step.dropped as f64));
                @let title = format!("{}: {} left, {} dropped", step.rule, step.remaining, step.dropped);
                @let marks = html! {
                    rect class="dropped" x=(kept) y="5" height="20" width=(lost) {}
                    rect class="bar" y="5" height="20" width=(kept) {}
                };
                @let value = html! {
                    b { (count(step.remaining as u64)) } " "
                    small { @if step.dropped > 0 { "−" (dropped(step)) } }
                };
                (bar_row("c-after", 30, &step.rule, &title, &marks, &value))
            }
        }
    }
}

fn bar_row(class: &str, height: u32, name: &str, title: &str, marks: &Markup, value: &Markup) -> Markup {
    html! {
        div class={ "bar-row " (class) } {
            div class="bar-name" { bdi { (Shown(name)) } }
            svg class="track" role="img" width="100%" height=(height) { title { (Shown(title)) } (marks) }
            div class="bar-value" { (value) }
        }
    }
}

fn grid(axis: &Axis) -> Markup {
    html! {
        @for tick in &axis.ticks {
            @let x = place(axis, *tick);
            line class="grid" x1=(x) x2=(x) y1="0" y2="100%" {}
        }
    }
}

fn bar(axis: &Axis, row: &AccuracyRow) -> Markup {
    html! {
        @if row.accuracy.is_finite() {
            rect class="bar" y="10" height="20" rx="2" width=(place(axis, row.accuracy)) {}
        }
    }
}

/// The interval as a line with caps: dark on the page, and in the page's colour where it lies on the bar.
fn whisker(axis: &Axis, row: &AccuracyRow) -> Markup {
    let (low, middle, high) = (row.low, row.accuracy, row.high);
    if ![low, middle, high].into_iter().all(f64::is_finite) {
        return html! {};
    }
    let (on_bar, on_page) = ("whisker on-bar", "whisker");
    let lines = [
        (on_page, middle.max(low), high, 20, 20),
        (on_page, high, high, 14, 26),
        (on_bar, low, middle.min(high), 20, 20),
        (if low < middle { on_bar } else { on_page }, low, low, 14, 26),
    ];
    html! {
        @for (class, x1, x2, y1, y2) in lines {
            line class=(class) x1=(place(axis, x1)) x2=(place(axis, x2)) y1=(y1) y2=(y2) {}
        }
    }
}

/// A value's place on the axis in percent of its width.
fn place(axis: &Axis, value: f64) -> String {
    format!("{:.2}%", axis.position(value) * 100.0)
}
