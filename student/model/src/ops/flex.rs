//! The fused operations on Burn's Flex backend, with their backward passes, through Burn's backend extension.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};
use burn::tensor::{Bytes, DType, Shape, Tensor};
use burn_flex::{FlexTensor, Layout};

use super::kernels::attention::{self, Heads, Saved};
use super::kernels::elementwise::{self, AdamStep};
use super::kernels::loss::{self, Targets};
use super::kernels::product::{Precision, product_in};
use super::kernels::views::Mat;
use crate::segments::{Extension, Packed};

/// Fused operations; shapes as in the functions of [`super`].
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FusedOps: Backend {
    fn linear(x: FloatTensor<Self>, w: FloatTensor<Self>, precision: Precision) -> FloatTensor<Self>;
    fn add_bias(y: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;
    fn rms_norm(x: FloatTensor<Self>, w: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self>;
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
    fn swiglu_linear(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        w: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self>;
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        heads: Heads,
        precision: Precision,
        layout: Arc<Packed>,
    ) -> FloatTensor<Self>;
    /// A scalar without a value of its own, of which y's gradient is dy.
    fn vjp_root(y: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Operations without a backward pass.
#[backend_extension(Flex)]
pub(crate) trait PlainOps: Backend {
    fn cached_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        k_cache: FloatTensor<Self>,
        v_cache: FloatTensor<Self>,
        heads: Heads,
        layout: Arc<Extension>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn adamw(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn add_rows(table: FloatTensor<Self>, ids: Arc<[u32]>, rows: FloatTensor<Self>) -> FloatTensor<Self>;
    fn cross_entropy(
        h: FloatTensor<Self>,
        w: FloatTensor<Self>,
        targets: Arc<Targets>,
        precision: Precision,
    ) -> FloatTensor<Self>;
    /// Loss, dh and dw; dw is written into the last argument where it has the weight's shape.
    fn cross_entropy_gradients(
        h: FloatTensor<Self>,
        w: FloatTensor<Self>,
        targets: Arc<Targets>,
        precision: Precision,
        dw: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// A contiguous tensor and its numbers.
struct Data(FlexTensor);

impl Data {
    fn new(tensor: FlexTensor) -> Self {
        Self(tensor.to_contiguous())
    }

    fn as_slice(&self) -> &[f32] {
        let from = self.0.layout().start_offset();
        &self.0.storage::<f32>()[from..from + self.0.layout().num_elements()]
    }
}

/// Whether a tensor's numbers are the whole of its storage, so that they can be changed in place.
fn owned(tensor: FlexTensor) -> FlexTensor {
    let tensor = tensor.to_contiguous();
    debug_assert_eq!(tensor.layout().start_offset(), 0);
    tensor
}

fn tensor(values: Vec<f32>, shape: [usize; 2]) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape)), DType::F32)
}

fn scalar(value: f64) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(vec![value as f32]), Layout::contiguous(Shape::from([1])), DType::F32)
}

fn dims(tensor: &FlexTensor) -> [usize; 2] {
    let shape = tensor.layout().shape();
    [shape[0], shape[1]]
}

pub(super) fn sum_of_squares(x: Tensor<2>) -> f64 {
    match x.try_into_primitive::<Flex>() {
        Ok(x) => elementwise::sum_of_squares(Data::new(x).as_slice()),
        Err(error) => unreachable!("the caller checked the device: {error:?}"),
    }
}

fn attention_forward(
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    heads: Heads,
    precision: Precision,
    layout: &Packed,
) -> (FlexTensor, Saved) {
    let shape = dims(&q);
    let (q, k, v) = (Data::new(q), Data::new(k), Data::new(v));
    let (o, saved) = attention::forward(q.as_slice(), k.as_slice(), v.as_slice(), heads, precision, layout);
    (tensor(o, shape), saved)
}

impl FusedOps for Flex {
    fn linear(x: FlexTensor, w: FlexTensor, precision: Precision) -> FlexTensor {
        let ([rows, inner], [outer, w_inner]) = (dims(&x), dims(&w));
        let (x, w) = (Data::new(x), Data::new(w));
        let (x, w) = (Mat::new(x.as_slice(), rows, inner), Mat::new(w.as_slice(), outer, w_inner));
        tensor(product_in(precision, x, w.t()), [rows, outer])
    }

    fn add_bias(y: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let mut y = owned(y);
        elementwise::add_bias(y.storage_mut::<f32>(), Data::new(bias).as_slice());
        y
    }

    fn rms_norm(x: FlexTensor, w: FlexTensor, epsilon: f32) -> FlexTensor {
        let shape = dims(&x);
        tensor(elementwise::rms_norm(Data::new(x).as_slice(), Data::new(w).as_slice(), epsilon).0, shape)
    }

    fn swiglu(gate: FlexTensor, up: FlexTensor) -> FlexTensor {
        let shape = dims(&gate);
        tensor(elementwise::swiglu(Data::new(gate).as_slice(), Data::new(up).as_slice()), shape)
    }

    fn swiglu_linear(gate: FlexTensor, up: FlexTensor, w: FlexTensor, precision: Precision) -> FlexTensor {
        <Self as FusedOps>::linear(<Self as FusedOps>::swiglu(gate, up), w, precision)
    }

    fn attention(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        heads: Heads,
        precision: Precision,
        layout: Arc<Packed>,
    ) -> FlexTensor {
        attention_forward(q, k, v, heads, precision, &layout).0
    }

    fn vjp_root(_: FlexTensor, _: FlexTensor) -> FlexTensor {
        scalar(0.0)
    }
}

impl PlainOps for Flex {
    fn cached_attention(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        k_cache: FlexTensor,
        v_cache: FlexTensor,
        heads: Heads,
        layout: Arc<Extension>,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let shape = dims(&q);
        let (mut q, mut k, v) = (owned(q), owned(k), Data::new(v));
        let (mut k_cache, mut v_cache) = (owned(k_cache), owned(v_cache));
        let o = attention::extend(
            q.storage_mut(),
            k.storage_mut(),
            v.as_slice(),
            k_cache.storage_mut(),
            v_cache.storage_mut(),
            heads,
            &layout,
        );
        (tensor(o, shape), k_cache, v_cache)
    }

    fn adamw(
        p: FlexTensor,
        g: FlexTensor,
        m: FlexTensor,
        v: FlexTensor,
        step: AdamStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let g = Data::new(g);
        let (mut p, mut m, mut v) = (owned(p), owned(m), owned(v));
        elementwise::adamw(p.storage_mut(), m.storage_mut(), v.storage_mut(), g.as_slice(), step);
        (p, m, v)
    }

    fn add_rows(table: FlexTensor, ids: Arc<[u32]>, rows: FlexTensor) -> FlexTensor {
        let (mut table, rows) = (owned(table), Data::new(rows));
        elementwise::add_rows(table.storage_mut(), &ids, rows.as_slice());
        table
    }

    fn cross_entropy(h: FlexTensor, w: FlexTensor, targets: Arc<Targets>, precision: Precision) -> FlexTensor {
        let width = dims(&h)[1];
        let (h, w) = (Data::new(h), Data::new(w));
        scalar(loss::linear_cross_entropy(h.as_slice(), w.as_slice(), width, &targets, precision, None, None))
    }

    fn cross_entropy_gradients(
        h: FlexTensor,
        w: FlexTensor,
        targets: Arc<Targets>,
        precision: Precision,
        dw: FlexTensor,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (h_shape, w_shape) = (dims(&h), dims(&w));
        let (h, w, mut dw) = (Data::new(h), Data::new(w), owned(dw));
        let mut dh = vec![0.0; h_shape[0] * h_shape[1]];
        let into = if dims(&dw) == w_shape { Some(dw.storage_mut()) } else { None };
        let (h, w) = (h.as_slice(), w.as_slice());
        let loss = loss::linear_cross_entropy(h, w, h_shape[1], &targets, precision, Some(&mut dh), into);
        (scalar(loss), tensor(dh, h_shape), dw)
    }
}

/// Registers a gradient with a parent that wants one.
macro_rules! register {
    ($grads:expr, $parent:expr, $value:expr) => {
        if let Some(parent) = $parent {
            $grads.register::<Flex>(parent.id, $value);
        }
    };
}

#[derive(Debug)]
struct LinearBackward;
impl Backward<Flex, 2> for LinearBackward {
    type State = (FlexTensor, FlexTensor, Precision);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = Data::new(grads.consume::<Flex>(&ops.node));
        let (x, w, precision) = ops.state;
        let ([rows, inner], [outer, _]) = (dims(&x), dims(&w));
        let (x, w) = (Data::new(x), Data::new(w));
        let dy = Mat::new(dy.as_slice(), rows, outer);
        let [x_parent, w_parent] = ops.parents;
        if let Some(parent) = x_parent {
            let dx = product_in(precision, dy, Mat::new(w.as_slice(), outer, inner));
            grads.register::<Flex>(parent.id, tensor(dx, [rows, inner]));
        }
        if let Some(parent) = w_parent {
            let dw = product_in(precision, dy.t(), Mat::new(x.as_slice(), rows, inner));
            grads.register::<Flex>(parent.id, tensor(dw, [outer, inner]));
        }
    }
}

#[derive(Debug)]
struct AddBiasBackward;
impl Backward<Flex, 2> for AddBiasBackward {
    type State = usize;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let width = ops.state;
        let [y_parent, bias_parent] = ops.parents;
        if let Some(parent) = bias_parent {
            let sums = elementwise::column_sums(Data::new(dy.clone()).as_slice(), width);
            grads.register::<Flex>(parent.id, tensor(sums, [1, width]));
        }
        register!(grads, y_parent, dy);
    }
}

#[derive(Debug)]
struct RmsNormBackward;
impl Backward<Flex, 2> for RmsNormBackward {
    type State = (FlexTensor, FlexTensor, Vec<f32>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let mut dy = owned(grads.consume::<Flex>(&ops.node));
        let (x, w, scale) = ops.state;
        let w_shape = dims(&w);
        let (x, w) = (Data::new(x), Data::new(w));
        let dw = elementwise::rms_norm_backward(x.as_slice(), w.as_slice(), &scale, dy.storage_mut());
        let [x_parent, w_parent] = ops.parents;
        register!(grads, x_parent, dy);
        register!(grads, w_parent, tensor(dw, w_shape));
    }
}

#[derive(Debug)]
struct SwigluBackward;
impl Backward<Flex, 2> for SwigluBackward {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let mut dy = owned(grads.consume::<Flex>(&ops.node));
        let (mut gate, mut up) = (owned(ops.state.0), owned(ops.state.1));
        elementwise::swiglu_backward(gate.storage_mut(), up.storage_mut(), dy.storage_mut());
        let [gate_parent, up_parent] = ops.parents;
        register!(grads, gate_parent, gate);
        register!(grads, up_parent, up);
    }
}

/// Keeps gate and up, not their product: that is made again on the way.
#[derive(Debug)]
struct SwigluLinearBackward;
impl Backward<Flex, 3> for SwigluLinearBackward {
    type State = (FlexTensor, FlexTensor, FlexTensor, Precision);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = Data::new(grads.consume::<Flex>(&ops.node));
        let (gate, up, w, precision) = ops.state;
        let ([rows, inner], [outer, _]) = (dims(&gate), dims(&w));
        let dy = Mat::new(dy.as_slice(), rows, outer);
        let (mut gate, mut up, w) = (owned(gate), owned(up), Data::new(w));
        let mut product = product_in(precision, dy, Mat::new(w.as_slice(), outer, inner));
        elementwise::swiglu_backward(gate.storage_mut(), up.storage_mut(), &mut product);
        let [gate_parent, up_parent, w_parent] = ops.parents;
        register!(grads, gate_parent, gate);
        register!(grads, up_parent, up);
        if let Some(parent) = w_parent {
            let dw = product_in(precision, dy.t(), Mat::new(&product, rows, inner));
            grads.register::<Flex>(parent.id, tensor(dw, [outer, inner]));
        }
    }
}

#[derive(Debug)]
struct AttentionBackward;
impl Backward<Flex, 3> for AttentionBackward {
    type State = (Saved, FlexTensor, Heads, Precision, Arc<Packed>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = Data::new(grads.consume::<Flex>(&ops.node));
        let (saved, o, heads, precision, layout) = ops.state;
        let (rows, o) = (dims(&dout.0)[0], Data::new(o));
        let (dq, dk, dv) = attention::backward(&saved, o.as_slice(), dout.as_slice(), heads, precision, &layout);
        let [q_parent, k_parent, v_parent] = ops.parents;
        register!(grads, q_parent, tensor(dq, [rows, heads.query * heads.dim]));
        register!(grads, k_parent, tensor(dk, [rows, heads.key * heads.dim]));
        register!(grads, v_parent, tensor(dv, [rows, heads.key * heads.dim]));
    }
}

#[derive(Debug)]
struct SeedBackward;
impl Backward<Flex, 1> for SeedBackward {
    type State = FlexTensor;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        grads.consume::<Flex>(&ops.node);
        let [parent] = ops.parents;
        register!(grads, parent, ops.state);
    }
}

impl<S: CheckpointStrategy> FusedOps for Autodiff<Flex, S> {
    fn linear(x: FloatTensor<Self>, w: FloatTensor<Self>, precision: Precision) -> FloatTensor<Self> {
        let prepared = LinearBackward.prepare::<S>([x.node(), w.node()]).compute_bound().stateful();
        let (x, w) = (x.into_primitive(), w.into_primitive());
        match prepared {
            OpsKind::Tracked(p) => {
                let y = <Flex as FusedOps>::linear(x.clone(), w.clone(), precision);
                p.finish((x, w, precision), y)
            }
            OpsKind::UnTracked(p) => p.finish(<Flex as FusedOps>::linear(x, w, precision)),
        }
    }

    fn add_bias(y: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = AddBiasBackward.prepare::<S>([y.node(), bias.node()]).compute_bound().stateful();
        let (y, bias) = (y.into_primitive(), bias.into_primitive());
        let width = dims(&bias)[1];
        let y = <Flex as FusedOps>::add_bias(y, bias);
        match prepared {
            OpsKind::Tracked(p) => p.finish(width, y),
            OpsKind::UnTracked(p) => p.finish(y),
        }
    }

    fn rms_norm(x: FloatTensor<Self>, w: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        let prepared = RmsNormBackward.prepare::<S>([x.node(), w.node()]).compute_bound().stateful();
        let (x, w) = (Data::new(x.into_primitive()), Data::new(w.into_primitive()));
        let (y, scale) = elementwise::rms_norm(x.as_slice(), w.as_slice(), epsilon);
        let y = tensor(y, dims(&x.0));
        match prepared {
            OpsKind::Tracked(p) => p.finish((x.0, w.0, scale), y),
            OpsKind::UnTracked(p) => p.finish(y),
        }
    }

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = SwigluBackward.prepare::<S>([gate.node(), up.node()]).compute_bound().stateful();
        let (gate, up) = (gate.into_primitive(), up.into_primitive());
        let y = <Flex as FusedOps>::swiglu(gate.clone(), up.clone());
        match prepared {
            OpsKind::Tracked(p) => p.finish((gate, up), y),
            OpsKind::UnTracked(p) => p.finish(y),
        }
    }

    fn swiglu_linear(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        w: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let prepared = SwigluLinearBackward.prepare::<S>([gate.node(), up.node(), w.node()]);
        let prepared = prepared.compute_bound().stateful();
        let (gate, up, w) = (gate.into_primitive(), up.into_primitive(), w.into_primitive());
        match prepared {
            OpsKind::Tracked(p) => {
                let y = <Flex as FusedOps>::swiglu_linear(gate.clone(), up.clone(), w.clone(), precision);
                p.finish((gate, up, w, precision), y)
            }
            OpsKind::UnTracked(p) => p.finish(<Flex as FusedOps>::swiglu_linear(gate, up, w, precision)),
        }
    }

    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        heads: Heads,
        precision: Precision,
        layout: Arc<Packed>,
    ) -> FloatTensor<Self> {
        let prepared = AttentionBackward.prepare::<S>([q.node(), k.node(), v.node()]).compute_bound().stateful();
        let (q, k, v) = (q.into_primitive(), k.into_primitive(), v.into_primitive());
        let (o, saved) = attention_forward(q, k, v, heads, precision, &layout);
        match prepared {
            OpsKind::Tracked(p) => p.finish((saved, o.clone(), heads, precision, layout), o),
            OpsKind::UnTracked(p) => p.finish(o),
        }
    }

    fn vjp_root(y: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = SeedBackward.prepare::<S>([y.node()]).compute_bound().stateful();
        match prepared {
            OpsKind::Tracked(p) => p.finish(dy.into_primitive(), scalar(0.0)),
            OpsKind::UnTracked(p) => p.finish(scalar(0.0)),
        }
    }
}
