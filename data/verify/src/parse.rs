//! From tokens to a tree: lists, relations, sets, sums, products, powers; what a factor can be is in [`atom`].
//!
//! A grammar of LaTeX and plain text as people and models write answers, not of either language: whatever does not fit is no
//! expression and is compared as text. Nesting is bounded, so that no text exhausts the stack.

mod atom;
mod numeral;

use super::expr::{Expr, Relation};
use super::lex::{Commas, Kind, MOST_BYTES, Token, tokens};
use super::unit;

/// The most brackets within brackets.
const MOST_NESTING: usize = 40;
/// The most operations of one kind in a row that make the tree deeper.
const MOST_CHAIN: usize = 24;
/// The deepest tree.
const MOST_DEPTH: usize = 120;
/// What is read twice, because it can be two things, is read no more often than this in all.
const MOST_STEPS: usize = 5 * MOST_BYTES;
/// More words than that after a number are a sentence, not a unit.
const MOST_UNIT_WORDS: usize = 4;

/// Reads a whole answer as an expression.
pub(super) fn parse(answer: &str, commas: Commas) -> Option<Expr> {
    let mut parser = Parser { tokens: tokens(answer, commas)?, at: 0, nesting: 0, steps: 0, bars: 0 };
    while parser.accept('.') {}
    let expr = parser.list()?;
    while parser.accept('.') {}
    (parser.at == parser.tokens.len() && !is_too_deep(&expr)).then_some(expr)
}

/// Whether answers are separated by a comma that might also group digits.
pub(super) fn has_thousands(answer: &str) -> bool {
    answer.as_bytes().windows(2).any(|pair| pair[0] == b',' && pair[1].is_ascii_digit())
}

fn is_too_deep(expr: &Expr) -> bool {
    let mut level = vec![expr];
    for _ in 0..MOST_DEPTH {
        level = level.into_iter().flat_map(Expr::children).collect();
        if level.is_empty() {
            return false;
        }
    }
    true
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    nesting: usize,
    steps: usize,
    /// Open `|`, at which a factor ends.
    bars: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn sign(&self) -> Option<char> {
        match self.peek() {
            Some(Kind::Sign(sign)) => Some(*sign),
            _ => None,
        }
    }

    fn accept(&mut self, sign: char) -> bool {
        let found = self.sign() == Some(sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: char) -> Option<()> {
        self.accept(sign).then_some(())
    }

    fn word(&self) -> Option<&str> {
        match self.peek() {
            Some(Kind::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn accept_word(&mut self, word: &str) -> bool {
        let found = self.word().is_some_and(|w| w.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    /// Runs `inner` one level deeper.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.nesting == MOST_NESTING || self.steps == MOST_STEPS {
            return None;
        }
        self.steps += 1;
        self.nesting += 1;
        let result = inner(self);
        self.nesting -= 1;
        result
    }

    /// `a, b and c`.
    fn list(&mut self) -> Option<Expr> {
        let mut items = vec![self.item()?];
        loop {
            if self.accept_word("and") {
                let next = self.item()?;
                // "x > 1 and x < 3" is one range; "1 and 3" are two answers.
                let last = items.pop()?;
                if is_inequality(&last) && is_inequality(&next) {
                    items.push(Expr::Intersection(Box::new(last), Box::new(next)));
                } else {
                    items.extend([last, next]);
                }
            } else if self.accept(',') || self.accept(';') || self.accept_word("or") {
                // "1, 2, and 3"; a comma at the end is nothing.
                while self.accept(',') || self.accept(';') || self.accept_word("or") || self.accept_word("and") {}
                if self.at == self.tokens.len() {
                    break;
                }
                items.push(self.item()?);
            } else if matches!((items.last(), self.peek()), (Some(Expr::Quantity(..)), Some(Kind::Number(_)))) {
                // "2 hours 30 minutes".
                items.push(self.item()?);
            } else {
                break;
            }
        }
        Some(if items.len() == 1 { items.remove(0) } else { Expr::List(items) })
    }

    /// One answer: an expression or relation with its unit.
    fn item(&mut self) -> Option<Expr> {
        let first = self.sets()?;
        let mut sides = vec![self.with_unit(first)?];
        let mut relations = Vec::new();
        loop {
            if self.accept('≈') {
                let side = self.sets()?;
                let side = self.with_unit(side)?;
                // Beside an exact value the rounded one is a remark.
                if relations.is_empty() && matches!(sides[0], Expr::Sym(_)) {
                    sides.push(side);
                    relations.push(Relation::Equal);
                }
                continue;
            }
            let Some(relation) = self.relation() else { break };
            let side = self.sets()?;
            sides.push(self.with_unit(side)?);
            relations.push(relation);
        }
        Some(if relations.is_empty() { sides.remove(0) } else { Expr::Rel(sides, relations) })
    }

    fn relation(&mut self) -> Option<Relation> {
        let relation = match self.sign()? {
            '=' => Relation::Equal,
            '≠' => Relation::NotEqual,
            '<' => Relation::Less,
            '≤' => Relation::LessEqual,
            '>' => Relation::Greater,
            '≥' => Relation::GreaterEqual,
            '∈' => Relation::In,
            _ => return None,
        };
        self.at += 1;
        Some(relation)
    }

    /// Words behind a number: a scale, a percent sign in letters, or a unit.
    fn with_unit(&mut self, value: Expr) -> Option<Expr> {
        let mut value = value;
        while let Some(scale) = self.word().and_then(unit::scale) {
            value = Expr::Mul(vec![value, Expr::int(scale)]);
            self.at += 1;
        }
        let mut unit = String::new();
        let mut words = 0;
        while let Some(kind) = self.peek() {
            match kind {
                Kind::Word(word) if !matches!(word.to_ascii_lowercase().as_str(), "or" | "and") => {
                    words += 1;
                    if !unit.is_empty() && !unit.ends_with(['/', '*']) {
                        unit.push(' ');
                    }
                    unit.push_str(&word.to_lowercase());
                }
                Kind::Sign(sign @ ('/' | '^' | '*')) if !unit.is_empty() => unit.push(*sign),
                Kind::Number(number) if unit.ends_with('^') => unit.push_str(&number.digits),
                Kind::Sign('-') if unit.ends_with('^') => unit.push('-'),
                Kind::Sign('.' | '{' | '}') if !unit.is_empty() => {}
                _ => break,
            }
            self.at += 1;
        }
        if words > MOST_UNIT_WORDS {
            return None;
        }
        Some(match unit.as_str() {
            "" => value,
            "percent" | "per cent" => Expr::Percent(Box::new(value)),
            "degree" | "degrees" => Expr::Degrees(Box::new(value)),
            _ => Expr::Quantity(Box::new(value), unit),
        })
    }

    fn sets(&mut self) -> Option<Expr> {
        let mut left = self.ratio()?;
        for _ in 0..MOST_CHAIN {
            let make: fn(Box<Expr>, Box<Expr>) -> Expr = match self.sign() {
                Some('∪') => Expr::Union,
                Some('∩') => Expr::Intersection,
                Some('∖') => Expr::Without,
                _ => return Some(left),
            };
            self.at += 1;
            let right = self.ratio()?;
            left = make(Box::new(left), Box::new(braced_set(right)));
        }
        None
    }

    fn ratio(&mut self) -> Option<Expr> {
        let first = self.sum()?;
        if self.sign() != Some(':') {
            return Some(first);
        }
        let mut parts = vec![first];
        while self.accept(':') {
            parts.push(self.sum()?);
        }
        Some(Expr::Ratio(parts))
    }

    fn sum(&mut self) -> Option<Expr> {
        let mut terms = Vec::new();
        let mut offset: Option<(Expr, bool)> = None;
        let mut signs = 0;
        loop {
            let sign = self.sign().filter(|sign| matches!(sign, '+' | '-' | '±' | '∓'));
            self.at += usize::from(sign.is_some());
            if sign.is_none() && signs > 0 {
                break;
            }
            signs += 1;
            if let Some(sign @ ('±' | '∓')) = sign {
                self.accept('*');
                let base = if terms.is_empty() { Expr::int(0) } else { join(std::mem::take(&mut terms)) };
                if offset.is_some() {
                    return None;
                }
                offset = Some((base, sign == '∓'));
                terms.push(self.product()?);
                continue;
            }
            let term = self.product()?;
            terms.push(if sign == Some('-') { term.negated() } else { term });
        }
        let sum = join(terms);
        Some(match offset {
            Some((base, false)) => Expr::PlusMinus(Box::new(base), Box::new(sum)),
            Some((base, true)) => Expr::PlusMinus(Box::new(base), Box::new(sum.negated())),
            None => sum,
        })
    }

    fn product(&mut self) -> Option<Expr> {
        let mut factors = vec![self.signed_factor()?];
        let mut divisions = 0;
        loop {
            if self.accept('*') {
                factors.push(self.signed_factor()?);
            } else if self.accept('/') {
                divisions += 1;
                if divisions > MOST_CHAIN {
                    return None;
                }
                // "per" something is a unit.
                if self.word().is_some() {
                    self.at -= 1;
                    break;
                }
                let divisor = self.signed_factor()?;
                let dividend = multiply(std::mem::take(&mut factors));
                factors.push(dividend.over(divisor));
            } else if self.starts_factor() {
                factors.push(self.power()?);
            } else {
                break;
            }
        }
        Some(multiply(factors))
    }

    /// A factor with signs of its own: `2 * -3`.
    fn signed_factor(&mut self) -> Option<Expr> {
        let mut negative = false;
        for _ in 0..MOST_CHAIN {
            if self.accept('-') {
                negative = !negative;
            } else if !self.accept('+') {
                let power = self.power()?;
                return Some(if negative { power.negated() } else { power });
            }
        }
        None
    }
}

fn is_inequality(expr: &Expr) -> bool {
    matches!(expr, Expr::Rel(_, relations) if !relations.contains(&Relation::Equal))
        || matches!(expr, Expr::Intersection(..))
}

/// Braces with one thing in them are a set after a set operation.
fn braced_set(expr: Expr) -> Expr {
    if expr.is_scalar() { Expr::Set(vec![expr]) } else { expr }
}

fn join(mut terms: Vec<Expr>) -> Expr {
    if terms.len() == 1 { terms.remove(0) } else { Expr::Add(terms) }
}

fn multiply(mut factors: Vec<Expr>) -> Expr {
    if factors.len() == 1 { factors.remove(0) } else { Expr::Mul(factors) }
}
