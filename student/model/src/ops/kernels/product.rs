//! Matrix products over strided views, in the precision that is asked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::views::{Mat, Output, Store};
use super::{Unwritten, bf16, gemm, tiles};

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
            _ => gemm::product(out, a, b, parallel),
        },
        Precision::Bf16 => bf16::product(out, a, b, parallel),
    }
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
