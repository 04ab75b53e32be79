//! Units and scales: which words are units, and which units measure the same.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

/// Words that make a number another one.
const SCALES: [(&str, i64); 7] = [
    ("hundred", 100),
    ("thousand", 1000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
    ("trillion", 1_000_000_000_000),
    ("dozen", 12),
    ("dozens", 12),
];

/// Units by what they measure, with their size in the first of the kind: numerator and denominator.
const UNITS: [(&str, &str, i64, i64); 66] = [
    ("m", "length", 1, 1),
    ("meter", "length", 1, 1),
    ("metre", "length", 1, 1),
    ("km", "length", 1000, 1),
    ("kilometer", "length", 1000, 1),
    ("kilometre", "length", 1000, 1),
    ("cm", "length", 1, 100),
    ("centimeter", "length", 1, 100),
    ("centimetre", "length", 1, 100),
    ("mm", "length", 1, 1000),
    ("millimeter", "length", 1, 1000),
    ("millimetre", "length", 1, 1000),
    ("dm", "length", 1, 10),
    ("inch", "foot", 1, 12),
    ("in", "foot", 1, 12),
    ("foot", "foot", 1, 1),
    ("feet", "foot", 1, 1),
    ("ft", "foot", 1, 1),
    ("yard", "foot", 3, 1),
    ("yd", "foot", 3, 1),
    ("mile", "foot", 5280, 1),
    ("mi", "foot", 5280, 1),
    ("g", "mass", 1, 1),
    ("gram", "mass", 1, 1),
    ("kg", "mass", 1000, 1),
    ("kilogram", "mass", 1000, 1),
    ("mg", "mass", 1, 1000),
    ("ton", "ton", 1, 1),
    ("tonne", "ton", 1, 1),
    ("lb", "pound", 1, 1),
    ("lbs", "pound", 1, 1),
    ("oz", "ounce", 1, 1),
    ("ounce", "ounce", 1, 1),
    ("s", "time", 1, 1),
    ("sec", "time", 1, 1),
    ("second", "time", 1, 1),
    ("min", "time", 60, 1),
    ("minute", "time", 60, 1),
    ("h", "time", 3600, 1),
    ("hr", "time", 3600, 1),
    ("hour", "time", 3600, 1),
    ("day", "time", 86_400, 1),
    ("week", "time", 604_800, 1),
    ("month", "month", 1, 1),
    ("year", "month", 12, 1),
    ("l", "volume", 1, 1),
    ("liter", "volume", 1, 1),
    ("litre", "volume", 1, 1),
    ("ml", "volume", 1, 1000),
    ("milliliter", "volume", 1, 1000),
    ("dollar", "money", 1, 1),
    ("usd", "money", 1, 1),
    ("cent", "money", 1, 100),
    ("mph", "mph", 1, 1),
    ("mi/h", "mph", 1, 1),
    ("miles/hour", "mph", 1, 1),
    ("miles per hour", "mph", 1, 1),
    ("km/h", "kmh", 1, 1),
    ("kmh", "kmh", 1, 1),
    ("kilometers per hour", "kmh", 1, 1),
    ("m/s", "mps", 1, 1),
    ("meters per second", "mps", 1, 1),
    ("hz", "frequency", 1, 1),
    ("square unit", "", 1, 1),
    ("unit", "", 1, 1),
    ("cubic unit", "", 1, 1),
];

/// The number a word multiplies by.
pub(super) fn scale(word: &str) -> Option<i64> {
    SCALES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, scale)| *scale)
}

fn singular(unit: &str) -> &str {
    if unit == "inches" {
        return "inch";
    }
    unit.strip_suffix('s').filter(|rest| !rest.is_empty() && *rest != "lb").unwrap_or(unit)
}

fn find(unit: &str) -> Option<(&'static str, RBig)> {
    let unit = unit.trim();
    let (unit, power) = match unit.rsplit_once('^') {
        Some((base, power @ ("2" | "3"))) => (base, power.parse().unwrap_or(1)),
        _ => match unit.split_once(' ') {
            Some(("square" | "sq", base)) if !base.starts_with("unit") => (base, 2),
            Some(("cubic" | "cu", base)) if !base.starts_with("unit") => (base, 3),
            _ => (unit, 1),
        },
    };
    let found = |name: &str| UNITS.iter().find(|(word, ..)| *word == name);
    let (_, kind, numerator, denominator) = found(unit).or_else(|| found(singular(unit)))?;
    let size = RBig::from_parts(IBig::from(*numerator), UBig::from(denominator.unsigned_abs()));
    let kind = match (power, *kind) {
        (2, "length") => "area",
        (3, "length") => "space",
        (2, "foot") => "square foot",
        (3, "foot") => "cubic foot",
        (1, kind) => kind,
        _ => return None,
    };
    Some((kind, size.pow(power)))
}

/// Whether a word in small letters can only be a unit or a scale.
pub(super) fn is_word(word: &str) -> bool {
    word.len() > 1 && (scale(word).is_some() || find(word).is_some())
}

/// Whether a word in small letters is the symbol of a unit.
pub(super) fn is_symbol(word: &str) -> bool {
    find(word).is_some()
}

/// How two units compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Units {
    /// They say the same, or one of them nothing that contradicts the other.
    Same,
    /// They measure the same; a value in the first is so many in the second.
    Times(RBig),
    /// They contradict each other.
    Contradict,
}

/// Whether two units are known and measure the same.
pub(super) fn measure_alike(a: &str, b: &str) -> bool {
    matches!((find(a), find(b)), (Some((kind, _)), Some((other, _))) if kind == other)
}

/// Compares two units, of which each may be missing (empty).
pub(super) fn compare(a: &str, b: &str) -> Units {
    if a.is_empty() || b.is_empty() || a == b {
        return Units::Same;
    }
    match (find(a), find(b)) {
        (Some((kind_a, _)), Some((kind_b, _))) if kind_a.is_empty() || kind_b.is_empty() => Units::Same,
        (Some((kind_a, size_a)), Some((kind_b, size_b))) if kind_a == kind_b => {
            if size_a == size_b {
                Units::Same
            } else {
                Units::Times(size_a / size_b)
            }
        }
        (Some(_), Some(_)) => Units::Contradict,
        _ => {
            let words = |unit: &str| unit.split(' ').map(|word| singular(word).to_owned()).collect::<Vec<_>>();
            if words(a) == words(b) { Units::Same } else { Units::Contradict }
        }
    }
}
