//! Numbers as people read them, on the console, in the report and on the model card: a number that stands in several of them
//! has the same digits in all. What is not finite is printed as a dash.

use train::{TrainSummary, TrainingLoss};

/// Stands for a value that is not there or not finite.
pub(crate) const MISSING: &str = "–";

/// A share as a percentage with one decimal: `71.4 %`.
pub(crate) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", share * 100.0) } else { MISSING.to_owned() }
}

/// An interval of shares: `66.0–76.1 %`.
pub(crate) fn interval(low: f64, high: f64) -> String {
    if low.is_finite() && high.is_finite() {
        format!("{:.1}–{:.1} %", low * 100.0, high * 100.0)
    } else {
        MISSING.to_owned()
    }
}

/// A whole number with its thousands set apart: `12,345`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count of things with the noun in the right number: `1 trace`, `12 traces`.
pub(crate) fn counted(value: usize, singular: &str) -> String {
    let plural = if value == 1 { "" } else { "s" };
    format!("{} {singular}{plural}", count(value as u64))
}

/// A mean loss per token, nats: `1.746`.
pub(crate) fn loss(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { MISSING.to_owned() }
}

/// The training loss at its ends: `1.746 → 1.252`; one number where the training was too short to have two.
pub(crate) fn training_loss(of: &TrainingLoss) -> String {
    of.start.map_or_else(String::new, |start| format!("{} → ", loss(start))) + &loss(of.end)
}

/// What those are the means of.
pub(crate) fn training_loss_is(of: &TrainingLoss) -> String {
    match (of.start, of.steps) {
        (Some(_), steps) => format!("means over the supervised tokens of the first and of the last {steps} steps"),
        (None, 1) => "of its only step".to_owned(),
        (None, steps) => format!("mean over the supervised tokens of all {steps} steps"),
    }
}

/// What a training trained: `851,968 parameters`, or with adapters `921,600 of 135,436,608 parameters`.
pub(crate) fn parameters(of: &TrainSummary) -> String {
    match (of.trained_parameters, of.parameters) {
        (trained, all) if trained == all => counted(all as usize, "parameter"),
        (trained, all) => format!("{} of {}", count(trained), counted(all as usize, "parameter")),
    }
}

/// A large number in three digits: `494 M`.
pub(crate) fn compact(value: u64) -> String {
    scaled(value, &["", " K", " M", " B", " T"])
}

/// A file size in decimal units: `988 MB`.
pub(crate) fn bytes(value: u64) -> String {
    scaled(value, &[" B", " KB", " MB", " GB", " TB"])
}

/// The number in the largest unit (steps of a thousand) that leaves at least one digit before the point.
fn scaled(value: u64, units: &[&str]) -> String {
    let mut scaled = value as f64;
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < units.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && scaled < 99.95);
    format!("{scaled:.decimals$}{}", units[unit])
}

/// A time span in the two units that matter: `42 s`, `3 min 12 s`, `2 h 05 min`.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return MISSING.to_owned();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes) = (whole / 3600, whole / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{whole} s"),
        (0, _) => format!("{minutes} min {:02} s", whole % 60),
        _ => format!("{} h {minutes:02} min", count(hours)),
    }
}

/// A measured number in about four digits: `1,234`, `12.34`, `0.412`, `2e-5`.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        MISSING.to_owned()
    } else if size == 0.0 {
        "0".to_owned()
    } else if !(1e-3..1e7).contains(&size) {
        let text = format!("{value:.2e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        format!("{}e{exponent}", trimmed(mantissa)).replace('-', "−")
    } else if size >= 999.5 {
        let sign = if value < 0.0 { "−" } else { "" };
        format!("{sign}{}", count(size.round() as u64))
    } else {
        // Fewer would give neighbouring ticks of an axis, 0.0015 and 0.002, one label.
        let decimals = match size {
            99.95.. => 1,
            0.0995.. => 3,
            0.00995.. => 4,
            _ => 5,
        };
        trimmed(&format!("{value:.decimals$}")).replace('-', "−")
    }
}

/// A decimal number without its trailing zeros.
fn trimmed(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
}

/// What a funnel step dropped, as a count and as a share of what had come to it.
pub(super) fn dropped(step: &super::FunnelRow) -> String {
    let share = step.dropped as f64 / (step.dropped + step.remaining) as f64;
    match step.dropped {
        0 => "0".to_owned(),
        dropped => format!("{} ({})", count(dropped as u64), percent(share)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent(0.714), "71.4 %");
        assert_eq!(interval(0.66, 0.761), "66.0–76.1 %");
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([999, 494_032_768, 1_543_714_304].map(compact), ["999", "494 M", "1.5 B"]);
        assert_eq!([512, 988_097_824, 12_345].map(bytes), ["512 B", "988 MB", "12.3 KB"]);
        assert_eq!([0.42, 42.0, 192.0, 7500.0].map(duration), ["0.4 s", "42 s", "3 min 12 s", "2 h 05 min"]);
        assert_eq!(
            [0.0, 0.412, 12.34, 1234.4, 2e-5, -0.5].map(number),
            ["0", "0.412", "12.34", "1,234", "2e−5", "−0.5"]
        );
        // The ticks of a learning rate's axis.
        assert_eq!([0.0005, 0.001, 0.0015, 0.002, 0.025].map(number), ["5e−4", "0.001", "0.0015", "0.002", "0.025"]);
        assert_eq!([counted(1, "trace"), counted(1200, "trace")], ["1 trace", "1,200 traces"]);
    }

    #[test]
    fn units_never_overflow_their_digits() {
        assert_eq!([999_499, 999_500, 999_999_999].map(compact), ["999 K", "1.0 M", "1.0 B"]);
        assert_eq!([59.6, 3599.7].map(duration), ["1 min 00 s", "1 h 00 min"]);
    }

    #[test]
    fn what_is_not_finite_is_a_dash() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!([percent(value), number(value), duration(value), interval(0.1, value)], [MISSING; 4]);
        }
    }
}
