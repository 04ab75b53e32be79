//! The student: its Burn model, the trainer, the engine that samples from it, evaluation, export and the server.
//!
//! This is the only crate that knows Burn. Letters in shapes: N rows (tokens of all conversations, one after another),
//! D model width, V vocabulary; `query`, `key` and `dim` are query heads, key-value heads and head width.

pub mod base;
mod cache;
#[cfg(test)]
#[path = "../../tests/checked.rs"]
mod checked;
mod checkpoint;
pub mod config;
pub mod device;
pub mod engine;
mod error;
pub mod evaluate;
pub mod export;
#[cfg(test)]
mod golden;
mod layout;
pub mod lora;
mod model;
mod ops;
pub mod optimizer;
mod sampler;
pub mod serve;
pub mod train;
mod weights;

pub use error::{Error, Result};
pub use model::Model;
