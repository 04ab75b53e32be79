//! Equations and inequalities: against each other, and against the value they give a variable.

use super::super::expr::{Expr, Function, Relation};
use super::super::probe::{Outcome, proportional};
use super::{Comparer, sets};
use crate::Rule;

impl Comparer {
    /// At least one of the two is a relation.
    pub(super) fn same_relations(&mut self, a: &Expr, b: &Expr) -> Outcome {
        match (a, b) {
            (Expr::Rel(left, left_ops), Expr::Rel(right, right_ops)) => {
                if let (Some((name, value)), Some((other, other_value))) = (assigned(a), assigned(b)) {
                    if name == other {
                        return self.same(value, other_value);
                    }
                    if is_constant(value) && is_constant(other_value) {
                        return Outcome::No(Rule::Names);
                    }
                }
                let ranges = self.same_sets(a, b);
                if ranges.is_yes() {
                    return ranges;
                }
                if let ([left_op], [right_op]) = (left_ops.as_slice(), right_ops.as_slice()) {
                    return self.same_two_sided((left, *left_op), (right, *right_op), ranges);
                }
                ranges
            }
            _ => match (assigned(a), assigned(b)) {
                (Some((_, value)), _) => self.same(value, b),
                (_, Some((_, value))) => self.same(a, value),
                _ => self.same_sets(a, b),
            },
        }
    }

    /// `l - r` of both, up to a constant factor: of either sign for equations, positive for inequalities.
    fn same_two_sided(&mut self, a: (&[Expr], Relation), b: (&[Expr], Relation), otherwise: Outcome) -> Outcome {
        let [(a_sides, a_op), (b_sides, b_op)] = [upright(a), upright(b)];
        let scalar = |side: &Expr| side.is_scalar();
        if a_op == Relation::In || b_op == Relation::In || !a_sides.iter().chain(&b_sides).all(scalar) {
            return otherwise;
        }
        let difference = |sides: &[Expr; 2]| sides[0].clone().minus(sides[1].clone());
        let (left, right) = (difference(&a_sides), difference(&b_sides));
        let equation = matches!(a_op, Relation::Equal | Relation::NotEqual);
        match proportional(&left, &right, !equation, &self.seed, self.reading) {
            Outcome::Yes(_) if a_op != b_op => Outcome::No(Rule::Relation),
            _ if a_op != b_op => otherwise,
            Outcome::No(_) if equation && !are_solved(&a_sides, &b_sides) => Outcome::Unknown(Rule::Equations),
            outcome => outcome,
        }
    }
}

/// The relation with `<` and `≤` only.
fn upright((sides, op): (&[Expr], Relation)) -> ([Expr; 2], Relation) {
    let (left, right) = (sides[0].clone(), sides[1].clone());
    match op {
        Relation::Greater | Relation::GreaterEqual => ([right, left], op.flipped()),
        _ => ([left, right], op),
    }
}

/// Whether both equations give the same lone variable, so that different ones are different.
fn are_solved(a: &[Expr; 2], b: &[Expr; 2]) -> bool {
    matches!((&a[0], &b[0]), (Expr::Sym(x), Expr::Sym(y)) if x == y)
}

fn is_constant(expr: &Expr) -> bool {
    !expr.has_symbols()
}

/// `x = value`, `f(x) = value`, `AB = … = value`: what is named, and the value; also `value = x`, and `x ∈ set`.
fn assigned(expr: &Expr) -> Option<(&Expr, &Expr)> {
    let Expr::Rel(sides, relations) = expr else { return None };
    if let ([name, set], [Relation::In]) = (sides.as_slice(), relations.as_slice()) {
        return (matches!(name, Expr::Sym(_)) && sets::is_set(set)).then_some((name, set));
    }
    if relations.iter().any(|relation| *relation != Relation::Equal) {
        return None;
    }
    let (first, last) = (sides.first()?, sides.last()?);
    if is_name(first) { Some((first, last)) } else { (is_name(last) && is_constant(first)).then_some((last, first)) }
}

/// A variable, a product or sum of them (`AB`, `m + n`), or a tuple of them.
fn is_name(expr: &Expr) -> bool {
    match expr {
        Expr::Sym(_) => true,
        Expr::Mul(parts) | Expr::Add(parts) => parts.iter().all(|part| matches!(part, Expr::Sym(_))),
        Expr::Bracket { items, .. } => items.iter().all(|item| matches!(item, Expr::Sym(_))),
        Expr::Div(a, b) => is_name(a) && is_name(b),
        Expr::Ratio(parts) => parts.iter().all(is_name),
        Expr::Call(Function::Abs, inner) => is_name(inner),
        _ => false,
    }
}
