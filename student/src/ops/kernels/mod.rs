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

use std::mem::MaybeUninit;

/// Memory for numbers that is not cleared first: clearing takes as long as many of these kernels, and on one thread.
struct Unwritten {
    numbers: Vec<f32>,
    len: usize,
}

impl Unwritten {
    fn new(len: usize) -> Self {
        let mut numbers = Vec::with_capacity(len);
        // What a kernel forgets to write must not look right by chance.
        if cfg!(test) {
            numbers.resize(len, f32::NAN);
            numbers.clear();
        }
        Self { numbers, len }
    }

    fn numbers(&mut self) -> &mut [MaybeUninit<f32>] {
        &mut self.numbers.spare_capacity_mut()[..self.len]
    }

    /// The numbers, all of which have been written.
    fn written(mut self) -> Vec<f32> {
        #[expect(unsafe_code, reason = "whoever calls has written them")]
        unsafe {
            self.numbers.set_len(self.len);
        }
        self.numbers
    }
}

/// Zeroes a part of such memory.
fn zeroed(part: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    for x in part.iter_mut() {
        x.write(0.0);
    }
    #[expect(unsafe_code, reason = "all of it was written")]
    unsafe {
        part.assume_init_mut()
    }
}

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
