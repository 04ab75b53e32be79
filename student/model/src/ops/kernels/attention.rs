//! Rotary embedding and causal grouped-query attention, over packed conversations and over a cache.
//!
//! Scores exist for one tile of [`BLOCK`] rows and [`TILE`] keys at a time; the backward pass computes them again from
//! the saved log-sum-exp (Dao et al. 2022, arXiv 2205.14135). Inside, q, k and v are head-major (`[heads, rows,
//! head_dim]`), so that every parallel task owns one contiguous piece of its output. Tiles of keys that a row cannot see
//! are never computed.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::elementwise::{dot, exp, exp_and_sum, largest, rotate};
use super::product::{Precision, matmul};
use super::views::{Mat, Store};
use super::{Unwritten, max_width, zeroed};
use crate::segments::{Extension, Group, Packed, Rotation};

/// Query rows of a tile of scores, at most.
const BLOCK: usize = 256;
/// Query rows of a tile of scores in short segments, where tall tiles would reach far above the diagonal.
const SMALL_BLOCK: usize = 64;
/// Keys of a tile of scores.
const TILE: usize = 256;
/// Query rows of a forward task.
const TASK: usize = 512;

/// Head counts and sizes.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key heads, and as many value heads; divides the query heads.
    pub key: usize,
    /// Width of a head.
    pub dim: usize,
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
    /// log Σ exp of each score row, `[heads, rows]`.
    log_sum: Vec<f32>,
}

/// `[rows, heads · dim]` to `[heads, rows, dim]`, rotated on the way if there is a rotation.
fn head_major(x: &[f32], heads: usize, dim: usize, rotation: Option<&Rotation>) -> Vec<f32> {
    let rows = x.len() / (heads * dim);
    assert_eq!(rows * heads * dim, x.len(), "whole rows");
    let mut y = Unwritten::new(x.len());
    y.numbers().par_chunks_mut(rows * dim).enumerate().for_each(|(head, y)| {
        for (row, y) in y.chunks_exact_mut(dim).enumerate() {
            let from = (row * heads + head) * dim;
            let y = y.write_copy_of_slice(&x[from..from + dim]);
            if let Some(rotation) = rotation {
                let (cos, sin) = rotation.row(row);
                rotate(y, cos, sin, 1.0);
            }
        }
    });
    // SAFETY: heads make up all of it, and of each every row was copied.
    #[expect(unsafe_code, reason = "types do not show what a kernel wrote")]
    unsafe {
        y.written()
    }
}

/// `[heads, rows, dim]` to `[rows, heads · dim]`, rotated back on the way if there is a rotation.
fn token_major(x: &[f32], heads: usize, dim: usize, rotation: Option<&Rotation>) -> Vec<f32> {
    let rows = x.len() / (heads * dim);
    assert_eq!(rows * heads * dim, x.len(), "whole rows");
    let mut y = Unwritten::new(x.len());
    y.numbers().par_chunks_mut(heads * dim).enumerate().with_min_len(64).for_each(|(row, y)| {
        for (head, y) in y.chunks_exact_mut(dim).enumerate() {
            let from = (head * rows + row) * dim;
            let y = y.write_copy_of_slice(&x[from..from + dim]);
            if let Some(rotation) = rotation {
                let (cos, sin) = rotation.row(row);
                rotate(y, cos, sin, -1.0);
            }
        }
    });
    // SAFETY: rows make up all of it, and of each every head was copied.
    #[expect(unsafe_code, reason = "types do not show what a kernel wrote")]
    unsafe {
        y.written()
    }
}

/// A part of a head-major buffer: rows of one head and one segment. Nothing is in it yet.
struct Piece<'a> {
    head: usize,
    segment: &'a Range<usize>,
    /// The first row, counted from the segment's start.
    first: usize,
    values: &'a mut [MaybeUninit<f32>],
}

/// Query rows of a tile of scores in a segment.
fn block_rows(length: usize) -> usize {
    (length / 8).next_multiple_of(SMALL_BLOCK).clamp(SMALL_BLOCK, BLOCK)
}

/// Cuts a head-major buffer into pieces of at most `most` rows of a (head, segment).
fn pieces<'a>(
    buffer: &'a mut [MaybeUninit<f32>],
    rows: usize,
    width: usize,
    layout: &'a Packed,
    most: usize,
) -> Vec<Piece<'a>> {
    assert!(buffer.len().is_multiple_of(rows * width), "whole heads");
    let mut pieces = Vec::new();
    for (head, mut rest) in buffer.chunks_exact_mut(rows * width).enumerate() {
        for segment in &layout.segments {
            for first in (0..segment.len()).step_by(most) {
                let (values, after) = rest.split_at_mut(most.min(segment.len() - first) * width);
                pieces.push(Piece { head, segment, first, values });
                rest = after;
            }
        }
        assert!(rest.is_empty(), "segments make up all rows");
    }
    pieces
}

/// Softmax of a causal score block in place: row r may see the first `first + r + 1` of `width` columns.
/// Returns nothing; `log_sums` gets one value a row.
fn causal_softmax(scores: &mut [f32], width: usize, first: usize, log_sums: &mut [f32]) {
    max_width(
        #[inline(always)]
        || {
            for (r, (row, log_sum)) in scores.chunks_exact_mut(width).zip(&mut *log_sums).enumerate() {
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
        },
    );
}

/// Forward: q `[N, query·dim]`, k and v `[N, key·dim]` → o `[N, query·dim]` and what backward needs.
pub(crate) fn forward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    heads: Heads,
    precision: Precision,
    layout: &Packed,
) -> (Vec<f32>, Saved) {
    let Heads { query, key, dim } = heads;
    let rows = q.len() / (query * dim);
    let q = head_major(q, query, dim, Some(&layout.rotation));
    let k = head_major(k, key, dim, Some(&layout.rotation));
    let v = head_major(v, key, dim, None);
    let (mut o, mut log_sum) = (Unwritten::new(q.len()), Unwritten::new(query * rows));
    let tasks = pieces(o.numbers(), rows, dim, layout, TASK);
    let sums = pieces(log_sum.numbers(), rows, 1, layout, TASK);
    tasks.into_par_iter().zip(sums).for_each(|(piece, sums)| {
        let of = |x, head| segment_of(x, head, rows, dim, piece.segment);
        let (q, k, v) = (of(&q, piece.head), of(&k, piece.head / heads.group()), of(&v, piece.head / heads.group()));
        let block = block_rows(piece.segment.len());
        let (o, sums) = (zeroed(piece.values), zeroed(sums.values));
        for (i, (o, sums)) in o.chunks_mut(block * dim).zip(sums.chunks_mut(block)).enumerate() {
            let first = piece.first + i * block;
            forward_block(&q[first * dim..first * dim + o.len()], (k, v), first, heads, precision, o, sums);
        }
    });
    // SAFETY: the pieces make up all of it, as `pieces` checks, and each was zeroed.
    #[expect(unsafe_code, reason = "types do not show what a kernel wrote")]
    let o = unsafe { o.written() };
    // SAFETY: as above; there are as many pieces, of one number a row.
    #[expect(unsafe_code, reason = "types do not show what a kernel wrote")]
    let log_sum = unsafe { log_sum.written() };
    (token_major(&o, query, dim, None), Saved { q, k, v, log_sum })
}

/// The rows of one head and one segment.
fn segment_of<'a>(x: &'a [f32], head: usize, rows: usize, dim: usize, segment: &Range<usize>) -> &'a [f32] {
    &x[(head * rows + segment.start) * dim..(head * rows + segment.end) * dim]
}

/// Rows `first..` of one head, over all keys they see, a tile at a time: what is summed so far is scaled down whenever a
/// larger score turns up. `sums` gets log Σ exp of each row.
fn forward_block(
    q: &[f32],
    (k, v): (&[f32], &[f32]),
    first: usize,
    heads: Heads,
    precision: Precision,
    o: &mut [f32],
    sums: &mut [f32],
) {
    let dim = heads.dim;
    let m = sums.len();
    let mut shifts = [f32::NEG_INFINITY; BLOCK];
    let mut totals = [0f32; BLOCK];
    let mut scores = vec![0.0; m * TILE.min(first + m)];
    for tile in (0..first + m).step_by(TILE) {
        let n = TILE.min(first + m - tile);
        let scores = &mut scores[..m * n];
        let (keys, values) = (&k[tile * dim..(tile + n) * dim], &v[tile * dim..(tile + n) * dim]);
        let keys = Mat::new(keys, n, dim).t();
        matmul(precision, scores, n, Store::Overwrite, heads.scale(), Mat::new(q, m, dim), keys);
        max_width(
            #[inline(always)]
            || {
                for (r, row) in scores.chunks_exact_mut(n).enumerate() {
                    let (seen, unseen) = row.split_at_mut((first + r + 1).saturating_sub(tile).min(n));
                    unseen.fill(0.0);
                    let shift = largest(seen).max(shifts[r]);
                    let before = if totals[r] > 0.0 { exp(shifts[r] - shift) } else { 0.0 };
                    totals[r] = totals[r] * before + exp_and_sum(seen, shift);
                    shifts[r] = shift;
                    for x in &mut o[r * dim..(r + 1) * dim] {
                        *x *= before;
                    }
                }
            },
        );
        matmul(precision, o, dim, Store::Add, 1.0, Mat::new(scores, m, n), Mat::new(values, n, dim));
    }
    max_width(
        #[inline(always)]
        || {
            for r in 0..m {
                let inverse = 1.0 / totals[r];
                for x in &mut o[r * dim..(r + 1) * dim] {
                    *x *= inverse;
                }
                sums[r] = shifts[r] + totals[r].ln();
            }
        },
    );
}

/// Σ o · dout of each row and head, `[heads, rows]`.
fn delta(o: &[f32], dout: &[f32], heads: usize, dim: usize) -> Vec<f32> {
    let rows = o.len() / (heads * dim);
    let mut delta = Unwritten::new(heads * rows);
    delta.numbers().par_chunks_mut(rows).enumerate().for_each(|(head, delta)| {
        max_width(
            #[inline(always)]
            || {
                for (row, delta) in delta.iter_mut().enumerate() {
                    let at = (row * heads + head) * dim;
                    delta.write(dot(&o[at..at + dim], &dout[at..at + dim]));
                }
            },
        );
    });
    // SAFETY: heads make up all of it, and of each every row was written.
    #[expect(unsafe_code, reason = "types do not show what a kernel wrote")]
    unsafe {
        delta.written()
    }
}

/// Backward of [`forward`], whose output was `o`: (dq, dk, dv), token-major, rotation undone.
pub(crate) fn backward(
    saved: &Saved,
    o: &[f32],
    dout: &[f32],
    heads: Heads,
    precision: Precision,
    layout: &Packed,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let Heads { query, key, dim } = heads;
    let rows = dout.len() / (query * dim);
    let delta = delta(o, dout, query, dim);
    let dout = head_major(dout, query, dim, None);
    // One task owns a query head of a segment. The query heads that share a key head are summed afterwards.
    let [mut dq, mut dk, mut dv] = [(); 3].map(|()| Unwritten::new(saved.q.len()));
    let all = |buffer| pieces(buffer, rows, dim, layout, usize::MAX);
    let tasks = all(dq.numbers()).into_iter().zip(all(dk.numbers())).zip(all(dv.numbers()));
    tasks.collect::<Vec<_>>().into_par_iter().for_each(|((dq, dk), dv)| {
        let Piece { head, segment, .. } = dq;
        let of = |x, head| segment_of(x, head, rows, dim, segment);
        let inputs = Head {
            q: of(&saved.q, head),
            k: of(&saved.k, head / heads.group()),
            v: of(&saved.v, head / heads.group()),
            dout: of(&dout, head),
            delta: segment_of(&delta, head, rows, 1, segment),
            log_sum: segment_of(&saved.log_sum, head, rows, 1, segment),
        };
        backward_head(&inputs, heads, precision, [dq, dk, dv].map(|piece| zeroed(piece.values)));
    });
    let [dq, dk, dv] = [dq, dk, dv].map(|gradient| {
        // SAFETY: the pieces make up all of it, as `pieces` checks, and each was zeroed.
        #[expect(unsafe_code, reason = "types do not show what a kernel wrote")]
        unsafe {
            gradient.written()
        }
    });
    let (dk, dv) = (sum_groups(dk, heads.group(), rows * dim), sum_groups(dv, heads.group(), rows * dim));
    (
        token_major(&dq, query, dim, Some(&layout.rotation)),
        token_major(&dk, key, dim, Some(&layout.rotation)),
        token_major(&dv, key, dim, None),
    )
}

/// Adds up each `group` heads, `[key · group, width]` to `[key, width]`.
fn sum_groups(x: Vec<f32>, group: usize, width: usize) -> Vec<f32> {
    if group == 1 {
        return x;
    }
    assert!(x.len().is_multiple_of(width * group), "whole groups");
    let mut sums = Unwritten::new(x.len() / group);
    sums.numbers().par_chunks_mut(width).zip(x.par_chunks(width * group)).for_each(|(sum, heads)| {
        let sum = sum.write_copy_of_slice(&heads[..width]);
        for head in heads[width..].chunks_exact(width) {
            for (to, x) in sum.iter_mut().zip(head) {
                *to += x;
            }
        }
    });
    // SAFETY: key heads make up all of it, and each began as a copy.
    #[expect(unsafe_code, reason = "types do not show what a kernel wrote")]
    unsafe {
        sums.written()
    }
}

/// One query head of one segment.
struct Head<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    dout: &'a [f32],
    delta: &'a [f32],
    log_sum: &'a [f32],
}

fn backward_head(head: &Head<'_>, heads: Heads, precision: Precision, [dq, dk, dv]: [&mut [f32]; 3]) {
    let dim = heads.dim;
    let length = head.log_sum.len();
    let rows = block_rows(length);
    let mut p_buffer = vec![0.0; rows.min(length) * TILE.min(length)];
    let mut ds_buffer = p_buffer.clone();
    for first in (0..length).step_by(rows) {
        let m = rows.min(length - first);
        let block = first * dim..(first + m) * dim;
        let (q, dout) = (Mat::new(&head.q[block.clone()], m, dim), Mat::new(&head.dout[block.clone()], m, dim));
        for tile in (0..first + m).step_by(TILE) {
            let n = TILE.min(first + m - tile);
            let at = tile * dim..(tile + n) * dim;
            let (p, ds) = (&mut p_buffer[..m * n], &mut ds_buffer[..m * n]);
            let (keys, values) = (Mat::new(&head.k[at.clone()], n, dim), Mat::new(&head.v[at.clone()], n, dim));
            matmul(precision, p, n, Store::Overwrite, heads.scale(), q, keys.t());
            matmul(precision, ds, n, Store::Overwrite, 1.0, dout, values.t());
            max_width(
                #[inline(always)]
                || {
                    for r in 0..m {
                        let seen = (first + r + 1).saturating_sub(tile).min(n);
                        let (p, ds) = (&mut p[r * n..(r + 1) * n], &mut ds[r * n..(r + 1) * n]);
                        let (log_sum, delta) = (head.log_sum[first + r], head.delta[first + r]);
                        softmax_backward(&mut p[..seen], &mut ds[..seen], log_sum, delta, heads.scale());
                        p[seen..].fill(0.0);
                        ds[seen..].fill(0.0);
                    }
                },
            );
            let (p, ds) = (Mat::new(p, m, n), Mat::new(ds, m, n));
            matmul(precision, &mut dv[at.clone()], dim, Store::Add, 1.0, p.t(), dout);
            matmul(precision, &mut dk[at], dim, Store::Add, 1.0, ds.t(), q);
            matmul(precision, &mut dq[block.clone()], dim, Store::Add, 1.0, ds, keys);
        }
    }
}

/// A row of scores `p` becomes probabilities; `ds`, their gradient, becomes that of what `scale` was multiplied with.
#[inline(always)]
fn softmax_backward(p: &mut [f32], ds: &mut [f32], log_sum: f32, delta: f32, scale: f32) {
    let one = |p: &mut f32, ds: &mut f32| {
        *p = exp(*p - log_sum);
        *ds = *p * (*ds - delta) * scale;
    };
    let ((p16, p_rest), (ds16, ds_rest)) = (p.as_chunks_mut::<16>(), ds.as_chunks_mut::<16>());
    for (p, ds) in p16.iter_mut().zip(ds16) {
        for i in 0..16 {
            one(&mut p[i], &mut ds[i]);
        }
    }
    for (p, ds) in p_rest.iter_mut().zip(ds_rest) {
        one(p, ds);
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
    let (heads_at_once, block) = if rows == 1 { (shared, 1) } else { (1, SMALL_BLOCK) };
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
                Precision::F32,
                scores,
                n,
                Store::Overwrite,
                heads.scale(),
                Mat::strided(&q[from..], m, dim, row_stride),
                keys.t(),
            );
            // A single new token sees all of the cache, whatever head it is.
            let seen = if rows == 1 { n - 1 } else { group.past + first };
            causal_softmax(scores, n, seen, &mut log_sums[..m]);
            matmul(Precision::F32, &mut o[from..], row_stride, Store::Overwrite, 1.0, Mat::new(scores, m, n), values);
        }
    }
}
