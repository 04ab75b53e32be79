//! What a student writes: the engine that samples from it, its evaluation, and the server in front of it.

#[cfg(test)]
#[path = "../../../tests/checked.rs"]
mod checked;
pub mod engine;
mod error;
pub mod evaluate;
#[cfg(test)]
#[path = "../../../tests/golden.rs"]
#[expect(dead_code, reason = "tests of the other crates use the rest of it")]
mod golden;
mod sampler;
pub mod serve;

pub use error::{Error, Result};
