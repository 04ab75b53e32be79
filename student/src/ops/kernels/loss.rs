//! Linear projection onto the vocabulary and cross-entropy in one, a chunk of rows at a time.
//!
//! The `[tokens, vocabulary]` logits never exist as a whole: each chunk's gradient is computed while its logits are
//! there (the idea of Liger-Kernel's fused linear cross-entropy, arXiv 2410.10989).

use rayon::prelude::*;

use super::elementwise::{exp_and_sum, largest};
use super::gemm::{Mat, Precision, Store, matmul_in};
use super::widest;

/// Rows whose logits are in memory at once: at most 192 MiB of them. Each chunk reads the whole weight three times,
/// which more rows make up for.
fn chunk_rows(vocab: usize) -> usize {
    (48 * 1024 * 1024 / vocab).clamp(16, 1024)
}

/// Which rows are counted, and the token each should predict.
#[derive(Debug)]
pub(crate) struct Targets {
    /// Row numbers, ascending.
    pub(crate) rows: Vec<usize>,
    /// Token ids, as many.
    pub(crate) ids: Vec<u32>,
    /// What the sum of losses is multiplied with: 1 / supervised tokens of the whole accumulated batch.
    pub(crate) scale: f32,
}

/// The scaled loss and its gradients.
pub(crate) struct LossAndGradients {
    pub(crate) loss: f64,
    /// d loss / d hidden, `[rows, width]`.
    pub(crate) dh: Vec<f32>,
    /// d loss / d weight, `[vocab, width]`.
    pub(crate) dw: Vec<f32>,
}

/// Which gradients are wanted, of hidden states and of weights.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) dh: bool,
    pub(crate) dw: bool,
}

/// hidden `[rows, width]`, weight `[vocab, width]`. Gradients that are not wanted are left empty.
pub(crate) fn linear_cross_entropy(
    hidden: &[f32],
    weight: &[f32],
    width: usize,
    targets: &Targets,
    wanted: Wanted,
    precision: Precision,
) -> LossAndGradients {
    let vocab = weight.len() / width;
    let chunk = chunk_rows(vocab).min(targets.rows.len().max(1));
    let mut dh = vec![0.0; if wanted.dh { hidden.len() } else { 0 }];
    let mut dw = vec![0.0; if wanted.dw { weight.len() } else { 0 }];
    let mut gathered = vec![0.0; chunk * width];
    let mut logits = vec![0.0; chunk * vocab];
    let mut dgathered = vec![0.0; if wanted.dh { chunk * width } else { 0 }];
    let mut loss = 0.0;
    for (rows, ids) in targets.rows.chunks(chunk).zip(targets.ids.chunks(chunk)) {
        let m = rows.len();
        for (row, to) in rows.iter().zip(gathered.chunks_exact_mut(width)) {
            to.copy_from_slice(&hidden[row * width..(row + 1) * width]);
        }
        let x = Mat::new(&gathered, m, width);
        let w = Mat::new(weight, vocab, width);
        matmul_in(precision, &mut logits, Store::Overwrite, x, w.t());
        let losses: Vec<f64> = logits[..m * vocab]
            .par_chunks_mut(vocab)
            .zip(ids)
            .map(|(row, id)| softmax_minus_target(row, *id as usize, targets.scale))
            .collect();
        loss += losses.iter().sum::<f64>();
        let g = Mat::new(&logits, m, vocab);
        if wanted.dh {
            matmul_in(precision, &mut dgathered, Store::Overwrite, g, w);
            for (row, from) in rows.iter().zip(dgathered.chunks_exact(width)) {
                dh[row * width..(row + 1) * width].copy_from_slice(from);
            }
        }
        if wanted.dw {
            matmul_in(precision, &mut dw, Store::Add, g.t(), x);
        }
    }
    LossAndGradients { loss: loss * f64::from(targets.scale), dh, dw }
}

/// Turns a row of logits into its gradient in place and returns its cross-entropy.
fn softmax_minus_target(row: &mut [f32], target: usize, scale: f32) -> f64 {
    widest(
        #[inline(always)]
        || {
            let shift = largest(row);
            let wanted = row[target];
            let sum = exp_and_sum(row, shift);
            let factor = scale / sum;
            for x in row.iter_mut() {
                *x *= factor;
            }
            row[target] -= scale;
            f64::from(shift) + f64::from(sum).ln() - f64::from(wanted)
        },
    )
}
