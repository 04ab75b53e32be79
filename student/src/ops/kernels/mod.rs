//! Plain-slice kernels behind the fused operations on the processor.
//!
//! All of them give the same bits whatever the number of threads: work is cut at fixed places and partial sums are
//! added in order. All loops run in the widest vector unit the processor has, chosen at run time.

pub(crate) mod attention;
mod bf16;
pub(crate) mod elementwise;
pub(crate) mod gemm;
pub(crate) mod loss;
