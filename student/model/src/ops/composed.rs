//! The same operations out of ordinary Burn operations: what GPUs run, and what the fused kernels are tested against.

use burn::tensor::activation::{log_softmax, silu, softmax};
use burn::tensor::{Bool, FloatDType, IndexingUpdateOp, Int, Tensor, TensorData};

use super::{AdamStep, Heads, Precision, Targets};
use crate::segments::{Extension, Packed, Rotation};

/// Products in bf16 where asked for; the result is f32 in any case.
pub(super) fn linear(x: Tensor<2>, weight: Tensor<2>, precision: Precision) -> Tensor<2> {
    product(x, weight.transpose(), precision)
}

fn product<const D: usize>(a: Tensor<D>, b: Tensor<D>, precision: Precision) -> Tensor<D> {
    match precision {
        Precision::F32 => a.matmul(b),
        Precision::Bf16 => a.cast(FloatDType::BF16).matmul(b.cast(FloatDType::BF16)).cast(FloatDType::F32),
    }
}

pub(super) fn rms_norm(x: Tensor<2>, weight: Tensor<2>, epsilon: f64) -> Tensor<2> {
    let scale = (x.clone().square().mean_dim(1) + epsilon).sqrt().recip();
    x * scale * weight
}

pub(super) fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    silu(gate) * up
}

/// x `[N, heads·dim]`, rotated by halves.
fn rotate(x: Tensor<2>, heads: usize, rotation: &Rotation) -> Tensor<2> {
    let [rows, width] = x.dims();
    let half = rotation.half;
    let table = |values: Vec<f32>| Tensor::<3>::from_data(TensorData::new(values, [rows, 1, half]), &x.device());
    let (cos, sin) = rotation.rows();
    let (cos, sin) = (table(cos), table(sin));
    let x = x.reshape([rows, heads, width / heads]);
    let (first, second) = (x.clone().narrow(2, 0, half), x.narrow(2, half, half));
    let turned_first = first.clone() * cos.clone() - second.clone() * sin.clone();
    let turned_second = second * cos + first * sin;
    Tensor::cat(vec![turned_first, turned_second], 2).reshape([rows, width])
}

/// q `[M, query·dim]` over k, v `[T, key·dim]`, all rotated already. Row r sees the first `past + r + 1` of them.
fn attend(q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, heads: Heads, precision: Precision, past: usize) -> Tensor<2> {
    let Heads { query, key, dim } = heads;
    let ([m, _], [t, _]) = (q.dims(), k.dims());
    let group = query / key;
    let q = q.reshape([m, key, group, dim]).permute([1, 2, 0, 3]).reshape([key, group * m, dim]);
    let k = k.reshape([t, key, dim]).permute([1, 2, 0]);
    let v = v.reshape([t, key, dim]).permute([1, 0, 2]);
    let hidden: Vec<bool> = (0..group * m).flat_map(|i| (0..t).map(move |c| c > past + i % m)).collect();
    let hidden = Tensor::<3, Bool>::from_data(TensorData::new(hidden, [1, group * m, t]), &q.device());
    let scores = product(q, k, precision) * (1.0 / (dim as f64).sqrt());
    let scores = scores.mask_fill(hidden.expand([key, group * m, t]), f32::NEG_INFINITY);
    let o = product(softmax(scores, 2), v, precision);
    o.reshape([key, group, m, dim]).permute([2, 0, 1, 3]).reshape([m, query * dim])
}

pub(super) fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    heads: Heads,
    precision: Precision,
    layout: &Packed,
) -> Tensor<2> {
    let q = rotate(q, heads.query, &layout.rotation);
    let k = rotate(k, heads.key, &layout.rotation);
    let parts = layout
        .segments
        .iter()
        .map(|segment| {
            let rows = |x: &Tensor<2>| x.clone().narrow(0, segment.start, segment.len());
            attend(rows(&q), rows(&k), rows(&v), heads, precision, 0)
        })
        .collect();
    Tensor::cat(parts, 0)
}

pub(super) fn cached_attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    caches: (Tensor<2>, Tensor<2>),
    heads: Heads,
    layout: &Extension,
) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
    let q = rotate(q, heads.query, &layout.rotation);
    let k = rotate(k, heads.key, &layout.rotation);
    let (mut k_cache, mut v_cache) = caches;
    let width = heads.key * heads.dim;
    let mut parts = Vec::new();
    for group in &layout.groups {
        let rows = |x: &Tensor<2>| x.clone().narrow(0, group.rows.start, group.rows.len());
        let start = group.slot * layout.capacity;
        let (new, end) = (start + group.past, start + group.past + group.rows.len());
        k_cache = k_cache.slice_assign([new..end, 0..width], rows(&k));
        v_cache = v_cache.slice_assign([new..end, 0..width], rows(&v));
        let seen = |cache: &Tensor<2>| cache.clone().narrow(0, start, end - start);
        parts.push(attend(rows(&q), seen(&k_cache), seen(&v_cache), heads, Precision::F32, group.past));
    }
    (Tensor::cat(parts, 0), k_cache, v_cache)
}

pub(super) fn cross_entropy_gradients(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: &Targets,
    precision: Precision,
    of_weight: bool,
) -> (f64, Tensor<2>, Option<Tensor<2>>) {
    let hidden = Tensor::from_inner(hidden).require_grad();
    let weight = Tensor::from_inner(weight);
    let weight = if of_weight { weight.require_grad() } else { weight };
    let loss = cross_entropy(hidden.clone(), weight.clone(), targets, precision);
    let mut found = loss.backward();
    // Without a counted row nothing depends on them.
    let dh = hidden.grad_remove(&mut found).unwrap_or_else(|| hidden.clone().inner().zeros_like());
    let dw = of_weight.then(|| weight.grad_remove(&mut found).unwrap_or_else(|| weight.clone().inner().zeros_like()));
    (f64::from(loss.into_scalar::<f32>()), dh, dw)
}

pub(super) fn cross_entropy(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: &Targets,
    precision: Precision,
) -> Tensor<1> {
    let device = hidden.device();
    let count = targets.rows.len();
    let rows: Vec<i32> = targets.rows.iter().map(|row| *row as i32).collect();
    let ids: Vec<i32> = targets.ids.iter().map(|id| *id as i32).collect();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device);
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [count, 1]), &device);
    let logits = linear(hidden.select(0, rows), weight, precision);
    log_softmax(logits, 1).gather(1, ids).sum().neg() * targets.scale
}

pub(super) fn add_rows(table: Tensor<2>, ids: &[u32], rows: Tensor<2>) -> Tensor<2> {
    let count = ids.len();
    let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &table.device());
    table.select_assign(0, ids, rows, IndexingUpdateOp::Add)
}

pub(super) fn adamw(
    weight: Tensor<2>,
    gradient: Tensor<2>,
    moments: (Tensor<2>, Tensor<2>),
    step: AdamStep,
) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
    let gradient = gradient * step.grad_scale;
    let m = moments.0 * step.beta1 + gradient.clone() * (1.0 - step.beta1);
    let v = moments.1 * step.beta2 + gradient.square() * (1.0 - step.beta2);
    let denominator = v.clone().sqrt() / step.correction2.sqrt() + step.epsilon;
    let update = m.clone() / denominator * (step.learning_rate / step.correction1);
    (weight * (1.0 - step.learning_rate * step.weight_decay) - update, m, v)
}
