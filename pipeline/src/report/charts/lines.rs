//! Line charts: how a quantity of the trainings went over their steps.

use maud::{Markup, html};

use super::colour;
use super::frame::{Frame, SIDE};
use super::scale::{Axis, Spread};
use crate::report::number::number;
use crate::report::text::{Shown, each};
use crate::report::{TrainingCurve, TrainingPoint};

/// Most points that are drawn of a curve; beyond, neighbours are drawn as one.
const MOST_POINTS: usize = 240;

/// A quantity of each training over its steps.
pub(in crate::report) struct LineChart {
    /// Unique on the page.
    pub(in crate::report) id: &'static str,
    /// What is drawn, with its unit.
    pub(in crate::report) title: &'static str,
    /// Pixels.
    pub(in crate::report) height: u32,
    /// For noisy values: draw a moving mean over them, and let the axis be logarithmic.
    pub(in crate::report) noisy: bool,
    /// The quantity.
    pub(in crate::report) value: fn(&TrainingPoint) -> f64,
    /// What the legend says of where a training came to; the last of noisy values says nothing.
    pub(in crate::report) end: fn(&TrainingCurve) -> Option<String>,
}

struct Line<'a> {
    name: &'a str,
    end: Option<String>,
    /// Step and value; finite.
    points: Vec<(f64, f64)>,
    /// The points as drawn by the main stroke.
    main: Vec<(f64, f64)>,
}

/// Draws all trainings into one chart; `None` where no value is finite.
pub(in crate::report) fn line_chart(chart: &LineChart, curves: &[TrainingCurve]) -> Option<Markup> {
    let lines: Vec<Line> = curves
        .iter()
        .map(|curve| {
            let points = finite_points(curve, chart.value);
            let main = if chart.noisy { thinned(&moving_mean(&points)) } else { thinned(&points) };
            Line { name: &curve.name, end: (chart.end)(curve), points, main }
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    let y_axis = Axis::fitting(all().map(|(_, y)| y), if chart.height > 200 { 6 } else { 4 }, chart.noisy)?;
    let first = all().map(|(x, _)| x).fold(f64::INFINITY, f64::min);
    let last = all().map(|(x, _)| x).fold(0.0, f64::max);
    let x_axis = Axis::exact(Spread::Linear, if first <= 1.0 { 0.0 } else { first }, last, 6);

    let window = lines.iter().map(|line| smoothing_window(line.points.len())).max().unwrap_or(1);
    let noisy = chart.noisy && window > 1;
    let marks = html! {
        @for line in lines.iter().filter(|_| noisy) {
            path class={ "faint " (colour(line.name)) } d=(path(&extremes(&line.points), &x_axis, &y_axis)) {}
        }
        @for line in &lines {
            path
                class={ "line " (colour(line.name)) }
                d=(path(&line.main, &x_axis, &y_axis))
                data-name=(Shown(line.name))
                data-points=(hover_data(&line.main, &x_axis, &y_axis)) {}
        }
    };
    let frame = Frame {
        id: chart.id,
        title: chart.title,
        description: each(&lines, |line| describe(line)),
        height: chart.height,
        x_axis: &x_axis,
        y_axis: &y_axis,
        x_label: "optimizer step",
    };
    Some(html! {
        figure class="plot" {
            figcaption {
                b { (Shown(chart.title)) }
                small {
                    @if y_axis.spread == Spread::Log { ", log scale" }
                    @if noisy { "; bold: mean over " (window) " steps" }
                }
                span class="legend" {
                    @for line in &lines {
                        @let class = colour(line.name);
                        span class={ "key " (class) } {
                            svg width="26" height="10" aria-hidden="true" { path class={ "line " (class) } d="M1 5H25" {} }
                            bdi { (Shown(line.name)) }
                            @if let Some(end) = &line.end { " " small { (Shown(end)) } }
                        }
                    }
                }
            }
            (frame.svg(&marks))
        }
    })
}

/// A curve in one line of text: at most 32 bars of eight heights, from its least value to its greatest.
pub(in crate::report) fn sparkline(curve: &TrainingCurve, value: fn(&TrainingPoint) -> f64) -> String {
    let values: Vec<f64> = finite_points(curve, value).into_iter().map(|(_, y)| y).collect();
    let size = values.len().div_ceil(32).max(1);
    let means: Vec<f64> = values.chunks(size).map(|run| run.iter().sum::<f64>() / run.len() as f64).collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let height = |mean: &f64| if high > low { ((mean - low) / (high - low) * 7.0).round() as usize } else { 0 };
    means.iter().map(|mean| ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][height(mean).min(7)]).collect()
}

fn finite_points(curve: &TrainingCurve, value: fn(&TrainingPoint) -> f64) -> Vec<(f64, f64)> {
    let points = curve.points.iter().map(|point| (f64::from(point.step), value(point)));
    points.filter(|(_, y)| y.is_finite()).collect()
}

/// The window of the moving mean: none for short trainings, else a fortieth of the steps, odd.
fn smoothing_window(points: usize) -> usize {
    if points < 60 { 1 } else { (points / 40).max(5) | 1 }
}

/// The centred moving mean; at the ends it is taken over the part of the window that there is.
fn moving_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = smoothing_window(points.len()) / 2;
    let mut sums = vec![0.0];
    for (_, y) in points {
        sums.push(sums[sums.len() - 1] + y);
    }
    let mean_at = |index: usize| {
        let (from, to) = (index.saturating_sub(reach), (index + reach + 1).min(points.len()));
        (sums[to] - sums[from]) / (to - from) as f64
    };
    (0..points.len()).map(|index| (points[index].0, mean_at(index))).collect()
}

/// At most [`MOST_POINTS`] points: the first and last and evenly spaced ones between.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    (0..MOST_POINTS).map(|index| points[index * (points.len() - 1) / (MOST_POINTS - 1)]).collect()
}

/// The least and the greatest of each run of neighbours, so that no spike is lost.
fn extremes(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(MOST_POINTS).max(1);
    let ends = |run: &[(f64, f64)]| {
        let least = run.iter().copied().reduce(|a, b| if b.1 < a.1 { b } else { a });
        let greatest = run.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
        let mut ends: Vec<_> = least.into_iter().chain(greatest).collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends.dedup();
        ends
    };
    points.chunks(size).flat_map(ends).collect()
}

fn path(points: &[(f64, f64)], x_axis: &Axis, y_axis: &Axis) -> String {
    let place =
        |(x, y): &(f64, f64)| format!("{:.1} {:.1}", x_axis.position(*x) * SIDE, (1.0 - y_axis.position(*y)) * SIDE);
    match points {
        [] => String::new(),
        // A stroke of no length with round ends is a dot.
        [only] => format!("M{}h0", place(only)),
        _ => format!("M{}", points.iter().map(place).collect::<Vec<_>>().join("L")),
    }
}

/// What the page's script shows under the pointer: place (0 to 1 from the top left), step and value of each point.
fn hover_data(points: &[(f64, f64)], x_axis: &Axis, y_axis: &Axis) -> String {
    let items = points
        .iter()
        .map(|(x, y)| format!("{:.4} {:.4} {x} {}", x_axis.position(*x), 1.0 - y_axis.position(*y), number(*y)));
    items.collect::<Vec<_>>().join(";")
}

fn describe(line: &Line) -> String {
    let steps = line.points.first().zip(line.points.last()).map(|(first, last)| (first.0, last.0));
    let Some((first, last)) = steps else { return String::new() };
    let values = || line.points.iter().map(|(_, y)| *y);
    let (least, greatest) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let end = line.end.as_ref().map_or_else(String::new, |end| format!(", {end}"));
    format!("{}: between {} and {} from step {first} to {last}{end}. ", line.name, number(least), number(greatest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moving_mean_is_not_shifted_and_keeps_the_ends() {
        let line: Vec<(f64, f64)> = (0..200).map(|x| (f64::from(x), 3.0 - 0.01 * f64::from(x))).collect();
        let means = moving_mean(&line);
        assert_eq!(means.len(), 200);
        // 200 points have a window of five: two to either side.
        for (a, b) in line[2..198].iter().zip(&means[2..198]) {
            assert!((a.1 - b.1).abs() < 1e-9);
        }
        assert!((means[0].1 - 2.99).abs() < 1e-9 && (means[199].1 - 1.02).abs() < 1e-9);
        assert!(moving_mean(&[]).is_empty());
    }

    #[test]
    fn thinning_keeps_the_ends_and_every_spike() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|x| (f64::from(x), 1.0)).collect();
        points[4_321].1 = 9.0;
        let thin = thinned(&points);
        assert_eq!((thin.len(), thin[0], thin[MOST_POINTS - 1]), (MOST_POINTS, points[0], points[9_999]));
        assert!(extremes(&points).contains(&(4321.0, 9.0)));
        assert!(extremes(&points).len() <= 2 * MOST_POINTS);
    }
}
