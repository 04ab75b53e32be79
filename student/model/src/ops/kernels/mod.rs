//! Plain-slice kernels behind the fused operations on the processor.
//!
//! All of them give the same bits whatever the number of threads: work is cut at fixed places and partial sums are
//! added in order. All loops run in the widest vector unit the processor has, chosen at run time.

pub(crate) mod attention;
mod bf16;
pub(crate) mod elementwise;
mod gemm;
pub(crate) mod loss;
pub(crate) mod product;
mod tiles;
pub(crate) mod views;

use std::mem::MaybeUninit;

/// Whether it is checked that all numbers are written. Not where it costs: memory is then written twice and read once more.
const CHECKED: bool = cfg!(any(test, debug_assertions));
/// The bits of a NaN that no computation makes of others.
const NOT_WRITTEN: u32 = 0x7fe5_a5a5;

/// Memory for numbers that is not cleared first: clearing takes as long as many of these kernels, and on one thread.
struct Unwritten {
    numbers: Vec<f32>,
    len: usize,
}

impl Unwritten {
    fn new(len: usize) -> Self {
        let mut numbers = Vec::with_capacity(len);
        // What a kernel forgets to write must not look right by chance.
        if CHECKED {
            numbers.resize(len, f32::from_bits(NOT_WRITTEN));
            numbers.clear();
        }
        Self { numbers, len }
    }

    fn numbers(&mut self) -> &mut [MaybeUninit<f32>] {
        &mut self.numbers.spare_capacity_mut()[..self.len]
    }

    /// The numbers.
    ///
    /// # Safety
    /// All of [`Self::numbers`] have been written.
    #[expect(unsafe_code, reason = "types do not show what a kernel wrote")]
    unsafe fn written(mut self) -> Vec<f32> {
        // SAFETY: the vector has room for `len` numbers, and as this function's all of them have been written.
        unsafe {
            self.numbers.set_len(self.len);
        }
        if CHECKED {
            let left_out = self.numbers.iter().filter(|x| x.to_bits() == NOT_WRITTEN).count();
            assert_eq!(left_out, 0, "numbers that a kernel left out, of {}", self.len);
        }
        self.numbers
    }
}

/// Zeroes a part of such memory.
fn zeroed(part: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    for x in part.iter_mut() {
        x.write(0.0);
    }
    // SAFETY: all of it has just been written.
    #[expect(unsafe_code, reason = "the library has no such function")]
    unsafe {
        part.assume_init_mut()
    }
}

/// Runs a loop that is compiled for the widest vector unit this processor has. Mark the closure `#[inline(always)]`: what
/// is not inlined is compiled for the oldest processor.
#[inline(always)]
fn max_width<R>(body: impl FnMut() -> R) -> R {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "numbers that a kernel left out, of 3")]
    fn what_a_kernel_leaves_out_is_noticed() {
        let mut numbers = Unwritten::new(3);
        zeroed(&mut numbers.numbers()[..2]);
        // SAFETY: the third number was written when memory was taken, in tests: it is what must be noticed.
        #[expect(unsafe_code, reason = "breaks the contract as a wrong kernel would")]
        unsafe {
            numbers.written();
        }
    }
}
