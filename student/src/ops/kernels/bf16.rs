//! Matrix products of numbers rounded to bf16, summed in f32.
//!
//! Where the processor multiplies pairs of bf16 (AVX512-BF16), [`tiles`] does it. A processor without them gains nothing
//! from the shorter numbers: there the operands are rounded and multiplied as f32, which gives the same products and, up to
//! the order of the sums, the same result.

use rayon::prelude::*;

use super::gemm::{self, Mat, Output};
use super::{tiles, widest};

/// `out (+)= alpha · a · b` with a and b rounded to bf16, on all threads if it is `parallel`.
pub(super) fn product(out: Output, a: Mat<'_>, b: Mat<'_>, parallel: bool) {
    match tiles::bf16() {
        Some(kernel) => tiles::multiply(kernel, out, a, b, parallel),
        None => rounded_product(out, a, b, parallel),
    }
}

fn rounded_product(out: Output, a: Mat<'_>, b: Mat<'_>, parallel: bool) {
    let (a_rounded, b_rounded) = (rounded(&a), rounded(&b));
    gemm::product(out, a.of(&a_rounded), b.of(&b_rounded), parallel);
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

#[cfg(test)]
mod tests {
    use super::super::gemm::tests::numbers;
    use super::*;

    #[test]
    fn both_ways_agree() {
        if tiles::bf16().is_none() {
            println!("skipped: this processor has no AVX512-BF16");
        }
        for parallel in [false, true] {
            let (m, n, k) = (70, 130, 600);
            let (a, b) = (numbers(m * k, 3), numbers(n * k, 4));
            let (left, right) = (Mat::new(&a, m, k), Mat::new(&b, n, k).t());
            let (mut one, mut other) = (vec![0.0; m * n], vec![0.0; m * n]);
            product(Output { data: one.as_mut_ptr(), stride: n, add: false, alpha: 1.0 }, left, right, parallel);
            rounded_product(
                Output { data: other.as_mut_ptr(), stride: n, add: false, alpha: 1.0 },
                left,
                right,
                parallel,
            );
            let largest = one.iter().zip(&other).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            assert!(largest < 1e-4 && one.iter().any(|x| x.abs() > 1.0), "{largest}");
        }
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
