//! `r1-distill`: parse, run, turn a failure into a message and an exit code.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// mimalloc's `mi_option_purge_delay`.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

fn main() -> ExitCode {
    // Freed memory is kept for a second before it is given back: training frees and takes the same gigabyte many
    // times a second, and the kernel would clear it every time. A variable of the user's goes first.
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        #[expect(unsafe_code, reason = "a C function that sets a number")]
        unsafe {
            libmimalloc_sys::mi_option_set(PURGE_DELAY, 1000);
        }
    }
    pipeline::main()
}
