#![no_main]

#[expect(dead_code, reason = "each target calls one of them")]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Whether it can be read is not the question.
    entries::rows(bytes);
});
