//! From a text to its words, shingles and band hashes, each in one pass.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::Near;
use crate::words::{POLYNOMIAL_FACTOR, for_each_word};

/// Minima computed together: as many as stay in vector registers.
const LANES: usize = 32;

/// Makes the band hashes of texts. One for each thread: it keeps its buffers.
#[derive(Debug, Clone)]
pub struct Sketcher {
    settings: Near,
    /// Odd factors and summands of the permutations x → a·x + b of the 32-bit numbers.
    factors: Vec<[u32; LANES]>,
    summands: Vec<[u32; LANES]>,
    words: Vec<u64>,
    shingles: Vec<u32>,
    minima: Vec<u32>,
}

impl Sketcher {
    /// The permutations are fixed: the same text has the same bands in every run.
    pub fn new(settings: Near) -> Self {
        let blocks = (settings.bands * settings.rows).div_ceil(LANES);
        let random = |salt: u64| -> Vec<[u32; LANES]> {
            let number = |i: usize| xxh3_64(&[salt.to_le_bytes(), (i as u64).to_le_bytes()].concat()) as u32;
            (0..blocks).map(|block| std::array::from_fn(|lane| number(block * LANES + lane))).collect()
        };
        let mut factors = random(1);
        factors.iter_mut().flatten().for_each(|factor| *factor |= 1);
        Self { settings, factors, summands: random(2), words: Vec::new(), shingles: Vec::new(), minima: Vec::new() }
    }

    /// What texts are compared by.
    pub fn settings(&self) -> Near {
        self.settings
    }

    /// The text's words, and its exact hash: equal for texts that differ in case, spaces and markup only.
    pub fn digest(&mut self, text: &str) -> u128 {
        self.read(text);
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        xxh3_128(&bytes)
    }

    /// Appends the text's band hashes to `out` and returns its exact hash and the number of its shingles. A text without
    /// words has bands too, but no shingles.
    pub fn sketch(&mut self, text: &str, out: &mut Vec<u64>) -> (u128, usize) {
        let digest = self.digest(text);
        self.make_shingles();
        self.minimise();
        for (band, minima) in self.minima.chunks_exact(self.settings.rows).take(self.settings.bands).enumerate() {
            let mut bytes = Vec::with_capacity(8 + 4 * minima.len());
            bytes.extend((band as u64).to_le_bytes());
            bytes.extend(minima.iter().flat_map(|minimum| minimum.to_le_bytes()));
            out.push(xxh3_64(&bytes));
        }
        (digest, self.shingles.len())
    }

    /// The text's set of shingles, sorted.
    pub fn shingle_set(&mut self, text: &str) -> Vec<u32> {
        self.read(text);
        self.make_shingles();
        let mut set = self.shingles.clone();
        set.sort_unstable();
        set.dedup();
        set
    }

    fn read(&mut self, text: &str) {
        self.words.clear();
        for_each_word(text, |word, _| self.words.push(word));
    }

    /// Hashes of all sequences of `shingle` words; of all words if there are fewer.
    fn make_shingles(&mut self) {
        self.shingles.clear();
        let n = self.settings.shingle.min(self.words.len());
        if n == 0 {
            return;
        }
        let leading = (1..n).fold(1u64, |power, _| power.wrapping_mul(POLYNOMIAL_FACTOR));
        let mut rolling = 0u64;
        for (i, word) in self.words.iter().enumerate() {
            if i >= n {
                rolling = rolling.wrapping_sub(self.words[i - n].wrapping_mul(leading));
            }
            rolling = rolling.wrapping_mul(POLYNOMIAL_FACTOR).wrapping_add(*word);
            if i + 1 >= n {
                let mixed = (rolling ^ (rolling >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                self.shingles.push((mixed >> 32) as u32);
            }
        }
    }

    /// The least value of each permutation over all shingles.
    fn minimise(&mut self) {
        self.minima.clear();
        for (factors, summands) in self.factors.iter().zip(&self.summands) {
            self.minima.extend(least(&self.shingles, factors, summands));
        }
    }
}

fn least(shingles: &[u32], factors: &[u32; LANES], summands: &[u32; LANES]) -> [u32; LANES] {
    struct Least<'a>(&'a [u32], &'a [u32; LANES], &'a [u32; LANES]);
    impl pulp::WithSimd for Least<'_> {
        type Output = [u32; LANES];

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) -> [u32; LANES] {
            let Self(shingles, factors, summands) = self;
            let mut least = [u32::MAX; LANES];
            for shingle in shingles {
                for i in 0..LANES {
                    least[i] = least[i].min(shingle.wrapping_mul(factors[i]).wrapping_add(summands[i]));
                }
            }
            least
        }
    }
    pulp::Arch::new().dispatch(Least(shingles, factors, summands))
}

/// Jaccard similarity of two sorted sets: what they share by what either has. Two empty sets share nothing.
pub fn jaccard(a: &[u32], b: &[u32]) -> f64 {
    let (mut i, mut j, mut shared) = (0, 0, 0usize);
    while i < a.len() && j < b.len() {
        let (x, y) = (a[i], b[j]);
        shared += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    let either = a.len() + b.len() - shared;
    if either == 0 { 0.0 } else { shared as f64 / either as f64 }
}
