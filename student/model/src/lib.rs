//! The decoder on Burn, with its kernels, its adapters and its weight files.
//!
//! The crates of `student/` are the only ones that know Burn. Letters in shapes: N rows (tokens of all conversations, one
//! after another), D model width, V vocabulary; `query`, `key` and `dim` are query heads, key-value heads and head width.

#[cfg(test)]
#[path = "../../../tests/checked.rs"]
mod checked;
pub mod config;
pub mod decoder;
pub mod device;
mod error;
#[cfg(test)]
#[path = "../../../tests/golden.rs"]
#[expect(dead_code, reason = "tests of the other crates use the rest of it")]
mod golden;
pub mod kv_cache;
pub mod lora;
pub mod ops;
pub mod peft;
pub mod segments;
pub mod weights;

/// The name that `tests/golden.rs`, which is a module of other crates too, knows this crate by.
#[cfg(test)]
extern crate self as model;

pub use decoder::Model;
pub use error::{Error, Result};
