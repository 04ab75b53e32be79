use fixtures::skipped;

use super::super::product::tests::numbers;
use super::super::views::Store;
use super::*;

/// What a kernel makes of a number before it multiplies.
type Round = fn(f32) -> f32;

/// The kernels that this processor has, and what each makes of a number.
fn kernels() -> Vec<(&'static str, Kernel, Round)> {
    let exact: Round = |x| x;
    let rounded: Round = |x| half::bf16::from_f32(x).to_f32();
    let mut kernels = Vec::new();
    kernels.extend(kernel_f32().map(|kernel| ("f32", kernel, exact)));
    kernels.extend(kernel_bf16().map(|kernel| ("bf16", kernel, rounded)));
    for (fixture, name) in [("avx512f", "f32"), ("avx512_bf16", "bf16")] {
        if !kernels.iter().any(|(kernel, ..)| *kernel == name) {
            skipped(fixture, &format!("this processor has no kernel for {name}"));
        }
    }
    kernels
}

fn multiply_new(kernel: Kernel, a: Mat<'_>, b: Mat<'_>, parallel: bool) -> Vec<f32> {
    let size = [a.height(), b.width()];
    let mut out = vec![f32::NAN; size[0] * size[1]];
    multiply(kernel, Output::new(&mut out, size, size[1], Store::Overwrite, 1.0), a, b, parallel);
    out
}

/// Against products summed in f64, in units of Σ |a·b|; with rows further apart than they are long, a factor, and what
/// is there already.
#[test]
fn products_are_those_of_the_definition() {
    // The last two take several slices of the inner dimension, in f32 and in pairs of bf16, and several parts of the rows.
    let sizes = [
        (1, 1, 1),
        (12, 32, 2),
        (13, 33, 7),
        (30, 500, 33),
        (5, 3500, 64),
        (2060, 40, 1030),
        (300, 70, 2 * DEPTH + 77),
    ];
    for (name, kernel, round) in kernels() {
        for (m, n, k) in sizes {
            for turned in [(false, false), (false, true), (true, false), (true, true)] {
                let (a, b) = (numbers(m * k, 1), numbers(n * k, 2));
                let a = if turned.0 { Mat::new(&a, k, m).t() } else { Mat::new(&a, m, k) };
                let b = if turned.1 { Mat::new(&b, n, k).t() } else { Mat::new(&b, k, n) };
                for add in [false, true] {
                    let error = error(kernel, round, a, b, add);
                    assert!(error < 1e-6, "{name} {m}×{n}×{k}, turned {turned:?}, add {add}: off by {error:.1e}");
                }
            }
        }
    }
}

/// The largest difference in units of Σ |a·b|.
fn error(kernel: Kernel, round: Round, a: Mat<'_>, b: Mat<'_>, add: bool) -> f64 {
    let (m, n, k) = (a.height(), b.width(), a.width());
    let stride = n + 3;
    let mut out = vec![1.0; m * stride];
    let mode = if add { Store::Add } else { Store::Overwrite };
    multiply(kernel, Output::new(&mut out, [m, n], stride, mode, 0.5), a, b, true);
    assert!(out.chunks(stride).all(|row| row[n..].iter().all(|x| x.to_bits() == 1f32.to_bits())), "past its columns");
    let at = |mat: &Mat<'_>, r, c| f64::from(round(mat.data()[r * mat.row_stride() + c * mat.col_stride()]));
    let before = if add { 1.0 } else { 0.0 };
    // Every row and every column is among these.
    let places = (0..m.max(n)).map(|i| (i % m, i % n));
    let errors = places.map(|(r, c)| {
        let terms = (0..k).map(|i| at(&a, r, i) * at(&b, i, c));
        let (sum, size) = terms.fold((0.0, 1.0), |(sum, size), term| (sum + term, size + term.abs()));
        (f64::from(out[r * stride + c]) - before - 0.5 * sum).abs() / size
    });
    // A NaN is the largest.
    errors.fold(0.0, |most: f64, error| if error > most || error.is_nan() { error } else { most })
}

/// What makes training reproducible on any number of threads, and sampling in any batch.
#[test]
fn bits_do_not_depend_on_the_other_rows_or_on_threads() {
    for (name, kernel, _) in kernels() {
        for (k, n) in [(5, 3), (192, 512), (576, 1536), (1100, 64)] {
            let (x, w) = (numbers(300 * k, 3), numbers(n * k, 4));
            let w = Mat::new(&w, n, k).t();
            let all = multiply_new(kernel, Mat::new(&x, 300, k), w, true);
            assert_eq!(all, multiply_new(kernel, Mat::new(&x, 300, k), w, false), "{name}");
            for (start, rows) in [(0, 1), (3, 2), (97, 3), (100, 17), (36, 264)] {
                let some = multiply_new(kernel, Mat::new(&x[start * k..(start + rows) * k], rows, k), w, true);
                assert_eq!(some, all[start * n..(start + rows) * n], "{name}: {rows} rows from {start}, k {k}, n {n}");
            }
        }
    }
}

#[test]
fn what_is_not_a_number_shows() {
    for (name, kernel, _) in kernels() {
        for bad in [f32::NAN, f32::INFINITY] {
            let (mut a, b) = (numbers(40 * 70, 1), numbers(70 * 50, 2));
            a[33 * 70 + 69] = bad;
            let out = multiply_new(kernel, Mat::new(&a, 40, 70), Mat::new(&b, 70, 50), true);
            assert!(out[33 * 50..34 * 50].iter().all(|x| !x.is_finite()), "{name}");
            assert!(out[..33 * 50].iter().chain(&out[34 * 50..]).all(|x| x.is_finite()), "{name}");
        }
    }
}
