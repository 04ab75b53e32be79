//! Matrix products on AVX-512, of f32 and of numbers rounded to bf16; sums are f32 in both.
//!
//! The right operand is packed into panels, cut along the inner dimension so that they stay in the caches, around a register
//! tile of 12 × 32 sums (Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication"). A panel holds one
//! word after another: a word is one f32, or a pair of bf16 that lie one after another along the inner dimension. The left
//! operand, of which a tile takes one word at a time, is packed only where it has to be converted: f32 are read where they
//! are, and what the next tiles will read is fetched while this one multiplies.
//!
//! The order of a sum depends on the inner dimension alone: its bits are the same whatever the sizes of the matrices and
//! the number of threads.

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::*;

use super::gemm::{Mat, Output};

/// Rows and columns of a tile.
const ROWS: usize = 12;
const COLUMNS: usize = 32;
/// Words of the inner dimension in a panel, at most: a panel of the left operand takes 48 KiB.
const DEPTH: usize = 1024;
/// Words between panels: a row of all of them would otherwise be written to one set of the first-level cache.
const GAP: usize = 16;
/// f32 after which addresses fall into one set of the first-level cache.
const SET: usize = 1024;
/// Panels of the right operand that are multiplied together: 512 KiB of a second-level cache.
const TILES: usize = 4;
/// Words of the left operand that are packed together: 4 MiB.
const LEFT_WORDS: usize = 1 << 20;
/// Numbers that are packed by one task.
const PACKED: usize = 1 << 14;
/// Multiplications from which threads are worth it.
const WORTH_THREADS: usize = 1 << 18;
/// Tasks for each thread, where there is work for as many.
const TASKS: usize = 4;
/// Rows of a task, at least.
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

/// Packs rows of a matrix; what is missing of a panel is zero.
type Pack = unsafe fn(Mat<'_>, Panels);
/// `tile(depth, left, right, out, size)`: the product of `ROWS` rows and a panel of `[depth, COLUMNS]` words, of which
/// `size` rows and columns are written.
type Tile = unsafe fn(usize, Left, *const u32, Output, [usize; 2]);

/// Packed rows: panels of `[depth, width]` words, `stride` apart. Parallel tasks write parts of their own.
#[derive(Clone, Copy)]
struct Panels {
    data: *mut u32,
    stride: usize,
}

#[expect(unsafe_code, reason = "tasks write disjoint parts")]
unsafe impl Send for Panels {}
#[expect(unsafe_code, reason = "tasks write disjoint parts")]
unsafe impl Sync for Panels {}

impl Panels {
    /// From a panel and a word of it on.
    fn at(self, panel: usize, word: usize) -> Self {
        Self { data: self.data.wrapping_add(panel * self.stride + word), ..self }
    }
}

/// `ROWS` rows of the left operand, in words.
#[derive(Clone, Copy)]
struct Left {
    data: *const f32,
    row_stride: usize,
    col_stride: usize,
    /// Whether the rows that follow are to be fetched.
    fetch: bool,
}

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
        let chunks = if kernel.reads(a) { 1 } else { (m * kernel.words(a)).div_ceil(LEFT_WORDS) };
        let height = m.div_ceil(chunks).next_multiple_of(ROWS);
        for first in (0..m).step_by(height) {
            let rows = first..(first + height).min(m);
            slice(kernel, out.at(first, 0), a.rows(rows), b, parallel);
        }
        out.add = true;
    }
}

impl Kernel {
    /// Words of a row.
    fn words(self, mat: Mat<'_>) -> usize {
        mat.cols.div_ceil(self.per_word)
    }

    /// Whether a left operand is read where it is.
    fn reads(self, a: Mat<'_>) -> bool {
        self.per_word == 1 && !(a.col_stride == 1 && a.row_stride.is_multiple_of(SET))
    }
}

/// A slice of the inner dimension that fits into panels.
fn slice(kernel: Kernel, out: Output, a: Mat<'_>, b: Mat<'_>, parallel: bool) {
    let (m, n, depth) = (a.rows, b.cols, kernel.words(a));
    let (blocks, parts) = cut(m, n, parallel);
    // A last panel that is not full is packed in any case: a tile reads all of its rows.
    let read = if kernel.reads(a) { m / ROWS } else { 0 };
    let [left_stride, right_stride] = [ROWS, COLUMNS].map(|width| width * depth + GAP);
    with_scratch(&LEFT, (m.div_ceil(ROWS) - read) * left_stride, |left| {
        // Packed by each task for itself where one task alone needs it.
        let shared = if parts > 1 { n.div_ceil(COLUMNS) } else { 0 };
        with_scratch(&RIGHT, shared * right_stride, |right| {
            let left = Panels { data: left, stride: left_stride };
            let right = Panels { data: right, stride: right_stride };
            if read * ROWS < m {
                pack(kernel, kernel.pack_left, ROWS, a.rows(read * ROWS..m), left, parallel);
            }
            if parts > 1 {
                pack(kernel, kernel.pack_right, COLUMNS, b.t(), right, parallel);
            }
            each(blocks * parts, parallel, |task| {
                let rows = even(task % parts, parts, m.div_ceil(ROWS));
                let columns = even(task / parts, blocks, n.div_ceil(COLUMNS));
                let multiply = |right| tiles(kernel, out, (a, read, left), right, (rows, columns.clone()), n);
                if parts > 1 {
                    return multiply(right.at(columns.start, 0));
                }
                with_scratch(&OWN_RIGHT, columns.len() * right_stride, |right| {
                    let right = Panels { data: right, stride: right_stride };
                    let b = b.columns(columns.start * COLUMNS..(columns.end * COLUMNS).min(n));
                    pack(kernel, kernel.pack_right, COLUMNS, b.t(), right, false);
                    multiply(right);
                });
            });
        });
    });
}

/// The `i`-th of `parts` ranges that make up `all`.
fn even(i: usize, parts: usize, all: usize) -> Range<usize> {
    i * all / parts..(i + 1) * all / parts
}

fn each(count: usize, parallel: bool, task: impl Fn(usize) + Sync + Send) {
    if parallel {
        (0..count).into_par_iter().for_each(task);
    } else {
        (0..count).for_each(task);
    }
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

/// Packs `mat`, whose rows are `width` to a panel. Tasks divide it across the direction in which its numbers lie.
fn pack(kernel: Kernel, pack: Pack, width: usize, mat: Mat<'_>, to: Panels, parallel: bool) {
    let along = mat.col_stride == 1;
    let (all, step) = if along {
        (mat.rows, (PACKED / mat.cols).max(1).next_multiple_of(width))
    } else {
        (mat.cols, (PACKED / mat.rows).max(1).next_multiple_of(kernel.per_word))
    };
    each(all.div_ceil(step), parallel, |i| {
        let part = i * step..((i + 1) * step).min(all);
        let (part, to) = if along {
            (mat.rows(part.clone()), to.at(part.start / width, 0))
        } else {
            (mat.columns(part.clone()), to.at(0, part.start / kernel.per_word * width))
        };
        // SAFETY: the kernel was handed out because the processor has its instructions; the panels have room for the
        // matrix, and each task writes its own part.
        #[expect(unsafe_code, reason = "calls code compiled for instructions that were found to be there")]
        unsafe {
            pack(part, to);
        }
    });
}

/// Rows times columns, both counted in panels. Of the left operand the first `read` panels are read where they are, and
/// the others are packed; `right` begins at the first of these columns.
fn tiles(
    kernel: Kernel,
    out: Output,
    (a, read, packed): (Mat<'_>, usize, Panels),
    right: Panels,
    (rows, columns): (Range<usize>, Range<usize>),
    n: usize,
) {
    let depth = kernel.words(a);
    for i in rows.clone() {
        for j in columns.clone() {
            let left = if i < read {
                let fetch = j + 1 == columns.end && i + 1 < read.min(rows.end);
                let data = a.data[i * ROWS * a.row_stride..].as_ptr();
                Left { data, row_stride: a.row_stride, col_stride: a.col_stride, fetch }
            } else {
                Left { data: packed.at(i - read, 0).data.cast(), row_stride: 1, col_stride: ROWS, fetch: false }
            };
            let size = [ROWS.min(a.rows - i * ROWS), COLUMNS.min(n - j * COLUMNS)];
            let (right, out) = (right.at(j - columns.start, 0).data, out.at(i * ROWS, j * COLUMNS));
            // SAFETY: the kernel was handed out because the processor has its instructions; both operands have `depth`
            // words here; a tile lies inside the output, whose size was checked, and belongs to one task.
            #[expect(unsafe_code, reason = "calls code compiled for instructions that were found to be there")]
            unsafe {
                (kernel.tile)(depth, left, right, out, size);
            }
        }
    }
}

type Scratch = std::thread::LocalKey<Cell<Vec<u32>>>;
thread_local! {
    static LEFT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static RIGHT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static OWN_RIGHT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// Lends memory of this thread's that begins with a line of the cache; what is in it is arbitrary.
fn with_scratch(scratch: &'static Scratch, len: usize, work: impl FnOnce(*mut u32)) {
    let mut buffer = scratch.take();
    if buffer.len() < len + GAP {
        buffer.resize(len + GAP, 0);
    }
    let skipped = buffer.as_ptr().align_offset(GAP * size_of::<u32>());
    work(buffer[skipped..skipped + len].as_mut_ptr());
    scratch.set(buffer);
}

#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(test)]
mod tests;
