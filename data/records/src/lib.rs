//! The records that flow through the pipeline, the files they are kept in, and what can go wrong with those. See [`record`]
//! for the chain of types.

pub mod artifact;
#[cfg(test)]
#[path = "../../../tests/checked.rs"]
mod checked;
pub mod content;
pub mod disk;
mod error;
pub mod panics;
pub mod parquet_file;
pub mod record;
pub mod test_spec;
pub mod think;

pub use error::{BoxError, Error, Mistake, Result};
