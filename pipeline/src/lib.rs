//! The recipe, the stages in order, the command line and the report. No SQL, no tensor, no HTTP of its own.

mod cli;
mod commands;
mod console;
mod error;
mod fetch;
mod layout;
mod options;
mod plan;
mod recipe;
mod report;
mod run;
mod seeds;
mod signals;
mod stages;
mod store;

pub use cli::main;
