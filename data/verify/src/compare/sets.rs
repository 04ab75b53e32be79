//! Sets of real numbers: intervals, unions, inequalities and points, brought to sorted intervals that do not touch.

use std::cmp::Ordering;

use super::super::expr::{Expr, Relation};
use super::super::probe::{Outcome, order};
use super::Comparer;
use crate::Rule;

/// More intervals than that are no answer.
const MOST_PIECES: usize = 64;

/// An end of an interval.
#[derive(Debug, Clone)]
enum End {
    /// Without end, on either side.
    Infinite,
    At {
        value: Expr,
        closed: bool,
    },
}

/// An interval; one of no length has equal closed ends.
#[derive(Debug, Clone)]
struct Piece {
    low: End,
    high: End,
}

/// Whether it can only be a set of numbers or a condition on one: no tuple, no list.
pub(super) fn is_range(expr: &Expr) -> bool {
    match expr {
        Expr::Reals | Expr::Union(..) | Expr::Intersection(..) | Expr::Without(..) | Expr::Builder(..) => true,
        Expr::Rel(_, relations) => relations.iter().any(|relation| *relation != Relation::Equal),
        Expr::List(items) => !items.is_empty() && items.iter().all(is_range),
        _ => false,
    }
}

/// Whether it is written as a set.
pub(super) fn is_set(expr: &Expr) -> bool {
    matches!(expr, Expr::Bracket { .. } | Expr::Set(_)) || (is_range(expr) && !matches!(expr, Expr::Rel(..)))
}

impl Comparer {
    pub(super) fn same_sets(&mut self, a: &Expr, b: &Expr) -> Outcome {
        let (left, right) = (self.pieces(a), self.pieces(b));
        let (Some(left), Some(right)) = (left, right) else { return self.same_builders(a, b) };
        let (Some(left), Some(right)) = (self.sorted(left), self.sorted(right)) else {
            return Outcome::Unknown(Rule::UnorderedEnds);
        };
        if left.len() != right.len() {
            return Outcome::No(Rule::Set);
        }
        let mut outcome = Outcome::Yes(Rule::Set);
        for (a, b) in left.iter().zip(&right) {
            for (a, b) in [(&a.low, &b.low), (&a.high, &b.high)] {
                outcome = outcome.and_then(|| self.same_end(a, b));
            }
        }
        if outcome.is_yes() { Outcome::Yes(Rule::Set) } else { outcome }
    }

    /// What is no set of intervals can still be written alike.
    fn same_builders(&mut self, a: &Expr, b: &Expr) -> Outcome {
        match (a, b) {
            (Expr::Union(a, b), Expr::Union(c, d)) => {
                let straight = self.same(a, c).and_then(|| self.same(b, d));
                straight.or_else(|| self.same(a, d).and_then(|| self.same(b, c)))
            }
            (Expr::List(left), Expr::List(right)) if left.len() == right.len() => self.each_in(left, right, true),
            (a, b) if is_set(a) == is_set(b) => Outcome::Unknown(Rule::Sets),
            // A number is no set.
            (a, b) if a.is_scalar() || b.is_scalar() => Outcome::No(Rule::Kinds),
            _ => Outcome::Unknown(Rule::Sets),
        }
    }

    fn same_end(&mut self, a: &End, b: &End) -> Outcome {
        match (a, b) {
            (End::Infinite, End::Infinite) => Outcome::Yes(Rule::Set),
            (End::At { value: left, closed: a }, End::At { value: right, closed: b }) if a == b => {
                self.same(left, right)
            }
            _ => Outcome::No(Rule::Set),
        }
    }

    /// The intervals of an expression.
    fn pieces(&mut self, expr: &Expr) -> Option<Vec<Piece>> {
        let pieces = match expr {
            Expr::Reals => vec![Piece { low: End::Infinite, high: End::Infinite }],
            Expr::Bracket { items, round_open, round_close } => match items.as_slice() {
                [low, high] => vec![Piece { low: end(low, !round_open, false)?, high: end(high, !round_close, true)? }],
                _ => return None,
            },
            Expr::Set(items) => items.iter().map(point).collect::<Option<Vec<_>>>()?,
            Expr::Union(a, b) => [self.pieces(a)?, self.pieces(b)?].concat(),
            Expr::Intersection(a, b) => {
                let (a, b) = (self.pieces(a)?, self.pieces(b)?);
                self.common(&a, &b)?
            }
            Expr::Without(a, b) => {
                let (a, b) = (self.pieces(a)?, self.pieces(b)?);
                let outside = self.complement(b)?;
                self.common(&a, &outside)?
            }
            Expr::Builder(element, condition) => self.built(element, condition)?,
            Expr::Rel(sides, relations) => self.related(sides, relations)?,
            Expr::List(items) => {
                let mut all = Vec::new();
                for item in items {
                    all.extend(self.pieces(item)?);
                }
                all
            }
            _ => return None,
        };
        (pieces.len() <= MOST_PIECES).then_some(pieces)
    }

    /// `{x | conditions}` and `{x ∈ set | conditions}`: all of them hold.
    fn built(&mut self, element: &Expr, condition: &Expr) -> Option<Vec<Piece>> {
        let mut pieces = match element {
            Expr::Sym(_) => vec![Piece { low: End::Infinite, high: End::Infinite }],
            Expr::Rel(..) => self.pieces(element)?,
            _ => return None,
        };
        let conditions = match condition {
            Expr::List(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        for condition in conditions {
            let these = self.pieces(condition)?;
            pieces = self.common(&pieces, &these)?;
        }
        Some(pieces)
    }

    /// A chain such as `1 < x ≤ 2`, `x ≠ 3` or `x ∈ [1, 2]`, about one variable that stands alone.
    fn related(&mut self, sides: &[Expr], relations: &[Relation]) -> Option<Vec<Piece>> {
        let name = sides.iter().position(|side| matches!(side, Expr::Sym(_)))?;
        let mut pieces = vec![Piece { low: End::Infinite, high: End::Infinite }];
        for (at, relation) in relations.iter().enumerate() {
            let (relation, other) = match name {
                n if n == at => (*relation, &sides[at + 1]),
                n if n == at + 1 => (relation.flipped(), &sides[at]),
                _ => return None,
            };
            let at = |closed| End::At { value: other.clone(), closed };
            if relation != Relation::In && !other.is_scalar() {
                return None;
            }
            let these = match relation {
                Relation::Equal => vec![point(other)?],
                Relation::NotEqual => {
                    vec![Piece { low: End::Infinite, high: at(false) }, Piece { low: at(false), high: End::Infinite }]
                }
                Relation::Less => vec![Piece { low: End::Infinite, high: at(false) }],
                Relation::LessEqual => vec![Piece { low: End::Infinite, high: at(true) }],
                Relation::Greater => vec![Piece { low: at(false), high: End::Infinite }],
                Relation::GreaterEqual => vec![Piece { low: at(true), high: End::Infinite }],
                Relation::In => self.pieces(other)?,
            };
            pieces = self.common(&pieces, &these)?;
        }
        Some(pieces)
    }

    fn order(&self, a: &Expr, b: &Expr) -> Option<Ordering> {
        order(a, b, &self.seed, self.reading)
    }

    /// Intersects each with each.
    fn common(&mut self, a: &[Piece], b: &[Piece]) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        for left in a {
            for right in b {
                let low = self.inner(&left.low, &right.low, Ordering::Greater)?;
                let high = self.inner(&left.high, &right.high, Ordering::Less)?;
                let empty = match (&low, &high) {
                    (End::At { value: low, closed: a }, End::At { value: high, closed: b }) => {
                        // Ends with variables cannot be ordered; their interval is taken for what it says.
                        let order = self
                            .order(low, high)
                            .or((low.has_symbols() || high.has_symbols()).then_some(Ordering::Less))?;
                        order == Ordering::Greater || (order == Ordering::Equal && !(*a && *b))
                    }
                    _ => false,
                };
                if !empty {
                    pieces.push(Piece { low, high });
                }
                if pieces.len() > MOST_PIECES {
                    return None;
                }
            }
        }
        Some(pieces)
    }

    /// The end that lies further in, in the given direction.
    fn inner(&self, a: &End, b: &End, inward: Ordering) -> Option<End> {
        Some(match (a, b) {
            (End::Infinite, other) | (other, End::Infinite) => other.clone(),
            (End::At { value: left, closed: a_closed }, End::At { value: right, closed: b_closed }) => {
                match self.order(left, right)? {
                    Ordering::Equal => End::At { value: left.clone(), closed: *a_closed && *b_closed },
                    order if order == inward => a.clone(),
                    _ => b.clone(),
                }
            }
        })
    }

    fn complement(&mut self, pieces: Vec<Piece>) -> Option<Vec<Piece>> {
        let flipped = |end: &End| match end {
            End::Infinite => None,
            End::At { value, closed } => Some(End::At { value: value.clone(), closed: !closed }),
        };
        let mut outside = Vec::new();
        let mut low = Some(End::Infinite);
        for piece in self.sorted(pieces)? {
            if let (Some(low), Some(high)) = (low.take(), flipped(&piece.low)) {
                outside.push(Piece { low, high });
            }
            low = flipped(&piece.high);
        }
        // Nothing is left above the last piece if it has no end; there is no piece at all if the set is empty.
        outside.extend(low.map(|low| Piece { low, high: End::Infinite }));
        Some(outside)
    }

    /// Sorts by the low ends and joins what overlaps or touches.
    fn sorted(&mut self, pieces: Vec<Piece>) -> Option<Vec<Piece>> {
        if pieces.len() < 2 {
            return Some(pieces);
        }
        // Insertion, since the order may fail.
        let mut sorted: Vec<Piece> = Vec::new();
        for piece in pieces {
            let mut place = sorted.len();
            while place > 0 && self.below(&piece.low, &sorted[place - 1].low)? {
                place -= 1;
            }
            sorted.insert(place, piece);
        }
        let mut joined: Vec<Piece> = Vec::new();
        for piece in sorted {
            match joined.last_mut() {
                Some(last) if self.reaches(&last.high, &piece.low)? => {
                    last.high = self.outer(&last.high, &piece.high)?;
                }
                _ => joined.push(piece),
            }
        }
        Some(joined)
    }

    /// Whether a low end comes before another.
    fn below(&self, a: &End, b: &End) -> Option<bool> {
        Some(match (a, b) {
            (_, End::Infinite) => false,
            (End::Infinite, _) => true,
            (End::At { value: left, closed: a }, End::At { value: right, closed: b }) => {
                match self.order(left, right)? {
                    Ordering::Less => true,
                    Ordering::Equal => *a && !*b,
                    Ordering::Greater => false,
                }
            }
        })
    }

    /// Whether nothing lies between a high end and the next low end.
    fn reaches(&self, high: &End, low: &End) -> Option<bool> {
        Some(match (high, low) {
            (End::Infinite, _) | (_, End::Infinite) => true,
            (End::At { value: left, closed: a }, End::At { value: right, closed: b }) => {
                match self.order(left, right)? {
                    Ordering::Greater => true,
                    Ordering::Equal => *a || *b,
                    Ordering::Less => false,
                }
            }
        })
    }

    /// The later of two high ends.
    fn outer(&self, a: &End, b: &End) -> Option<End> {
        Some(match (a, b) {
            (End::Infinite, _) | (_, End::Infinite) => End::Infinite,
            (End::At { value: left, closed: x }, End::At { value: right, closed: y }) => {
                match self.order(left, right)? {
                    Ordering::Equal => End::At { value: left.clone(), closed: *x || *y },
                    Ordering::Greater => a.clone(),
                    Ordering::Less => b.clone(),
                }
            }
        })
    }
}

/// A low or a high end of an interval.
fn end(value: &Expr, closed: bool, high: bool) -> Option<End> {
    match value {
        Expr::Infinity => high.then_some(End::Infinite),
        Expr::Neg(inner) if **inner == Expr::Infinity => (!high).then_some(End::Infinite),
        scalar if scalar.is_scalar() => Some(End::At { value: scalar.clone(), closed }),
        _ => None,
    }
}

fn point(value: &Expr) -> Option<Piece> {
    let closed = |high| end(value, true, high);
    let (low, high) = (closed(false)?, closed(true)?);
    Some(Piece { low, high })
}
