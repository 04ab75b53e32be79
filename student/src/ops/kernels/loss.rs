//! Linear projection onto the vocabulary and cross-entropy in one, a chunk of rows at a time.
//!
//! The `[tokens, vocabulary]` logits never exist as a whole: each chunk's gradient is computed while its logits are
//! there (the idea of Liger-Kernel's fused linear cross-entropy, arXiv 2410.10989).

use pulp::Arch;
use rayon::prelude::*;

use super::elementwise::{exp_and_sum, largest};
use super::gemm::{Mat, Store, matmul};

/// Rows whose logits are in memory at once: about 64 MiB of them, at most 512 rows.
fn chunk_rows(vocab: usize) -> usize {
    (16 * 1024 * 1024 / vocab).clamp(16, 512)
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

/// hidden `[rows, width]`, weight `[vocab, width]`. Gradients are left empty unless asked for.
pub(crate) fn linear_cross_entropy(
    hidden: &[f32],
    weight: &[f32],
    width: usize,
    targets: &Targets,
    gradients: bool,
) -> LossAndGradients {
    let vocab = weight.len() / width;
    let chunk = chunk_rows(vocab).min(targets.rows.len().max(1));
    let mut dh = vec![0.0; if gradients { hidden.len() } else { 0 }];
    let mut dw = vec![0.0; if gradients { weight.len() } else { 0 }];
    let mut gathered = vec![0.0; chunk * width];
    let mut logits = vec![0.0; chunk * vocab];
    let mut dgathered = vec![0.0; if gradients { chunk * width } else { 0 }];
    let mut loss = 0.0;
    for (rows, ids) in targets.rows.chunks(chunk).zip(targets.ids.chunks(chunk)) {
        let m = rows.len();
        for (row, to) in rows.iter().zip(gathered.chunks_exact_mut(width)) {
            to.copy_from_slice(&hidden[row * width..(row + 1) * width]);
        }
        let x = Mat::new(&gathered, m, width);
        let w = Mat::new(weight, vocab, width);
        matmul(&mut logits, vocab, Store::Overwrite, 1.0, x, w.t(), true);
        let losses: Vec<f64> = logits[..m * vocab]
            .par_chunks_mut(vocab)
            .zip(ids)
            .map(|(row, id)| softmax_minus_target(row, *id as usize, targets.scale))
            .collect();
        loss += losses.iter().sum::<f64>();
        if gradients {
            let g = Mat::new(&logits, m, vocab);
            matmul(&mut dgathered, width, Store::Overwrite, 1.0, g, w, true);
            for (row, from) in rows.iter().zip(dgathered.chunks_exact(width)) {
                dh[row * width..(row + 1) * width].copy_from_slice(from);
            }
            matmul(&mut dw, width, Store::Add, 1.0, g.t(), x, true);
        }
    }
    LossAndGradients { loss: loss * f64::from(targets.scale), dh, dw }
}

/// Turns a row of logits into its gradient in place and returns its cross-entropy.
fn softmax_minus_target(row: &mut [f32], target: usize, scale: f32) -> f64 {
    Arch::new().dispatch(|| {
        let shift = largest(row);
        let wanted = row[target];
        let sum = exp_and_sum(row, shift);
        let factor = scale / sum;
        for x in row.iter_mut() {
            *x *= factor;
        }
        row[target] -= scale;
        f64::from(shift) + f64::from(sum).ln() - f64::from(wanted)
    })
}
