//! The frame of a chart: axes, ticks, grid and labels around a drawing, as inline SVG.
//!
//! The outer SVG is as wide as the page lets it be and holds text at its natural size; an inner one stretches a
//! 1000 by 1000 square over the same area and holds the marks, whose strokes do not scale. So one drawing is legible
//! on a phone and on paper, without a script.

use maud::{Markup, html};

use super::scale::Axis;
use crate::report::number::number;
use crate::report::text::Shown;

/// Side of the inner square.
pub(in crate::report) const SIDE: f64 = 1000.0;

/// Axes, grid and labels around a drawing.
pub(in crate::report) struct Frame<'a> {
    /// Unique on the page.
    pub(in crate::report) id: &'static str,
    /// What is drawn.
    pub(in crate::report) title: &'a str,
    /// What is to be seen, for those who cannot see it.
    pub(in crate::report) description: String,
    /// Pixels.
    pub(in crate::report) height: u32,
    /// From left to right.
    pub(in crate::report) x_axis: &'a Axis,
    /// From the bottom to the top.
    pub(in crate::report) y_axis: &'a Axis,
    /// What the x axis counts.
    pub(in crate::report) x_label: &'a str,
}

impl Frame<'_> {
    /// The drawing within its frame; `marks` are in the coordinates of the inner square, y downwards.
    pub(in crate::report) fn svg(&self, marks: &Markup) -> Markup {
        let Self { id, height, .. } = self;
        html! {
            div class="frame" {
                svg role="img" aria-labelledby={ (id) "-title " (id) "-desc" } width="100%" height=(height) {
                    title id={ (id) "-title" } { (Shown(self.title)) }
                    desc id={ (id) "-desc" } { (Shown(&self.description)) }
                    @for tick in &self.y_axis.ticks {
                        @let y = (1.0 - self.y_axis.position(*tick)) * f64::from(*height);
                        @let (line, label) = (format!("{y:.1}"), format!("{:.1}", y + 4.0));
                        line class="grid" x1="0" x2="100%" y1=(line) y2=(line) {}
                        text class="y" x="-8" y=(label) { (number(*tick)) }
                    }
                    @for tick in &self.x_axis.ticks {
                        @let x = format!("{:.2}%", self.x_axis.position(*tick) * 100.0);
                        line class="tick" x1=(x) x2=(x) y1=(height) y2=(height + 5) {}
                        text x=(x) y=(height + 19) { (number(*tick)) }
                    }
                    text class="axis" x="100%" y=(height + 37) { (Shown(self.x_label)) }
                    svg viewBox={ "0 0 " (SIDE) " " (SIDE) } preserveAspectRatio="none" width="100%" height=(height) {
                        (marks)
                    }
                    line class="base" x1="0" x2="100%" y1=(height) y2=(height) {}
                }
            }
        }
    }
}
