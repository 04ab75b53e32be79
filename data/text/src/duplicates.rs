//! Duplicates: equal and nearly equal texts among many.
//!
//! Equal texts share a 128-bit hash. Nearly equal ones are found by MinHash (Broder 1997, "On the resemblance and
//! containment of documents") with banding (Leskovec, Rajaraman & Ullman, "Mining of Massive Datasets", section 3.4): two
//! texts are candidates if all `rows` minima of one of the `bands` agree, which happens with probability 1-(1-Jʳ)ᵇ. A
//! candidate is a duplicate only if the Jaccard similarity of the two sets of shingles, computed and not estimated,
//! reaches the threshold. Memory is 8 bytes a band and text; the texts themselves are read again for the candidates only.

mod cluster;
mod sketch;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::cluster::{Clusters, Sketches, clusters};
pub use self::sketch::{Sketcher, jaccard};
use records::Mistake;

/// How texts are compared. Presets: [`Near::OURS`], [`Near::DATATROVE`], [`Near::TEXT_DEDUP`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Near {
    /// Words of a shingle. A sign such as `+` is a word.
    pub shingle: usize,
    /// Bands of the signature.
    pub bands: usize,
    /// Minima of a band.
    pub rows: usize,
    /// Least Jaccard similarity of duplicates; 0 takes every candidate for one, as the tools of the other presets do.
    pub threshold: f64,
}

impl Near {
    /// What no texts can be compared by.
    pub fn check(self) -> Vec<Mistake> {
        let Self { shingle, bands, rows, threshold } = self;
        let sizes = [("shingle", shingle, 64), ("bands", bands, 256), ("rows", rows, 64)];
        let wrong = sizes.into_iter().filter(|(_, value, most)| !(1..=*most).contains(value));
        let mut found: Vec<Mistake> = wrong
            .map(|(name, value, most)| Mistake::new(name, format!("it is {value}"), format!("set it from 1 to {most}")))
            .collect();
        if !(0.0..=1.0).contains(&threshold) {
            found.push(Mistake::new("threshold", format!("it is {threshold}"), "set it from 0 to 1"));
        }
        found
    }

    /// Candidates from J = 0.6 on (0.998 of those at 0.8), verified.
    pub const OURS: Self = Self { shingle: 5, bands: 20, rows: 6, threshold: 0.8 };
    /// datatrove's defaults (`MinhashConfig`): 14 buckets of 8 hashes, 5-grams.
    pub const DATATROVE: Self = Self { shingle: 5, bands: 14, rows: 8, threshold: 0.0 };
    /// What text-dedup derives from its defaults of 256 permutations and a threshold of 0.7.
    pub const TEXT_DEDUP: Self = Self { shingle: 5, bands: 25, rows: 10, threshold: 0.0 };
}

#[cfg(test)]
mod tests;
