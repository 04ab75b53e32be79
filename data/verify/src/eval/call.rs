//! Functions of one argument, factorials and binomial coefficients.

use dashu_base::BitTest;
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::super::ball::Ball;
use super::super::expr::{Expr, Function};
use super::super::functions::{atan, exp, ln_factorial, pi, sin_cos};
use super::{Evaluator, Value};

/// Factorials up to this are multiplied out, later ones are computed by Stirling's series.
const MOST_FACTORS: u64 = 4000;

impl Evaluator<'_> {
    pub(super) fn binomial(&mut self, n: &Expr, k: &Expr) -> Option<Value> {
        let (n, k) = (self.small_integer(n)?, self.small_integer(k)?);
        if n < 0 || k < 0 || n > 1 << 40 {
            return None;
        }
        let k = k.min(n - k);
        if k < 0 {
            return Some(Value::Exact(RBig::ZERO));
        }
        if k as u64 > MOST_FACTORS {
            let [n, k, rest] = [n, k, n - k].map(|x| ln_factorial(&Ball::int(x), self.prec + 64));
            let log = n?.sub(&k?, self.prec)?.sub(&rest?, self.prec)?;
            return self.exp(&Value::Real(log));
        }
        let mut value = IBig::ONE;
        for i in 1..=k {
            value = value * IBig::from(n - k + i) / IBig::from(i);
            self.spend(value.bit_len() / 64 + 1)?;
        }
        Some(Value::Exact(RBig::from(value)))
    }

    fn factorial(&mut self, argument: &Value) -> Option<Value> {
        let Value::Exact(exact) = argument else { return None };
        if !exact.is_int() || *exact < RBig::ZERO {
            return None;
        }
        match u64::try_from(exact.numerator().clone()) {
            Ok(n) if n <= MOST_FACTORS => {
                self.spend(n as usize * (n as usize / 16 + 1) / 64 + 1)?;
                Some(Value::Exact(RBig::from(IBig::from(product(1, n)))))
            }
            _ => {
                self.spend(8 * self.prec)?;
                let log = ln_factorial(&Ball::of(exact, self.prec + 64)?, self.prec + 64)?;
                self.exp(&Value::Real(log))
            }
        }
    }

    pub(super) fn call(&mut self, function: Function, argument: &Expr) -> Option<Value> {
        let argument = self.value(argument)?;
        match function {
            Function::Factorial => return self.factorial(&argument),
            Function::Exp => return self.exp(&argument),
            Function::Ln | Function::Log => {
                let log = self.ln(&argument)?;
                if function == Function::Log && self.log_base_10 {
                    let ten = self.ln(&Value::Exact(RBig::from(10)))?;
                    return self.div(&log, &ten);
                }
                return Some(log);
            }
            _ => {}
        }
        if let Value::Complex(re, im) = &argument {
            let square = re.mul(re, self.prec)?.add(&im.mul(im, self.prec)?, self.prec)?;
            return (function == Function::Abs).then(|| square.sqrt(self.prec)).flatten().map(Value::Real);
        }
        if let Value::Exact(exact) = &argument {
            match function {
                Function::Abs => return Some(Value::Exact(if *exact < RBig::ZERO { -exact } else { exact.clone() })),
                Function::Floor => return Some(Value::Exact(exact.floor().into())),
                Function::Ceil => return Some(Value::Exact(exact.ceil().into())),
                _ => {}
            }
        }
        self.spend(4 * self.prec)?;
        let ball = argument.to_ball(self.prec)?;
        self.real_call(function, &ball)
    }

    fn real_call(&mut self, function: Function, x: &Ball) -> Option<Value> {
        let prec = self.prec;
        let one = Ball::int(1);
        let exponentials = || Some((exp(x, prec)?, exp(&x.neg(), prec)?));
        Some(Value::Real(match function {
            Function::Sin => sin_cos(x, prec)?.0,
            Function::Cos => sin_cos(x, prec)?.1,
            Function::Tan | Function::Cot => {
                let (sin, cos) = sin_cos(x, prec)?;
                if function == Function::Tan { sin.div(&cos, prec)? } else { cos.div(&sin, prec)? }
            }
            Function::Sec => one.div(&sin_cos(x, prec)?.1, prec)?,
            Function::Csc => one.div(&sin_cos(x, prec)?.0, prec)?,
            Function::Arctan => atan(x, prec)?,
            Function::Arcsin | Function::Arccos => {
                // 1 and -1 have no tangent; they come as exact balls only.
                let rest = one.sub(&x.mul(x, prec)?, prec)?;
                let right = pi(prec)?.shifted(-1)?;
                let angle = if rest.magnitude().is_none() {
                    if x.is_negative() { right.neg() } else { right.clone() }
                } else {
                    atan(&x.div(&rest.sqrt(prec)?, prec)?, prec)?
                };
                if function == Function::Arcsin { angle } else { right.sub(&angle, prec)? }
            }
            Function::Sinh => {
                let (up, down) = exponentials()?;
                up.sub(&down, prec)?.shifted(-1)?
            }
            Function::Cosh => {
                let (up, down) = exponentials()?;
                up.add(&down, prec)?.shifted(-1)?
            }
            Function::Tanh => {
                let (up, down) = exponentials()?;
                up.sub(&down, prec)?.div(&up.add(&down, prec)?, prec)?
            }
            Function::Abs => x.abs(),
            Function::Floor => return Some(Value::Exact(x.floor()?.into())),
            Function::Ceil => return Some(Value::Exact((-x.neg().floor()?).into())),
            Function::Exp | Function::Ln | Function::Log | Function::Factorial => return None,
        }))
    }
}

/// The product of all integers from `low` to `high`, by halves.
fn product(low: u64, high: u64) -> UBig {
    if high < low + 8 {
        return (low..=high).fold(UBig::ONE, |product, n| product * UBig::from(n));
    }
    let middle = u64::midpoint(low, high);
    product(low, middle) * product(middle + 1, high)
}
