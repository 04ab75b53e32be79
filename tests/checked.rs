//! That `.ci/run` tests the project's own crates with their checks on: `debug_assert!` and overflow. The tests of each crate
//! have this file as a module.

use std::hint::black_box;

/// `.ci/run` sets `R1D_CHECKED` beside what switches the checks on; without it the tests may run as the profile says.
#[test]
fn checks_are_on_where_they_are_asked_for() {
    let overflows = std::panic::catch_unwind(|| black_box(u8::MAX) + black_box(1)).is_err();
    let asserts = std::panic::catch_unwind(|| debug_assert!(black_box(false))).is_err();
    let asked = std::env::var_os("R1D_CHECKED").is_some();
    assert!(!asked || (overflows && asserts), "overflow panics: {overflows}, debug_assert! does: {asserts}");
}
