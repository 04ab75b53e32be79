//! Procedural arithmetic word problems with the thinking written out.
//!
//! The corpus of the embedded teacher, a model of 2-3 million parameters: the language is so small and so regular that
//! such a model can learn to think in it, and every answer is known exactly. The form follows grade-school maths
//! (GSM8K, arXiv 2110.14168): a number of things, a few changes, and the question how many there are in the end. The
//! thinking follows R1 (arXiv 2501.12948) in what matters: step by step, with a check of a step now and then.

use std::collections::HashSet;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use records::record::Prompt;
use records::{Error, Mistake, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod story;
use story::{PEOPLE, THEMES, Theme};

/// The most steps a problem may have: with more it would no longer be a short one.
pub const MOST_STEPS: u32 = 8;
/// No number of things is ever below this, so that every noun is a plural.
const LEAST_VALUE: u32 = 2;
/// The smallest number added or subtracted.
const LEAST_CHANGE: u32 = 2;
/// So many repeated problems in a row mean that there are hardly any new ones left.
const REPEATS_BEFORE_GIVING_UP: usize = 2_000;
/// One addition or subtraction in so many is checked by its inverse.
const ONE_CHECK_IN: u32 = 6;

/// Which problems to make.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProblemSpec {
    /// Equal seeds give equal problems.
    pub seed: u64,
    /// How many problems.
    pub count: usize,
    /// The fewest changes in a problem.
    pub min_steps: u32,
    /// The most changes in a problem; at most [`MOST_STEPS`].
    pub max_steps: u32,
    /// The largest number that may come up on the way.
    pub max_value: u32,
    /// The largest number that is added or subtracted, and that a problem starts with.
    pub max_change: u32,
}

/// A problem with its solution, as a teacher would write it.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The question, with the gold answer.
    pub prompt: Prompt,
    /// The solution step by step.
    pub thinking: String,
    /// The closing sentence with the boxed answer.
    pub answer: String,
}

/// Makes `count` different problems, decided by the spec alone.
pub fn generate(spec: &ProblemSpec) -> Result<Vec<Problem>> {
    if let Some(mistake) = spec.check().into_iter().next() {
        return Err(mistake.within("problems").into());
    }
    let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
    let mut seen = HashSet::with_capacity(spec.count);
    let mut problems = Vec::with_capacity(spec.count);
    let mut repeats = 0;
    while problems.len() < spec.count {
        let problem = draw(spec, &mut rng)?;
        if seen.insert(problem.prompt.id.clone()) {
            problems.push(problem);
            repeats = 0;
            continue;
        }
        repeats += 1;
        if repeats == REPEATS_BEFORE_GIVING_UP {
            return Err(Error::invalid(
                "problems.count",
                format!("only {} different problems were found of {} asked for", problems.len(), spec.count),
                "ask for fewer, or raise max_steps or max_value",
            ));
        }
    }
    Ok(problems)
}

impl ProblemSpec {
    /// What cannot be made.
    pub fn check(&self) -> Vec<Mistake> {
        let Self { count, min_steps, max_steps, max_value, max_change, .. } = *self;
        let mut found = Vec::new();
        let mut refuse = |field: &str, problem: String, remedy: String| {
            found.push(Mistake::new(field, problem, remedy));
        };
        if count == 0 {
            refuse("count", "it is 0".into(), "ask for at least one problem".into());
        }
        if min_steps == 0 || min_steps > max_steps {
            let problem = format!("it is {min_steps}, with max_steps = {max_steps}");
            refuse("min_steps", problem, "set it from 1 to max_steps".into());
        }
        if max_steps > MOST_STEPS {
            refuse("max_steps", format!("it is {max_steps}"), format!("set it to {MOST_STEPS} or less"));
        }
        if !(10..=9999).contains(&max_value) {
            refuse("max_value", format!("it is {max_value}"), "set it from 10 to 9999".into());
        } else if !(LEAST_CHANGE..=max_value).contains(&max_change) {
            let problem = format!("it is {max_change}, with max_value = {max_value}");
            refuse("max_change", problem, format!("set it from {LEAST_CHANGE} to max_value"));
        }
        found
    }
}

/// A change of the number of things.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Add(u32),
    Subtract(u32),
    Double,
    Triple,
    Halve,
}

impl Step {
    /// Draws a step that keeps the value whole and between [`LEAST_VALUE`] and the spec's `max_value`.
    fn draw(value: u32, spec: &ProblemSpec, rng: &mut ChaCha8Rng) -> Option<Self> {
        let &ProblemSpec { max_value, max_change, .. } = spec;
        let room_above = max_value - value;
        let room_below = value - LEAST_VALUE;
        let mut possible = Vec::with_capacity(9);
        for (room, step) in [(room_above, Self::Add as fn(u32) -> Self), (room_below, Self::Subtract)] {
            if room >= LEAST_CHANGE {
                // Three times as likely as the others: they are what most stories are made of.
                possible.extend([step(rng.random_range(LEAST_CHANGE..=room.min(max_change))); 3]);
            }
        }
        if value * 2 <= max_value {
            possible.push(Self::Double);
        }
        if value * 3 <= max_value {
            possible.push(Self::Triple);
        }
        if value.is_multiple_of(2) && value / 2 >= LEAST_VALUE {
            possible.push(Self::Halve);
        }
        possible.choose(rng).copied()
    }

    /// The value afterwards, and the computation as an equation.
    fn apply(self, value: u32) -> (u32, String) {
        let (after, operation, operand) = match self {
            Self::Add(n) => (value + n, '+', n),
            Self::Subtract(n) => (value - n, '-', n),
            Self::Double => (value * 2, '*', 2),
            Self::Triple => (value * 3, '*', 3),
            Self::Halve => (value / 2, '/', 2),
        };
        (after, format!("{value} {operation} {operand} = {after}"))
    }

    /// The inverse computation of an addition or a subtraction.
    fn check(self, value: u32, after: u32) -> Option<String> {
        match self {
            Self::Add(n) => Some(format!("Check: {after} - {n} = {value}, right.")),
            Self::Subtract(n) => Some(format!("Check: {after} + {n} = {value}, right.")),
            Self::Double | Self::Triple | Self::Halve => None,
        }
    }

    /// One of the theme's phrasings, without the full stop.
    fn phrase(self, theme: &Theme, rng: &mut ChaCha8Rng) -> String {
        let (phrasings, n) = match self {
            Self::Add(n) => (theme.add, n),
            Self::Subtract(n) => (theme.subtract, n),
            Self::Double => (theme.double, 2),
            Self::Triple => (theme.triple, 3),
            Self::Halve => (theme.halve, 2),
        };
        phrasings.choose(rng).copied().unwrap_or_default().replace("{n}", &n.to_string())
    }
}

/// Draws one problem.
fn draw(spec: &ProblemSpec, rng: &mut ChaCha8Rng) -> Result<Problem> {
    let nothing = || Error::engine("drawing a problem", "an empty vocabulary");
    let theme = THEMES.choose(rng).ok_or_else(nothing)?;
    let (name, pronoun) = PEOPLE.choose(rng).ok_or_else(nothing)?;
    let things = theme.things.choose(rng).ok_or_else(nothing)?;
    let tell = |template: &str, value: u32| {
        template
            .replace("{name}", name)
            .replace("{They}", pronoun)
            .replace("{things}", things)
            .replace("{n}", &value.to_string())
    };

    let mut value = rng.random_range(LEAST_VALUE..=spec.max_value.min(spec.max_change));
    let mut question = vec![tell(theme.opening, value)];
    let mut thinking = vec![tell(theme.start, value)];
    for _ in 0..rng.random_range(spec.min_steps..=spec.max_steps) {
        let step = Step::draw(value, spec, rng).ok_or_else(nothing)?;
        let phrase = tell(&step.phrase(theme, rng), value);
        let (after, equation) = step.apply(value);
        question.push(format!("{phrase}."));
        thinking.push(format!("{phrase}: {equation}."));
        if let Some(check) = step.check(value, after)
            && rng.random_ratio(1, ONE_CHECK_IN)
        {
            thinking.push(check);
        }
        value = after;
    }
    question.push(tell(theme.question, value));
    thinking.push(format!("So {}", tell(theme.conclusion, value)));
    let answer = tell(theme.answer, value);
    let prompt = Prompt::new("arithmetic", theme.kind, &question.join(" "), Some(value.to_string()), "procedural");
    Ok(Problem { prompt, thinking: thinking.join("\n"), answer })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec(seed: u64) -> ProblemSpec {
        ProblemSpec { seed, count: 300, min_steps: 2, max_steps: 4, max_value: 99, max_change: 29 }
    }

    /// Follows the equations of the thinking with arithmetic of its own and returns all values that came up, the
    /// number of steps, and whether any was checked.
    fn follow(problem: &Problem) -> (Vec<u32>, u32, bool) {
        let compute = |equation: &str| -> (u32, u32) {
            let parts: Vec<&str> = equation.trim_end_matches('.').split(' ').collect();
            let [left, operation, right, "=", result] = parts[..] else { panic!("not an equation: {equation}") };
            let number = |text: &str| text.parse::<u32>().unwrap();
            let computed = match operation {
                "+" => number(left) + number(right),
                "-" => number(left).checked_sub(number(right)).unwrap(),
                "*" => number(left) * number(right),
                "/" => {
                    assert_eq!(number(left) % number(right), 0, "{equation} does not come out even");
                    number(left) / number(right)
                }
                other => panic!("operation {other}"),
            };
            assert_eq!(computed, number(result), "{equation}");
            (number(left), computed)
        };
        let lines: Vec<&str> = problem.thinking.lines().collect();
        let first = lines[0].split(' ').find_map(|word| word.parse().ok()).unwrap();
        let (mut values, mut steps, mut checked) = (vec![first], 0, false);
        for line in &lines[1..lines.len() - 1] {
            let (said, equation) = line.split_once(": ").unwrap();
            if said == "Check" {
                compute(equation.strip_suffix(", right.").unwrap());
                checked = true;
                continue;
            }
            assert!(problem.prompt.question.contains(&format!(" {said}.")), "{said}: not in the question");
            let (before, after) = compute(equation);
            assert_eq!(Some(&before), values.last(), "a step continues from the one before");
            values.push(after);
            steps += 1;
        }
        (values, steps, checked)
    }

    fn assert_sound(problem: &Problem, spec: &ProblemSpec) {
        let (values, steps, _) = follow(problem);
        let last = values.last().unwrap().to_string();
        assert!((spec.min_steps..=spec.max_steps).contains(&steps));
        assert!(values.iter().all(|v| *v <= spec.max_value), "{values:?}");
        assert_eq!(problem.prompt.answer.as_deref(), Some(last.as_str()));
        assert!(problem.answer.contains(&format!("\\boxed{{{last}}}")));
        let conclusion = problem.thinking.lines().last().unwrap();
        assert!(conclusion.starts_with("So ") && conclusion.contains(&format!(" {last} ")), "{conclusion}");
        assert!(problem.prompt.question.split_whitespace().count() <= 60, "{}", problem.prompt.question);
        assert!(problem.prompt.question.ends_with('?'));
        for text in [&problem.prompt.question, &problem.thinking, &problem.answer] {
            assert!(!text.replace("\\boxed{", "").contains('{'), "a placeholder was left in: {text}");
        }
    }

    #[test]
    fn the_equations_lead_to_the_answer() {
        for problem in generate(&spec(1)).unwrap() {
            assert_sound(&problem, &spec(1));
        }
    }

    #[test]
    fn a_seed_decides_everything() {
        assert_eq!(generate(&spec(7)).unwrap(), generate(&spec(7)).unwrap());
        assert_ne!(generate(&spec(7)).unwrap(), generate(&spec(8)).unwrap());
        let fewer = ProblemSpec { count: 10, ..spec(7) };
        assert_eq!(generate(&fewer).unwrap(), generate(&spec(7)).unwrap()[..10]);
    }

    #[test]
    fn all_kinds_steps_and_checks_come_up() {
        let problems = generate(&ProblemSpec { count: 2000, ..spec(3) }).unwrap();
        let kinds: HashSet<&str> = problems.iter().map(|p| p.prompt.kind.as_str()).collect();
        assert_eq!(kinds, THEMES.iter().map(|t| t.kind).collect());
        let things: HashSet<&str> = THEMES.iter().flat_map(|t| t.things).copied().collect();
        assert_eq!((PEOPLE.len(), things.len()), (24, 24));
        for operation in [" + ", " - ", " * 2", " * 3", " / 2"] {
            assert!(problems.iter().any(|p| p.thinking.contains(operation)), "{operation}");
        }
        let changes: usize = problems
            .iter()
            .flat_map(|p| p.thinking.lines())
            .filter(|l| !l.starts_with("Check") && (l.contains(" + ") || l.contains(" - ")))
            .count();
        let checks = problems.iter().flat_map(|p| p.thinking.lines()).filter(|l| l.starts_with("Check")).count();
        let share = checks as f64 / changes as f64;
        assert!((share - 1.0 / 6.0).abs() < 0.03, "{share}");
        assert!(problems.iter().any(|p| follow(p).2));
    }

    #[test]
    fn more_problems_than_there_are_is_an_error() {
        let message = generate(&ProblemSpec {
            seed: 0,
            count: 5_000_000,
            min_steps: 1,
            max_steps: 1,
            max_value: 10,
            max_change: 10,
        })
        .unwrap_err()
        .to_string();
        assert!(message.contains("different problems") && message.contains("max_steps"), "{message}");
    }

    #[test]
    fn a_spec_that_makes_no_sense_is_refused_by_field() {
        for (wrong, field) in [
            (ProblemSpec { count: 0, ..spec(0) }, "problems.count"),
            (ProblemSpec { min_steps: 0, ..spec(0) }, "problems.min_steps"),
            (ProblemSpec { min_steps: 5, ..spec(0) }, "problems.min_steps"),
            (ProblemSpec { max_steps: MOST_STEPS + 1, ..spec(0) }, "problems.max_steps"),
            (ProblemSpec { max_value: 9, ..spec(0) }, "problems.max_value"),
            (ProblemSpec { max_change: 1, ..spec(0) }, "problems.max_change"),
            (ProblemSpec { max_change: 100, ..spec(0) }, "problems.max_change"),
        ] {
            let message = generate(&wrong).unwrap_err().to_string();
            assert!(message.starts_with(field), "{message}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_spec_gives_sound_and_different_problems(
            seed: u64, min_steps in 1u32..=4, more in 0u32..=4, max_value in 10u32..=500, change in 2u32..=29,
        ) {
            let spec = ProblemSpec { seed, count: 40, min_steps, max_steps: min_steps + more, max_value, max_change: change.min(max_value) };
            let problems = generate(&spec).unwrap();
            for problem in &problems {
                assert_sound(problem, &spec);
            }
            let ids: HashSet<&str> = problems.iter().map(|p| p.prompt.id.as_str()).collect();
            prop_assert_eq!(ids.len(), 40);
        }
    }
}
