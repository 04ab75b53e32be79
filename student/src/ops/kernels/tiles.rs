//! Matrix products on AVX-512, of f32 and of numbers rounded to bf16; sums are f32 in both.
//!
//! Both operands are packed into panels, cut along the inner dimension so that they stay in the caches, around a register
//! tile of 12 × 32 sums (Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication"). A panel holds one
//! word after another: a word is one f32, or a pair of bf16 that lie one after another along the inner dimension.
//!
//! The order of a sum depends on the inner dimension alone: its bits are the same whatever the sizes of the matrices and
//! the number of threads.

use std::cell::Cell;

use rayon::prelude::*;

use super::gemm::{Mat, Output};

/// Rows and columns of a tile.
const ROWS: usize = 12;
const COLUMNS: usize = 32;
/// Words of the inner dimension in a panel, at most: a panel of the left operand takes 48 KiB.
const DEPTH: usize = 1024;
/// Panels of the right operand that are packed together: 512 KiB of a second-level cache.
const TILES: usize = 4;
/// Words of the left operand that are packed together: 4 MiB.
const LEFT_WORDS: usize = 1 << 20;
/// Panels of the left operand that are packed by one task.
const PACKED_PANELS: usize = 4;
/// Multiplications from which threads are worth it.
const WORTH_THREADS: usize = 1 << 18;
/// Tasks for each thread, where there is work for as many.
const TASKS: usize = 4;
/// Rows of a task, at least: each packs the columns for itself.
const TASK_ROWS: usize = 96;

/// What one kind of numbers needs.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// Numbers in a word.
    per_word: usize,
    pack_left: Pack,
    pack_right: Pack,
    tile: Tile,
}

/// `pack(mat, width, depth, panels)`: rows of `mat`, `width` to a panel, into panels of `[depth, width]` words; what is
/// missing is zero.
type Pack = unsafe fn(Mat<'_>, usize, &mut [u32]);
/// `tile(depth, left, right, out, size)`: the product of a panel of `[depth, ROWS]` and one of `[depth, COLUMNS]`, of
/// which `size` rows and columns are written.
type Tile = unsafe fn(usize, &[u32], &[u32], Output, [usize; 2]);

/// The kernel for f32, where the processor has one.
pub(super) fn f32() -> Option<Kernel> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        return Some(Kernel {
            per_word: 1,
            pack_left: avx512::single::pack::<ROWS>,
            pack_right: avx512::single::pack::<COLUMNS>,
            tile: avx512::single::tile,
        });
    }
    None
}

/// The kernel for bf16, where the processor has one.
pub(super) fn bf16() -> Option<Kernel> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
    {
        return Some(Kernel {
            per_word: 2,
            pack_left: avx512::pairs::pack::<ROWS>,
            pack_right: avx512::pairs::pack::<COLUMNS>,
            tile: avx512::pairs::tile,
        });
    }
    None
}

/// `out (+)= alpha · a · b`, on all threads if it is `parallel` and worth it.
pub(super) fn multiply(kernel: Kernel, mut out: Output, a: Mat<'_>, b: Mat<'_>, parallel: bool) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    if m == 0 || n == 0 {
        return;
    }
    let parallel = parallel && m * n * k >= WORTH_THREADS;
    let slices = k.div_ceil(DEPTH * kernel.per_word);
    // An even number, so that no pair is split.
    let depth = k.div_ceil(slices).next_multiple_of(kernel.per_word);
    for from in (0..k).step_by(depth) {
        let inner = from..(from + depth).min(k);
        let (a, b) = (a.columns(inner.clone()), b.rows(inner));
        let chunks = (m * a.cols.div_ceil(kernel.per_word)).div_ceil(LEFT_WORDS);
        let height = m.div_ceil(chunks).next_multiple_of(ROWS);
        for first in (0..m).step_by(height) {
            let rows = first..(first + height).min(m);
            slice(kernel, out.at(first, 0), a.rows(rows), b, parallel);
        }
        out.add = true;
    }
}

/// A slice of the inner dimension that fits into panels.
fn slice(kernel: Kernel, out: Output, a: Mat<'_>, b: Mat<'_>, parallel: bool) {
    let (m, n, depth) = (a.rows, b.cols, a.cols.div_ceil(kernel.per_word));
    let panel = ROWS * depth;
    with_scratch(&LEFT, m.div_ceil(ROWS) * panel, |left| {
        let pack = |i: usize, panels: &mut [u32]| {
            let first = i * PACKED_PANELS * ROWS;
            let rows = a.rows(first..(first + PACKED_PANELS * ROWS).min(m));
            // SAFETY: the kernel was handed out because the processor has its instructions.
            #[expect(unsafe_code, reason = "calls code compiled for instructions that were found to be there")]
            unsafe {
                (kernel.pack_left)(rows, depth, panels);
            }
        };
        if parallel {
            left.par_chunks_mut(PACKED_PANELS * panel).enumerate().for_each(|(i, panels)| pack(i, panels));
        } else {
            left.chunks_mut(PACKED_PANELS * panel).enumerate().for_each(|(i, panels)| pack(i, panels));
        }
        let left = &*left;
        let (blocks, parts) = cut(m, n, parallel);
        let task = |task: usize| {
            let even = |i: usize, parts: usize, tiles: usize| i * tiles / parts..(i + 1) * tiles / parts;
            let (rows, columns) =
                (even(task % parts, parts, m.div_ceil(ROWS)), even(task / parts, blocks, n.div_ceil(COLUMNS)));
            let left = &left[rows.start * panel..rows.end * panel];
            let columns = columns.start * COLUMNS..(columns.end * COLUMNS).min(n);
            block(kernel, out.at(rows.start * ROWS, columns.start), left, b.columns(columns), m - rows.start * ROWS);
        };
        if parallel {
            (0..blocks * parts).into_par_iter().for_each(task);
        } else {
            (0..blocks * parts).for_each(task);
        }
    });
}

/// Into how many blocks of columns and parts of rows the tasks cut the output.
fn cut(m: usize, n: usize, parallel: bool) -> (usize, usize) {
    let tiles = n.div_ceil(COLUMNS);
    let blocks = tiles.div_ceil(TILES);
    if !parallel {
        return (blocks, 1);
    }
    let wanted = TASKS * rayon::current_num_threads();
    let parts = wanted.div_ceil(blocks).min(m / TASK_ROWS).max(1);
    // Columns make up for rows that are few.
    let blocks = if blocks * parts < wanted { wanted.div_ceil(parts).min(tiles) } else { blocks };
    (blocks, parts)
}

/// Packed rows times some columns.
fn block(kernel: Kernel, out: Output, left: &[u32], b: Mat<'_>, m: usize) {
    let (n, depth) = (b.cols, b.rows.div_ceil(kernel.per_word));
    with_scratch(&RIGHT, n.div_ceil(COLUMNS) * COLUMNS * depth, |right| {
        // SAFETY: the kernel was handed out because the processor has its instructions; a tile lies inside the output,
        // whose size was checked, and belongs to one task.
        #[expect(unsafe_code, reason = "calls code compiled for instructions that were found to be there")]
        unsafe {
            (kernel.pack_right)(b.t(), depth, right);
            for (i, left) in left.chunks_exact(ROWS * depth).enumerate() {
                for (j, right) in right.chunks_exact(COLUMNS * depth).enumerate() {
                    let size = [ROWS.min(m - i * ROWS), COLUMNS.min(n - j * COLUMNS)];
                    (kernel.tile)(depth, left, right, out.at(i * ROWS, j * COLUMNS), size);
                }
            }
        }
    });
}

type Scratch = std::thread::LocalKey<Cell<Vec<u32>>>;
thread_local! {
    static LEFT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static RIGHT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// Lends a buffer of this thread's; what is in it is arbitrary.
fn with_scratch(scratch: &'static Scratch, len: usize, work: impl FnOnce(&mut [u32])) {
    let mut buffer = scratch.take();
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    work(&mut buffer[..len]);
    scratch.set(buffer);
}

#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(test)]
mod tests;
