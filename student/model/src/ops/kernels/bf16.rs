//! Matrix products of numbers rounded to bf16, summed in f32.
//!
//! Where the processor multiplies pairs of bf16 (AVX512-BF16), [`tiles`] does it. A processor without them gains nothing
//! from the shorter numbers: there the operands are rounded and multiplied as f32, which gives the same products and, up to
//! the order of the sums, the same result.

use rayon::prelude::*;

use super::views::{Mat, Output};
use super::{gemm, max_width, tiles};

/// `out (+)= alpha · a · b` with a and b rounded to bf16, on all threads if it is `parallel`.
pub(super) fn product(out: Output<'_>, a: Mat<'_>, b: Mat<'_>, parallel: bool) {
    match tiles::kernel_bf16() {
        Some(kernel) => tiles::multiply(kernel, out, a, b, parallel),
        None => rounded_product(out, a, b, parallel),
    }
}

fn rounded_product(out: Output<'_>, a: Mat<'_>, b: Mat<'_>, parallel: bool) {
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
    let mut copy = vec![0.0; mat.data().len()];
    copy.par_chunks_mut(1 << 14).zip(mat.data().par_chunks(1 << 14)).for_each(|(to, from)| {
        max_width(
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
    use super::super::product::tests::numbers;
    use super::super::views::Store;
    use super::*;

    type Way = fn(Output<'_>, Mat<'_>, Mat<'_>, bool);

    /// A processor without AVX512-BF16 has one way only: there the rounded product is compared with the definition.
    #[test]
    fn both_ways_agree_with_the_definition() {
        let (m, n, k) = (70, 130, 600);
        let (a, b) = (numbers(m * k, 3), numbers(n * k, 4));
        let (left, right) = (Mat::new(&a, m, k), Mat::new(&b, n, k).t());
        let bf16 = |x: &f32| half::bf16::from_f32(*x).to_f64();
        let sum = |r: usize, c: usize| -> f64 {
            a[r * k..][..k].iter().zip(&b[c * k..][..k]).map(|(x, y)| bf16(x) * bf16(y)).sum()
        };
        let exact: Vec<f64> = (0..m * n).map(|at| sum(at / n, at % n)).collect();
        let ways: [(&str, Way); 2] = [("chosen for this processor", product), ("rounded", rounded_product)];
        for (name, way) in ways {
            for parallel in [false, true] {
                let mut out = vec![f32::NAN; m * n];
                way(Output::new(&mut out, [m, n], n, Store::Overwrite, 1.0), left, right, parallel);
                let errors = out.iter().zip(&exact).map(|(x, y)| (f64::from(*x) - y).abs());
                // A NaN is the largest.
                let largest = errors.fold(0.0, |most: f64, e| if e > most || e.is_nan() { e } else { most });
                assert!(largest < 1e-4, "{name}, parallel {parallel}: off by {largest:.1e}");
            }
        }
        let not_rounded: f64 = a[..k].iter().zip(&b[..k]).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        assert!((not_rounded - exact[0]).abs() > 1e-3, "rounding does not show: {not_rounded} and {}", exact[0]);
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
