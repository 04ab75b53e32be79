//! What an answer says, as a tree.

use dashu_ratio::RBig;

/// An answer or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expr {
    /// An exact number.
    Num(RBig),
    /// A number written with this many digits after the point.
    Dec(RBig, u32),
    /// A number written in another base: its value and its digits.
    Based(RBig, String),
    /// A variable, with its subscript and accent.
    Sym(String),
    Pi,
    E,
    I,
    Infinity,
    /// The real numbers.
    Reals,
    Add(Vec<Expr>),
    Neg(Box<Expr>),
    Mul(Vec<Expr>),
    Div(Box<Expr>, Box<Expr>),
    Pow(Box<Expr>, Box<Expr>),
    /// The n-th root: n first.
    Root(Box<Expr>, Box<Expr>),
    Call(Function, Box<Expr>),
    /// The logarithm: base first.
    LogBase(Box<Expr>, Box<Expr>),
    Binomial(Box<Expr>, Box<Expr>),
    /// `a ± b`.
    PlusMinus(Box<Expr>, Box<Expr>),
    Percent(Box<Expr>),
    Degrees(Box<Expr>),
    /// A number with a unit behind it.
    Quantity(Box<Expr>, String),
    /// `a : b : …`.
    Ratio(Vec<Expr>),
    /// `(a, b]` and the like: the items and whether the brackets are round, at both ends.
    Bracket {
        items: Vec<Expr>,
        round_open: bool,
        round_close: bool,
    },
    Set(Vec<Expr>),
    /// Several answers, in any order.
    List(Vec<Expr>),
    Matrix(Vec<Vec<Expr>>),
    Union(Box<Expr>, Box<Expr>),
    Intersection(Box<Expr>, Box<Expr>),
    Without(Box<Expr>, Box<Expr>),
    /// `{ element | condition }`.
    Builder(Box<Expr>, Box<Expr>),
    /// A chain `a < b ≤ c`: one more side than relations.
    Rel(Vec<Expr>, Vec<Relation>),
}

/// Functions of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Sinh,
    Cosh,
    Tanh,
    Exp,
    Ln,
    /// A logarithm without a base: natural, or to base 10.
    Log,
    Abs,
    Floor,
    Ceil,
    Factorial,
}

impl Function {
    /// The function of that name, as LaTeX and plain text write it.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "sin" => Self::Sin,
            "cos" => Self::Cos,
            "tan" | "tg" => Self::Tan,
            "cot" | "ctg" => Self::Cot,
            "sec" => Self::Sec,
            "csc" => Self::Csc,
            "arcsin" | "asin" => Self::Arcsin,
            "arccos" | "acos" => Self::Arccos,
            "arctan" | "atan" => Self::Arctan,
            "sinh" => Self::Sinh,
            "cosh" => Self::Cosh,
            "tanh" => Self::Tanh,
            "exp" => Self::Exp,
            "ln" => Self::Ln,
            "log" => Self::Log,
            _ => return None,
        })
    }

    /// The function that undoes it, for `\sin^{-1}`.
    pub(super) fn inverse(self) -> Option<Self> {
        match self {
            Self::Sin => Some(Self::Arcsin),
            Self::Cos => Some(Self::Arccos),
            Self::Tan => Some(Self::Arctan),
            _ => None,
        }
    }
}

/// How two sides relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

impl Relation {
    /// The relation with the sides swapped.
    pub(super) fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            other => other,
        }
    }
}

impl Expr {
    pub(super) fn int(value: i64) -> Self {
        Self::Num(RBig::from(value))
    }

    pub(super) fn negated(self) -> Self {
        Self::Neg(Box::new(self))
    }

    pub(super) fn over(self, other: Self) -> Self {
        Self::Div(Box::new(self), Box::new(other))
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self::Add(vec![self, other.negated()])
    }

    pub(super) fn call(function: Function, argument: Self) -> Self {
        Self::Call(function, Box::new(argument))
    }

    /// The parts it is made of.
    pub(super) fn children(&self) -> Vec<&Self> {
        match self {
            Self::Num(_)
            | Self::Dec(..)
            | Self::Based(..)
            | Self::Sym(_)
            | Self::Pi
            | Self::E
            | Self::I
            | Self::Infinity
            | Self::Reals => Vec::new(),
            Self::Add(parts) | Self::Mul(parts) | Self::Ratio(parts) | Self::Set(parts) | Self::List(parts) => {
                parts.iter().collect()
            }
            Self::Bracket { items, .. } | Self::Rel(items, _) => items.iter().collect(),
            Self::Matrix(rows) => rows.iter().flatten().collect(),
            Self::Neg(a) | Self::Call(_, a) | Self::Percent(a) | Self::Degrees(a) | Self::Quantity(a, _) => vec![a],
            Self::Div(a, b)
            | Self::Pow(a, b)
            | Self::Root(a, b)
            | Self::LogBase(a, b)
            | Self::Binomial(a, b)
            | Self::PlusMinus(a, b)
            | Self::Union(a, b)
            | Self::Intersection(a, b)
            | Self::Without(a, b)
            | Self::Builder(a, b) => vec![a, b],
        }
    }

    /// Whether it or any part of it is such.
    pub(super) fn any(&self, test: &dyn Fn(&Self) -> bool) -> bool {
        test(self) || self.children().into_iter().any(|part| part.any(test))
    }

    /// The names of its variables, each once, in order of appearance.
    pub(super) fn symbols<'a>(&'a self, found: &mut Vec<&'a str>) {
        if let Self::Sym(name) = self
            && !found.contains(&name.as_str())
        {
            found.push(name);
        }
        for part in self.children() {
            part.symbols(found);
        }
    }

    pub(super) fn has_symbols(&self) -> bool {
        self.any(&|part| matches!(part, Self::Sym(_)))
    }

    /// Whether it is a single number, known or not, and no set, list or relation.
    pub(super) fn is_scalar(&self) -> bool {
        match self {
            Self::Reals
            | Self::Bracket { .. }
            | Self::Set(_)
            | Self::List(_)
            | Self::Matrix(_)
            | Self::Union(..)
            | Self::Intersection(..)
            | Self::Without(..)
            | Self::Builder(..)
            | Self::PlusMinus(..)
            | Self::Ratio(_)
            | Self::Rel(..) => false,
            _ => self.children().into_iter().all(Self::is_scalar),
        }
    }
}
