//! Numbers as they are written: decimals, repeating decimals, mixed numbers, digits in another base.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::super::expr::Expr;
use super::super::lex::{Kind, Number};
use super::Parser;

/// Larger exponents of `1e5` are no numbers.
const MOST_EXPONENT: u32 = 20_000;
impl Parser {
    pub(super) fn number(&mut self, number: &Number) -> Option<Expr> {
        let value = value(number)?;
        if self.sign() == Some('_') && number.places.is_none() {
            return self.based(number);
        }
        if number.places.is_none() && number.exponent == 0 {
            if let Some(fraction) = self.fraction_of_a_mixed_number() {
                return Some(Expr::Num(value + fraction));
            }
            return Some(Expr::Num(value));
        }
        if !number.repeating.is_empty() {
            return Some(Expr::Num(value));
        }
        let places = i64::from(number.places.unwrap_or_default()) - i64::from(number.exponent);
        Some(Expr::Dec(value, places.clamp(0, 1 << 30) as u32))
    }

    /// Digits with their base below: `11_2`.
    fn based(&mut self, number: &Number) -> Option<Expr> {
        self.at += 1;
        let Expr::Num(base) = self.nested(Self::atom)? else { return None };
        let base = u32::try_from(base.numerator().clone()).ok().filter(|base| (2..=36).contains(base))?;
        let value = UBig::from_str_radix(&number.digits, base).ok()?;
        Some(Expr::Based(RBig::from(IBig::from(value)), number.digits.trim_start_matches('0').to_owned()))
    }

    /// The `\frac{4}{5}` of `1\frac{4}{5}`, or the `4/5` of `1 4/5`: proper, of plain numbers.
    fn fraction_of_a_mixed_number(&mut self) -> Option<RBig> {
        let start = self.at;
        let fraction = self.plain_fraction();
        if fraction.is_none() {
            self.at = start;
        }
        fraction
    }

    fn plain_fraction(&mut self) -> Option<RBig> {
        let token = self.tokens.get(self.at)?;
        let latex = matches!(&token.kind, Kind::Command(name) if matches!(name.as_str(), "frac" | "dfrac" | "tfrac"));
        if !(latex || token.spaced && matches!(token.kind, Kind::Number(_))) {
            return None;
        }
        let (numerator, denominator) = if latex {
            self.at += 1;
            (self.argument()?, self.argument()?)
        } else {
            let numerator = self.plain_integer()?;
            self.expect('/')?;
            (numerator, self.plain_integer()?)
        };
        let (Expr::Num(numerator), Expr::Num(denominator)) = (numerator, denominator) else { return None };
        let proper = numerator.is_int() && denominator.is_int() && numerator < denominator && numerator > RBig::ZERO;
        proper.then(|| numerator / denominator)
    }

    fn plain_integer(&mut self) -> Option<Expr> {
        let Some(Kind::Number(number)) = self.peek() else { return None };
        let integer = number.places.is_none() && number.exponent == 0;
        let value = value(number)?;
        self.at += 1;
        integer.then_some(Expr::Num(value))
    }
}

/// The value of a number as written.
fn value(number: &Number) -> Option<RBig> {
    let digits: UBig = number.digits.parse().ok()?;
    let places = number.places.unwrap_or_default() as usize;
    let ten = |n: usize| UBig::from(10u8).pow(n);
    let mut value = RBig::from_parts(digits.into(), ten(places));
    if !number.repeating.is_empty() {
        let repeating: UBig = number.repeating.parse().ok()?;
        let nines = ten(number.repeating.len()) - UBig::ONE;
        value += RBig::from_parts(repeating.into(), nines * ten(places));
    }
    let exponent = number.exponent.unsigned_abs();
    if exponent > MOST_EXPONENT {
        return None;
    }
    let scale = RBig::from(ten(exponent as usize));
    Some(if number.exponent < 0 { value / scale } else { value * scale })
}
