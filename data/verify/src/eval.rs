//! The value of an expression at a point: an exact fraction as long as it is one, else certified balls, real or complex.
//!
//! Work is counted, not timed: an expression that would take too much has no value.

mod call;

use std::collections::HashMap;

use dashu_base::BitTest;
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::ball::Ball;
use super::expr::Expr;
use super::functions::{exp, ln, pi, sin_cos};

/// Exact numbers have no more bits than this; beyond, they are balls.
const MOST_BITS: usize = 1 << 15;
/// The work that one evaluation may take, in operations on words.
const MOST_WORK: usize = 400_000;

/// A number that is known exactly or to some precision.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Exact(RBig),
    Real(Ball),
    Complex(Ball, Ball),
}

/// Evaluates at one point, to one precision.
pub(super) struct Evaluator<'a> {
    pub(super) prec: usize,
    pub(super) point: HashMap<&'a str, RBig>,
    /// What `\log` without a base means.
    pub(super) log_base_10: bool,
    /// Whether roots of negative numbers are complex; else they have no value.
    pub(super) complex: bool,
    work: usize,
    /// The largest and smallest magnitudes on the way, as powers of two.
    pub(super) largest: i64,
    pub(super) smallest: i64,
}

impl Value {
    pub(super) fn to_ball(&self, prec: usize) -> Option<Ball> {
        match self {
            Self::Exact(value) => Ball::of(value, prec),
            Self::Real(ball) => Some(ball.clone()),
            Self::Complex(..) => None,
        }
    }

    /// Real and imaginary part.
    pub(super) fn parts(&self, prec: usize) -> Option<(Ball, Ball)> {
        match self {
            Self::Complex(re, im) => Some((re.clone(), im.clone())),
            real => Some((real.to_ball(prec)?, Ball::int(0))),
        }
    }
}

fn bits(value: &RBig) -> usize {
    value.numerator().bit_len().max(value.denominator().bit_len())
}

impl Evaluator<'_> {
    pub(super) fn new(prec: usize, complex: bool) -> Self {
        Self { prec, point: HashMap::new(), log_base_10: false, complex, work: 0, largest: 0, smallest: 0 }
    }

    fn spend(&mut self, work: usize) -> Option<()> {
        self.work += work;
        (self.work <= MOST_WORK).then_some(())
    }

    /// The value of an expression; `None` where it is not defined, not a number, or too much work.
    pub(super) fn value(&mut self, expr: &Expr) -> Option<Value> {
        let value = self.unchecked(expr)?;
        self.note(&value);
        match &value {
            Value::Exact(exact) if bits(exact) > MOST_BITS => Some(Value::Real(Ball::of(exact, self.prec)?)),
            _ => Some(value),
        }
    }

    fn note(&mut self, value: &Value) {
        let (largest, smallest) = match value {
            Value::Exact(exact) if exact.is_zero() => return,
            Value::Exact(exact) => {
                let size = exact.numerator().bit_len() as i64 - exact.denominator().bit_len() as i64;
                (Some(size + 1), Some(size - 1))
            }
            Value::Real(ball) => (ball.magnitude(), ball.least_magnitude()),
            Value::Complex(re, im) => (re.magnitude().max(im.magnitude()), None),
        };
        self.largest = self.largest.max(largest.unwrap_or(0));
        self.smallest = self.smallest.min(smallest.unwrap_or(0));
    }

    fn unchecked(&mut self, expr: &Expr) -> Option<Value> {
        self.spend(1)?;
        match expr {
            Expr::Num(value) | Expr::Dec(value, _) | Expr::Based(value, _) => Some(Value::Exact(value.clone())),
            Expr::Sym(name) => self.point.get(name.as_str()).cloned().map(Value::Exact),
            Expr::Pi => Some(Value::Real(pi(self.prec)?)),
            Expr::E => Some(Value::Real(exp(&Ball::int(1), self.prec)?)),
            Expr::I => Some(Value::Complex(Ball::int(0), Ball::int(1))),
            Expr::Add(terms) => {
                let mut sum = Value::Exact(RBig::ZERO);
                for term in terms {
                    let term = self.value(term)?;
                    sum = self.add(&sum, &term)?;
                }
                Some(sum)
            }
            Expr::Neg(inner) => {
                let value = self.value(inner)?;
                Some(negated(value))
            }
            Expr::Mul(factors) => {
                let mut product = Value::Exact(RBig::ONE);
                for factor in factors {
                    let factor = self.value(factor)?;
                    product = self.mul(&product, &factor)?;
                }
                Some(product)
            }
            Expr::Div(a, b) => {
                let (a, b) = (self.value(a)?, self.value(b)?);
                self.div(&a, &b)
            }
            Expr::Pow(base, exponent) => self.power_of(base, exponent),
            Expr::Root(degree, radicand) => {
                let degree = self.small_integer(degree)?;
                let radicand = self.value(radicand)?;
                self.root(&radicand, degree)
            }
            Expr::Call(function, argument) => self.call(*function, argument),
            Expr::LogBase(base, argument) => {
                let (base, argument) = (self.value(base)?, self.value(argument)?);
                let (base, argument) = (self.ln(&base)?, self.ln(&argument)?);
                self.div(&argument, &base)
            }
            Expr::Binomial(n, k) => self.binomial(n, k),
            Expr::Percent(inner) => {
                let value = self.value(inner)?;
                self.div(&value, &Value::Exact(RBig::from(100)))
            }
            // An angle is a number of radians.
            Expr::Degrees(inner) => {
                let value = self.value(inner)?;
                let half_turn = pi(self.prec)?.div(&Ball::int(180), self.prec)?;
                self.mul(&value, &Value::Real(half_turn))
            }
            Expr::Quantity(inner, _) => self.value(inner),
            Expr::Ratio(parts) if parts.len() == 2 => {
                let (a, b) = (self.value(&parts[0])?, self.value(&parts[1])?);
                self.div(&a, &b)
            }
            _ => None,
        }
    }

    fn charge(&mut self, values: [&Value; 2]) -> Option<()> {
        let words = values.map(|value| match value {
            Value::Exact(exact) => bits(exact) / 64 + 1,
            Value::Real(_) => self.prec / 32,
            Value::Complex(..) => self.prec / 8,
        });
        self.spend(words[0] + words[1])
    }

    pub(super) fn add(&mut self, a: &Value, b: &Value) -> Option<Value> {
        self.charge([a, b])?;
        match (a, b) {
            (Value::Exact(a), Value::Exact(b)) => Some(Value::Exact(a + b)),
            (Value::Complex(..), _) | (_, Value::Complex(..)) => {
                let ((ar, ai), (br, bi)) = (a.parts(self.prec)?, b.parts(self.prec)?);
                Some(Value::Complex(ar.add(&br, self.prec)?, ai.add(&bi, self.prec)?))
            }
            _ => Some(Value::Real(a.to_ball(self.prec)?.add(&b.to_ball(self.prec)?, self.prec)?)),
        }
    }

    pub(super) fn sub(&mut self, a: &Value, b: &Value) -> Option<Value> {
        self.add(a, &negated(b.clone()))
    }

    pub(super) fn mul(&mut self, a: &Value, b: &Value) -> Option<Value> {
        self.charge([a, b])?;
        let prec = self.prec;
        match (a, b) {
            (Value::Exact(a), Value::Exact(b)) => Some(Value::Exact(a * b)),
            (Value::Exact(zero), _) | (_, Value::Exact(zero)) if zero.is_zero() => Some(Value::Exact(RBig::ZERO)),
            (Value::Complex(..), _) | (_, Value::Complex(..)) => {
                let ((ar, ai), (br, bi)) = (a.parts(prec)?, b.parts(prec)?);
                let re = ar.mul(&br, prec)?.sub(&ai.mul(&bi, prec)?, prec)?;
                Some(Value::Complex(re, ar.mul(&bi, prec)?.add(&ai.mul(&br, prec)?, prec)?))
            }
            _ => Some(Value::Real(a.to_ball(prec)?.mul(&b.to_ball(prec)?, prec)?)),
        }
    }

    pub(super) fn div(&mut self, a: &Value, b: &Value) -> Option<Value> {
        self.charge([a, b])?;
        let prec = self.prec;
        match (a, b) {
            (_, Value::Exact(b)) if b.is_zero() => None,
            (Value::Exact(a), Value::Exact(b)) => Some(Value::Exact(a / b)),
            (_, Value::Complex(re, im)) => {
                let square = re.mul(re, prec)?.add(&im.mul(im, prec)?, prec)?;
                let conjugate = Value::Complex(re.clone(), im.neg());
                let (re, im) = self.mul(a, &conjugate)?.parts(prec)?;
                Some(Value::Complex(re.div(&square, prec)?, im.div(&square, prec)?))
            }
            (Value::Complex(re, im), _) => {
                let divisor = b.to_ball(prec)?;
                Some(Value::Complex(re.div(&divisor, prec)?, im.div(&divisor, prec)?))
            }
            _ => Some(Value::Real(a.to_ball(prec)?.div(&b.to_ball(prec)?, prec)?)),
        }
    }

    fn small_integer(&mut self, expr: &Expr) -> Option<i64> {
        match self.value(expr)? {
            Value::Exact(value) if value.is_int() => i64::try_from(value.numerator().clone()).ok(),
            _ => None,
        }
    }

    fn power_of(&mut self, base: &Expr, exponent_of: &Expr) -> Option<Value> {
        let exponent = self.value(exponent_of)?;
        if *base == Expr::E {
            return self.exp(&exponent);
        }
        let varies = exponent_of.has_symbols();
        let base = self.value(base)?;
        // (-1)^n has a value at whole numbers only.
        if varies
            && let (Value::Exact(base), Value::Exact(exponent)) = (&base, &exponent)
            && *base < RBig::ZERO
            && !exponent.is_int()
        {
            return None;
        }
        self.power(&base, &exponent)
    }

    fn power(&mut self, base: &Value, exponent: &Value) -> Option<Value> {
        if let Value::Exact(exact) = exponent {
            if exact.is_int() {
                return self.integer_power(base, exact.numerator());
            }
            let degree = i64::try_from(exact.denominator().clone()).ok()?;
            if degree <= 64 {
                let root = self.root(base, degree)?;
                return self.integer_power(&root, exact.numerator());
            }
        }
        // x^y = e^(y ln x).
        let log = self.ln(base)?;
        let product = self.mul(exponent, &log)?;
        self.exp(&product)
    }

    fn integer_power(&mut self, base: &Value, exponent: &IBig) -> Option<Value> {
        let magnitude: UBig = exponent.clone().into_parts().1;
        let positive = match (base, usize::try_from(magnitude).ok()) {
            (Value::Exact(zero), _) if zero.is_zero() => {
                return (*exponent > IBig::ZERO).then(|| Value::Exact(RBig::ZERO));
            }
            (Value::Exact(one), _) if one.is_one() => return Some(Value::Exact(RBig::ONE)),
            (_, None) => return None,
            (Value::Exact(exact), Some(n)) if bits(exact).saturating_mul(n) <= MOST_BITS => {
                self.spend(bits(exact) * n / 64 + 1)?;
                Value::Exact(exact.pow(n as isize))
            }
            (Value::Complex(..), Some(n)) => {
                let mut power = Value::Exact(RBig::ONE);
                for bit in (0..usize::BITS - n.leading_zeros()).rev() {
                    power = self.mul(&power, &power)?;
                    if n >> bit & 1 == 1 {
                        power = self.mul(&power, base)?;
                    }
                }
                power
            }
            (real, Some(n)) => {
                self.spend(self.prec)?;
                Value::Real(real.to_ball(self.prec)?.powi(n as u64, self.prec)?)
            }
        };
        if *exponent < IBig::ZERO { self.div(&Value::Exact(RBig::ONE), &positive) } else { Some(positive) }
    }

    fn root(&mut self, radicand: &Value, degree: i64) -> Option<Value> {
        if !(1..=1 << 20).contains(&degree) {
            return None;
        }
        if let Value::Exact(exact) = radicand
            && let Some(root) = exact_root(exact, degree as usize)
        {
            return Some(Value::Exact(root));
        }
        self.spend(self.prec)?;
        let prec = self.prec;
        let ball = match radicand {
            Value::Complex(re, im) => return self.complex_sqrt(re, im, degree),
            real => real.to_ball(prec)?,
        };
        if ball.is_negative() {
            let magnitude = self.root(&Value::Real(ball.neg()), degree)?;
            // The real root of an odd degree, else the one in the upper half plane.
            return match degree {
                odd if odd % 2 == 1 => Some(negated(magnitude)),
                2 if self.complex => Some(Value::Complex(Ball::int(0), magnitude.to_ball(prec)?)),
                _ => None,
            };
        }
        if degree == 2 {
            return Some(Value::Real(ball.sqrt(prec)?));
        }
        let log = ln(&ball, prec + 32)?.div(&Ball::int(degree), prec + 32)?;
        Some(Value::Real(exp(&log, prec)?))
    }

    fn complex_sqrt(&mut self, re: &Ball, im: &Ball, degree: i64) -> Option<Value> {
        let prec = self.prec;
        if degree != 2 || im.has_zero() {
            return None;
        }
        // √(a + bi) = √((r + a)/2) ± i √((r − a)/2) with r = |a + bi|.
        let length = re.mul(re, prec)?.add(&im.mul(im, prec)?, prec)?.sqrt(prec)?;
        let real = length.add(re, prec)?.shifted(-1)?.sqrt(prec)?;
        let imaginary = length.sub(re, prec)?.shifted(-1)?.sqrt(prec)?;
        Some(Value::Complex(real, if im.is_negative() { imaginary.neg() } else { imaginary }))
    }

    pub(super) fn exp(&mut self, exponent: &Value) -> Option<Value> {
        self.spend(4 * self.prec)?;
        match exponent {
            Value::Exact(zero) if zero.is_zero() => Some(Value::Exact(RBig::ONE)),
            Value::Complex(re, im) => {
                let length = exp(re, self.prec)?;
                let (sin, cos) = sin_cos(im, self.prec)?;
                Some(Value::Complex(length.mul(&cos, self.prec)?, length.mul(&sin, self.prec)?))
            }
            real => {
                // The integer part of a large exponent takes bits of its own.
                let more = real.to_ball(64)?.magnitude().unwrap_or(0).clamp(0, 64) as usize;
                Some(Value::Real(exp(&real.to_ball(self.prec + more)?, self.prec)?))
            }
        }
    }

    pub(super) fn ln(&mut self, value: &Value) -> Option<Value> {
        self.spend(4 * self.prec)?;
        match value {
            Value::Exact(one) if one.is_one() => Some(Value::Exact(RBig::ZERO)),
            real => Some(Value::Real(ln(&real.to_ball(self.prec)?, self.prec)?)),
        }
    }
}

fn negated(value: Value) -> Value {
    match value {
        Value::Exact(value) => Value::Exact(-value),
        Value::Real(ball) => Value::Real(ball.neg()),
        Value::Complex(re, im) => Value::Complex(re.neg(), im.neg()),
    }
}

/// The root of a fraction, if it is a fraction.
fn exact_root(value: &RBig, degree: usize) -> Option<RBig> {
    if *value < RBig::ZERO {
        return if degree % 2 == 1 { exact_root(&-value, degree).map(|root| -root) } else { None };
    }
    if degree > 64 {
        return None;
    }
    let root = |n: &UBig| {
        let root = n.nth_root(degree);
        (root.pow(degree) == *n).then_some(root)
    };
    let numerator = root(&value.numerator().clone().into_parts().1)?;
    Some(RBig::from_parts(numerator.into(), root(value.denominator())?))
}
