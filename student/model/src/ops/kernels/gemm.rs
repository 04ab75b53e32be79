//! Matrix products of f32 over strided views, on the `gemm` crate.

use gemm::Parallelism;
use rayon::prelude::*;

use super::views::{Mat, Output, check, even};

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
