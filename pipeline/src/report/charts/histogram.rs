//! The histogram of trace lengths: every series over the same bins, the parts before the whole.

use maud::{Markup, html};

use super::frame::{Frame, SIDE};
use super::scale::{Axis, Spread, round_step};
use crate::report::RunReport;
use crate::report::number::{count, number};
use crate::report::text::{Shown, each};

/// Most bins, about.
const BINS: usize = 48;

/// Draws the lengths of all series over the same bins; `None` without lengths.
pub(in crate::report) fn length_histogram(report: &RunReport) -> Option<Markup> {
    let series: Vec<_> = report.lengths.iter().filter(|series| !series.lengths.is_empty()).collect();
    let bins = Bins::for_lengths(series.iter().flat_map(|series| series.lengths.iter().copied()))?;
    let counts: Vec<Vec<usize>> = series.iter().map(|series| bins.count(&series.lengths)).collect();
    let most = counts.iter().flatten().copied().max().unwrap_or(0);
    let y_axis = Axis::rounded(Spread::Linear, 0.0, most as f64, 5);
    let unit = if report.length_unit.is_empty() { "units" } else { &report.length_unit };

    let marks = html! {
        @for bin in 0..bins.edges.len() - 1 {
            @let (low, high) = (bins.edges[bin], bins.edges[bin + 1]);
            @let (left, right) = (bins.axis.position(low) * SIDE, bins.axis.position(high) * SIDE);
            @let numbers = each(series.iter().zip(&counts), |(series, counts)| {
                format!("; {}: {}", series.name, count(counts[bin] as u64))
            });
            g {
                title { (Shown(&format!("{}–{} {unit}{numbers}", number(low), number(high)))) }
                @for (index, counts) in counts.iter().enumerate() {
                    @let height = y_axis.position(counts[bin] as f64) * SIDE;
                    @let width = (right - left - 2.0).max(1.0);
                    rect
                        class=(class(index))
                        x=(format!("{:.1}", left + 1.0))
                        y=(format!("{:.1}", SIDE - height))
                        width=(format!("{width:.1}"))
                        height=(format!("{height:.1}")) {}
                }
                // An unseen rectangle makes the whole column answer to the pointer.
                rect class="touch" x=(format!("{left:.1}")) width=(format!("{:.1}", right - left)) height=(SIDE) {}
            }
        }
    };
    let description = each(series.iter().zip(&counts), |(series, counts)| {
        let peak = (0..counts.len()).max_by_key(|bin| counts[*bin]).unwrap_or(0);
        format!(
            "{}: {} traces; the most frequent lengths are {} to {} {unit}. ",
            series.name,
            series.lengths.len(),
            number(bins.edges[peak]),
            number(bins.edges[peak + 1])
        )
    });
    let frame = Frame {
        id: "lengths",
        title: "Number of traces by length",
        description,
        height: 240,
        x_axis: &bins.axis,
        y_axis: &y_axis,
        x_label: unit,
    };
    Some(html! {
        figure class="plot" {
            figcaption {
                small {
                    "Number of traces by length in " (Shown(unit))
                    @if bins.axis.spread == Spread::Log { ", log scale" }
                }
                span class="legend" {
                    @for (index, series) in series.iter().enumerate() {
                        span class="key" {
                            svg width="14" height="14" aria-hidden="true" {
                                rect class=(class(index)) width="14" height="14" rx="2" {}
                            }
                            bdi { (Shown(&series.name)) }
                            " " small { (count(series.lengths.len() as u64)) }
                        }
                    }
                }
            }
            (frame.svg(&marks))
        }
    })
}

/// The class that colours a series, by its place.
fn class(index: usize) -> &'static str {
    ["l-0", "l-1", "l-2", "l-3"][index.min(3)]
}

struct Bins {
    axis: Axis,
    edges: Vec<f64>,
}

impl Bins {
    /// Round linear bins, or logarithmic ones where the longest is far beyond the shortest.
    fn for_lengths(lengths: impl Iterator<Item = u32>) -> Option<Self> {
        let mut sorted: Vec<u32> = lengths.collect();
        sorted.sort_unstable();
        let (shortest, longest) = (f64::from(*sorted.first()?), f64::from(*sorted.last()?));
        let usual = f64::from(sorted[sorted.len() * 3 / 4]);
        if shortest >= 1.0 && longest > 6.0 * usual {
            let (low, ratio) = (shortest.ln(), ((longest + 1.0) / shortest).ln());
            let edges: Vec<f64> = (0..=BINS).map(|bin| (low + ratio * bin as f64 / BINS as f64).exp()).collect();
            return Some(Self { axis: Axis::exact(Spread::Log, shortest, longest + 1.0, 6), edges });
        }
        let step = round_step((longest - shortest).max(1.0), BINS).max(1.0);
        let first = (shortest / step).floor();
        let bins = (longest / step).floor() - first + 1.0;
        let edges: Vec<f64> = (0..=bins as usize).map(|bin| (first + bin as f64) * step).collect();
        Some(Self { axis: Axis::exact(Spread::Linear, edges[0], edges[edges.len() - 1], 6), edges })
    }

    fn count(&self, lengths: &[u32]) -> Vec<usize> {
        let bins = self.edges.len() - 1;
        let mut counts = vec![0; bins];
        for length in lengths {
            let beyond = self.edges.partition_point(|edge| *edge <= f64::from(*length));
            counts[beyond.saturating_sub(1).min(bins - 1)] += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_counted_once() {
        for lengths in [vec![5], vec![0, 0, 7], (0..500).collect(), vec![100, 120, 130, 90_000], vec![u32::MAX, 0]] {
            let bins = Bins::for_lengths(lengths.iter().copied()).unwrap();
            assert_eq!(bins.count(&lengths).iter().sum::<usize>(), lengths.len());
            assert!(bins.edges.len() <= 2 * BINS + 2, "{}", bins.edges.len());
            assert!(bins.edges[0] <= f64::from(*lengths.iter().min().unwrap()));
        }
    }
}
