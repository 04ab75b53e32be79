//! What can be said of a text by itself and beside others: signals of broken reasoning, near duplicates, contamination.
//! Nothing here reads a file.

#[cfg(test)]
#[path = "../../../tests/checked.rs"]
mod checked;
pub mod contamination;
pub mod duplicates;
pub mod signals;
pub mod words;
