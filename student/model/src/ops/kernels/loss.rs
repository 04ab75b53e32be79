//! Linear projection onto the vocabulary and cross-entropy in one, a chunk of rows at a time.
//!
//! The `[tokens, vocabulary]` logits never exist as a whole: each chunk's gradient is computed while its logits are
//! there (the idea of Liger-Kernel's fused linear cross-entropy, arXiv 2410.10989).

use std::cell::Cell;

use rayon::prelude::*;

use super::elementwise::{exp_and_sum, largest};
use super::max_width;
use super::product::{Precision, matmul_in};
use super::views::{Mat, Store};

/// Rows whose logits are in memory at once. Each chunk reads the whole weight twice and its gradient once, which more rows
/// make up for: at most 96 MiB of logits, and 320 where the products themselves are so fast that this would show.
fn chunk_rows(vocab: usize, precision: Precision) -> usize {
    let most = match precision {
        Precision::F32 => 96 << 20,
        Precision::Bf16 => 320 << 20,
    };
    (most / size_of::<f32>() / vocab).clamp(16, 1024)
}

/// Which rows are counted, and the token each should predict.
#[derive(Debug)]
pub struct Targets {
    /// Row numbers, ascending.
    pub rows: Vec<usize>,
    /// Token ids, as many.
    pub ids: Vec<u32>,
    /// What the sum of losses is multiplied with: 1 / supervised tokens of the whole accumulated batch.
    pub scale: f32,
}

/// hidden `[rows, width]`, weight `[vocab, width]` → the loss times `targets.scale`. Gradients are written, over what is
/// there, where there is room for them: `dh` like hidden, `dw` like weight.
pub(crate) fn linear_cross_entropy(
    hidden: &[f32],
    weight: &[f32],
    width: usize,
    targets: &Targets,
    precision: Precision,
    mut dh: Option<&mut [f32]>,
    mut dw: Option<&mut [f32]>,
) -> f64 {
    let vocab = weight.len() / width;
    let chunk = chunk_rows(vocab, precision).min(targets.rows.len().max(1));
    if let Some(dh) = &mut dh {
        dh.fill(0.0);
    }
    if let Some(dw) = &mut dw
        && targets.rows.is_empty()
    {
        dw.fill(0.0);
    }
    let mut gathered = vec![0.0; chunk * width];
    let mut dgathered = vec![0.0; if dh.is_some() { chunk * width } else { 0 }];
    let mut logits = LOGITS.take();
    logits.resize(chunk * vocab, 0.0);
    let mut mode = Store::Overwrite;
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
        if let Some(dh) = &mut dh {
            matmul_in(precision, &mut dgathered, Store::Overwrite, g, w);
            for (row, from) in rows.iter().zip(dgathered.chunks_exact(width)) {
                dh[row * width..(row + 1) * width].copy_from_slice(from);
            }
        }
        if let Some(dw) = &mut dw {
            matmul_in(precision, dw, mode, g.t(), x);
        }
        mode = Store::Add;
    }
    LOGITS.set(logits);
    loss * f64::from(targets.scale)
}

thread_local! {
    /// Kept from one pass to the next: it is large, and the kernel would clear it every time.
    static LOGITS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Turns a row of logits into its gradient in place and returns its cross-entropy.
fn softmax_minus_target(row: &mut [f32], target: usize, scale: f32) -> f64 {
    max_width(
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
