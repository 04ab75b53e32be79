//! Transcendental functions of certified numbers: argument reduction and Taylor series in ball arithmetic, the remainder
//! bounded by the first term left out. What is not bounded this way does not exist here.

use std::sync::OnceLock;

use super::ball::Ball;

/// Bits in which numbers are computed, one after the other until they tell apart.
pub(super) const PRECISIONS: [usize; 3] = [128, 512, 2048];
/// Exponentials beyond `e^±LARGEST` are out of range.
const LARGEST: f64 = 7e11;
/// `r / 2^HALVINGS` goes into the exponential series.
const HALVINGS: u32 = 12;

/// Keeps a constant for each of the precisions.
fn kept(cells: &'static [OnceLock<Option<Ball>>; 3], prec: usize, make: fn(usize) -> Option<Ball>) -> Option<Ball> {
    match PRECISIONS.iter().position(|p| prec <= *p + 64) {
        Some(at) => cells[at].get_or_init(|| make(PRECISIONS[at] + 64)).clone(),
        None => make(prec),
    }
}

/// π, by Machin's formula.
pub(super) fn pi(prec: usize) -> Option<Ball> {
    static CELLS: [OnceLock<Option<Ball>>; 3] = [const { OnceLock::new() }; 3];
    kept(&CELLS, prec, |prec| {
        let arctan_of_inverse = |n| atan_series(&Ball::int(1).div(&Ball::int(n), prec)?, -1, prec);
        let quarter = arctan_of_inverse(5)?.shifted(2)?.sub(&arctan_of_inverse(239)?, prec)?;
        quarter.shifted(2)
    })
}

/// The logarithm of 2.
fn ln2(prec: usize) -> Option<Ball> {
    static CELLS: [OnceLock<Option<Ball>>; 3] = [const { OnceLock::new() }; 3];
    kept(&CELLS, prec, |prec| atan_series(&Ball::int(1).div(&Ball::int(3), prec)?, 1, prec)?.shifted(1))
}

/// `x ± x³/3 + x⁵/5 ± …` for `|x| ≤ 1/2`: arctan with sign -1, artanh with sign 1.
fn atan_series(x: &Ball, sign: i64, prec: usize) -> Option<Ball> {
    let square = x.mul(x, prec)?;
    let square = if sign < 0 { square.neg() } else { square };
    let mut power = x.clone();
    let mut sum = x.clone();
    for n in 1.. {
        power = power.mul(&square, prec)?;
        let term = power.div(&Ball::int(2 * n + 1), prec)?;
        if vanishes(&term, x, prec) {
            // The rest is at most 1/(1 - 1/4) of this term.
            return sum.widened(&term.shifted(1)?, prec);
        }
        sum = sum.add(&term, prec)?;
    }
    None
}

/// Whether a term is too small to be seen beside `whole`.
fn vanishes(term: &Ball, whole: &Ball, prec: usize) -> bool {
    match (term.magnitude(), whole.magnitude()) {
        (None, _) => true,
        (Some(term), Some(whole)) => term < whole - prec as i64,
        (Some(_), None) => false,
    }
}

/// The exponential function.
pub(super) fn exp(x: &Ball, prec: usize) -> Option<Ball> {
    let (middle, radius) = x.middle();
    let near = middle.to_f64();
    if near.abs() > LARGEST || radius.magnitude().is_some_and(|m| m > -1) {
        return None;
    }
    let whole = (near / std::f64::consts::LN_2).round() as i64;
    let work = prec + 64;
    let rest = middle.sub(&ln2(work)?.mul(&Ball::int(whole), work)?, work)?.shifted(-i64::from(HALVINGS))?;
    let mut sum = exp_series(&rest, work)?;
    for _ in 0..HALVINGS {
        sum = sum.mul(&sum, work)?;
    }
    // e^(x ± r) lies within e^x (1 ± 2r) for r ≤ 1/2.
    let width = Ball::int(1).widened(&radius.shifted(1)?, work)?;
    sum.mul(&width, prec)?.shifted(whole)
}

/// `1 + x + x²/2! + …` for `|x| < 1/2`.
fn exp_series(x: &Ball, prec: usize) -> Option<Ball> {
    let mut term = Ball::int(1);
    let mut sum = Ball::int(1);
    for n in 1.. {
        term = term.mul(x, prec)?.div(&Ball::int(n), prec)?;
        if vanishes(&term, &Ball::int(1), prec) {
            return sum.widened(&term.shifted(1)?, prec);
        }
        sum = sum.add(&term, prec)?;
    }
    None
}

/// The natural logarithm; `None` if the number may not be positive.
pub(super) fn ln(x: &Ball, prec: usize) -> Option<Ball> {
    if !x.is_positive() {
        return None;
    }
    let work = prec + 64;
    let scale = x.magnitude()?;
    let mantissa = x.shifted(-scale)?;
    let (middle, radius) = mantissa.middle();
    // e^y is nearly the mantissa, so that the logarithm of what is left needs few terms.
    let start = Ball::of_f64(middle.to_f64().ln())?;
    let left = middle.mul(&exp(&start.neg(), work)?, work)?;
    let ratio = left.sub(&Ball::int(1), work)?.div(&left.add(&Ball::int(1), work)?, work)?;
    let correction = if ratio.magnitude().is_none() { Ball::int(0) } else { artanh_near_zero(&ratio, work)? };
    let logarithm = start.add(&correction.shifted(1)?, work)?;
    // The mantissa is at least 1/2 - 2r, so its logarithm moves by at most 4r.
    let logarithm = logarithm.widened(&radius.shifted(2)?, work)?;
    if radius.magnitude().is_some_and(|m| m > -3) {
        return None;
    }
    logarithm.add(&ln2(work)?.mul(&Ball::int(scale), work)?, prec)
}

/// The series needs a size to compare its terms with, which a ball around zero does not have.
fn artanh_near_zero(x: &Ball, prec: usize) -> Option<Ball> {
    let square = x.mul(x, prec)?;
    let mut power = x.clone();
    let mut sum = x.clone();
    for n in 1.. {
        power = power.mul(&square, prec)?;
        let term = power.div(&Ball::int(2 * n + 1), prec)?;
        if term.magnitude().is_none_or(|m| m < -(prec as i64)) {
            return sum.widened(&term.shifted(1)?, prec);
        }
        sum = sum.add(&term, prec)?;
    }
    None
}

/// Sine and cosine.
pub(super) fn sin_cos(x: &Ball, prec: usize) -> Option<(Ball, Ball)> {
    let (middle, radius) = x.middle();
    let near = middle.to_f64();
    if near.abs() > 1e15 || radius.magnitude().is_some_and(|m| m > -1) {
        return None;
    }
    let quarters = (near / std::f64::consts::FRAC_PI_2).round() as i64;
    let work = prec + 64;
    let rest = middle.sub(&pi(work)?.shifted(-1)?.mul(&Ball::int(quarters), work)?, work)?;
    let (sin, cos) = sin_cos_series(&rest, work)?;
    let (sin, cos) = match quarters.rem_euclid(4) {
        0 => (sin, cos),
        1 => (cos, sin.neg()),
        2 => (sin.neg(), cos.neg()),
        _ => (cos.neg(), sin),
    };
    Some((sin.widened(&radius, prec)?, cos.widened(&radius, prec)?))
}

/// Both series for `|x| < 1`; they alternate, so that the first term left out bounds the rest.
fn sin_cos_series(x: &Ball, prec: usize) -> Option<(Ball, Ball)> {
    let square = x.mul(x, prec)?.neg();
    let (mut sin_term, mut cos_term) = (x.clone(), Ball::int(1));
    let (mut sin, mut cos) = (x.clone(), Ball::int(1));
    for n in 1.. {
        cos_term = cos_term.mul(&square, prec)?.div(&Ball::int((2 * n - 1) * (2 * n)), prec)?;
        sin_term = sin_term.mul(&square, prec)?.div(&Ball::int(2 * n * (2 * n + 1)), prec)?;
        if cos_term.magnitude().is_none_or(|m| m < -(prec as i64)) {
            return Some((sin.widened(&cos_term, prec)?, cos.widened(&cos_term, prec)?));
        }
        sin = sin.add(&sin_term, prec)?;
        cos = cos.add(&cos_term, prec)?;
    }
    None
}

/// The arcus tangent.
pub(super) fn atan(x: &Ball, prec: usize) -> Option<Ball> {
    let work = prec + 64;
    let (middle, radius) = x.middle();
    if middle.magnitude().is_none() {
        return Ball::int(0).widened(&radius, prec);
    }
    let inverted = middle.to_f64().abs() > 1.0;
    let mut reduced = if inverted { Ball::int(1).div(&middle, work)? } else { middle };
    // atan x = 2 atan(x / (1 + √(1 + x²))): three times makes it small.
    for _ in 0..3 {
        let root = reduced.mul(&reduced, work)?.add(&Ball::int(1), work)?.sqrt(work)?;
        reduced = reduced.div(&root.add(&Ball::int(1), work)?, work)?;
    }
    let angle = atan_series(&reduced, -1, work)?.shifted(3)?;
    let angle = if inverted {
        let right = pi(work)?.shifted(-1)?;
        if angle.is_negative() { right.neg() } else { right }.sub(&angle, work)?
    } else {
        angle
    };
    angle.widened(&radius, prec)
}

/// `ln n!` for `n ≥ 1` by Stirling's series, whose remainder is less than its first term left out.
pub(super) fn ln_factorial(n: &Ball, prec: usize) -> Option<Ball> {
    let log = ln(n, prec)?;
    let two_pi_n = pi(prec)?.shifted(1)?.mul(n, prec)?;
    let twelfth = Ball::int(1).div(&n.mul(&Ball::int(12), prec)?, prec)?;
    let rest = Ball::int(1).div(&n.powi(3, prec)?.mul(&Ball::int(360), prec)?, prec)?;
    let sum = n.mul(&log, prec)?.sub(n, prec)?.add(&ln(&two_pi_n, prec)?.shifted(-1)?, prec)?;
    sum.add(&twelfth, prec)?.widened(&rest, prec)
}
