//! Verification: is the final answer of a text equal to the gold answer?
//!
//! Rejection sampling in R1 keeps a trace only if its answer is right (arXiv 2501.12948, section 2.3.3). Finding the
//! answer follows what all graders of this field agree on (MATH, arXiv 2103.03874; Math-Verify): the last `\boxed{}`,
//! else what the text announces as its answer, else the last number. Comparing never rounds: exact fractions, else numbers
//! with certified bounds. All work is bounded, linear in the length of the text and the same in every run.
//!
//! The rules, in the order in which they are asked; each is named in [`Verification::rule`]:
//!
//! | rule | decides |
//! |---|---|
//! | `choice` | gold is a letter A to E: the letters |
//! | `text` | the same text without markup; or two that are prose and differ |
//! | `number` | plain integers, decimals, fractions and mixed numbers, as exact fractions |
//! | `time` | times of day |
//! | `identical` | the same expression |
//! | `exact` | exact fractions of any size |
//! | `numeric`, `separated` | irrational numbers, computed to 128, 512 or 2048 bits: agreement to 2^-100 of their size with more bits than their parts can hide in; or a proven gap, however small |
//! | `separated-logs` | numbers too large to compute: their logarithms have a proven gap |
//! | `identity`, `point` | expressions with variables at 8 random points (fractions, whole numbers) where both are defined, at least 4; or one point with a proven gap |
//! | `ratio`, `ratio-sign` | ratios; equations up to a factor that is constant, inequalities up to a positive one |
//! | `in-order`, `any-order`, `count`, `element`, `brackets` | tuples and vectors in order; sets and lists in any order |
//! | `set` | intervals, unions, inequalities, conditions: as sorted intervals with open and closed ends |
//! | `names`, `units`, `kinds`, `infinity`, `relation` | different variables, units, kinds of answers or relations |
//! | `rounded` | see below |
//!
//! Units and percent signs may be missing on one side (45% is 45 or 0.45), and a variable too (`x = 3` is 3); a unit of the
//! same quantity is converted; "2 hours and 30 minutes" is their sum, and "4 boxes, 0 left over" is 4.
//!
//! **Rounding.** A decimal gold answer with at least 3 places equals a number of which it is the correct rounding, but
//! only a number that no decimal can write out (0.667 and 2/3, 3.142 and π; not 0.125 and 0.12512). An exact gold answer
//! is met by no rounded one. Of two decimals, one with at least 10 places (cut off by a computer) equals its rounding to
//! 4 or more.
//!
//! Undecided is what the rules have no answer for; it never counts as correct: an answer that cannot be read
//! (`answer-unparsed`), digits without the base they are in (`base-omitted`), equations that are no multiples of each other
//! (`equations`), sets that are no intervals (`sets`, `unordered-ends`), a `±` out of place (`plus-minus`), numbers or
//! points without a value (`not-computed`, `few-points`), a clock time that may be a ratio (`time-or-ratio`), letters that
//! are a product or a word (`letters`), too many parts (`too-many-parts`).

mod ball;
#[cfg(test)]
#[path = "../../../tests/checked.rs"]
mod checked;
mod choice;
mod compare;
mod eval;
mod expr;
mod extract;
mod functions;
mod lex;
mod number;
mod parse;
mod plain;
mod probe;
mod rule;
#[cfg(test)]
mod tests;
mod time;
mod unit;

use lex::Commas;
use probe::Outcome;
pub use rule::Rule;

/// What kind of answer a gold answer is: that decides what to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// One of the letters A to E.
    Choice,
    /// A number, as an integer, a decimal, a fraction, or with a unit.
    Number,
    /// Anything else.
    Text,
}

/// What the comparison of an answer with the gold answer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// They say the same.
    Equal,
    /// They do not.
    Different,
    /// No rule tells.
    Undecided,
    /// The text has no answer.
    NoAnswer,
    /// The gold answer is not the same text and cannot be read.
    GoldUnparsed,
}

impl Verdict {
    /// The name it has in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Different => "different",
            Self::Undecided => "undecided",
            Self::NoAnswer => "no_answer",
            Self::GoldUnparsed => "gold_unparsed",
        }
    }
}

/// The outcome for one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The final answer as it stands in the text; `None` if there is none.
    pub extracted: Option<String>,
    /// Whether it equals the gold answer.
    pub verdict: Verdict,
    /// The rule that decided.
    pub rule: Rule,
}

impl Verification {
    /// Whether the answer is right.
    pub fn correct(&self) -> bool {
        self.verdict == Verdict::Equal
    }
}

impl AnswerKind {
    /// The kind of a gold answer.
    pub fn of(gold: &str) -> Self {
        let plain = plain::plain(gold);
        if choice::is_letter(&plain) {
            Self::Choice
        } else if number::quantity(&plain).is_some() {
            Self::Number
        } else {
            Self::Text
        }
    }
}

/// Compares the final answer of `answer_text`, which is the text after the thinking, with the gold answer. A gold answer
/// may itself be a solution with its answer boxed.
pub fn verify(gold: &str, answer_text: &str) -> Verification {
    let (solution, gold) = (gold, extract::last_boxed(gold).unwrap_or(gold).trim());
    let kind = AnswerKind::of(gold);
    let Some(answer) = extract_answer(answer_text, kind) else {
        return Verification { extracted: None, verdict: Verdict::NoAnswer, rule: Rule::NoAnswer };
    };
    let (verdict, rule) = judge(gold, &answer, kind);
    if verdict == Verdict::Equal || kind == AnswerKind::Choice {
        return Verification { extracted: Some(answer), verdict, rule };
    }
    // One answer may be spread over several boxes, on either side.
    let gold_boxes = extract::boxes_of_one_answer(solution);
    let several = if kind == AnswerKind::Text { extract::boxes_of_one_answer(answer_text) } else { None };
    if gold_boxes.is_none() && several.is_none() {
        return Verification { extracted: Some(answer), verdict, rule };
    }
    let whole_gold = gold_boxes.as_deref().unwrap_or(gold);
    match judge(whole_gold, several.as_deref().unwrap_or(&answer), AnswerKind::Text) {
        (Verdict::Equal, rule) => Verification { extracted: several.or(Some(answer)), verdict: Verdict::Equal, rule },
        _ => Verification { extracted: Some(answer), verdict, rule },
    }
}

/// Finds the final answer of a text.
pub fn extract_answer(text: &str, kind: AnswerKind) -> Option<String> {
    let found = match kind {
        AnswerKind::Choice => choice::find(text),
        AnswerKind::Number => extract::number(text),
        AnswerKind::Text => extract::text(text),
    };
    found.map(str::trim).filter(|answer| !answer.is_empty()).map(str::to_owned)
}

fn judge(gold: &str, answer: &str, kind: AnswerKind) -> (Verdict, Rule) {
    let of = |same| if same { Verdict::Equal } else { Verdict::Different };
    let (plain_gold, plain_answer) = (plain::plain(gold), plain::plain(answer));
    if kind == AnswerKind::Choice {
        let same = choice::letter(&plain_gold) == choice::letter(&plain_answer);
        return (of(same), Rule::Choice);
    }
    if plain::same_text(&plain_gold, &plain_answer) {
        return (if plain_gold.is_empty() { Verdict::GoldUnparsed } else { Verdict::Equal }, Rule::Text);
    }
    if let (Some(gold), Some(answer)) = (number::quantity(&plain_gold), number::quantity(&plain_answer)) {
        if gold.equals(&answer) {
            return (Verdict::Equal, Rule::Number);
        }
        if gold.is_integer() && answer.is_integer() {
            return (Verdict::Different, Rule::Number);
        }
    }
    if let (Some(gold), Some(answer)) = (time::time(&plain_gold), time::time(&plain_answer)) {
        return match gold.is(answer) {
            false if gold.is_ratio_of(answer) => (Verdict::Undecided, Rule::TimeOrRatio),
            same => (of(same), Rule::Time),
        };
    }
    match expressions(gold, answer) {
        // `abc` is `cab`, but "cat" is not "act".
        Ok(Outcome::Yes(Rule::Identity)) if plain::is_prose(&plain_gold) && plain::is_prose(&plain_answer) => {
            (Verdict::Undecided, Rule::Letters)
        }
        Ok(Outcome::Yes(rule)) => (Verdict::Equal, rule),
        Ok(Outcome::No(rule)) => (Verdict::Different, rule),
        Err(_) if plain::is_prose(&plain_gold) || plain::is_prose(&plain_answer) => (Verdict::Different, Rule::Text),
        Err(rule @ Rule::GoldUnparsed) => (Verdict::GoldUnparsed, rule),
        Ok(Outcome::Unknown(rule)) | Err(rule) => (Verdict::Undecided, rule),
    }
}

/// Compares as expressions; a comma between digits is read both ways.
fn expressions(gold: &str, answer: &str) -> Result<Outcome, Rule> {
    let seed = seed(gold, answer);
    let compared = |commas| {
        let gold = parse::parse(gold, commas).ok_or(Rule::GoldUnparsed)?;
        let answer = parse::parse(answer, commas).ok_or(Rule::AnswerUnparsed)?;
        Ok(compare::compare(&gold, &answer, seed))
    };
    let first = compared(Commas::Thousands);
    if matches!(first, Ok(Outcome::Yes(_))) || !(parse::has_thousands(gold) || parse::has_thousands(answer)) {
        return first;
    }
    match (first, compared(Commas::Lists)) {
        (Ok(first), Ok(second)) => Ok(first.or_else(|| second)),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
        (Err(rule), Err(_)) => Err(rule),
    }
}

/// The same pair is always probed at the same points.
fn seed(gold: &str, answer: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(answer.as_bytes(), xxhash_rust::xxh3::xxh3_64(gold.as_bytes()))
}
