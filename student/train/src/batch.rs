//! Which rows a step takes, and rows as the model takes them.

use std::sync::Arc;

use model::Model;
use model::lora::Noise;
use model::ops::Targets;
use model::segments::Packed;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tokens::pack::PackedRow;

use crate::TrainConfig;

/// The order of the rows: each epoch is a shuffle of its own, drawn from the seed and the epoch alone.
#[derive(Default)]
pub(crate) struct Order {
    /// The epoch that `rows` is the order of.
    epoch: Option<u64>,
    rows: Vec<usize>,
}

impl Order {
    /// The rows of a step, which is counted from 1.
    pub(crate) fn batch<'a>(&mut self, rows: &'a [PackedRow], config: &TrainConfig, step: u32) -> Vec<&'a PackedRow> {
        let per_epoch = rows.len().div_ceil(config.rows_per_step);
        let (epoch, within) = ((step as usize - 1) / per_epoch, (step as usize - 1) % per_epoch);
        if self.epoch != Some(epoch as u64) {
            let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
            rng.set_stream(epoch as u64);
            self.rows = (0..rows.len()).collect();
            self.rows.shuffle(&mut rng);
            self.epoch = Some(epoch as u64);
        }
        self.rows.chunks(config.rows_per_step).nth(within).unwrap_or_default().iter().map(|i| &rows[*i]).collect()
    }
}

pub(crate) fn supervised(rows: &[&PackedRow]) -> u64 {
    rows.iter().map(|row| row.supervised_tokens()).sum()
}

/// Rows flattened for the model.
pub(crate) struct Pass {
    pub(crate) ids: Vec<u32>,
    pub(crate) layout: Arc<Packed>,
    pub(crate) targets: Arc<Targets>,
    pub(crate) noise: Noise,
}

impl Pass {
    pub(crate) fn new(rows: &[&PackedRow], model: &Model, total: u64, noise: Noise) -> Self {
        let ids: Vec<u32> = rows.iter().flat_map(|row| row.token_ids.iter().copied()).collect();
        let lengths: Vec<usize> =
            rows.iter().flat_map(|row| row.segment_ids.chunk_by(|a, b| a == b).map(<[u32]>::len)).collect();
        let mut targets = Targets { rows: Vec::new(), ids: Vec::new(), scale: 1.0 / total as f32 };
        let mut start = 0;
        for row in rows {
            for i in 1..row.token_ids.len() {
                // The token before predicts this one, unless it belongs to another conversation.
                if row.loss_mask[i] && row.segment_ids[i] == row.segment_ids[i - 1] {
                    targets.rows.push(start + i - 1);
                    targets.ids.push(row.token_ids[i]);
                }
            }
            start += row.token_ids.len();
        }
        Self { ids, layout: Packed::new(&lengths, model.rope()), targets: Arc::new(targets), noise }
    }
}
