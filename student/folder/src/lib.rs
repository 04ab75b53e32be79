//! A student's folder: the base that a training starts from, and the Hugging Face model or PEFT adapter that comes of it.

mod adapter;
pub mod base;
#[cfg(test)]
#[path = "../../../tests/checked.rs"]
mod checked;
pub mod export;
mod probe;

pub use adapter::{AdapterSummary, export_adapter};
