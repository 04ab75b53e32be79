//! Matrix products over strided views, on the `gemm` crate.

use std::ops::Range;

use gemm::Parallelism;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::views::{Mat, Output, Store};
use super::{Unwritten, bf16, tiles};

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
    let out = Output::new(out, [a.height(), b.width()], b.width(), mode, 1.0);
    whole(precision, out, a, b, true);
}

/// `a · b` on all threads, rows one after another. Memory is not cleared first: the product writes all of it.
pub(crate) fn product_in(precision: Precision, a: Mat<'_>, b: Mat<'_>) -> Vec<f32> {
    let size = [a.height(), b.width()];
    let mut out = Unwritten::new(size[0] * size[1]);
    whole(precision, Output::unwritten(out.numbers(), size), a, b, true);
    // SAFETY: the product wrote every element.
    #[expect(unsafe_code, reason = "types do not show what a product wrote")]
    unsafe {
        out.written()
    }
}

/// A product. A single row is left to the gemm crate, which does not copy the other matrix for it.
fn whole(precision: Precision, out: Output<'_>, a: Mat<'_>, b: Mat<'_>, parallel: bool) {
    assert!(a.width() > 0, "a matrix product sums over nothing");
    match precision {
        Precision::F32 => match tiles::kernel_f32() {
            Some(kernel) if parallel && a.height() > 1 => tiles::multiply(kernel, out, a, b, true),
            _ => product(out, a, b, parallel),
        },
        Precision::Bf16 => bf16::product(out, a, b, parallel),
    }
}

/// That sizes fit each other, which every product begins with.
pub(super) fn check(out: &Output<'_>, a: Mat<'_>, b: Mat<'_>) {
    assert_eq!(a.width(), b.height(), "inner dimensions of a matrix product");
    assert_eq!([out.rows(), out.cols()], [a.height(), b.width()], "rows and columns of a matrix product");
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
    whole(precision, Output::new(out, [a.height(), b.width()], out_stride, mode, alpha), a, b, false);
}

/// A product of f32, on all threads if it is `parallel` and worth it: cut into more parts than there are threads, so
/// that one that is held up does not hold up the others.
pub(super) fn product(out: Output<'_>, a: Mat<'_>, b: Mat<'_>, parallel: bool) {
    check(&out, a, b);
    let (m, n) = (a.height(), b.width());
    if !parallel || m * n * a.width() < WORTH_THREADS {
        return part(out, a, b);
    }
    let (down, across) = cut(m, n, PARTS * rayon::current_num_threads());
    let rows = (0..down).map(|i| even(i, down, m));
    let columns = (0..across).map(|i| even(i, across, n));
    let parts = out.grid(rows.clone().map(|rows| rows.len()), columns.clone().map(|columns| columns.len()));
    let operands = columns.flat_map(|columns| rows.clone().map(move |rows| (a.rows(rows), b.columns(columns.clone()))));
    let tasks: Vec<_> = parts.zip(operands).collect();
    tasks.into_par_iter().for_each(|(out, (a, b))| part(out, a, b));
}

/// The `i`-th of `parts` ranges that make up `all`.
pub(super) fn even(i: usize, parts: usize, all: usize) -> Range<usize> {
    i * all / parts..(i + 1) * all / parts
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
fn part(mut out: Output<'_>, a: Mat<'_>, b: Mat<'_>) {
    let (m, k, n) = (a.height(), a.width(), b.width());
    let turned;
    let a = if m > 1 && m * n <= SMALL_PRODUCT && a.col_stride() == 1 && b.row_stride() == 1 {
        turned = a.column_major();
        Mat::new(&turned, k, m).t()
    } else {
        a
    };
    if n > NARROW || k <= INNER {
        return multiply(&mut out, a, b);
    }
    for from in (0..k).step_by(INNER) {
        let inner = from..(from + INNER).min(k);
        multiply(&mut out, a.columns(inner.clone()), b.rows(inner));
        // SAFETY: a product writes all of its output, and this one has just been made.
        #[expect(unsafe_code, reason = "types do not show what a product wrote")]
        unsafe {
            out.add_from_now_on();
        }
    }
}

fn multiply(out: &mut Output<'_>, a: Mat<'_>, b: Mat<'_>) {
    check(out, a, b);
    let (m, k, n) = (a.height(), a.width(), b.width());
    if m == 0 || n == 0 {
        return;
    }
    let (to, to_stride, adds, alpha) = (out.first(), out.stride(), out.adds(), out.alpha());
    // gemm computes `alpha·dst + beta·lhs·rhs`.
    // SAFETY: the sizes were checked to fit each other; a view has the rows and columns that it says it has, and those of
    // the output are nobody else's now. The output is read only if products are added, when it has been written before.
    #[expect(unsafe_code, reason = "the crate takes pointers")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to,
            1,
            to_stride as isize,
            adds,
            a.data().as_ptr(),
            a.col_stride() as isize,
            a.row_stride() as isize,
            b.data().as_ptr(),
            b.col_stride() as isize,
            b.row_stride() as isize,
            1.0,
            alpha,
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
