//! The rules: each group of them judges traces, and what it found is kept for later runs.

pub(crate) mod cache;
pub(crate) mod duplicates;
pub(crate) mod groups;
pub(crate) mod programs;
