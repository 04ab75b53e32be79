//! One token from logits: temperature, then nucleus (Holtzman et al. 2020, arXiv 1904.09751).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use records::record::Sampling;

/// Draws the tokens of one completion. Its draws depend on its seed alone.
#[derive(Debug)]
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f32,
    rng: ChaCha8Rng,
    /// Probabilities and ids, kept to be reused.
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    pub(crate) fn new(sampling: &Sampling, seed: u64) -> Self {
        Self {
            temperature: sampling.temperature as f32,
            top_p: sampling.top_p as f32,
            rng: ChaCha8Rng::seed_from_u64(seed),
            candidates: Vec::new(),
        }
    }

    /// The next token. Temperature 0 takes the most likely one, the lowest id among equals.
    pub(crate) fn draw(&mut self, logits: &[f32]) -> u32 {
        let (mut best, mut largest) = (0, f32::NEG_INFINITY);
        for (id, logit) in logits.iter().enumerate() {
            if *logit > largest {
                (best, largest) = (id, *logit);
            }
        }
        if self.temperature <= 0.0 {
            return best as u32;
        }
        // Below e⁻²⁵ of the largest, all of a 150,000-token vocabulary together weighs under 1e-5: left out, so that
        // sorting for the nucleus sees a handful of tokens.
        let floor = largest - 25.0 * self.temperature;
        self.candidates.clear();
        let alive = logits.iter().enumerate().filter(|(_, logit)| **logit >= floor);
        self.candidates.extend(alive.map(|(id, logit)| (((logit - largest) / self.temperature).exp(), id as u32)));
        let total: f32 = self.candidates.iter().map(|(p, _)| p).sum();
        let mut mass = total;
        if self.top_p < 1.0 {
            self.candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let (mut kept, mut sum) = (0, 0.0);
            while kept < self.candidates.len() && sum < self.top_p * total {
                sum += self.candidates[kept].0;
                kept += 1;
            }
            self.candidates.truncate(kept.max(1));
            mass = self.candidates.iter().map(|(p, _)| p).sum();
        }
        let mut point = self.rng.random::<f32>() * mass;
        for (p, id) in &self.candidates {
            point -= p;
            if point <= 0.0 {
                return *id;
            }
        }
        best as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(temperature: f64, top_p: f64, logits: &[f32]) -> Vec<f64> {
        let mut sampler = Sampler::new(&Sampling { temperature, top_p, max_tokens: 1 }, 7);
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..40_000 {
            counts[sampler.draw(logits) as usize] += 1.0 / 40_000.0;
        }
        counts
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let logits = [1.0f32, 2.0, 0.0, -1.0];
        for temperature in [0.5, 1.0, 2.0] {
            let weights: Vec<f64> = logits.iter().map(|x| (f64::from(*x) / temperature).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (share, weight) in shares(temperature, 1.0, &logits).iter().zip(&weights) {
                assert!((share - weight / total).abs() < 0.012, "{temperature}: {share} and {}", weight / total);
            }
        }
    }

    #[test]
    fn the_nucleus_is_the_smallest_set_with_the_mass() {
        // Probabilities 0.5, 0.3, 0.15, 0.05.
        let logits = [0.15f32.ln(), 0.5f32.ln(), 0.05f32.ln(), 0.3f32.ln()];
        let shares = shares(1.0, 0.7, &logits);
        assert!((shares[1] - 0.625).abs() < 0.012 && (shares[3] - 0.375).abs() < 0.012, "{shares:?}");
        assert!(shares[0] == 0.0 && shares[2] == 0.0);
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let mut sampler = Sampler::new(&Sampling { temperature: 0.0, top_p: 1.0, max_tokens: 1 }, 1);
        assert_eq!(sampler.draw(&[0.0, 3.0, 3.0, f32::NAN]), 1);
    }
}
