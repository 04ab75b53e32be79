//! The rules by which answers are compared.

use std::fmt;

/// The rule that decided a comparison. The [crate] lists what each one looks at, and in which order they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The text has no final answer.
    NoAnswer,
    /// Both are letters A to E.
    Choice,
    /// The same text without markup, or prose that differs.
    Text,
    /// Plain numbers, as exact fractions.
    Number,
    /// Times of day.
    Time,
    /// A clock time that may be a ratio.
    TimeOrRatio,
    /// Letters that are a product or a word.
    Letters,
    /// The gold answer cannot be read.
    GoldUnparsed,
    /// The answer cannot be read.
    AnswerUnparsed,
    /// The same expression.
    Identical,
    /// Exact fractions of any size.
    Exact,
    /// Irrational numbers that agree to 2^-100 of their size.
    Numeric,
    /// Irrational numbers with a proven gap.
    Separated,
    /// Numbers too large to compute, whose logarithms have a proven gap.
    SeparatedLogs,
    /// A number without a value.
    NotComputed,
    /// Expressions with variables that agree at random points.
    Identity,
    /// Expressions with variables and a proven gap at one point.
    Point,
    /// Expressions with variables that have too few points where both are defined.
    FewPoints,
    /// Ratios, or equations up to a constant factor.
    Ratio,
    /// Inequalities whose constant factor is negative.
    RatioSign,
    /// Tuples and vectors, part by part.
    InOrder,
    /// Sets and lists in any order.
    AnyOrder,
    /// Collections of different length.
    Count,
    /// A collection with a part that the other lacks.
    Element,
    /// Collections in different brackets.
    Brackets,
    /// Sets of numbers as sorted intervals.
    Set,
    /// Sets that are no intervals.
    Sets,
    /// Intervals whose ends cannot be put in order.
    UnorderedEnds,
    /// Different variables.
    Names,
    /// Different units.
    Units,
    /// Different kinds of answers.
    Kinds,
    /// One of them is infinite.
    Infinity,
    /// Different relations.
    Relation,
    /// Equations that are no multiples of each other.
    Equations,
    /// A decimal that is the rounding of the other.
    Rounded,
    /// Digits without the base they are in.
    BaseOmitted,
    /// A ± out of place.
    PlusMinus,
    /// Too many parts to compare.
    TooManyParts,
}

impl Rule {
    /// The name it has in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no-answer",
            Self::Choice => "choice",
            Self::Text => "text",
            Self::Number => "number",
            Self::Time => "time",
            Self::TimeOrRatio => "time-or-ratio",
            Self::Letters => "letters",
            Self::GoldUnparsed => "gold-unparsed",
            Self::AnswerUnparsed => "answer-unparsed",
            Self::Identical => "identical",
            Self::Exact => "exact",
            Self::Numeric => "numeric",
            Self::Separated => "separated",
            Self::SeparatedLogs => "separated-logs",
            Self::NotComputed => "not-computed",
            Self::Identity => "identity",
            Self::Point => "point",
            Self::FewPoints => "few-points",
            Self::Ratio => "ratio",
            Self::RatioSign => "ratio-sign",
            Self::InOrder => "in-order",
            Self::AnyOrder => "any-order",
            Self::Count => "count",
            Self::Element => "element",
            Self::Brackets => "brackets",
            Self::Set => "set",
            Self::Sets => "sets",
            Self::UnorderedEnds => "unordered-ends",
            Self::Names => "names",
            Self::Units => "units",
            Self::Kinds => "kinds",
            Self::Infinity => "infinity",
            Self::Relation => "relation",
            Self::Equations => "equations",
            Self::Rounded => "rounded",
            Self::BaseOmitted => "base-omitted",
            Self::PlusMinus => "plus-minus",
            Self::TooManyParts => "too-many-parts",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
