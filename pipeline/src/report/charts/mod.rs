//! The drawings of the report, as inline SVG.

mod bars;
mod frame;
mod histogram;
mod lines;
mod scale;

pub(super) use self::bars::{accuracy_bars, funnel_bars};
pub(super) use self::histogram::length_histogram;
pub(super) use self::lines::{LineChart, line_chart, sparkline};

/// The name of the student's curve on held-out traces.
pub(super) const HELD_OUT: &str = "student, held-out traces";

/// The CSS class that colours a model or a training.
pub(super) fn colour(model: &str) -> &'static str {
    match model {
        "teacher" => "c-teacher",
        "before" => "c-before",
        "after" | "student" => "c-after",
        "control" => "c-control",
        HELD_OUT => "c-held-out",
        _ => "c-other",
    }
}
