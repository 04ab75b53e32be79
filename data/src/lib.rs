//! Records, Parquet, SQL, verification and packing: the data side of r1-distill.
//!
//! This is the only crate that knows DataFusion. See [`record`] for the chain of types.

pub mod artifact;
pub mod chat;
#[cfg(test)]
#[path = "../../tests/checked.rs"]
mod checked;
pub mod code;
pub mod contamination;
pub mod curate;
pub mod dataset;
pub mod disk;
pub mod duplicates;
mod error;
pub mod fidelity;
pub mod files;
mod guard;
pub mod hub;
pub mod import;
pub mod inspect;
pub mod pack;
pub mod parquet_file;
pub mod problems;
pub mod prompts;
pub mod record;
mod rows;
pub mod sandbox;
pub mod signals;
#[cfg(test)]
#[path = "../../tests/skipped.rs"]
mod skipped;
pub mod sql;
pub mod template;
pub mod think;
pub mod tokenizer;
pub mod verify;
mod words;

pub use error::{Error, Mistake, Result};
