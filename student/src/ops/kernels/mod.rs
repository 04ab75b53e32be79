//! Plain-slice kernels behind the fused operations on the processor.
//!
//! All of them give the same bits whatever the number of threads: work is cut at fixed places and partial sums are
//! added in order. All loops run in the widest vector unit the processor has, chosen at run time.

pub(crate) mod attention;
mod bf16;
pub(crate) mod elementwise;
pub(crate) mod gemm;
pub(crate) mod loss;
mod tiles;

/// Runs a loop that is compiled for the widest vector unit this processor has. Mark the closure `#[inline(always)]`: what
/// is not inlined is compiled for the oldest processor.
#[inline(always)]
fn widest<R>(body: impl FnMut() -> R) -> R {
    struct Body<F>(F);
    impl<R, F: FnMut() -> R> pulp::WithSimd for Body<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(mut self, _: S) -> R {
            // A closure called by reference is its body; called by value it goes through a shim that is not inlined.
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Body(body))
}
