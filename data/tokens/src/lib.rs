//! From conversations to token rows: tokenizer, chat template, packing, and the checks that nothing is lost on the way.

pub mod chat;
#[cfg(test)]
#[path = "../../../tests/checked.rs"]
mod checked;
pub mod fidelity;
pub mod pack;
pub mod template;
pub mod tokenizer;
