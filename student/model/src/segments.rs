//! Which tokens belong together and where they stand: what attention needs besides q, k and v.
//!
//! Several conversations lie one after another in one flat list of rows; none sees another. Positions restart in each.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{ModelConfig, RopeScaling};

/// Inverse frequencies of the rotary embedding (Su et al. 2021, arXiv 2104.09864), one for each pair of a head.
#[derive(Debug)]
pub struct Rope {
    inverse_frequencies: Vec<f64>,
    /// Of as many positions as were asked for so far.
    table: Mutex<Arc<Table>>,
}

/// cos and sin of each position's rotation, `[positions, head_dim / 2]`.
#[derive(Debug, Default)]
struct Table {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Each row's rotation.
#[derive(Debug)]
pub struct Rotation {
    pub(crate) half: usize,
    positions: Vec<u32>,
    table: Arc<Table>,
}

/// Rows of packed conversations, for training and scoring.
#[derive(Debug)]
pub struct Packed {
    /// Rows of each conversation, in order, covering all rows.
    pub(crate) segments: Vec<Range<usize>>,
    /// Of each row.
    pub rotation: Rotation,
}

/// Rows that extend cached sequences, for sampling.
#[derive(Debug)]
pub struct Extension {
    pub(crate) groups: Vec<Group>,
    pub(crate) rotation: Rotation,
    /// Rows of the cache per slot.
    pub(crate) capacity: usize,
}

/// Consecutive rows that extend one cached sequence.
#[derive(Debug, Clone)]
pub struct Group {
    /// Which rows.
    pub rows: Range<usize>,
    /// The cache's slot of the sequence.
    pub slot: usize,
    /// Tokens already in the cache.
    pub past: usize,
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
        Self { inverse_frequencies, table: Mutex::default() }
    }

    /// The rotations of rows at these positions.
    pub fn rotation(&self, positions: impl Iterator<Item = usize>) -> Rotation {
        let positions: Vec<u32> = positions.map(|position| position as u32).collect();
        let count = positions.iter().max().map_or(0, |largest| *largest as usize + 1);
        Rotation { half: self.inverse_frequencies.len(), positions, table: self.table(count) }
    }

    /// A table of at least `count` positions.
    fn table(&self, count: usize) -> Arc<Table> {
        let half = self.inverse_frequencies.len();
        let mut known = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if known.cos.len() < count * half {
            // Twice as many as before, so that a conversation that grows word by word does not make a table for each.
            let count = count.max(2 * known.cos.len() / half);
            let angles = (0..count).flat_map(|position| {
                self.inverse_frequencies.iter().map(move |frequency| f64::from(position as f32 * *frequency as f32))
            });
            let (cos, sin) = angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
            *known = Arc::new(Table { cos, sin });
        }
        known.clone()
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
    pub fn new(lengths: &[usize], rope: &Rope) -> Arc<Self> {
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
    /// Rows of these groups, over a cache of `capacity` rows a slot.
    pub fn new(groups: Vec<Group>, capacity: usize, rope: &Rope) -> Arc<Self> {
        let positions = groups.iter().flat_map(|group| group.past..group.past + group.rows.len());
        let rotation = rope.rotation(positions);
        Arc::new(Self { groups, rotation, capacity })
    }
}

impl Rotation {
    /// cos and sin of one row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> (&[f32], &[f32]) {
        let position = self.positions[row] as usize;
        let at = position * self.half..(position + 1) * self.half;
        (&self.table.cos[at.clone()], &self.table.sin[at])
    }

    /// cos and sin of all rows, `[rows, head_dim / 2]`.
    pub fn rows(&self) -> (Vec<f32>, Vec<f32>) {
        let rows = (0..self.positions.len()).map(|row| self.row(row));
        rows.fold((Vec::new(), Vec::new()), |(mut cos, mut sin), row| {
            cos.extend_from_slice(row.0);
            sin.extend_from_slice(row.1);
            (cos, sin)
        })
    }
}
