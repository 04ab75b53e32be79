//! Axes: where a value goes, and which round numbers to print.

/// How values are spread over an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::report) enum Spread {
    /// Equal steps for equal differences.
    Linear,
    /// Equal steps for equal ratios; values must be positive.
    Log,
}

/// An axis with its ends and its ticks.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::report) struct Axis {
    /// How values are spread.
    pub(in crate::report) spread: Spread,
    /// The value at its start.
    pub(in crate::report) low: f64,
    /// The value at its end.
    pub(in crate::report) high: f64,
    /// Round values from low to high.
    pub(in crate::report) ticks: Vec<f64>,
}

impl Axis {
    /// An axis from exactly `low` to `high` with about `wanted` ticks within.
    pub(in crate::report) fn exact(spread: Spread, low: f64, high: f64, wanted: usize) -> Self {
        let high = if high > low { high } else { low + low.abs().max(1.0) };
        let ticks = match spread {
            Spread::Linear => linear_ticks(low, high, wanted),
            Spread::Log => log_ticks(low, high, wanted),
        };
        Self { spread, low, high, ticks }
    }

    /// An axis that holds `low` to `high` and begins and ends with a tick.
    pub(in crate::report) fn rounded(spread: Spread, low: f64, high: f64, wanted: usize) -> Self {
        match spread {
            Spread::Linear => {
                let step = round_step(if high > low { high - low } else { low.abs().max(1.0) }, wanted);
                let first = (low / step + 1e-9).floor() as i64;
                let last = ((high / step - 1e-9).ceil() as i64).max(first.saturating_add(1));
                let ticks = multiples(step, first, last);
                Self { spread, low: first as f64 * step, high: last as f64 * step, ticks }
            }
            Spread::Log => Self::exact(spread, log_floor(low), log_ceil(high).max(log_floor(low) * 2.0), wanted),
        }
    }

    /// Suits the values: linear from zero or from near the least; logarithmic, if that may be, where they span a factor
    /// of eight. `None` without values.
    pub(in crate::report) fn fitting(
        values: impl Iterator<Item = f64> + Clone,
        wanted: usize,
        may_be_log: bool,
    ) -> Option<Self> {
        let low = values.clone().reduce(f64::min)?;
        let high = values.reduce(f64::max)?;
        if may_be_log && low > 0.0 && high / low > 8.0 {
            return Some(Self::rounded(Spread::Log, low, high, wanted));
        }
        // Zero belongs on the axis unless all values are far from it.
        let low = if low > 0.0 && low < 0.6 * high { 0.0 } else { low };
        Some(Self::rounded(Spread::Linear, low, high, wanted))
    }

    /// Where a value goes: 0 at the start of the axis, 1 at its end. Values beyond stay at the ends.
    pub(in crate::report) fn position(&self, value: f64) -> f64 {
        let share = match self.spread {
            Spread::Linear => (value - self.low) / (self.high - self.low),
            Spread::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }
}

/// The step of 1, 2 or 5 times a power of ten that divides a range into at most about `wanted` parts.
pub(in crate::report) fn round_step(range: f64, wanted: usize) -> f64 {
    let rough = range / wanted.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| rough <= factor * power * 1.0001).unwrap_or(10.0);
    (factor * power).max(f64::MIN_POSITIVE)
}

fn multiples(step: f64, first: i64, last: i64) -> Vec<f64> {
    (first..=last).map(|index| index as f64 * step).collect()
}

fn linear_ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let step = round_step(high - low, wanted);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    multiples(step, first, last)
}

/// Steps of 1-2-5 while they are few, else powers of ten.
fn log_ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let within = |value: &f64| *value >= low * 0.9999 && *value <= high * 1.0001;
    let powers = |factors: &[f64], stride: usize| -> Vec<f64> {
        let tens = decades.clone().step_by(stride).map(|decade| 10_f64.powi(decade));
        tens.flat_map(|ten| factors.iter().map(move |factor| factor * ten)).filter(within).collect()
    };
    let fine = powers(&[1.0, 2.0, 5.0], 1);
    if fine.len() <= wanted + 2 {
        return fine;
    }
    let stride = decades.clone().count().div_ceil(wanted.max(1) + 1);
    powers(&[1.0], stride)
}

fn log_floor(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|factor| factor * power).find(|round| *round <= value * 1.0001).unwrap_or(power)
}

fn log_ceil(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|round| *round >= value * 0.9999)
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rounded_axis_holds_its_values_and_begins_and_ends_with_a_tick() {
        for (low, high) in
            [(0.0, 1.93), (0.3, 0.31), (-4.0, 17.0), (5.0, 5.0), (0.0, 0.0), (1e-7, 2e-5), (-1e-320, 1e-320)]
        {
            let axis = Axis::rounded(Spread::Linear, low, high, 5);
            let slack = 1e-9 * (high - low) + f64::MIN_POSITIVE;
            assert!(axis.low <= low + slack && axis.high >= high - slack, "{axis:?}");
            assert!((axis.ticks[0] - axis.low).abs() < 1e-9 * axis.high.abs().max(1.0), "{axis:?}");
            assert!((2..=9).contains(&axis.ticks.len()), "{axis:?}");
        }
    }

    #[test]
    fn values_far_apart_get_a_logarithmic_axis() {
        let axis = Axis::fitting([0.04, 0.2, 2.3].into_iter(), 5, true).unwrap();
        assert_eq!((axis.spread, axis.low, axis.high), (Spread::Log, 0.02, 5.0));
        assert!((axis.position(0.02)).abs() < 1e-12);
        assert!((axis.position(5.0) - 1.0).abs() < 1e-12);
        assert_eq!(Axis::fitting([1.0, 2.0].into_iter(), 5, true).unwrap().spread, Spread::Linear);
        assert_eq!(Axis::fitting([0.0, 2e-5].into_iter(), 5, true).unwrap().spread, Spread::Linear);
        assert!(Axis::fitting([1e-6, 2e-5].into_iter(), 5, false).unwrap().low.abs() < 1e-12);
        assert!(Axis::fitting(std::iter::empty(), 5, true).is_none());
    }

    #[test]
    fn a_logarithmic_axis_of_many_decades_keeps_few_ticks() {
        let axis = Axis::rounded(Spread::Log, 1e-9, 1e6, 5);
        assert!((3..=8).contains(&axis.ticks.len()), "{:?}", axis.ticks);
    }
}
