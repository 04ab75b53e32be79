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

use super::views::{Mat, MatMut, Output, check, even};

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

/// What one kind of numbers needs. There is one only where the processor has the instructions that its functions are
/// compiled for: that is the contract of calling them.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// Numbers in a word.
    per_word: usize,
    pack_left: Pack,
    pack_right: Pack,
    tile: Tile,
}

/// Packs the rows of a matrix into panels, which are the rows of the output: `[depth, width]` words each. What is missing
/// of a panel is zero. Words are held as f32, of which a pair of bf16 has the bits.
type Pack = unsafe fn(Mat<'_>, MatMut<'_>);
/// The product of `ROWS` rows and a panel of `[depth, COLUMNS]` words, into an output of at most this size.
type Tile = unsafe fn(Left<'_>, &[[f32; COLUMNS]], Output<'_>);

/// `ROWS` rows of the left operand, in words, from the first one on.
#[derive(Clone, Copy)]
struct Left<'a> {
    data: &'a [f32],
    row_stride: usize,
    col_stride: usize,
    /// Whether the rows that follow are to be fetched.
    fetch: bool,
}

/// The left operand of a slice: of its panels the first `read` are read where they are, and the others are packed.
#[derive(Clone, Copy)]
struct LeftPanels<'a> {
    mat: Mat<'a>,
    read: usize,
    packed: Panels<'a>,
}

/// Packed rows: panels `stride` words apart.
#[derive(Clone, Copy)]
struct Panels<'a> {
    words: &'a [f32],
    stride: usize,
}

impl<'a> Panels<'a> {
    /// The words from a panel on.
    fn from(self, panel: usize) -> &'a [f32] {
        &self.words[panel * self.stride..]
    }
}

/// The kernel for f32, where the processor has one.
pub(super) fn kernel_f32() -> Option<Kernel> {
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
pub(super) fn kernel_bf16() -> Option<Kernel> {
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
pub(super) fn multiply(kernel: Kernel, mut out: Output<'_>, a: Mat<'_>, b: Mat<'_>, parallel: bool) {
    check(&out, a, b);
    let (m, k, n) = (a.height(), a.width(), b.width());
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
            slice(kernel, out.part(rows.clone(), 0..n), a.rows(rows), b, parallel);
        }
        // SAFETY: the rows of the chunks are all rows, and a slice writes all of its output.
        #[expect(unsafe_code, reason = "types do not show what a product wrote")]
        unsafe {
            out.add_from_now_on();
        }
    }
}

impl Kernel {
    /// Words of a row.
    fn words(self, mat: Mat<'_>) -> usize {
        mat.width().div_ceil(self.per_word)
    }

    /// Whether a left operand is read where it is.
    fn reads(self, a: Mat<'_>) -> bool {
        self.per_word == 1 && !(a.col_stride() == 1 && a.row_stride().is_multiple_of(SET))
    }
}

/// A slice of the inner dimension that fits into panels. All of the output is written.
fn slice(kernel: Kernel, out: Output<'_>, a: Mat<'_>, b: Mat<'_>, parallel: bool) {
    let (m, n, depth) = (a.height(), b.width(), kernel.words(a));
    let (blocks, parts) = cut(m, n, parallel);
    let (left_panels, right_panels) = (m.div_ceil(ROWS), n.div_ceil(COLUMNS));
    // A last panel that is not full is packed in any case: a tile reads all of its rows.
    let read = if kernel.reads(a) { m / ROWS } else { 0 };
    let [left_stride, right_stride] = [ROWS, COLUMNS].map(|width| width * depth + GAP);
    let heights = (0..parts).map(|i| numbers(&even(i, parts, left_panels), ROWS, m).len());
    let widths = (0..blocks).map(|i| numbers(&even(i, blocks, right_panels), COLUMNS, n).len());
    let places = (0..blocks).flat_map(|block| (0..parts).map(move |part| (block, part)));
    let tasks = out.grid(heights, widths).zip(places);
    with_scratch(&LEFT, (left_panels - read) * left_stride, |left| {
        // Packed by each task for itself where one task alone needs it.
        let shared = if parts > 1 { right_panels } else { 0 };
        with_scratch(&RIGHT, shared * right_stride, |right| {
            if read * ROWS < m {
                pack(kernel, kernel.pack_left, ROWS, a.rows(read * ROWS..m), left, parallel);
            }
            if parts > 1 {
                pack(kernel, kernel.pack_right, COLUMNS, b.t(), right, parallel);
            }
            let left = LeftPanels { mat: a, read, packed: Panels { words: left, stride: left_stride } };
            let right = Panels { words: right, stride: right_stride };
            each(tasks, parallel, |(out, (block, part))| {
                let rows = even(part, parts, left_panels);
                let columns = even(block, blocks, right_panels);
                if parts > 1 {
                    let right = Panels { words: right.from(columns.start), ..right };
                    return tiles(kernel, out, depth, left, rows, right);
                }
                with_scratch(&OWN_RIGHT, columns.len() * right_stride, |right| {
                    let b = b.columns(numbers(&columns, COLUMNS, n));
                    pack(kernel, kernel.pack_right, COLUMNS, b.t(), right, false);
                    tiles(kernel, out, depth, left, rows, Panels { words: right, stride: right_stride });
                });
            });
        });
    });
}

/// The rows or columns of some panels of `width`, where there are `all` of them.
fn numbers(panels: &Range<usize>, width: usize, all: usize) -> Range<usize> {
    panels.start * width..(panels.end * width).min(all)
}

fn each<T: Send>(tasks: impl Iterator<Item = T>, parallel: bool, work: impl Fn(T) + Sync + Send) {
    if parallel {
        tasks.collect::<Vec<_>>().into_par_iter().for_each(work);
    } else {
        tasks.for_each(work);
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

/// Packs `mat`, whose rows are `width` to a panel, into memory for as many panels, `GAP` words apart. Tasks divide it across
/// the direction in which its numbers lie.
fn pack(kernel: Kernel, pack: Pack, width: usize, mat: Mat<'_>, to: &mut [f32], parallel: bool) {
    let (panels, words) = (mat.height().div_ceil(width), kernel.words(mat) * width);
    let mut to = MatMut::new(to, panels, words, words + GAP);
    let along = mat.col_stride() == 1;
    let (all, step) = if along {
        (mat.height(), (PACKED / mat.width()).max(1).next_multiple_of(width))
    } else {
        (mat.width(), (PACKED / mat.height()).max(1).next_multiple_of(kernel.per_word))
    };
    let tasks = (0..all.div_ceil(step)).map(|i| {
        let part = i * step..((i + 1) * step).min(all);
        if along {
            let to = to.take_rows(part.len().div_ceil(width));
            (mat.rows(part), to)
        } else {
            let to = to.take_columns(part.len().div_ceil(kernel.per_word) * width);
            (mat.columns(part), to)
        }
    });
    each(tasks, parallel, |(part, to)| {
        // SAFETY: the processor has the kernel's instructions.
        #[expect(unsafe_code, reason = "calls code compiled for instructions that were found to be there")]
        unsafe {
            pack(part, to);
        }
    });
}

/// A part of the output: the rows of some of the left operand's panels, times the panels that `right` begins with, of
/// `depth` words a row.
fn tiles(
    kernel: Kernel,
    mut out: Output<'_>,
    depth: usize,
    left: LeftPanels<'_>,
    rows: Range<usize>,
    right: Panels<'_>,
) {
    let (m, n) = (out.rows(), out.cols());
    let LeftPanels { mat, read, packed } = left;
    for (r, i) in (0..m).step_by(ROWS).zip(rows.clone()) {
        for (j, c) in (0..n).step_by(COLUMNS).enumerate() {
            let left = if i < read {
                let fetch = c + COLUMNS >= n && i + 1 < read.min(rows.end);
                let data = &mat.data()[i * ROWS * mat.row_stride()..];
                Left { data, row_stride: mat.row_stride(), col_stride: mat.col_stride(), fetch }
            } else {
                Left { data: packed.from(i - read), row_stride: 1, col_stride: ROWS, fetch: false }
            };
            let right = &right.from(j).as_chunks::<COLUMNS>().0[..depth];
            let out = out.part(r..(r + ROWS).min(m), c..(c + COLUMNS).min(n));
            // SAFETY: the processor has the kernel's instructions.
            #[expect(unsafe_code, reason = "calls code compiled for instructions that were found to be there")]
            unsafe {
                (kernel.tile)(left, right, out);
            }
        }
    }
}

type Scratch = std::thread::LocalKey<Cell<Vec<f32>>>;
thread_local! {
    static LEFT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    static RIGHT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    static OWN_RIGHT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Lends memory of this thread's that begins with a line of the cache; what is in it is arbitrary.
fn with_scratch(scratch: &'static Scratch, len: usize, work: impl FnOnce(&mut [f32])) {
    let mut buffer = scratch.take();
    if buffer.len() < len + GAP {
        buffer.resize(len + GAP, 0.0);
    }
    let before = buffer.as_ptr().align_offset(GAP * size_of::<f32>());
    work(&mut buffer[before..before + len]);
    scratch.set(buffer);
}

#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(test)]
mod tests;
