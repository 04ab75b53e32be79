//! The subcommands, one file each.

pub(crate) mod dataset;
pub(crate) mod generate;
pub(crate) mod init;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod seeds;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod sql;
pub(crate) mod tokens;

use std::io::Write;

use crate::error::{Failure, Result};

/// Writes a result to stdout.
pub(crate) fn print(text: &str) -> Result<()> {
    written(writeln!(std::io::stdout().lock(), "{text}"))
}

/// What came of writing to stdout. A reader that went away (as `head` does) is no failure.
pub(crate) fn written(outcome: std::io::Result<()>) -> Result<()> {
    match outcome {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write to stdout: {e}")))
        }
        _ => Ok(()),
    }
}
