//! Compares two trees: what kind of things they are decides how.

mod relation;
mod sets;

use dashu_ratio::RBig;

use super::eval::{Evaluator, Value};
use super::expr::Expr;
use super::functions::PRECISIONS;
use super::probe::{Outcome, Reading, Seed, equal, is_near, is_rounding};
use super::unit::{self, Units};
use crate::Rule;

/// Comparisons of numbers that one pair of answers may take.
const MOST_COMPARISONS: usize = 400;
/// A decimal answer key with fewer places is not taken for a rounded number.
const FEWEST_ROUNDED_PLACES: u32 = 3;
/// Of two decimals, the one with at least that many places was cut off by a computer...
const PLACES_OF_A_COMPUTER: u32 = 10;
/// ...and the other may round it to that many.
const FEWEST_PLACES_OF_BOTH: u32 = 4;

/// Compares the parts of one pair of answers.
pub(super) struct Comparer {
    seed: Seed,
    reading: Reading,
    comparisons: usize,
}

/// Whether the gold answer and an answer say the same.
pub(super) fn compare(gold: &Expr, answer: &Expr, seed: u64) -> Outcome {
    let complex = |expr: &Expr| expr.any(&|part| *part == Expr::I);
    let logs = |expr: &Expr| expr.any(&|part| matches!(part, Expr::Call(super::expr::Function::Log, _)));
    let mut comparer = Comparer {
        seed: Seed(seed),
        reading: Reading { log_base_10: false, complex: complex(gold) || complex(answer) },
        comparisons: 0,
    };
    let outcome = comparer.same(gold, answer);
    if !logs(gold) && !logs(answer) {
        return outcome;
    }
    outcome.or_else(|| {
        comparer.reading.log_base_10 = true;
        comparer.same(gold, answer)
    })
}

impl Comparer {
    /// Whether two parts say the same; the first one is of the gold answer.
    fn same(&mut self, a: &Expr, b: &Expr) -> Outcome {
        if a == b {
            return Outcome::Yes(Rule::Identical);
        }
        if a.any(&|part| matches!(part, Expr::PlusMinus(..))) || b.any(&|part| matches!(part, Expr::PlusMinus(..))) {
            return self.same_signs(a, b);
        }
        match (a, b) {
            (Expr::Rel(..), _) | (_, Expr::Rel(..)) => self.same_relations(a, b),
            (Expr::Quantity(..) | Expr::Percent(_) | Expr::Degrees(_), other)
            | (other, Expr::Quantity(..) | Expr::Percent(_) | Expr::Degrees(_))
                if other.is_scalar() || matches!(other, Expr::Ratio(_)) =>
            {
                self.same_quantities(a, b)
            }
            (Expr::Ratio(left), Expr::Ratio(right)) => self.same_ratios(left, right),
            (Expr::Ratio(parts), _) if b.is_scalar() => self.ratio_is(parts, b),
            (_, Expr::Ratio(parts)) if a.is_scalar() => self.ratio_is(parts, a),
            _ if a.is_scalar() && b.is_scalar() => self.same_scalars(a, b),
            _ if total(a).is_some() || total(b).is_some() => self.same_totals(a, b),
            _ if sets::is_range(a) || sets::is_range(b) => self.same_sets(a, b),
            _ => self.same_collections(a, b),
        }
    }

    /// Both signs of a `±` are two answers.
    fn same_signs(&mut self, a: &Expr, b: &Expr) -> Outcome {
        match (both_signs(a), both_signs(b)) {
            (Some(a), Some(b)) => self.same(&a, &b),
            _ => Outcome::Unknown(Rule::PlusMinus),
        }
    }

    fn same_scalars(&mut self, a: &Expr, b: &Expr) -> Outcome {
        self.comparisons += 1;
        if self.comparisons > MOST_COMPARISONS {
            return Outcome::Unknown(Rule::TooManyParts);
        }
        if matches!((a, b), (Expr::Infinity, _) | (_, Expr::Infinity)) {
            return Outcome::No(Rule::Infinity);
        }
        let outcome = equal(a, b, &self.seed, self.reading);
        if outcome.is_yes() {
            return outcome;
        }
        if a.any(&is_decimal) || b.any(&is_decimal) {
            if self.is_rounded(a, b) {
                return Outcome::Yes(Rule::Rounded);
            }
        } else if let (Expr::Based(_, digits), Expr::Num(value)) | (Expr::Num(value), Expr::Based(_, digits)) = (a, b)
            && value.to_string() == *digits
        {
            return Outcome::Unknown(Rule::BaseOmitted);
        }
        outcome
    }

    /// The rule for decimals; see [`verify`](super::verify).
    fn is_rounded(&self, gold: &Expr, answer: &Expr) -> bool {
        let Some((value, places)) = decimal(gold) else { return false };
        let Some((other, other_places)) = decimal(answer) else {
            let few = (FEWEST_ROUNDED_PLACES..1000).contains(&places);
            return few && !answer.has_symbols() && is_rounding(&value, places, answer, self.reading);
        };
        let ((coarse, fewer), (fine, more)) = if places <= other_places {
            ((value, places), (other, other_places))
        } else {
            ((other, other_places), (value, places))
        };
        let rounds = (FEWEST_PLACES_OF_BOTH..1000).contains(&fewer) && more >= PLACES_OF_A_COMPUTER;
        rounds && is_near(&coarse, fewer, &Value::Exact(fine), &mut Evaluator::new(PRECISIONS[0], false))
    }

    /// Percent signs, degrees and units.
    fn same_quantities(&mut self, a: &Expr, b: &Expr) -> Outcome {
        let hundredth = |value: &Expr| value.clone().over(Expr::int(100));
        match (a, b) {
            (Expr::Percent(a), Expr::Percent(b)) | (Expr::Degrees(a), Expr::Degrees(b)) => self.same(a, b),
            // Gold answers drop the sign as often as they convert it.
            (Expr::Percent(inner), other) if is_bare(other) => {
                self.same(inner, other).or_else(|| self.same(&hundredth(inner), other))
            }
            (other, Expr::Percent(inner)) if is_bare(other) => {
                self.same(other, inner).or_else(|| self.same(other, &hundredth(inner)))
            }
            (Expr::Degrees(inner), other) if is_bare(other) => {
                self.same(inner, other).or_else(|| self.same_scalars(a, other))
            }
            (other, Expr::Degrees(inner)) if is_bare(other) => {
                self.same(other, inner).or_else(|| self.same_scalars(other, b))
            }
            (Expr::Quantity(left, unit), Expr::Quantity(right, other)) => match unit::compare(unit, other) {
                Units::Same => self.same(left, right),
                Units::Times(factor) => {
                    let converted = Expr::Mul(vec![(**left).clone(), Expr::Num(factor)]);
                    self.same(&converted, right)
                }
                Units::Contradict => Outcome::No(Rule::Units),
            },
            (Expr::Quantity(inner, _), other) if is_bare(other) => self.same(inner, other),
            (other, Expr::Quantity(inner, _)) if is_bare(other) => self.same(other, inner),
            _ => Outcome::No(Rule::Kinds),
        }
    }

    /// "2 hours and 30 minutes" is a sum; "4 boxes, 0 left over" is 4.
    fn same_totals(&mut self, a: &Expr, b: &Expr) -> Outcome {
        let as_list = self.same_collections(a, b);
        as_list.or_else(|| match (total(a), total(b)) {
            (None, None) => Outcome::No(Rule::Kinds),
            (left, right) => self.same(left.as_ref().unwrap_or(a), right.as_ref().unwrap_or(b)),
        })
    }

    fn same_ratios(&mut self, a: &[Expr], b: &[Expr]) -> Outcome {
        if a.len() != b.len() {
            return Outcome::No(Rule::Ratio);
        }
        let mut outcome = Outcome::Yes(Rule::Ratio);
        for (left, right) in a.windows(2).zip(b.windows(2)) {
            let quotient = |pair: &[Expr]| pair[0].clone().over(pair[1].clone());
            outcome = outcome.and_then(|| self.same(&quotient(left), &quotient(right)));
        }
        outcome
    }

    fn ratio_is(&mut self, parts: &[Expr], value: &Expr) -> Outcome {
        match parts {
            [a, b] => self.same_scalars(&a.clone().over(b.clone()), value),
            _ => Outcome::No(Rule::Ratio),
        }
    }

    fn same_collections(&mut self, a: &Expr, b: &Expr) -> Outcome {
        if let Some(outcome) = self.same_vectors(a, b) {
            return outcome;
        }
        match (a, b) {
            (
                Expr::Bracket { items: left, round_open: a_open, round_close: a_close },
                Expr::Bracket { items: right, round_open: b_open, round_close: b_close },
            ) => {
                // Two items in brackets may be an interval, whose brackets matter.
                if left.len() == 2 && (a_open, a_close) != (b_open, b_close) {
                    return Outcome::No(Rule::Brackets);
                }
                self.in_order(left, right)
            }
            // A list of answers may be meant as a point, not as an interval with its ends.
            (Expr::List(left), Expr::Bracket { items: right, round_open: true, round_close: true })
            | (Expr::Bracket { items: left, round_open: true, round_close: true }, Expr::List(right)) => {
                self.in_order(left, right)
            }
            (Expr::Set(left), Expr::Set(right)) => {
                self.each_in(left, right, false).and_then(|| self.each_in(right, left, false))
            }
            (Expr::List(left) | Expr::Set(left), Expr::List(right) | Expr::Set(right)) => {
                if left.len() != right.len() {
                    return Outcome::No(Rule::Count);
                }
                self.each_in(left, right, true)
            }
            (Expr::Set(items) | Expr::List(items), scalar) | (scalar, Expr::Set(items) | Expr::List(items))
                if scalar.is_scalar() =>
            {
                match items.as_slice() {
                    [item] => self.same(item, scalar),
                    _ => Outcome::No(Rule::Count),
                }
            }
            _ => Outcome::No(Rule::Kinds),
        }
    }

    /// Matrices, and vectors however they are written.
    fn same_vectors(&mut self, a: &Expr, b: &Expr) -> Option<Outcome> {
        let ((Expr::Matrix(rows), other) | (other, Expr::Matrix(rows))) = (a, b) else { return None };
        let by_rows = matches!(a, Expr::Matrix(_));
        let items = match other {
            Expr::Matrix(_) | Expr::Bracket { .. } if rows_of(other).is_some_and(|r| shape(&r) == shape(rows)) => {
                rows_of(other)?.concat()
            }
            // A column or a row of numbers and a tuple are one vector.
            Expr::Bracket { items, round_open, round_close }
                if round_open == round_close && (rows.len() == 1 || rows[0].len() == 1) =>
            {
                items.clone()
            }
            _ => return Some(Outcome::No(Rule::Kinds)),
        };
        let flat = rows.concat();
        Some(if by_rows { self.in_order(&flat, &items) } else { self.in_order(&items, &flat) })
    }

    fn in_order(&mut self, a: &[Expr], b: &[Expr]) -> Outcome {
        if a.len() != b.len() {
            return Outcome::No(Rule::Count);
        }
        let mut outcome = Outcome::Yes(Rule::InOrder);
        for (left, right) in a.iter().zip(b) {
            outcome = outcome.and_then(|| self.same(left, right));
        }
        if outcome.is_yes() { Outcome::Yes(Rule::InOrder) } else { outcome }
    }

    /// Whether each of `a` is among `b`; `once` takes it out there.
    fn each_in(&mut self, a: &[Expr], b: &[Expr], once: bool) -> Outcome {
        let mut left: Vec<&Expr> = b.iter().collect();
        let mut outcome = Outcome::Yes(Rule::AnyOrder);
        for item in a {
            let mut found = Outcome::No(Rule::Element);
            for place in 0..left.len() {
                match self.same(item, left[place]) {
                    Outcome::Yes(_) => {
                        found = Outcome::Yes(Rule::AnyOrder);
                        if once {
                            left.swap_remove(place);
                        }
                        break;
                    }
                    Outcome::Unknown(rule) => found = Outcome::Unknown(rule),
                    Outcome::No(_) => {}
                }
            }
            outcome = outcome.and_then(|| found);
            if matches!(outcome, Outcome::No(_)) {
                break;
            }
        }
        outcome
    }
}

fn is_decimal(expr: &Expr) -> bool {
    matches!(expr, Expr::Dec(..))
}

/// A number without sign of percent, degree or unit.
fn is_bare(expr: &Expr) -> bool {
    expr.is_scalar() && !matches!(expr, Expr::Percent(_) | Expr::Degrees(_) | Expr::Quantity(..))
        || matches!(expr, Expr::Ratio(_))
}

/// The value of a decimal number and its places.
fn decimal(expr: &Expr) -> Option<(RBig, u32)> {
    match expr {
        Expr::Dec(value, places) => Some((value.clone(), *places)),
        Expr::Neg(inner) => decimal(inner).map(|(value, places)| (-value, places)),
        _ => None,
    }
}

/// What a list of numbers, each with its unit, comes to, if that is one number: parts in units of the same quantity are
/// added, parts that are nothing are left out.
fn total(expr: &Expr) -> Option<Expr> {
    let Expr::List(items) = expr else { return None };
    let mut parts: Vec<(&Expr, &str)> = Vec::new();
    for item in items {
        let Expr::Quantity(value, unit) = item else { return None };
        if **value != Expr::int(0) {
            parts.push((value, unit));
        }
    }
    let (first, unit) = *parts.first()?;
    if parts.len() == items.len() && !parts.iter().all(|(_, other)| unit::measure_alike(unit, other)) {
        return None;
    }
    let mut sum = vec![first.clone()];
    for (value, other) in &parts[1..] {
        match unit::compare(other, unit) {
            Units::Times(factor) => sum.push(Expr::Mul(vec![(*value).clone(), Expr::Num(factor)])),
            _ => return None,
        }
    }
    Some(Expr::Quantity(Box::new(Expr::Add(sum)), unit.to_owned()))
}

/// The rows of a matrix, or of brackets within brackets.
fn rows_of(expr: &Expr) -> Option<Vec<Vec<Expr>>> {
    match expr {
        Expr::Matrix(rows) => Some(rows.clone()),
        Expr::Bracket { items, .. } => items
            .iter()
            .map(|item| match item {
                Expr::Bracket { items, .. } => Some(items.clone()),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

fn shape(rows: &[Vec<Expr>]) -> (usize, Option<usize>) {
    let width = rows.first().map(Vec::len);
    (rows.len(), width.filter(|width| rows.iter().all(|row| row.len() == *width)))
}

/// Writes out `±`: `None` if there is one where it cannot be.
fn both_signs(expr: &Expr) -> Option<Expr> {
    let has = |expr: &Expr| expr.any(&|part| matches!(part, Expr::PlusMinus(..)));
    if !has(expr) {
        return Some(expr.clone());
    }
    match expr {
        Expr::List(items) | Expr::Set(items) => {
            let mut all = Vec::new();
            for item in items {
                match both_signs(item)? {
                    Expr::List(both) if has(item) => all.extend(both),
                    one => all.push(one),
                }
            }
            Some(if matches!(expr, Expr::List(_)) { Expr::List(all) } else { Expr::Set(all) })
        }
        Expr::Rel(sides, relations) if sides.len() == 2 && !has(&sides[0]) => match both_signs(&sides[1])? {
            Expr::List(both) => Some(Expr::List(
                both.into_iter().map(|side| Expr::Rel(vec![sides[0].clone(), side], relations.clone())).collect(),
            )),
            _ => None,
        },
        _ => {
            let (plus, minus) = (signed(expr, true)?, signed(expr, false)?);
            Some(Expr::List(vec![plus, minus]))
        }
    }
}

/// The expression with every `±` replaced by one sign; only inside of numbers.
fn signed(expr: &Expr, plus: bool) -> Option<Expr> {
    let boxed = |inner: &Expr| signed(inner, plus).map(Box::new);
    let all = |parts: &[Expr]| parts.iter().map(|part| signed(part, plus)).collect::<Option<Vec<_>>>();
    Some(match expr {
        Expr::PlusMinus(a, b) => {
            let (a, b) = (signed(a, plus)?, signed(b, plus)?);
            Expr::Add(vec![a, if plus { b } else { b.negated() }])
        }
        Expr::Add(terms) => Expr::Add(all(terms)?),
        Expr::Mul(factors) => Expr::Mul(all(factors)?),
        Expr::Neg(inner) => Expr::Neg(boxed(inner)?),
        Expr::Div(a, b) => Expr::Div(boxed(a)?, boxed(b)?),
        Expr::Pow(a, b) => Expr::Pow(boxed(a)?, boxed(b)?),
        Expr::Root(a, b) => Expr::Root(boxed(a)?, boxed(b)?),
        Expr::Quantity(a, unit) => Expr::Quantity(boxed(a)?, unit.clone()),
        Expr::Degrees(a) => Expr::Degrees(boxed(a)?),
        other if !other.any(&|part| matches!(part, Expr::PlusMinus(..))) => other.clone(),
        _ => return None,
    })
}
