//! Are two numbers, or two expressions with variables, the same?
//!
//! Numbers are computed with certified bounds: a gap between the bounds proves a difference, however small it is. Two numbers
//! that are no fractions count as equal if they agree to 2^-100 of their size and more bits were computed than their
//! parts could hide. Expressions with variables are compared at up to [`POINTS`] points drawn from a seed: one proven
//! difference decides against, [`FEWEST`] agreements for.

use std::cmp::Ordering;

use dashu_ratio::RBig;

use super::ball::Ball;
use super::eval::{Evaluator, Value};
use super::expr::{Expr, Function};
use super::functions::PRECISIONS;
use crate::Rule;

/// Points tried for expressions with variables; half of the later ones are whole numbers.
const POINTS: u64 = 16;
/// Points with a value that are enough.
const MOST_VALID: usize = 8;
/// Points with a value that are needed.
const FEWEST: usize = 4;
/// Agreement to this power of two of their size makes two numbers equal.
const TOLERANCE: i64 = 100;

/// Bits computed beyond what the parts of a number span; of a constant more, since there is but one point.
const SPARE: i64 = 256;
/// The first of the points that are whole numbers.
const WHOLE: u64 = 7;
/// The smallest number of 15 digits.
const FEWEST_OF_A_DOUBLE: i64 = 100_000_000_000_000;

/// What a comparison came to, and by which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Yes(Rule),
    No(Rule),
    Unknown(Rule),
}

impl Outcome {
    pub(super) fn is_yes(self) -> bool {
        matches!(self, Self::Yes(_))
    }

    /// The better of two readings: equal in one of them is equal; different only if so in both.
    pub(super) fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        if self.is_yes() {
            return self;
        }
        match (self, other()) {
            (_, Self::Yes(rule)) => Self::Yes(rule),
            (Self::Unknown(rule), _) | (_, Self::Unknown(rule)) => Self::Unknown(rule),
            (first, _) => first,
        }
    }

    /// Both must hold.
    pub(super) fn and_then(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::No(_) => self,
            Self::Yes(_) => other(),
            Self::Unknown(_) => match other() {
                Self::No(rule) => Self::No(rule),
                _ => self,
            },
        }
    }
}

/// A generator of points: SplitMix64 (Steele, Lea & Flood, OOPSLA 2014). Verdicts that are stored depend on its numbers,
/// which no version of a library may change.
#[derive(Debug, Clone)]
pub(super) struct Seed(pub(super) u64);

impl Seed {
    fn next(&mut self, below: u64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % below) as i64
    }

    /// The value of one variable at the given point: positive, of either sign, or a whole number.
    fn coordinate(&mut self, point: u64) -> RBig {
        let fraction = |n: i64, d: i64| RBig::from(n) / RBig::from(d);
        match point {
            0 | 2 => fraction(self.next(200) + 1, self.next(60) + 1),
            1 | 3 | 4 => {
                let n = self.next(200) + 1;
                fraction(if self.next(2) == 0 { -n } else { n }, self.next(60) + 1)
            }
            // Below 1, for arcus functions and logarithms.
            5 | 6 => fraction(self.next(97) + 1, 99),
            _ => RBig::from(self.next(18 + 2 * point) + 1),
        }
    }
}

/// How to evaluate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) log_base_10: bool,
    pub(super) complex: bool,
}

/// How two values differ.
enum Gap {
    /// They are the same fraction, or agree as far as is asked.
    Closed,
    /// Proven.
    Open,
    /// Not computed far enough.
    Unclear,
}

fn gap(evaluator: &mut Evaluator, a: &Value, b: &Value) -> Option<Gap> {
    if let (Value::Exact(a), Value::Exact(b)) = (a, b) {
        return Some(if a == b { Gap::Closed } else { Gap::Open });
    }
    let prec = evaluator.prec;
    let (re, im) = evaluator.sub(a, b)?.parts(prec)?;
    if !re.has_zero() || (!im.has_zero() && im.magnitude().is_some()) {
        return Some(Gap::Open);
    }
    let size = |value: &Value| {
        let (re, im) = value.parts(prec)?;
        Some(re.least_magnitude().max(im.least_magnitude()))
    };
    // Numbers that are zero are measured by the smallest of their parts.
    let scale = size(a)?.max(size(b)?).unwrap_or(evaluator.smallest);
    let left = re.magnitude().max(im.magnitude());
    let hidden = evaluator.largest - evaluator.smallest + if evaluator.point.is_empty() { SPARE } else { TOLERANCE };
    let closed = left.is_none_or(|left| left < scale - TOLERANCE) && hidden <= prec as i64;
    Some(if closed { Gap::Closed } else { Gap::Unclear })
}

/// Whether two expressions are equal wherever both are defined.
pub(super) fn equal(a: &Expr, b: &Expr, seed: &Seed, reading: Reading) -> Outcome {
    let mut names = Vec::new();
    a.symbols(&mut names);
    b.symbols(&mut names);
    if names.is_empty() { equal_numbers(a, b, reading) } else { equal_at_points(a, b, &names, seed.clone(), reading) }
}

fn equal_numbers(a: &Expr, b: &Expr, reading: Reading) -> Outcome {
    let mut failures = 0;
    for prec in PRECISIONS {
        let mut evaluator = Evaluator::new(prec, true);
        evaluator.log_base_10 = reading.log_base_10;
        let (Some(left), Some(right)) = (evaluator.value(a), evaluator.value(b)) else {
            failures += 1;
            // Not for want of bits.
            if failures == 2 {
                break;
            }
            continue;
        };
        let exact = matches!((&left, &right), (Value::Exact(_), Value::Exact(_)));
        match gap(&mut evaluator, &left, &right) {
            Some(Gap::Closed) => return Outcome::Yes(if exact { Rule::Exact } else { Rule::Numeric }),
            Some(Gap::Open) => return Outcome::No(if exact { Rule::Exact } else { Rule::Separated }),
            Some(Gap::Unclear) | None => {}
        }
    }
    let may_be_large = |expr: &Expr| {
        expr.any(&|part| matches!(part, Expr::Pow(..) | Expr::Call(Function::Factorial | Function::Exp, _)))
    };
    if may_be_large(a) || may_be_large(b) { by_logarithms(a, b) } else { Outcome::Unknown(Rule::NotComputed) }
}

/// Numbers that are too large to compute: their logarithms.
fn by_logarithms(a: &Expr, b: &Expr) -> Outcome {
    for prec in &PRECISIONS[..2] {
        let mut evaluator = Evaluator::new(*prec, true);
        if let (Some(left), Some(right)) = (logarithm(&mut evaluator, a), logarithm(&mut evaluator, b))
            && let Some(difference) = evaluator.sub(&left, &right).and_then(|d| d.to_ball(*prec))
            && !difference.has_zero()
        {
            return Outcome::No(Rule::SeparatedLogs);
        }
    }
    Outcome::Unknown(Rule::NotComputed)
}

/// The logarithm of a positive number.
fn logarithm(evaluator: &mut Evaluator, expr: &Expr) -> Option<Value> {
    match expr {
        Expr::Pow(base, exponent) => {
            let base = logarithm(evaluator, base)?;
            let exponent = evaluator.value(exponent)?;
            evaluator.mul(&exponent, &base)
        }
        Expr::Mul(factors) => {
            let mut sum = Value::Exact(RBig::ZERO);
            for factor in factors {
                let log = logarithm(evaluator, factor)?;
                sum = evaluator.add(&sum, &log)?;
            }
            Some(sum)
        }
        Expr::Div(a, b) => {
            let (a, b) = (logarithm(evaluator, a)?, logarithm(evaluator, b)?);
            evaluator.sub(&a, &b)
        }
        Expr::Call(Function::Factorial, n) => {
            let n = evaluator.value(n)?.to_ball(evaluator.prec + 64)?;
            Some(Value::Real(super::functions::ln_factorial(&n, evaluator.prec)?))
        }
        _ => {
            let value = evaluator.value(expr)?;
            evaluator.ln(&value)
        }
    }
}

/// The values of both at a point, in an evaluator.
fn at_point<'a>(names: &[&'a str], seed: &mut Seed, number: u64, reading: Reading, prec: usize) -> Evaluator<'a> {
    let mut evaluator = Evaluator::new(prec, reading.complex);
    evaluator.log_base_10 = reading.log_base_10;
    evaluator.point = names.iter().map(|name| (*name, seed.coordinate(number))).collect();
    evaluator
}

fn equal_at_points(a: &Expr, b: &Expr, names: &[&str], mut seed: Seed, reading: Reading) -> Outcome {
    let mut valid = 0;
    // What rounds is meant for whole numbers.
    let rounds = |expr: &Expr| expr.any(&|part| matches!(part, Expr::Call(Function::Floor | Function::Ceil, _)));
    let first = if rounds(a) || rounds(b) { WHOLE } else { 0 };
    for number in first..POINTS {
        let start = seed.clone();
        for prec in &PRECISIONS[..2] {
            seed = start.clone();
            let mut evaluator = at_point(names, &mut seed, number, reading, *prec);
            let (Some(left), Some(right)) = (evaluator.value(a), evaluator.value(b)) else { break };
            match gap(&mut evaluator, &left, &right) {
                Some(Gap::Open) => return Outcome::No(Rule::Point),
                Some(Gap::Closed) => {
                    valid += 1;
                    break;
                }
                Some(Gap::Unclear) => {}
                None => break,
            }
        }
        if valid == MOST_VALID {
            break;
        }
    }
    if valid >= FEWEST { Outcome::Yes(Rule::Identity) } else { Outcome::Unknown(Rule::FewPoints) }
}

/// Whether `a` is `b` times a constant that is not zero; `positive` demands a positive one.
pub(super) fn proportional(a: &Expr, b: &Expr, positive: bool, seed: &Seed, reading: Reading) -> Outcome {
    let mut names = Vec::new();
    a.symbols(&mut names);
    b.symbols(&mut names);
    let mut seed = seed.clone();
    let mut first: Option<Value> = None;
    let mut valid = 0;
    for number in 0..POINTS {
        let mut evaluator = at_point(&names, &mut seed, number, reading, PRECISIONS[1]);
        let (Some(left), Some(right)) = (evaluator.value(a), evaluator.value(b)) else { continue };
        let is_zero = |value: &Value| value.parts(PRECISIONS[1]).is_some_and(|(re, im)| re.has_zero() && im.has_zero());
        match (is_zero(&left), is_zero(&right)) {
            (true, true) => continue,
            (false, false) => {}
            _ => return Outcome::No(Rule::Ratio),
        }
        let Some(ratio) = evaluator.div(&left, &right) else { continue };
        if positive && !ratio.to_ball(PRECISIONS[1]).is_some_and(|ball| ball.is_positive()) {
            return Outcome::No(Rule::RatioSign);
        }
        match &first {
            None => first = Some(ratio),
            Some(first) => match gap(&mut evaluator, first, &ratio) {
                Some(Gap::Open) => return Outcome::No(Rule::Ratio),
                Some(Gap::Closed) => {}
                Some(Gap::Unclear) | None => continue,
            },
        }
        valid += 1;
        if valid == MOST_VALID {
            break;
        }
    }
    if valid >= FEWEST { Outcome::Yes(Rule::Ratio) } else { Outcome::Unknown(Rule::FewPoints) }
}

/// The order of two numbers; `None` if it is not clear.
pub(super) fn order(a: &Expr, b: &Expr, seed: &Seed, reading: Reading) -> Option<Ordering> {
    if a.has_symbols() || b.has_symbols() {
        return equal(a, b, seed, reading).is_yes().then_some(Ordering::Equal);
    }
    for prec in PRECISIONS {
        let mut evaluator = Evaluator::new(prec, false);
        evaluator.log_base_10 = reading.log_base_10;
        let (a, b) = (evaluator.value(a)?, evaluator.value(b)?);
        let difference = evaluator.sub(&a, &b)?.to_ball(prec)?;
        if difference.is_positive() {
            return Some(Ordering::Greater);
        } else if difference.is_negative() {
            return Some(Ordering::Less);
        } else if matches!(gap(&mut evaluator, &a, &b), Some(Gap::Closed)) {
            return Some(Ordering::Equal);
        }
    }
    None
}

/// Whether a decimal is the correct rounding of a number that no decimal can write out: an irrational one, or a fraction
/// that does not end.
pub(super) fn is_rounding(decimal: &RBig, places: u32, exact: &Expr, reading: Reading) -> bool {
    let mut evaluator = Evaluator::new(PRECISIONS[0] + 4 * places as usize, false);
    evaluator.log_base_10 = reading.log_base_10;
    let Some(value) = evaluator.value(exact) else { return false };
    if let Value::Exact(fraction) = &value
        && ends(fraction)
    {
        return false;
    }
    is_near(decimal, places, &value, &mut evaluator)
}

/// Whether a number lies within half a unit of the last place; of a decimal with the digits of a double, within the
/// precision of a double, since programs print those without rounding.
pub(super) fn is_near(decimal: &RBig, places: u32, value: &Value, evaluator: &mut Evaluator) -> bool {
    let unit = RBig::from(dashu_int::UBig::from(10u8).pow(places as usize));
    let mut half = RBig::ONE / RBig::from(2) / &unit;
    let magnitude = RBig::from(dashu_int::IBig::from(decimal.numerator().clone().into_parts().1))
        / RBig::from(decimal.denominator().clone());
    if &magnitude * unit >= RBig::from(FEWEST_OF_A_DOUBLE) {
        half = half.max(magnitude / RBig::from(1u64 << 52));
    }
    let Some(difference) = evaluator.sub(value, &Value::Exact(decimal.clone())) else { return false };
    let inside = |bound: Option<Value>| bound.and_then(|v| v.to_ball(evaluator_precision(places)));
    let above = evaluator.add(&difference, &Value::Exact(half.clone()));
    let below = evaluator.sub(&Value::Exact(half), &difference);
    let not_negative = |ball: Ball| !ball.is_negative();
    inside(above).is_some_and(not_negative) && inside(below).is_some_and(not_negative)
}

fn evaluator_precision(places: u32) -> usize {
    PRECISIONS[0] + 4 * places as usize
}

/// Whether a fraction ends as a decimal.
fn ends(fraction: &RBig) -> bool {
    let mut denominator = fraction.denominator().clone();
    for prime in [2u8, 5] {
        let prime = dashu_int::UBig::from(prime);
        while (&denominator % &prime).is_zero() {
            denominator /= &prime;
        }
    }
    denominator.is_one()
}
