//! Matrix products over strided views, on the `gemm` crate.

use gemm::Parallelism;

/// A read-only matrix: element (r, c) is `data[r * row_stride + c * col_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
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

/// `out (+)= alpha · a · b`, rows of `out` being `out_stride` apart. `parallel` uses all threads.
///
/// With two rows of `a` or more, a row of `out` has the same bits however many there are: both cases in which gemm
/// chooses the order of a sum by the number of rows are kept from it.
pub(crate) fn matmul(
    out: &mut [f32],
    out_stride: usize,
    mode: Store,
    alpha: f32,
    a: Mat<'_>,
    b: Mat<'_>,
    parallel: bool,
) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    assert_eq!(k, b.rows, "inner dimensions of a matrix product");
    assert!(a.fits() && b.fits(), "an operand of a matrix product reaches past its data");
    if m == 0 || n == 0 {
        return;
    }
    assert!(out_stride >= n && (m - 1) * out_stride + n <= out.len(), "a matrix product reaches past its output");
    let turned;
    let a = if m > 1 && m * n <= SMALL_PRODUCT && a.col_stride == 1 && b.row_stride == 1 {
        turned = a.column_major();
        Mat { data: &turned, row_stride: 1, col_stride: m, ..a }
    } else {
        a
    };
    if n > NARROW || k <= INNER {
        return product(out, out_stride, mode, alpha, a, b, parallel);
    }
    for from in (0..k).step_by(INNER) {
        let mode = if from == 0 { mode } else { Store::Add };
        let inner = INNER.min(k - from);
        let a = Mat { data: &a.data[from * a.col_stride..], cols: inner, ..a };
        let b = Mat { data: &b.data[from * b.row_stride..], rows: inner, ..b };
        product(out, out_stride, mode, alpha, a, b, parallel);
    }
}

/// [`matmul`] as gemm does it.
fn product(out: &mut [f32], out_stride: usize, mode: Store, alpha: f32, a: Mat<'_>, b: Mat<'_>, parallel: bool) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    let parallelism = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
    // gemm computes `alpha·dst + beta·lhs·rhs`.
    #[expect(unsafe_code, reason = "the crate takes pointers; the asserts in `matmul` bound every access")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            mode == Store::Add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
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
        matmul(&mut out, 9, Store::Add, 0.5, Mat::strided(&a, k, m, 13).t(), Mat::new(&b, n, k).t(), false);
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
            let mut all = vec![0.0; 100 * n];
            matmul(&mut all, n, Store::Overwrite, 1.0, Mat::new(&x, 100, k), Mat::new(&w, n, k).t(), true);
            for (start, rows) in [(0, 2), (3, 2), (97, 3), (10, 5), (1, 8), (33, 17), (36, 64)] {
                let mut some = vec![0.0; rows * n];
                let part = &x[start * k..(start + rows) * k];
                matmul(&mut some, n, Store::Overwrite, 1.0, Mat::new(part, rows, k), Mat::new(&w, n, k).t(), true);
                assert_eq!(some, all[start * n..(start + rows) * n], "{rows} rows from {start}, k {k}, n {n}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "past its data")]
    fn a_view_that_is_too_small_is_caught() {
        matmul(&mut [0.0; 4], 2, Store::Overwrite, 1.0, Mat::new(&[0.0; 3], 2, 2), Mat::new(&[0.0; 4], 2, 2), false);
    }
}
