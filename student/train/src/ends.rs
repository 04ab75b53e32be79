//! The training loss at either end: what a training is said to have come from and gone to.
//!
//! The loss of one step is that of the few rows it took, and the last step of an epoch may take fewer than the others. So
//! what is told is a mean over the supervised tokens of several steps, in which a step counts by its tokens: of the first
//! ten and of the last ten, or of the first and of the last half where a training has fewer than twenty. Half of two or
//! three steps may be one short step, so such a training has one loss, over all of its steps.

use serde::{Deserialize, Serialize};

/// Most steps that a mean at either end is taken over.
const MOST: usize = 10;
/// Steps from which on a training has two ends.
const TWO_ENDS: usize = 4;

/// The training loss: means over the supervised tokens of some steps, nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrainingLoss {
    /// Of the first `steps` steps; none of them is among the last. `None` where a training has fewer than four steps.
    pub start: Option<f64>,
    /// Of the last `steps` steps; of all of them where there is no `start`.
    pub end: f64,
    /// How many steps either mean is over.
    pub steps: u32,
}

/// The steps at either end of a training so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ends {
    /// Steps so far.
    steps: usize,
    first: [Step; MOST],
    /// Step `n`, counted from 0, is at `n % MOST`.
    last: [Step; MOST],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// Mean loss per supervised token, nats.
    loss: f64,
    supervised_tokens: u64,
}

impl Ends {
    /// Adds the next step.
    pub(crate) fn add(&mut self, loss: f64, supervised_tokens: u64) {
        let step = Step { loss, supervised_tokens };
        if let Some(place) = self.first.get_mut(self.steps) {
            *place = step;
        }
        self.last[self.steps % MOST] = step;
        self.steps += 1;
    }

    /// The training loss of the steps so far, of which there must be one.
    pub(crate) fn loss(&self) -> TrainingLoss {
        if self.steps < TWO_ENDS {
            return TrainingLoss { start: None, end: mean(self.first[..self.steps].iter()), steps: self.steps as u32 };
        }
        let steps = MOST.min(self.steps / 2);
        let last = (self.steps - steps..self.steps).map(|n| &self.last[n % MOST]);
        TrainingLoss { start: Some(mean(self.first[..steps].iter())), end: mean(last), steps: steps as u32 }
    }
}

fn mean<'a>(steps: impl Iterator<Item = &'a Step>) -> f64 {
    let (sum, tokens) = steps.fold((0.0, 0), |(sum, tokens), step| {
        (sum + step.loss * step.supervised_tokens as f64, tokens + step.supervised_tokens)
    });
    sum / tokens as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ends of a training whose step `n`, from 1, has loss `n` on 100 tokens.
    fn of(steps: u32) -> TrainingLoss {
        let mut ends = Ends::default();
        (1..=steps).for_each(|n| ends.add(f64::from(n), 100));
        ends.loss()
    }

    /// The first and the last steps are taken from the whole list here.
    #[test]
    fn the_ends_of_trainings_of_every_length_do_not_overlap() {
        for steps in 1..=30u32 {
            let found = of(steps);
            let over = |range: std::ops::RangeInclusive<u32>| {
                let count = f64::from(range.end() - range.start() + 1);
                range.map(f64::from).sum::<f64>() / count
            };
            if steps <= 3 {
                assert_eq!(found, TrainingLoss { start: None, end: over(1..=steps), steps }, "{steps} steps");
                continue;
            }
            let k = found.steps;
            assert!(
                (2..=10).contains(&k) && 2 * k <= steps && (k == 10 || 2 * k + 1 >= steps),
                "{steps} steps: {found:?}"
            );
            assert_eq!((found.start, found.end), (Some(over(1..=k)), over(steps - k + 1..=steps)), "{steps} steps");
            assert!(found.start < Some(found.end), "{steps} steps: a loss that rises is told as one: {found:?}");
        }
    }

    #[test]
    fn a_short_last_step_counts_by_its_tokens() {
        let mut ends = Ends::default();
        for (loss, tokens) in [(4.0, 100), (4.0, 100), (2.0, 100), (0.5, 20)] {
            ends.add(loss, tokens);
        }
        // (2 * 100 + 0.5 * 20) / 120
        assert_eq!(ends.loss(), TrainingLoss { start: Some(4.0), end: 1.75, steps: 2 });
        let mut two = Ends::default();
        for (loss, tokens) in [(4.0, 100), (1.0, 50)] {
            two.add(loss, tokens);
        }
        assert_eq!(two.loss(), TrainingLoss { start: None, end: 3.0, steps: 2 });
    }
}
