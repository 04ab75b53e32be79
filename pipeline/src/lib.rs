//! The recipe, the stages in order, the command line and the report. No SQL, no tensor, no HTTP of its own.

mod args;
mod cli;
mod commands;
mod console;
mod error;
mod layout;
mod pipeline;
mod recipe;
mod report;
mod run;
mod signals;
mod stages;

pub use cli::main;
