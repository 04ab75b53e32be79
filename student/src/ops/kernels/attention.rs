//! Rotary embedding and causal grouped-query attention, over packed conversations and over a cache.
//!
//! Scores exist for one block of rows at a time; the backward pass computes them again from the saved log-sum-exp
//! (Dao et al. 2022, arXiv 2205.14135). Inside, q, k and v are head-major (`[heads, rows, head_dim]`), so that every
//! parallel task owns one contiguous piece of its output.

use pulp::Arch;
use rayon::prelude::*;

use super::elementwise::{dot, exp, exp_and_sum, largest, rotate};
use super::gemm::{Mat, Store, matmul};
use crate::layout::{Extension, Group, Packed, Rotation};

/// Query rows whose scores are in memory at once, per task.
const BLOCK: usize = 64;

/// Head counts and sizes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) query: usize,
    pub(crate) key: usize,
    pub(crate) dim: usize,
}

impl Heads {
    /// Query heads that share a key head.
    fn group(self) -> usize {
        self.query / self.key
    }

    fn scale(self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }
}

/// What the forward pass keeps for the backward pass, all head-major.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    o: Vec<f32>,
    /// log Σ exp of each score row, `[heads, rows]`.
    log_sum: Vec<f32>,
}

/// `[rows, heads · dim]` to `[heads, rows, dim]`, rotated on the way if there is a rotation.
fn head_major(x: &[f32], heads: usize, dim: usize, rotation: Option<&Rotation>) -> Vec<f32> {
    let rows = x.len() / (heads * dim);
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(rows * dim).enumerate().for_each(|(head, y)| {
        for (row, y) in y.chunks_exact_mut(dim).enumerate() {
            let from = (row * heads + head) * dim;
            y.copy_from_slice(&x[from..from + dim]);
            if let Some(rotation) = rotation {
                let (cos, sin) = rotation.row(row);
                rotate(y, cos, sin, 1.0);
            }
        }
    });
    y
}

/// `[heads, rows, dim]` to `[rows, heads · dim]`, rotated back on the way if there is a rotation.
fn token_major(x: &[f32], heads: usize, dim: usize, rotation: Option<&Rotation>) -> Vec<f32> {
    let rows = x.len() / (heads * dim);
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(heads * dim).enumerate().with_min_len(64).for_each(|(row, y)| {
        for (head, y) in y.chunks_exact_mut(dim).enumerate() {
            let from = (head * rows + row) * dim;
            y.copy_from_slice(&x[from..from + dim]);
            if let Some(rotation) = rotation {
                let (cos, sin) = rotation.row(row);
                rotate(y, cos, sin, -1.0);
            }
        }
    });
    y
}

/// Cuts a head-major buffer into one mutable piece per (head, segment), with its head and first row.
fn pieces<'a>(buffer: &'a mut [f32], rows: usize, width: usize, layout: &Packed) -> Vec<(usize, usize, &'a mut [f32])> {
    let mut pieces = Vec::new();
    for (head, mut rest) in buffer.chunks_exact_mut(rows * width).enumerate() {
        for segment in &layout.segments {
            let (piece, after) = rest.split_at_mut(segment.len() * width);
            pieces.push((head, segment.start, piece));
            rest = after;
        }
    }
    pieces
}

/// Softmax of a causal score block in place: row r may see the first `first + r + 1` of `width` columns.
/// Returns nothing; `log_sums` gets one value a row.
fn causal_softmax(scores: &mut [f32], width: usize, first: usize, log_sums: &mut [f32]) {
    Arch::new().dispatch(|| {
        for (r, (row, log_sum)) in scores.chunks_exact_mut(width).zip(log_sums).enumerate() {
            let (seen, unseen) = row.split_at_mut((first + r + 1).min(width));
            let shift = largest(seen);
            let sum = exp_and_sum(seen, shift);
            let inverse = 1.0 / sum;
            for x in seen.iter_mut() {
                *x *= inverse;
            }
            unseen.fill(0.0);
            *log_sum = shift + sum.ln();
        }
    });
}

/// Forward: q `[N, query·dim]`, k and v `[N, key·dim]` → o `[N, query·dim]` and what backward needs.
pub(crate) fn forward(q: &[f32], k: &[f32], v: &[f32], heads: Heads, layout: &Packed) -> (Vec<f32>, Saved) {
    let Heads { query, key, dim } = heads;
    let rows = q.len() / (query * dim);
    let q = head_major(q, query, dim, Some(&layout.rotation));
    let k = head_major(k, key, dim, Some(&layout.rotation));
    let v = head_major(v, key, dim, None);
    let mut o = vec![0.0; q.len()];
    let mut log_sum = vec![0.0; query * rows];
    let tasks = pieces(&mut o, rows, dim, layout);
    let sums = pieces(&mut log_sum, rows, 1, layout);
    tasks.into_par_iter().zip(sums).for_each(|((head, start, o), (_, _, sums))| {
        let length = o.len() / dim;
        let q = &q[(head * rows + start) * dim..][..length * dim];
        let at = (head / heads.group() * rows + start) * dim;
        let (k, v) = (&k[at..at + length * dim], &v[at..at + length * dim]);
        let mut scores = vec![0.0; BLOCK.min(length) * length];
        for first in (0..length).step_by(BLOCK) {
            let m = BLOCK.min(length - first);
            let n = first + m;
            let scores = &mut scores[..m * n];
            let q = Mat::new(&q[first * dim..(first + m) * dim], m, dim);
            matmul(scores, n, Store::Overwrite, heads.scale(), q, Mat::new(k, n, dim).t(), false);
            causal_softmax(scores, n, first, &mut sums[first..first + m]);
            let o = &mut o[first * dim..(first + m) * dim];
            matmul(o, dim, Store::Overwrite, 1.0, Mat::new(scores, m, n), Mat::new(v, n, dim), false);
        }
    });
    let out = token_major(&o, query, dim, None);
    (out, Saved { q, k, v, o, log_sum })
}

/// Backward of [`forward`]: (dq, dk, dv), token-major, rotation undone.
pub(crate) fn backward(saved: &Saved, dout: &[f32], heads: Heads, layout: &Packed) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let Heads { query, key, dim } = heads;
    let rows = dout.len() / (query * dim);
    let dout = head_major(dout, query, dim, None);
    let (mut dq, mut dk, mut dv) = (vec![0.0; saved.q.len()], vec![0.0; saved.k.len()], vec![0.0; saved.v.len()]);
    // One task owns a key head of a segment and all query heads that share it.
    let group = heads.group();
    let mut dq_pieces: Vec<Vec<&mut [f32]>> = (0..key * layout.segments.len()).map(|_| Vec::new()).collect();
    for (i, (_, _, piece)) in pieces(&mut dq, rows, dim, layout).into_iter().enumerate() {
        let (head, segment) = (i / layout.segments.len(), i % layout.segments.len());
        dq_pieces[head / group * layout.segments.len() + segment].push(piece);
    }
    let tasks = pieces(&mut dk, rows, dim, layout).into_iter().zip(pieces(&mut dv, rows, dim, layout)).zip(dq_pieces);
    tasks.collect::<Vec<_>>().into_par_iter().for_each(|(((key_head, start, dk), (_, _, dv)), dq)| {
        for (member, dq) in dq.into_iter().enumerate() {
            let head = key_head * group + member;
            backward_head(saved, &dout, heads, rows, HeadAt { head, key_head, start }, dq, dk, dv);
        }
    });
    (
        token_major(&dq, query, dim, Some(&layout.rotation)),
        token_major(&dk, key, dim, Some(&layout.rotation)),
        token_major(&dv, key, dim, None),
    )
}

struct HeadAt {
    head: usize,
    key_head: usize,
    start: usize,
}

/// One query head of one segment; adds to dk and dv.
#[expect(clippy::too_many_arguments, reason = "three outputs and where they are")]
fn backward_head(
    saved: &Saved,
    dout: &[f32],
    heads: Heads,
    rows: usize,
    at: HeadAt,
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let dim = heads.dim;
    let length = dq.len() / dim;
    let of = |head: usize| (head * rows + at.start) * dim..(head * rows + at.start + length) * dim;
    let (q, o, dout) = (&saved.q[of(at.head)], &saved.o[of(at.head)], &dout[of(at.head)]);
    let (k, v) = (&saved.k[of(at.key_head)], &saved.v[of(at.key_head)]);
    let log_sum = &saved.log_sum[at.head * rows + at.start..][..length];
    let mut p_buffer = vec![0.0; BLOCK.min(length) * length];
    let mut ds_buffer = p_buffer.clone();
    for first in (0..length).step_by(BLOCK) {
        let m = BLOCK.min(length - first);
        let n = first + m;
        let block = first * dim..(first + m) * dim;
        let (p, ds) = (&mut p_buffer[..m * n], &mut ds_buffer[..m * n]);
        let q = Mat::new(&q[block.clone()], m, dim);
        let (keys, values) = (Mat::new(&k[..n * dim], n, dim), Mat::new(&v[..n * dim], n, dim));
        let dout_mat = Mat::new(&dout[block.clone()], m, dim);
        matmul(p, n, Store::Overwrite, heads.scale(), q, keys.t(), false);
        matmul(ds, n, Store::Overwrite, 1.0, dout_mat, values.t(), false);
        Arch::new().dispatch(|| {
            for r in 0..m {
                let row = (first + r) * dim..(first + r + 1) * dim;
                let along = dot(&o[row.clone()], &dout[row]);
                let (seen, unseen) = p[r * n..(r + 1) * n].split_at_mut(first + r + 1);
                let (ds_seen, ds_unseen) = ds[r * n..(r + 1) * n].split_at_mut(first + r + 1);
                for (p, ds) in seen.iter_mut().zip(ds_seen) {
                    *p = exp(*p - log_sum[first + r]);
                    *ds = *p * (*ds - along) * heads.scale();
                }
                unseen.fill(0.0);
                ds_unseen.fill(0.0);
            }
        });
        matmul(&mut dv[..n * dim], dim, Store::Add, 1.0, Mat::new(p, m, n).t(), dout_mat, false);
        matmul(&mut dk[..n * dim], dim, Store::Add, 1.0, Mat::new(ds, m, n).t(), q, false);
        matmul(&mut dq[block], dim, Store::Overwrite, 1.0, Mat::new(ds, m, n), keys, false);
    }
}

/// Sampling: writes the rows' k and v into the cache (`[slots · capacity, key · dim]`) and attends over it.
/// What a sequence gets depends on that sequence alone, never on the others in the batch.
pub(crate) fn extend(
    q: &mut [f32],
    k: &mut [f32],
    v: &[f32],
    k_cache: &mut [f32],
    v_cache: &mut [f32],
    heads: Heads,
    layout: &Extension,
) -> Vec<f32> {
    let Heads { query, key, dim } = heads;
    let width = key * dim;
    for group in &layout.groups {
        for (i, row) in group.rows.clone().enumerate() {
            let (cos, sin) = layout.rotation.row(row);
            for head in q[row * query * dim..(row + 1) * query * dim].chunks_exact_mut(dim) {
                rotate(head, cos, sin, 1.0);
            }
            for head in k[row * width..(row + 1) * width].chunks_exact_mut(dim) {
                rotate(head, cos, sin, 1.0);
            }
            let at = (group.slot * layout.capacity + group.past + i) * width;
            k_cache[at..at + width].copy_from_slice(&k[row * width..(row + 1) * width]);
            v_cache[at..at + width].copy_from_slice(&v[row * width..(row + 1) * width]);
        }
    }
    let mut o = vec![0.0; q.len()];
    let mut tasks = Vec::new();
    let mut rest = o.as_mut_slice();
    for group in &layout.groups {
        let (piece, after) = rest.split_at_mut(group.rows.len() * query * dim);
        tasks.push((group, piece));
        rest = after;
    }
    let (q, k_cache, v_cache) = (&*q, &*k_cache, &*v_cache);
    tasks.into_par_iter().for_each(|(group, o)| {
        let q = &q[group.rows.start * query * dim..group.rows.end * query * dim];
        let from = group.slot * layout.capacity * width;
        let to = from + (group.past + group.rows.len()) * width;
        extend_group(q, &k_cache[from..to], &v_cache[from..to], o, heads, group);
    });
    o
}

fn extend_group(q: &[f32], k: &[f32], v: &[f32], o: &mut [f32], heads: Heads, group: &Group) {
    let Heads { query, key, dim } = heads;
    let (rows, shared) = (group.rows.len(), heads.group());
    let (stride, width) = (query * dim, key * dim);
    // One new token: the query heads that share a key head are the rows of one product. Several: one head at a time.
    let (heads_at_once, block) = if rows == 1 { (shared, 1) } else { (1, BLOCK) };
    let mut scores = vec![0.0; heads_at_once.max(block.min(rows)) * (group.past + rows)];
    let mut log_sums = vec![0.0; heads_at_once.max(block)];
    for head in (0..query).step_by(heads_at_once) {
        let at = head / shared * dim;
        for first in (0..rows).step_by(block) {
            let m = block.min(rows - first);
            let n = group.past + first + m;
            let (keys, values) = (Mat::strided(&k[at..], n, dim, width), Mat::strided(&v[at..], n, dim, width));
            let from = first * stride + head * dim;
            let (m, row_stride) = if rows == 1 { (shared, dim) } else { (m, stride) };
            let scores = &mut scores[..m * n];
            matmul(
                scores,
                n,
                Store::Overwrite,
                heads.scale(),
                Mat::strided(&q[from..], m, dim, row_stride),
                keys.t(),
                false,
            );
            // A single new token sees all of the cache, whatever head it is.
            let seen = if rows == 1 { n - 1 } else { group.past + first };
            causal_softmax(scores, n, seen, &mut log_sums[..m]);
            matmul(&mut o[from..], row_stride, Store::Overwrite, 1.0, Mat::new(scores, m, n), values, false);
        }
    }
}
