//! Matrix products of numbers rounded to bf16, summed in f32.
//!
//! Where the processor multiplies pairs of bf16 (AVX512-BF16), both operands are packed as such pairs into cache blocks
//! around a register tile of 8 × 48 (Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication"). A
//! processor without them gains nothing from the shorter numbers: there the operands are rounded and multiplied as f32,
//! which gives the same products and, up to the order of the sums, the same result.

use std::cell::Cell;

use rayon::prelude::*;

use super::gemm::{Mat, Output, product};
use super::widest;

/// Rows and columns of a tile.
const ROWS: usize = 8;
const COLUMNS: usize = 48;
/// Inner dimension of a cache block.
const DEPTH: usize = 512;
/// Tiles side by side in a cache block of the right operand: 8 · 48 · 512 numbers fill most of a 512 KiB cache.
const TILES: usize = 8;
/// Rows of the output that one task computes, where there are few columns to share.
const TASK_ROWS: usize = 256;

/// Sums of a tile.
type Sums = [f32; ROWS * COLUMNS];
/// Adds the products of packed panels, `[depth / 2, 8]` and `[depth / 2, 48]`, up.
type Tile = fn(&[u32], &[u32], &mut Sums);

/// `out (+)= alpha · a · b` with a and b rounded to bf16, on all threads.
pub(super) fn matmul(out: Output, a: Mat<'_>, b: Mat<'_>) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") {
        return tiled(out, a, b, avx512::tile);
    }
    let (a_rounded, b_rounded) = (rounded(&a), rounded(&b));
    product(out, a.of(&a_rounded), b.of(&b_rounded), true);
}

/// Rounds to the nearest bf16, ties to even; a NaN stays one.
#[inline(always)]
fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if x.is_nan() { 0x7fc0 } else { nearest }
}

fn rounded(mat: &Mat<'_>) -> Vec<f32> {
    let mut copy = vec![0.0; mat.data.len()];
    copy.par_chunks_mut(1 << 14).zip(mat.data.par_chunks(1 << 14)).for_each(|(to, from)| {
        widest(
            #[inline(always)]
            || {
                for (to, from) in to.iter_mut().zip(from) {
                    *to = f32::from_bits(round(*from) << 16);
                }
            },
        );
    });
    copy
}

/// One slice of the inner dimension after another.
fn tiled(mut out: Output, a: Mat<'_>, b: Mat<'_>, tile: Tile) {
    for from in (0..a.cols).step_by(DEPTH) {
        let inner = from..(from + DEPTH).min(a.cols);
        slice(out, a.columns(inner.clone()), b.rows(inner), tile);
        out.add = true;
    }
}

fn slice(out: Output, a: Mat<'_>, b: Mat<'_>, tile: Tile) {
    let (m, n, depth) = (a.rows, b.cols, a.cols.div_ceil(2));
    let mut left = vec![0u32; m.div_ceil(ROWS) * ROWS * depth];
    left.par_chunks_mut(ROWS * depth).enumerate().with_min_len(4).for_each(|(i, panel)| {
        pack(a.rows(i * ROWS..(i * ROWS + ROWS).min(m)).t(), ROWS, panel);
    });
    let width = TILES * COLUMNS;
    // Few columns: the rows are shared among threads too, each packing the columns for itself.
    let parts = if n >= 8 * width { 1 } else { m.div_ceil(TASK_ROWS) };
    let height = m.div_ceil(parts).next_multiple_of(ROWS);
    let parts = m.div_ceil(height);
    (0..parts * n.div_ceil(width)).into_par_iter().for_each(|task| {
        let (rows, first) = ((task % parts) * height, (task / parts) * width);
        let cols = width.min(n - first);
        let panels = &left[rows * depth..(rows + height).min(m).next_multiple_of(ROWS) * depth];
        with_scratch(cols.next_multiple_of(COLUMNS) * depth, |right| {
            for (i, panel) in right.chunks_exact_mut(COLUMNS * depth).enumerate() {
                let from = first + i * COLUMNS;
                pack(b.columns(from..(from + COLUMNS).min(n)), COLUMNS, panel);
            }
            let mut sums = [0.0; ROWS * COLUMNS];
            for (i, a) in panels.chunks_exact(ROWS * depth).enumerate() {
                let row = rows + i * ROWS;
                for (j, b) in right.chunks_exact(COLUMNS * depth).enumerate() {
                    tile(a, b, &mut sums);
                    let col = first + j * COLUMNS;
                    write(out.at(row, col), &sums, [ROWS.min(m - row), COLUMNS.min(n - col)]);
                }
            }
        });
    });
}

/// Writes a tile's sums: `size` rows and columns, from where `out` begins.
fn write(out: Output, sums: &Sums, [rows, cols]: [usize; 2]) {
    for (r, sums) in sums.chunks_exact(COLUMNS).enumerate().take(rows) {
        // SAFETY: the tile lies inside the output, whose size was checked, and belongs to one task.
        #[expect(unsafe_code, reason = "tasks write disjoint tiles")]
        let to = unsafe { std::slice::from_raw_parts_mut(out.data.add(r * out.stride), cols) };
        for (to, sum) in to.iter_mut().zip(sums) {
            *to = out.alpha * sum + if out.add { *to } else { 0.0 };
        }
    }
}

/// One panel: for each pair of rows of `b`, its `width` columns side by side, zeros for those that are missing.
fn pack(b: Mat<'_>, width: usize, panel: &mut [u32]) {
    widest(
        #[inline(always)]
        || {
            let at = |r: usize, c: usize| b.data[r * b.row_stride + c * b.col_stride];
            for (pair, line) in panel.chunks_exact_mut(width).enumerate() {
                let r = 2 * pair;
                let (line, missing) = line.split_at_mut(b.cols);
                missing.fill(0);
                if r + 1 == b.rows {
                    for (c, to) in line.iter_mut().enumerate() {
                        *to = round(at(r, c));
                    }
                } else if b.col_stride == 1 {
                    let (first, second) = (&b.data[r * b.row_stride..], &b.data[(r + 1) * b.row_stride..]);
                    for ((to, x), y) in line.iter_mut().zip(first).zip(second) {
                        *to = round(*x) | round(*y) << 16;
                    }
                } else {
                    for (c, to) in line.iter_mut().enumerate() {
                        *to = round(at(r, c)) | round(at(r + 1, c)) << 16;
                    }
                }
            }
        },
    );
}

thread_local! {
    static SCRATCH: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// Lends a buffer of this thread's; what is in it is arbitrary.
fn with_scratch(len: usize, work: impl FnOnce(&mut [u32])) {
    let mut buffer = SCRATCH.take();
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    work(&mut buffer[..len]);
    SCRATCH.set(buffer);
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512bh, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::{COLUMNS, ROWS, Sums};

    /// [`super::Tile`] for processors that have AVX512-BF16; only handed out where it was detected.
    #[expect(unsafe_code, reason = "the caller found the instructions to be there")]
    pub(super) fn tile(a: &[u32], b: &[u32], sums: &mut Sums) {
        // SAFETY: as above.
        unsafe { multiply(a, b, sums) }
    }

    #[expect(unsafe_code, reason = "loads and stores through pointers, bounded by the chunks")]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn multiply(a: &[u32], b: &[u32], sums: &mut Sums) {
        const WIDE: usize = COLUMNS / 16;
        let mut acc = [[_mm512_setzero_ps(); WIDE]; ROWS];
        for (a, b) in a.chunks_exact(ROWS).zip(b.chunks_exact(COLUMNS)) {
            // SAFETY: `b` has COLUMNS = 48 numbers: three vectors of 16.
            let right: [__m512bh; WIDE] = std::array::from_fn(|j| unsafe {
                std::mem::transmute(_mm512_loadu_si512(b.as_ptr().add(16 * j).cast()))
            });
            for (acc, a) in acc.iter_mut().zip(a) {
                // SAFETY: both are 512 bits.
                let left: __m512bh = unsafe { std::mem::transmute(_mm512_set1_epi32(*a as i32)) };
                for (acc, right) in acc.iter_mut().zip(right) {
                    *acc = _mm512_dpbf16_ps(*acc, left, right);
                }
            }
        }
        for (acc, sums) in acc.iter().zip(sums.chunks_exact_mut(COLUMNS)) {
            for (acc, sums) in acc.iter().zip(sums.chunks_exact_mut(16)) {
                // SAFETY: the chunk has 16 numbers.
                unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), *acc) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gemm::tests::numbers;
    use super::*;

    /// What the instruction computes, for processors without it.
    fn portable(a: &[u32], b: &[u32], sums: &mut Sums) {
        let halves = |pair: u32| [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)];
        sums.fill(0.0);
        for (a, b) in a.chunks_exact(ROWS).zip(b.chunks_exact(COLUMNS)) {
            for (sums, a) in sums.chunks_exact_mut(COLUMNS).zip(a) {
                for (sum, b) in sums.iter_mut().zip(b) {
                    let ([a0, a1], [b0, b1]) = (halves(*a), halves(*b));
                    *sum += a0 * b0 + a1 * b1;
                }
            }
        }
    }

    /// Largest difference from products of rounded numbers summed in f64, in units of Σ |a·b|.
    fn error(m: usize, n: usize, k: usize, transposed: bool, tile: Tile) -> f64 {
        let (a, b) = (numbers(m * k, 1), numbers(n * k, 2));
        let (left, right) = if transposed {
            (Mat::new(&a, k, m).t(), Mat::new(&b, k, n))
        } else {
            (Mat::new(&a, m, k), Mat::new(&b, n, k).t())
        };
        let stride = n + 3;
        let mut out = vec![1.0; m * stride];
        tiled(Output { data: out.as_mut_ptr(), stride, add: true, alpha: 0.5 }, left, right, tile);
        let exact = |mat: &Mat<'_>, r: usize, c: usize| {
            f64::from(f32::from_bits(round(mat.data[r * mat.row_stride + c * mat.col_stride]) << 16))
        };
        let mut worst = 0.0f64;
        for r in 0..m {
            for c in 0..n {
                let terms = (0..k).map(|i| exact(&left, r, i) * exact(&right, i, c));
                let (sum, size) = terms.fold((0.0, 1.0), |(sum, size), term| (sum + term, size + term.abs()));
                worst = worst.max((f64::from(out[r * stride + c]) - 1.0 - 0.5 * sum).abs() / size);
            }
            assert!(out[r * stride + n..(r + 1) * stride].iter().all(|x| x.to_bits() == 1f32.to_bits()));
        }
        worst
    }

    fn tiles() -> Vec<(&'static str, Tile)> {
        let mut tiles: Vec<(&'static str, Tile)> = vec![("portable", portable)];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") {
            tiles.push(("avx512", avx512::tile));
        }
        if tiles.len() == 1 {
            println!("skipped: this processor has no AVX512-BF16");
        }
        tiles
    }

    #[test]
    fn packed_products_are_those_of_the_rounded_numbers() {
        for (name, tile) in tiles() {
            for (m, n, k) in [(1, 1, 1), (8, 48, 2), (9, 49, 7), (30, 500, 33), (300, 70, 1030), (5, 3500, 64)] {
                for transposed in [false, true] {
                    let error = error(m, n, k, transposed, tile);
                    assert!(error < 1e-6, "{name} {m}×{n}×{k} is off by {error:.1e}");
                }
            }
        }
    }

    #[test]
    fn both_ways_agree() {
        let (m, n, k) = (70, 130, 600);
        let (a, b) = (numbers(m * k, 3), numbers(n * k, 4));
        let (left, right) = (Mat::new(&a, m, k), Mat::new(&b, n, k).t());
        let (mut one, mut other) = (vec![0.0; m * n], vec![0.0; m * n]);
        matmul(Output { data: one.as_mut_ptr(), stride: n, add: false, alpha: 1.0 }, left, right);
        tiled(Output { data: other.as_mut_ptr(), stride: n, add: false, alpha: 1.0 }, left, right, portable);
        let largest = one.iter().zip(&other).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(largest < 1e-4 && one.iter().any(|x| x.abs() > 1.0), "{largest}");
    }

    #[test]
    fn rounding_is_to_nearest_even_and_keeps_what_is_not_a_number() {
        for x in numbers(10_000, 5).into_iter().chain([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 1e-40, f32::MAX]) {
            assert_eq!(round(x), u32::from(half::bf16::from_f32(x).to_bits()), "{x}");
        }
        assert!(f32::from_bits(round(f32::from_bits(0x7fff_ffff)) << 16).is_nan());
        assert!(f32::from_bits(round(f32::from_bits(0x7f80_0001)) << 16).is_nan());
    }
}
