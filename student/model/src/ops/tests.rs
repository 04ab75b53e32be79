//! Every fused kernel against the same operation composed of Burn's own, on the processor: values and gradients.

use burn::tensor::{Device, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::golden::{self, relative_difference};
use crate::segments::{Group, Rope};
use crate::weights::numbers;

fn plain(values: &[f32], shape: [usize; 2]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
}

fn random(shape: [usize; 2], seed: u64) -> Tensor<2> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| rng.random_range(-2.0..2.0)).collect();
    plain(&values, shape)
}

fn rope(dim: usize) -> Rope {
    let mut config = golden::model("llama").config;
    config.head_dim = dim;
    Rope::new(&config)
}

/// Gradients of Σ y·r for a fixed random r, with regard to each input.
fn gradients(inputs: &[Tensor<2>], op: &dyn Fn(&[Tensor<2>]) -> Tensor<2>) -> Vec<Vec<f32>> {
    let leaves: Vec<_> = inputs.iter().map(|x| Tensor::from_inner(x.clone()).require_grad()).collect();
    let y = op(&leaves);
    let r = Tensor::from_inner(random(y.dims(), 99));
    let gradients = (y * r).sum().backward();
    leaves.iter().map(|leaf| numbers(leaf.grad(&gradients).expect("a gradient for every input"))).collect()
}

/// Asserts that both ways agree: values within `value`, gradients within `gradient`, relative.
fn agree(
    what: &str,
    inputs: &[Tensor<2>],
    fused: &dyn Fn(&[Tensor<2>]) -> Tensor<2>,
    composed: &dyn Fn(&[Tensor<2>]) -> Tensor<2>,
    [value, gradient]: [f64; 2],
) {
    let (ours, theirs) = (fused(inputs), composed(inputs));
    assert_eq!(ours.dims(), theirs.dims(), "{what}");
    let ours = numbers(ours);
    let difference = relative_difference(&ours, &numbers(theirs));
    println!("{what}: values differ by {difference:.1e}");
    assert!(difference < value, "{what}: values differ by {difference:.1e}");
    let tracked: Vec<_> = inputs.iter().map(|x| Tensor::from_inner(x.clone()).require_grad()).collect();
    assert_eq!(numbers(fused(&tracked).inner()), ours, "{what}: tracking changes the values");
    for (i, (a, b)) in gradients(inputs, fused).iter().zip(gradients(inputs, composed)).enumerate() {
        let difference = relative_difference(a, &b);
        println!("{what}: gradients of input {i} differ by {difference:.1e}");
        assert!(difference < gradient, "{what}: gradients of input {i} differ by {difference:.1e}");
    }
}

#[test]
fn linear_and_bias() {
    for [n, i, o] in [[1, 5, 3], [2, 64, 48], [130, 33, 70]] {
        let inputs = [random([n, i], 1), random([o, i], 2), random([1, o], 3)];
        let fused = |x: &[Tensor<2>]| add_bias(linear(x[0].clone(), x[1].clone(), Precision::F32), x[2].clone());
        let composed = |x: &[Tensor<2>]| x[0].clone().matmul(x[1].clone().transpose()) + x[2].clone();
        agree("linear", &inputs, &fused, &composed, [1e-6, 1e-6]);
    }
}

#[test]
fn rms_norm_of_rows_large_and_small() {
    for [n, d] in [[1, 8], [70, 50], [130, 33]] {
        let scales: Vec<f32> = (0..n).map(|row| 10f32.powi(row as i32 % 5 - 3)).collect();
        let inputs = [random([n, d], 1) * plain(&scales, [n, 1]), random([1, d], 2)];
        let fused = |x: &[Tensor<2>]| rms_norm(x[0].clone(), x[1].clone(), 1e-5);
        let composed = |x: &[Tensor<2>]| composed::rms_norm(x[0].clone(), x[1].clone(), 1e-5);
        agree("rms_norm", &inputs, &fused, &composed, [1e-6, 2e-6]);
    }
}

#[test]
fn swiglu_over_the_range_of_a_gate() {
    // More elements than one parallel piece; gates from -80, where the exponential is huge, to 80.
    let inputs = [random([150, 133], 1) * 40.0, random([150, 133], 2)];
    let fused = |x: &[Tensor<2>]| swiglu(x[0].clone(), x[1].clone());
    let composed = |x: &[Tensor<2>]| composed::swiglu(x[0].clone(), x[1].clone());
    agree("swiglu", &inputs, &fused, &composed, [1e-6, 1e-6]);
    let [gate, up] = inputs;
    let inputs = [gate, up, random([70, 133], 3)];
    let fused = |x: &[Tensor<2>]| swiglu_linear(x[0].clone(), x[1].clone(), x[2].clone(), Precision::F32);
    let composed =
        |x: &[Tensor<2>]| composed::linear(composed::swiglu(x[0].clone(), x[1].clone()), x[2].clone(), Precision::F32);
    agree("swiglu and linear", &inputs, &fused, &composed, [2e-6, 2e-6]);
}

#[test]
fn attention_over_conversations_of_many_lengths() {
    for (query, key, dim) in [(6, 2, 10), (4, 4, 16), (3, 1, 64)] {
        let heads = Heads { query, key, dim };
        // Around the block size of 64, and the shortest there is.
        let lengths = [1, 70, 64, 2, 129, 65, 1];
        let n = lengths.iter().sum();
        let layout = Packed::new(&lengths, &rope(dim));
        let inputs = [random([n, query * dim], 1), random([n, key * dim], 2), random([n, key * dim], 3)];
        for (precision, most) in [(Precision::F32, [2e-6, 5e-6]), (Precision::Bf16, [1e-2, 2e-2])] {
            let parts = |x: &[Tensor<2>]| (x[0].clone(), x[1].clone(), x[2].clone());
            let fused = |x: &[Tensor<2>]| {
                let (q, k, v) = parts(x);
                attention(q, k, v, heads, precision, &layout)
            };
            let composed = |x: &[Tensor<2>]| {
                let (q, k, v) = parts(x);
                composed::attention(q, k, v, heads, precision, &layout)
            };
            agree(&format!("attention {query}/{key}·{dim} {precision:?}"), &inputs, &fused, &composed, most);
        }
    }
}

#[test]
fn cross_entropy_in_several_chunks() {
    // 16 million numbers a chunk, at most 512 rows: the first takes two chunks, the last counts a single row.
    for (n, d, v, counted) in [(700, 12, 50, 600), (90, 24, 301, 41), (5, 8, 16, 1)] {
        let rows: Vec<usize> = (0..n).filter(|row| row * counted / n != (row + 1) * counted / n).collect();
        assert_eq!(rows.len(), counted);
        let ids = rows.iter().map(|row| (row * 31 % v) as u32).collect();
        let targets = Arc::new(Targets { rows, ids, scale: 1.0 / 37.0 });
        let inputs = [random([n, d], 1), random([v, d], 2)];
        let [h, w] = inputs;
        // What is in the memory must not matter.
        let memory = Some(plain(&vec![7.0; v * d], [v, d]));
        let (loss, dh, dw) = cross_entropy_gradients(h.clone(), w.clone(), &targets, Precision::F32, memory);
        let (expected, expected_dh, expected_dw) =
            composed::cross_entropy_gradients(h.clone(), w.clone(), &targets, Precision::F32, true);
        assert!((loss / expected - 1.0).abs() < 1e-6, "{counted} rows: loss {loss}, not {expected}");
        for (ours, theirs) in [(dh.clone(), expected_dh), (dw.unwrap(), expected_dw.unwrap())] {
            let difference = relative_difference(&numbers(ours), &numbers(theirs));
            println!("cross-entropy of {counted} rows: a gradient differs by {difference:.1e}");
            assert!(difference < 2e-6, "{counted} rows: a gradient differs by {difference:.1e}");
        }
        let (alone, dh_alone, none) = cross_entropy_gradients(h.clone(), w.clone(), &targets, Precision::F32, None);
        assert!(none.is_none() && alone.to_bits() == loss.to_bits() && numbers(dh_alone) == numbers(dh));
        let plain: f32 = cross_entropy(h, w, &targets, Precision::F32).into_scalar();
        assert_eq!(f64::from(plain).to_bits(), loss.to_bits());
    }
}

#[test]
fn attention_over_a_cache() {
    for (query, key, dim) in [(6, 2, 10), (4, 4, 16), (3, 1, 64)] {
        let heads = Heads { query, key, dim };
        let (slots, capacity) = (5, 150);
        // One new token after many, a prompt, a prompt longer than a block, a continued prompt; not in slot order.
        let groups = [(3, 149, 1), (0, 0, 9), (4, 0, 130), (1, 70, 66)];
        let mut n = 0;
        let groups = groups
            .map(|(slot, past, length)| {
                n += length;
                Group { rows: n - length..n, slot, past }
            })
            .to_vec();
        let layout = Extension::new(groups, capacity, &rope(dim));
        let [q, k, v] = [(query, 1), (key, 2), (key, 3)].map(|(heads, seed)| random([n, heads * dim], seed));
        let caches = (random([slots * capacity, key * dim], 4), random([slots * capacity, key * dim], 5));
        let before = [&q, &k, &v, &caches.0, &caches.1].map(|x| numbers(x.clone()));
        let ours = cached_attention(q.clone(), k.clone(), v.clone(), caches.clone(), heads, &layout);
        let theirs = composed::cached_attention(q.clone(), k.clone(), v.clone(), caches.clone(), heads, &layout);
        let parts = [(ours.0, theirs.0, "output"), (ours.1, theirs.1, "keys"), (ours.2, theirs.2, "values")];
        for (ours, theirs, what) in parts {
            let difference = relative_difference(&numbers(ours), &numbers(theirs));
            println!("cached attention {query}/{key}·{dim}: {what} differ by {difference:.1e}");
            assert!(difference < 2e-6, "{what} differ by {difference:.1e}");
        }
        let after = [&q, &k, &v, &caches.0, &caches.1].map(|x| numbers(x.clone()));
        assert!(before == after, "a tensor that others hold was changed in place");
    }
}

#[test]
fn adamw_with_decay_and_clipping() {
    let shape = [130, 140];
    let weight = random(shape, 1);
    let moments = (random(shape, 3) * 0.1, random(shape, 4).square() * 0.01);
    let step = AdamStep {
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        correction1: 1.0 - 0.9f32.powi(3),
        correction2: 1.0 - 0.95f32.powi(3),
        grad_scale: 0.37,
    };
    let gradient = random(shape, 2);
    let ours = adamw(weight.clone(), gradient.clone(), moments.clone(), step);
    let theirs = composed::adamw(weight.clone(), gradient.clone(), moments.clone(), step);
    for (ours, theirs, what) in [(ours.0, theirs.0, "weights"), (ours.1, theirs.1, "m"), (ours.2, theirs.2, "v")] {
        let difference = relative_difference(&numbers(ours), &numbers(theirs));
        println!("adamw: {what} differ by {difference:.1e}");
        assert!(difference < 1e-6, "{what} differ by {difference:.1e}");
    }
    assert_eq!(numbers(weight), numbers(random(shape, 1)), "a tensor that others hold was changed in place");
}

#[test]
fn sum_of_squares_in_double_precision() {
    let x = random([151, 222], 7);
    let expected: f64 = numbers(x.clone()).iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    assert!((sum_of_squares(&x) / expected - 1.0).abs() < 1e-7);
    // A part of a larger tensor counts as that part only.
    let expected: f64 = numbers(x.clone()).iter().skip(222).take(5 * 222).map(|x| f64::from(*x).powi(2)).sum();
    assert!((sum_of_squares(&x.narrow(0, 1, 5)) / expected - 1.0).abs() < 1e-7);
}

/// Views of larger tensors reach the kernels as what they show, not as what lies in memory.
#[test]
fn parts_and_transposes_of_tensors() {
    let wide = random([40, 24], 1);
    let part = |x: &Tensor<2>| x.clone().narrow(0, 3, 7).narrow(1, 2, 20);
    let copied = |x: Tensor<2>| plain(&numbers(x.clone()), x.dims());
    let weight = random([20, 11], 2);
    let linear =
        [part(&wide), copied(part(&wide))].map(|x| numbers(linear(x, weight.clone().transpose(), Precision::F32)));
    assert_eq!(linear[0], linear[1]);
    let bias = random([3, 20], 3);
    let rows = [part(&wide), copied(part(&wide))];
    let sums = rows.clone().map(|x| numbers(add_bias(x, bias.clone().narrow(0, 1, 1))));
    assert_eq!(sums[0], sums[1]);
    let step = AdamStep {
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.0,
        correction1: 0.1,
        correction2: 0.05,
        grad_scale: 1.0,
    };
    let stepped = [wide.clone().narrow(0, 5, 6), copied(wide.clone().narrow(0, 5, 6))].map(|weight| {
        let gradient = random([30, 24], 6).narrow(0, 9, 6);
        numbers(adamw(weight, gradient, (random([6, 24], 4), random([6, 24], 5).square()), step).0)
    });
    assert_eq!(stepped[0], stepped[1]);
}

/// What has a wrong shape, and a call with it.
type Wrong<'a> = (&'a str, &'a dyn Fn());

/// A mistake in this program is found where an operation is entered, not as numbers that are not there.
#[test]
fn shapes_that_do_not_fit_are_refused() {
    let zeros = |shape: [usize; 2]| plain(&vec![0.0; shape[0] * shape[1]], shape);
    let heads = Heads { query: 2, key: 1, dim: 4 };
    let config = golden::model("llama").config;
    let layout = Packed::new(&[3], &Rope::new(&config));
    let targets = |row, id| Arc::new(Targets { rows: vec![row], ids: vec![id], scale: 1.0 });
    let wrong: [Wrong<'_>; 7] = [
        ("weight", &|| drop(linear(zeros([2, 3]), zeros([5, 4]), Precision::F32))),
        ("bias", &|| drop(add_bias(zeros([2, 3]), zeros([1, 4])))),
        ("up", &|| drop(swiglu(zeros([2, 3]), zeros([2, 4])))),
        ("k", &|| {
            drop(attention(zeros([3, 8]), zeros([3, 8]), zeros([3, 4]), heads, Precision::F32, &layout));
        }),
        ("q", &|| {
            drop(attention(zeros([2, 8]), zeros([2, 4]), zeros([2, 4]), heads, Precision::F32, &layout));
        }),
        ("row", &|| drop(cross_entropy(zeros([2, 3]), zeros([5, 3]), &targets(2, 0), Precision::F32))),
        ("token", &|| drop(cross_entropy(zeros([2, 3]), zeros([5, 3]), &targets(0, 5), Precision::F32))),
    ];
    for (what, run) in wrong {
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err();
        let said = panic.downcast_ref::<String>().unwrap();
        assert!(said.contains(what) && (said.contains("another shape") || said.contains("beyond")), "{what}: {said}");
    }
}
