//! RMSNorm, SwiGLU, rotary embedding, bias and AdamW over rows, each one pass.

use std::f32::consts::{LN_2, LOG2_E};

use rayon::prelude::*;

use super::{Unwritten, max_width};

/// Elements per parallel piece of an elementwise loop.
const PIECE: usize = 1 << 14;
/// Rows per parallel piece of a row-wise loop; fixed, so that partial sums do not depend on the number of threads.
const ROWS: usize = 64;

/// eˣ by range reduction and a degree-6 polynomial: relative error below 3e-7 for |x| < 1, growing to 1e-5 at the
/// ends of the range; and it vectorises. NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// 1.5·2²³: adding it rounds to an integer, which is then what the lowest bits hold. (A cast would do the same and
    /// does not vectorise: it also has to give something for NaN and for what is too large.)
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let t = x * LOG2_E;
    let shifted = t + ROUND;
    let f = (t - (shifted - ROUND)) * LN_2;
    let p = 1.0 + f * (1.0 + f * (0.5 + f * (1.0 / 6.0 + f * (1.0 / 24.0 + f * (1.0 / 120.0 + f * (1.0 / 720.0))))));
    let whole = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    if x.is_nan() { x } else { f32::from_bits(p.to_bits().wrapping_add(whole << 23)) }
}

/// Σ aᵢ·bᵢ in 16 lanes.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let (a16, a_rest) = a.as_chunks::<16>();
    let (b16, b_rest) = b.as_chunks::<16>();
    for (x, y) in a16.iter().zip(b16) {
        for i in 0..16 {
            lanes[i] += x[i] * y[i];
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum::<f32>()
}

/// The largest element; NaNs are passed over, they show up in the sum that follows.
#[inline(always)]
pub(crate) fn largest(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (chunks, rest) = row.as_chunks::<16>();
    for chunk in chunks {
        for i in 0..16 {
            lanes[i] = if chunk[i] > lanes[i] { chunk[i] } else { lanes[i] };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a })
}

/// Replaces each x by exp(x - shift) and returns their sum.
#[inline(always)]
pub(crate) fn exp_and_sum(row: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0f32; 16];
    let (chunks, rest) = row.as_chunks_mut::<16>();
    for chunk in chunks {
        for i in 0..16 {
            chunk[i] = exp(chunk[i] - shift);
            lanes[i] += chunk[i];
        }
    }
    let mut sum: f32 = lanes.iter().sum();
    for x in rest {
        *x = exp(*x - shift);
        sum += *x;
    }
    sum
}

/// `y = x / rms(x) · w` by rows (Zhang & Sennrich 2019, arXiv 1910.07467). Returns y and 1 / rms of each row.
pub(crate) fn rms_norm(x: &[f32], w: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let width = w.len();
    assert!(x.len().is_multiple_of(width), "whole rows");
    let (mut y, mut scale) = (Unwritten::new(x.len()), Unwritten::new(x.len() / width));
    let rows = y.numbers().par_chunks_mut(width * ROWS).zip(x.par_chunks(width * ROWS));
    rows.zip(scale.numbers().par_chunks_mut(ROWS)).for_each(|((y, x), scale)| {
        max_width(
            #[inline(always)]
            || {
                for ((y, x), s) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(&mut *scale) {
                    let s = *s.write(1.0 / (dot(x, x) / width as f32 + eps).sqrt());
                    for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                        y.write(x * s * w);
                    }
                }
            },
        );
    });
    // SAFETY: there are whole rows, as many as scales, and of each every number was written.
    #[expect(unsafe_code, reason = "types do not show what a kernel wrote")]
    let y = unsafe { y.written() };
    // SAFETY: as above; the scale of each row was written.
    #[expect(unsafe_code, reason = "types do not show what a kernel wrote")]
    let scale = unsafe { scale.written() };
    (y, scale)
}

/// Backward of [`rms_norm`]: `dy` becomes dx; returns dw.
pub(crate) fn rms_norm_backward(x: &[f32], w: &[f32], scale: &[f32], dy: &mut [f32]) -> Vec<f32> {
    let width = w.len();
    let partial: Vec<Vec<f32>> = dy
        .par_chunks_mut(width * ROWS)
        .zip(x.par_chunks(width * ROWS))
        .zip(scale.par_chunks(ROWS))
        .map(|((dy, x), scale)| {
            let mut dw = vec![0.0; width];
            max_width(
                #[inline(always)]
                || {
                    for ((dy, x), s) in dy.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(scale) {
                        for (((g, x), w), dw) in dy.iter_mut().zip(x).zip(w).zip(&mut dw) {
                            *dw += *g * x * s;
                            *g *= w;
                        }
                        let delta = dot(x, dy) * s * s * s / width as f32;
                        for (g, x) in dy.iter_mut().zip(x) {
                            *g = *g * s - x * delta;
                        }
                    }
                },
            );
            dw
        })
        .collect();
    sum_in_order(&partial, width)
}

/// `silu(gate) · up` (Shazeer 2020, arXiv 2002.05202).
pub(crate) fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    assert_eq!(gate.len(), up.len(), "a gate for each number");
    let mut y = Unwritten::new(gate.len());
    let pieces = y.numbers().par_chunks_mut(PIECE).zip(gate.par_chunks(PIECE)).zip(up.par_chunks(PIECE));
    pieces.for_each(|((y, gate), up)| {
        max_width(
            #[inline(always)]
            || {
                for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
                    y.write(g / (1.0 + exp(-g)) * u);
                }
            },
        );
    });
    // SAFETY: a gate and an `up` were there for every number of it.
    #[expect(unsafe_code, reason = "types do not show what a kernel wrote")]
    unsafe {
        y.written()
    }
}

/// Backward of [`swiglu`] in place: `gate` and `up` become their gradients, `dy` becomes the output of the forward pass.
pub(crate) fn swiglu_backward(gate: &mut [f32], up: &mut [f32], dy: &mut [f32]) {
    let pieces = gate.par_chunks_mut(PIECE).zip(up.par_chunks_mut(PIECE)).zip(dy.par_chunks_mut(PIECE));
    pieces.for_each(|((gate, up), dy)| {
        max_width(
            #[inline(always)]
            || {
                for ((gate, up), dy) in gate.iter_mut().zip(&mut *up).zip(&mut *dy) {
                    let (g, u, d) = (*gate, *up, *dy);
                    let sigmoid = 1.0 / (1.0 + exp(-g));
                    let silu = g * sigmoid;
                    *gate = d * u * sigmoid * (1.0 + g * (1.0 - sigmoid));
                    *up = d * silu;
                    *dy = silu * u;
                }
            },
        );
    });
}

/// Adds `bias` to every row of `y`.
pub(crate) fn add_bias(y: &mut [f32], bias: &[f32]) {
    y.par_chunks_mut(bias.len() * ROWS).for_each(|rows| {
        max_width(
            #[inline(always)]
            || {
                for row in rows.chunks_exact_mut(bias.len()) {
                    for (y, b) in row.iter_mut().zip(bias) {
                        *y += b;
                    }
                }
            },
        );
    });
}

/// Column sums: the gradient of a bias.
pub(crate) fn column_sums(dy: &[f32], width: usize) -> Vec<f32> {
    let partial: Vec<Vec<f32>> = dy
        .par_chunks(width * ROWS)
        .map(|rows| {
            let mut sums = vec![0.0; width];
            max_width(
                #[inline(always)]
                || {
                    for row in rows.chunks_exact(width) {
                        for (s, g) in sums.iter_mut().zip(row) {
                            *s += g;
                        }
                    }
                },
            );
            sums
        })
        .collect();
    sum_in_order(&partial, width)
}

fn sum_in_order(partial: &[Vec<f32>], width: usize) -> Vec<f32> {
    let mut total = vec![0.0; width];
    for part in partial {
        for (t, p) in total.iter_mut().zip(part) {
            *t += p;
        }
    }
    total
}

/// Adds each of `rows` to the row of `table` that its id names, in order.
pub(crate) fn add_rows(table: &mut [f32], ids: &[u32], rows: &[f32]) {
    let width = rows.len() / ids.len().max(1);
    max_width(
        #[inline(always)]
        || {
            for (id, row) in ids.iter().zip(rows.chunks_exact(width.max(1))) {
                for (to, x) in table[*id as usize * width..][..width].iter_mut().zip(row) {
                    *to += x;
                }
            }
        },
    );
}

/// Σ xᵢ² in double precision, the same for any number of threads.
pub(crate) fn sum_of_squares(x: &[f32]) -> f64 {
    let pieces: Vec<f64> = x
        .par_chunks(PIECE)
        .map(|piece| {
            max_width(
                #[inline(always)]
                || piece.chunks(1024).map(|c| f64::from(dot(c, c))).sum::<f64>(),
            )
        })
        .collect();
    pieces.iter().sum()
}

/// Rotates one head in place: pairs (i, i + half), the convention of Hugging Face's Llama and Qwen2 (`rotate_half`).
/// `direction` is 1 forward and -1 backward.
#[inline(always)]
pub(crate) fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32], direction: f32) {
    let (first, second) = head.split_at_mut(cos.len());
    for i in 0..cos.len() {
        let (a, b) = (first[i], second[i]);
        first[i] = a * cos[i] - direction * b * sin[i];
        second[i] = b * cos[i] + direction * a * sin[i];
    }
}

/// The numbers of one AdamW step (Loshchilov & Hutter 2019, arXiv 1711.05101).
#[derive(Debug, Clone, Copy)]
pub struct AdamStep {
    /// η of this step.
    pub learning_rate: f32,
    /// β₁, decay of the first moment.
    pub beta1: f32,
    /// β₂, decay of the second moment.
    pub beta2: f32,
    /// ε, added to the root of the second moment.
    pub epsilon: f32,
    /// λ, decoupled: the weight is multiplied by 1 - ηλ.
    pub weight_decay: f32,
    /// 1 - β₁ᵗ.
    pub correction1: f32,
    /// 1 - β₂ᵗ.
    pub correction2: f32,
    /// What gradients are multiplied with first: the clipping factor.
    pub grad_scale: f32,
}

/// Updates weights and both moments in place.
pub(crate) fn adamw(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], step: AdamStep) {
    let AdamStep { learning_rate, beta1, beta2, epsilon, weight_decay, correction1, correction2, grad_scale } = step;
    let pieces = p.par_chunks_mut(PIECE).zip(m.par_chunks_mut(PIECE)).zip(v.par_chunks_mut(PIECE));
    pieces.zip(g.par_chunks(PIECE)).for_each(|(((p, m), v), g)| {
        max_width(
            #[inline(always)]
            || {
                let size = learning_rate / correction1;
                let root = correction2.sqrt();
                for i in 0..p.len() {
                    let g = g[i] * grad_scale;
                    m[i] = beta1 * m[i] + (1.0 - beta1) * g;
                    v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
                    p[i] = p[i] * (1.0 - learning_rate * weight_decay) - size * m[i] / (v[i].sqrt() / root + epsilon);
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_real_one() {
        for i in -8600..8800 {
            let x = i as f32 / 100.0;
            let error = (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs();
            assert!(error < 1e-5, "exp({x}) is off by {error}");
        }
        assert!(exp(-1e30) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn rotation_backward_undoes_forward() {
        let cos: Vec<f32> = (0..8).map(|i| (i as f32).cos()).collect();
        let sin: Vec<f32> = (0..8).map(|i| (i as f32).sin()).collect();
        let head: Vec<f32> = (0..16).map(|i| i as f32 - 7.0).collect();
        let mut turned = head.clone();
        rotate(&mut turned, &cos, &sin, 1.0);
        assert_ne!(turned, head);
        rotate(&mut turned, &cos, &sin, -1.0);
        assert!(turned.iter().zip(&head).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
