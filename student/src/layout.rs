//! Which tokens belong together and where they stand: what attention needs besides q, k and v.
//!
//! Several conversations lie one after another in one flat list of rows; none sees another. Positions restart in each.

use std::ops::Range;
use std::sync::Arc;

use crate::config::{ModelConfig, RopeScaling};

/// Inverse frequencies of the rotary embedding (Su et al. 2021, arXiv 2104.09864), one for each pair of a head.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    inverse_frequencies: Vec<f64>,
}

/// cos and sin of each row's rotation, `[rows, head_dim / 2]`.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    pub(crate) half: usize,
    pub(crate) cos: Vec<f32>,
    pub(crate) sin: Vec<f32>,
}

/// Rows of packed conversations, for training and scoring.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Rows of each conversation, in order, covering all rows.
    pub(crate) segments: Vec<Range<usize>>,
    pub(crate) rotation: Rotation,
}

/// Rows that extend cached sequences, for sampling.
#[derive(Debug)]
pub(crate) struct Extension {
    pub(crate) groups: Vec<Group>,
    pub(crate) rotation: Rotation,
    /// Rows of the cache per slot.
    pub(crate) capacity: usize,
}

/// Consecutive rows that extend one cached sequence.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) rows: Range<usize>,
    pub(crate) slot: usize,
    /// Tokens already in the cache.
    pub(crate) past: usize,
}

impl Rope {
    /// The table of a model, llama3 scaling included (Llama 3.1 model card; transformers `modeling_rope_utils.py`).
    pub(crate) fn new(config: &ModelConfig) -> Self {
        let width = config.head_dim as f64;
        let inverse_frequencies = (0..config.head_dim / 2)
            .map(|i| {
                // transformers computes these in single precision; parity at large positions needs the same rounding.
                let frequency = f64::from(1.0 / (config.rope_theta as f32).powf(2.0 * i as f32 / width as f32));
                config.rope_scaling.as_ref().map_or(frequency, |scaling| llama3(frequency, scaling))
            })
            .collect();
        Self { inverse_frequencies }
    }

    pub(crate) fn rotation(&self, positions: impl Iterator<Item = usize>) -> Rotation {
        let half = self.inverse_frequencies.len();
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in positions {
            for frequency in &self.inverse_frequencies {
                let angle = f64::from(position as f32 * *frequency as f32);
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        Rotation { half, cos, sin }
    }
}

fn llama3(frequency: f64, scaling: &RopeScaling) -> f64 {
    let wavelength = std::f64::consts::TAU / frequency;
    let original = scaling.original_max_position_embeddings as f64;
    let (low, high) = (original / scaling.low_freq_factor, original / scaling.high_freq_factor);
    if wavelength < high {
        frequency
    } else if wavelength > low {
        frequency / scaling.factor
    } else {
        let smooth =
            (original / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
        (1.0 - smooth) * frequency / scaling.factor + smooth * frequency
    }
}

impl Packed {
    /// Conversations of these lengths, one after another.
    pub(crate) fn new(lengths: &[usize], rope: &Rope) -> Arc<Self> {
        let mut end = 0;
        let segments = lengths
            .iter()
            .map(|length| {
                end += length;
                end - length..end
            })
            .collect();
        let rotation = rope.rotation(lengths.iter().flat_map(|length| 0..*length));
        Arc::new(Self { segments, rotation })
    }
}

impl Extension {
    pub(crate) fn new(groups: Vec<Group>, capacity: usize, rope: &Rope) -> Arc<Self> {
        let positions = groups.iter().flat_map(|group| group.past..group.past + group.rows.len());
        let rotation = rope.rotation(positions);
        Arc::new(Self { groups, rotation, capacity })
    }
}

impl Rotation {
    /// cos and sin of one row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> (&[f32], &[f32]) {
        let at = row * self.half..(row + 1) * self.half;
        (&self.cos[at.clone()], &self.sin[at])
    }
}
