//! Matrix products over strided views, on the `gemm` crate.

use std::ops::Range;

use gemm::Parallelism;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{bf16, tiles};

/// A read-only matrix: element (r, c) is `data[r * row_stride + c * col_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl<'a> Mat<'a> {
    /// Rows one after another.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows `row_stride` apart.
    pub(crate) fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose, without a copy.
    pub(crate) fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// Some of the columns.
    pub(super) fn columns(self, range: Range<usize>) -> Self {
        Self { data: &self.data[range.start * self.col_stride..], cols: range.len(), ..self }
    }

    /// Some of the rows.
    pub(super) fn rows(self, range: Range<usize>) -> Self {
        self.t().columns(range).t()
    }

    /// The same view of other numbers.
    pub(super) fn of(self, data: &'a [f32]) -> Self {
        Self { data, ..self }
    }

    /// The numbers, column after column.
    fn column_major(&self) -> Vec<f32> {
        let at = |row: usize, col: usize| self.data[row * self.row_stride + col * self.col_stride];
        (0..self.cols).flat_map(|col| (0..self.rows).map(move |row| at(row, col))).collect()
    }

    fn fits(&self) -> bool {
        self.rows == 0
            || self.cols == 0
            || (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride < self.data.len()
    }
}

/// What to do with what the output holds already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Overwrite,
    Add,
}

/// gemm sums products of at most this many numbers in another order, if both operands lie along the inner dimension.
const SMALL_PRODUCT: usize = 16 * 16;
/// gemm cuts the inner dimension at 512 if rows and columns are at most 64, and evenly otherwise.
const NARROW: usize = 64;
const INNER: usize = 512;

/// Multiplications from which threads are worth it.
const WORTH_THREADS: usize = 1 << 18;
/// Parts of a product for each thread.
const PARTS: usize = 8;
/// Rows or columns of a part, at least; more than [`NARROW`].
const LEAST: usize = 128;

/// Where a product goes: rows are `stride` apart. Parallel tasks share it and write parts of their own.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub(super) data: *mut f32,
    pub(super) stride: usize,
    pub(super) add: bool,
    pub(super) alpha: f32,
}

#[expect(unsafe_code, reason = "tasks write disjoint parts")]
unsafe impl Send for Output {}
#[expect(unsafe_code, reason = "tasks write disjoint parts")]
unsafe impl Sync for Output {}

impl Output {
    /// The part that begins at a row and a column.
    pub(super) fn at(self, row: usize, col: usize) -> Self {
        Self { data: self.data.wrapping_add(row * self.stride + col), ..self }
    }
}

/// In which numbers the products of weights are computed. Sums, and the weights themselves, are f32 in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    F32,
    /// Both operands rounded to bf16, which processors with AVX512-BF16 and GPUs multiply faster.
    Bf16,
}

/// `out (+)= a · b` on all threads, rows of `out` one after another.
///
/// With two rows of `a` or more, a row of `out` has the same bits however many there are.
pub(crate) fn matmul_in(precision: Precision, out: &mut [f32], mode: Store, a: Mat<'_>, b: Mat<'_>) {
    whole(precision, check(out, b.cols, mode, 1.0, a, b), a, b, true);
}

/// `a · b` on all threads, rows one after another. Memory is not cleared first: the product writes all of it.
pub(crate) fn product_in(precision: Precision, a: Mat<'_>, b: Mat<'_>) -> Vec<f32> {
    check_operands(a, b);
    assert!(a.cols > 0, "a matrix product sums over nothing");
    let len = a.rows * b.cols;
    let mut out = Vec::with_capacity(len);
    whole(precision, Output { data: out.as_mut_ptr(), stride: b.cols, add: false, alpha: 1.0 }, a, b, true);
    #[expect(unsafe_code, reason = "the product wrote every element, and reads none where it does not add")]
    unsafe {
        out.set_len(len);
    }
    out
}

/// A checked product. A single row is left to the gemm crate, which does not copy the other matrix for it.
fn whole(precision: Precision, out: Output, a: Mat<'_>, b: Mat<'_>, parallel: bool) {
    match precision {
        Precision::F32 => match tiles::f32() {
            Some(kernel) if parallel && a.rows > 1 => tiles::multiply(kernel, out, a, b, true),
            _ => product(out, a, b, parallel),
        },
        Precision::Bf16 => bf16::product(out, a, b, parallel),
    }
}

fn check_operands(a: Mat<'_>, b: Mat<'_>) {
    assert_eq!(a.cols, b.rows, "inner dimensions of a matrix product");
    assert!(a.fits() && b.fits(), "an operand of a matrix product reaches past its data");
}

/// Bounds every access that a product makes.
fn check(out: &mut [f32], stride: usize, mode: Store, alpha: f32, a: Mat<'_>, b: Mat<'_>) -> Output {
    check_operands(a, b);
    let reaches = a.rows.saturating_sub(1) * stride + b.cols;
    assert!(a.rows == 0 || (stride >= b.cols && reaches <= out.len()), "a matrix product reaches past its output");
    Output { data: out.as_mut_ptr(), stride, add: mode == Store::Add, alpha }
}

/// `out (+)= alpha · a · b` on this thread, rows of `out` being `out_stride` apart.
pub(crate) fn matmul(
    precision: Precision,
    out: &mut [f32],
    out_stride: usize,
    mode: Store,
    alpha: f32,
    a: Mat<'_>,
    b: Mat<'_>,
) {
    whole(precision, check(out, out_stride, mode, alpha, a, b), a, b, false);
}

/// A checked product of f32, on all threads if it is `parallel` and worth it: cut into more parts than there are threads, so
/// that one that is held up does not hold up the others.
pub(super) fn product(out: Output, a: Mat<'_>, b: Mat<'_>, parallel: bool) {
    let (m, n) = (a.rows, b.cols);
    if !parallel || m * n * a.cols < WORTH_THREADS {
        return part(out, a, b);
    }
    let (down, across) = cut(m, n, PARTS * rayon::current_num_threads());
    (0..down * across).into_par_iter().for_each(|task| {
        let even = |i: usize, parts: usize, all: usize| i * all / parts..(i + 1) * all / parts;
        let (rows, cols) = (even(task % down, down, m), even(task / down, across, n));
        part(out.at(rows.start, cols.start), a.rows(rows), b.columns(cols));
    });
}

/// How many parts rows and columns are cut into: `parts` in all, if each is left at least [`LEAST`] of them.
fn cut(m: usize, n: usize, parts: usize) -> (usize, usize) {
    let (mut down, mut across) = (1, 1);
    while down * across < parts {
        let (height, width) = (m / (down + 1), n / (across + 1));
        if height >= width && height >= LEAST {
            down += 1;
        } else if width >= LEAST {
            across += 1;
        } else {
            break;
        }
    }
    (down, across)
}

/// One thread's product. Both cases in which gemm chooses the order of a sum by the number of rows are kept from it.
fn part(mut out: Output, a: Mat<'_>, b: Mat<'_>) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    let turned;
    let a = if m > 1 && m * n <= SMALL_PRODUCT && a.col_stride == 1 && b.row_stride == 1 {
        turned = a.column_major();
        Mat { data: &turned, row_stride: 1, col_stride: m, ..a }
    } else {
        a
    };
    if n > NARROW || k <= INNER {
        return multiply(out, a, b);
    }
    for from in (0..k).step_by(INNER) {
        let inner = from..(from + INNER).min(k);
        multiply(out, a.columns(inner.clone()), b.rows(inner));
        out.add = true;
    }
}

fn multiply(out: Output, a: Mat<'_>, b: Mat<'_>) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    if m == 0 || n == 0 {
        return;
    }
    // gemm computes `alpha·dst + beta·lhs·rhs`.
    #[expect(unsafe_code, reason = "the crate takes pointers; `check` bounds every access")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.data,
            1,
            out.stride as isize,
            out.add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            out.alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::Precision::F32;
    use super::*;

    pub(in super::super) fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 1.0
            })
            .collect()
    }

    #[test]
    fn agrees_with_the_definition_for_transposed_and_strided_views() {
        let (m, n, k) = (5, 7, 11);
        let a = numbers(k * 13, 1);
        let b = numbers(n * k, 2);
        let mut out = vec![1.0; m * 9];
        matmul(F32, &mut out, 9, Store::Add, 0.5, Mat::strided(&a, k, m, 13).t(), Mat::new(&b, n, k).t());
        for r in 0..m {
            for c in 0..9 {
                let sum: f32 = if c < n { (0..k).map(|i| a[i * 13 + r] * b[c * k + i]).sum() } else { 0.0 };
                assert!((out[r * 9 + c] - (1.0 + 0.5 * sum)).abs() < 1e-5);
            }
        }
    }

    /// What makes sampling reproducible: a row's product does not depend on which other rows are in the batch.
    #[test]
    fn a_row_does_not_depend_on_the_others_from_two_rows_on() {
        for (k, n) in
            [(48, 16), (5, 3), (64, 128), (192, 512), (512, 192), (576, 1536), (1536, 576), (1000, 37), (1100, 64)]
        {
            let x = numbers(100 * k, 3);
            let w = numbers(n * k, 4);
            let all = product_in(F32, Mat::new(&x, 100, k), Mat::new(&w, n, k).t());
            for (start, rows) in [(0, 2), (3, 2), (97, 3), (10, 5), (1, 8), (33, 17), (36, 64)] {
                let part = &x[start * k..(start + rows) * k];
                let some = product_in(F32, Mat::new(part, rows, k), Mat::new(&w, n, k).t());
                assert_eq!(some, all[start * n..(start + rows) * n], "{rows} rows from {start}, k {k}, n {n}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "past its data")]
    fn a_view_that_is_too_small_is_caught() {
        matmul(F32, &mut [0.0; 4], 2, Store::Overwrite, 1.0, Mat::new(&[0.0; 3], 2, 2), Mat::new(&[0.0; 4], 2, 2));
    }
}
