//! The operations a decoder is made of. On the processor each is one fused kernel with its own backward pass; on every
//! other device it is composed of ordinary Burn operations. Both give the same numbers: see the tests.
//!
//! Shapes: N rows (tokens of all conversations), D model width, V vocabulary. Vectors (norm weights, biases) are
//! `[1, D]`, so that every parameter is a matrix.

mod composed;
mod flex;
mod handles;
pub(crate) mod kernels;

use std::sync::Arc;

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::{Int, Tensor};

use self::flex::{FusedOps, PlainOps};
pub use self::handles::{placeholder, take};
pub use self::kernels::attention::Heads;
pub use self::kernels::elementwise::AdamStep;
pub use self::kernels::loss::Targets;
pub use self::kernels::product::Precision;
use crate::segments::{Extension, Packed};

/// Whether a tensor lives where the fused kernels run.
fn fused<const D: usize>(x: &Tensor<D>) -> bool {
    matches!(x.device().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// Refuses a tensor of another shape: a mistake in this program, which a kernel would take for numbers that are not there.
#[track_caller]
fn assert_shape(what: &str, tensor: &Tensor<2>, expected: [usize; 2]) {
    assert_eq!(tensor.dims(), expected, "{what} has another shape");
}

/// The shapes that q, k and v have to have for these heads; `rows` each.
#[track_caller]
fn assert_heads(q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, heads: Heads, rows: usize) {
    let Heads { query, key, dim } = heads;
    assert!(key > 0 && query.is_multiple_of(key), "{query} query heads cannot share {key} key heads");
    assert_shape("q", q, [rows, query * dim]);
    assert_shape("k", k, [rows, key * dim]);
    assert_shape("v", v, [rows, key * dim]);
}

/// Rows of the embedding table. ids `[N]`, weight `[V, D]` → `[N, D]`.
pub fn embedding(weight: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    weight.select(0, ids)
}

/// x `[N, I]`, weight `[O, I]` (Hugging Face's order) → `[N, O]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, precision: Precision) -> Tensor<2> {
    assert_shape("weight", &weight, [weight.dims()[0], x.dims()[1]]);
    if fused(&x) {
        let y = <Dispatch as FusedOps>::linear(x.into_dispatch(), weight.into_dispatch(), precision);
        return Tensor::from_dispatch(y);
    }
    composed::linear(x, weight, precision)
}

/// Adds bias `[1, O]` to every row of y `[N, O]`.
pub fn add_bias(y: Tensor<2>, bias: Tensor<2>) -> Tensor<2> {
    assert_shape("bias", &bias, [1, y.dims()[1]]);
    if fused(&y) {
        return Tensor::from_dispatch(<Dispatch as FusedOps>::add_bias(y.into_dispatch(), bias.into_dispatch()));
    }
    y + bias
}

/// x `[N, D]`, weight `[1, D]` → `[N, D]`.
pub fn rms_norm(x: Tensor<2>, weight: Tensor<2>, epsilon: f64) -> Tensor<2> {
    assert_shape("weight", &weight, [1, x.dims()[1]]);
    if fused(&x) {
        let y = <Dispatch as FusedOps>::rms_norm(x.into_dispatch(), weight.into_dispatch(), epsilon as f32);
        return Tensor::from_dispatch(y);
    }
    composed::rms_norm(x, weight, epsilon)
}

/// `silu(gate) · up`, element by element; gate and up `[N, I]` → `[N, I]`.
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    assert_shape("up", &up, gate.dims());
    if fused(&gate) {
        return Tensor::from_dispatch(<Dispatch as FusedOps>::swiglu(gate.into_dispatch(), up.into_dispatch()));
    }
    composed::swiglu(gate, up)
}

/// `(silu(gate) · up) · weightᵀ`. gate and up `[N, I]`, weight `[O, I]` → `[N, O]`.
pub fn swiglu_linear(gate: Tensor<2>, up: Tensor<2>, weight: Tensor<2>, precision: Precision) -> Tensor<2> {
    assert_shape("up", &up, gate.dims());
    assert_shape("weight", &weight, [weight.dims()[0], gate.dims()[1]]);
    if fused(&gate) {
        let (gate, up, weight) = (gate.into_dispatch(), up.into_dispatch(), weight.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as FusedOps>::swiglu_linear(gate, up, weight, precision));
    }
    composed::linear(composed::swiglu(gate, up), weight, precision)
}

/// Rotary embedding and causal attention within each conversation.
/// q `[N, query·dim]`, k and v `[N, key·dim]` → `[N, query·dim]`.
pub fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    heads: Heads,
    precision: Precision,
    layout: &Arc<Packed>,
) -> Tensor<2> {
    assert_heads(&q, &k, &v, heads, layout.segments.last().map_or(0, |last| last.end));
    if fused(&q) {
        let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as FusedOps>::attention(q, k, v, heads, precision, layout.clone()));
    }
    composed::attention(q, k, v, heads, precision, layout)
}

/// Refuses targets of other rows than hidden has, and of other tokens than weight has.
#[track_caller]
fn assert_targets(hidden: &Tensor<2>, weight: &Tensor<2>, targets: &Targets) {
    let ([rows, width], [vocab, _]) = (hidden.dims(), weight.dims());
    assert_shape("weight", weight, [vocab, width]);
    assert_eq!(targets.rows.len(), targets.ids.len(), "a target is a row and a token");
    assert!(targets.rows.last().is_none_or(|row| *row < rows), "a target's row is beyond the {rows} rows");
    assert!(
        targets.ids.iter().all(|id| (*id as usize) < vocab),
        "a target's token is beyond the {vocab} of the vocabulary"
    );
}

/// Projection of the counted rows of hidden `[N, D]` onto weight `[V, D]` and their summed cross-entropy times
/// `targets.scale`, `[1]`.
pub fn cross_entropy(hidden: Tensor<2>, weight: Tensor<2>, targets: &Arc<Targets>, precision: Precision) -> Tensor<1> {
    assert_targets(&hidden, &weight, targets);
    if fused(&hidden) {
        let (h, w) = (hidden.into_dispatch(), weight.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as PlainOps>::cross_entropy(h, w, targets.clone(), precision));
    }
    composed::cross_entropy(hidden, weight, targets, precision)
}

/// [`cross_entropy`] of untracked tensors, its gradient with respect to hidden, and, where there is `memory` for it, that
/// with respect to weight. The memory is a tensor of the weight's shape that nothing else holds; what is in it is lost.
pub fn cross_entropy_gradients(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: &Arc<Targets>,
    precision: Precision,
    memory: Option<Tensor<2>>,
) -> (f64, Tensor<2>, Option<Tensor<2>>) {
    assert_targets(&hidden, &weight, targets);
    if let Some(memory) = &memory {
        assert_shape("memory", memory, weight.dims());
    }
    if !fused(&hidden) {
        return composed::cross_entropy_gradients(hidden, weight, targets, precision, memory.is_some());
    }
    let wanted = memory.is_some();
    let memory = memory.unwrap_or_else(|| Tensor::zeros([1, 1], &hidden.device()));
    let (loss, dh, dw) = <Dispatch as PlainOps>::cross_entropy_gradients(
        hidden.into_dispatch(),
        weight.into_dispatch(),
        targets.clone(),
        precision,
        memory.into_dispatch(),
    );
    let loss = f64::from(Tensor::<1>::from_dispatch(loss).into_scalar::<f32>());
    (loss, Tensor::from_dispatch(dh), wanted.then(|| Tensor::from_dispatch(dw)))
}

/// A scalar to begin a backward pass at: with respect to it, the gradient of y is dy, which is untracked and of y's shape.
pub fn vjp_root(y: Tensor<2>, dy: Tensor<2>) -> Tensor<1> {
    assert_shape("dy", &dy, y.dims());
    let dy = Tensor::from_inner(dy);
    if fused(&y) {
        return Tensor::from_dispatch(<Dispatch as FusedOps>::vjp_root(y.into_dispatch(), dy.into_dispatch()));
    }
    (y * dy).sum()
}

/// Adds each of rows `[N, D]` to the row of table `[V, D]` that its id names: the gradient of an embedding, in place.
pub fn add_rows(table: Tensor<2>, ids: &[u32], rows: Tensor<2>) -> Tensor<2> {
    assert_shape("rows", &rows, [ids.len(), table.dims()[1]]);
    if fused(&table) {
        let (table, rows) = (table.into_dispatch(), rows.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as PlainOps>::add_rows(table, ids.into(), rows));
    }
    composed::add_rows(table, ids, rows)
}

/// Extends cached sequences: the rows' keys and values go into the caches `[slots·capacity, key·dim]`, and each row
/// attends over its sequence. Returns the output and the caches; inference only.
pub fn cached_attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    caches: (Tensor<2>, Tensor<2>),
    heads: Heads,
    layout: &Arc<Extension>,
) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
    assert_heads(&q, &k, &v, heads, layout.groups.last().map_or(0, |last| last.rows.end));
    assert_shape("cached keys", &caches.0, [caches.0.dims()[0], heads.key * heads.dim]);
    assert_shape("cached values", &caches.1, caches.0.dims());
    if fused(&q) {
        let (o, k, v) = <Dispatch as PlainOps>::cached_attention(
            q.into_dispatch(),
            k.into_dispatch(),
            v.into_dispatch(),
            caches.0.into_dispatch(),
            caches.1.into_dispatch(),
            heads,
            layout.clone(),
        );
        return (Tensor::from_dispatch(o), Tensor::from_dispatch(k), Tensor::from_dispatch(v));
    }
    composed::cached_attention(q, k, v, caches, heads, layout)
}

/// One AdamW step: (weights, first moment, second moment), all of one shape, in place where nothing else holds them.
pub fn adamw(
    weight: Tensor<2>,
    gradient: Tensor<2>,
    moments: (Tensor<2>, Tensor<2>),
    step: AdamStep,
) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
    for (what, tensor) in [("gradient", &gradient), ("first moment", &moments.0), ("second moment", &moments.1)] {
        assert_shape(what, tensor, weight.dims());
    }
    if fused(&weight) {
        let (p, m, v) = <Dispatch as PlainOps>::adamw(
            weight.into_dispatch(),
            gradient.into_dispatch(),
            moments.0.into_dispatch(),
            moments.1.into_dispatch(),
            step,
        );
        return (Tensor::from_dispatch(p), Tensor::from_dispatch(m), Tensor::from_dispatch(v));
    }
    composed::adamw(weight, gradient, moments, step)
}

/// Σ x² in double precision.
pub fn sum_of_squares(x: &Tensor<2>) -> f64 {
    // Read where it is: the processor's tensors are borrowed, a GPU's are reduced there first.
    if fused(x) {
        return flex::sum_of_squares(x.clone());
    }
    f64::from(x.clone().square().sum().into_scalar::<f32>())
}

#[cfg(test)]
mod tests;
