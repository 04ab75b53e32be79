//! Tensors are handles to shared numbers; an operation changes numbers in place only where its handle is the last one.

use burn::tensor::{Device, Tensor};

/// Takes a tensor out, so that it can be changed in place.
pub fn take(tensor: &mut Tensor<2>) -> Tensor<2> {
    let stand_in = placeholder(&tensor.device());
    std::mem::replace(tensor, stand_in)
}

/// Stands in for a tensor that is taken out.
pub fn placeholder(device: &Device) -> Tensor<2> {
    Tensor::empty([1, 1], device)
}
