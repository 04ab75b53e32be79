//! Loss and gradients of one pass, block by block.
//!
//! Every block is an autodiff graph of its own, cut off at its input. What a graph keeps for its backward pass is either
//! held from the forward pass on, or, to save memory, computed again when its turn comes (Chen et al. 2016, arXiv
//! 1604.06174): then only the blocks' inputs are held. Both give the same bits. A block's gradients are added up, and its
//! graph is gone, before the next block's turn.

use burn::tensor::Tensor;
use model::decoder::{EMBED_TOKENS, Model, NORM};
use model::lora::Noise;
use model::ops;

use crate::batch::Pass;
use crate::optimizer::Accumulated;

/// Adds the gradients of a pass to `gradients` and returns its loss: the summed cross-entropy times the targets' scale.
/// A loss that is not finite is returned before anything is added. `spare` is memory for the gradient of the output
/// projection, which is the largest.
pub(crate) fn add_gradients(
    model: &mut Model,
    pass: &Pass,
    gradients: &mut Accumulated,
    spare: &mut Option<Tensor<2>>,
) -> f64 {
    let (mut blocks, x) = forward(model, pass);
    let x = Tensor::from_inner(x).require_grad();
    let hidden = ops::rms_norm(x.clone(), model.norm.clone(), model.config.rms_norm_eps);
    let head = model.head();
    let trained = head.is_require_grad();
    let head = head.inner();
    let memory = trained.then(|| spare.take().unwrap_or_else(|| head.zeros_like()));
    let inner = hidden.clone().inner();
    let (value, dhidden, dhead) = ops::cross_entropy_gradients(inner, head, &pass.targets, model.precision, memory);
    if !value.is_finite() {
        return value;
    }
    let mut found = ops::vjp_root(hidden, dhidden).backward();
    gradients.take([(NORM.to_owned(), &mut model.norm)], &mut found);
    if let Some(dhead) = dhead {
        gradients.insert(model.head_name().to_owned(), dhead);
    }
    let Some(mut dx) = x.grad_remove(&mut found) else { return value };
    drop(found);
    for layer in (0..model.layers.len()).rev() {
        let Some(BlockGraph { input, output }) = blocks.pop() else { break };
        let output = output.unwrap_or_else(|| block(model, layer, input.clone(), pass));
        let mut found = ops::vjp_root(output, dx).backward();
        gradients.take(model.layers[layer].trainable_mut(layer), &mut found);
        let Some(next) = input.grad_remove(&mut found) else { return value };
        dx = next;
    }
    if model.embed_tokens.is_require_grad() {
        gradients.add_rows(EMBED_TOKENS, &model.embed_tokens, &pass.ids, dx);
    }
    value
}

/// A block between its forward and its backward pass.
struct BlockGraph {
    /// Where its graph begins.
    input: Tensor<2>,
    /// Where it ends; `None` if it is to be computed again.
    output: Option<Tensor<2>>,
}

/// All blocks; returns what they keep and the last one's output, untracked.
fn forward(model: &Model, pass: &Pass) -> (Vec<BlockGraph>, Tensor<2>) {
    let untracked = model.recompute.then(|| model.clone().tracked(false));
    let mut blocks = Vec::with_capacity(model.layers.len());
    let mut x = model.embed(&pass.ids).inner();
    for layer in 0..model.layers.len() {
        // Below the first block there is only the embedding: where that is not trained, no gradient need reach it.
        let input = Tensor::from_inner(x.clone());
        let input = if layer > 0 || model.embed_tokens.is_require_grad() { input.require_grad() } else { input };
        let output = if let Some(untracked) = &untracked {
            x = block(untracked, layer, x, pass);
            None
        } else {
            let output = block(model, layer, input.clone(), pass);
            x = output.clone().inner();
            Some(output)
        };
        blocks.push(BlockGraph { input, output });
    }
    (blocks, x)
}

fn block(model: &Model, layer: usize, x: Tensor<2>, pass: &Pass) -> Tensor<2> {
    let noise = Noise { layer: layer as u32, ..pass.noise };
    model.layers[layer].forward(x, &model.config, model.precision, Some(noise), |q, k, v, heads| {
        ops::attention(q, k, v, heads, model.precision, &pass.layout)
    })
}
