//! What a user's file may be: the files an input names, their rows, the formats of published datasets, imports, and
//! problems that are made up.

#[cfg(test)]
#[path = "../../../tests/checked.rs"]
mod checked;
pub mod files;
pub mod formats;
pub mod import;
pub mod problems;
pub mod prompts;
pub mod rows;
pub mod test_columns;
