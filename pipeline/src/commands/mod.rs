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

/// Memory of the key-value cache unless told otherwise, in MiB.
pub(crate) const CACHE_MIB: u64 = 1024;

pub(crate) fn cache_bytes(mib: u64) -> u64 {
    mib.saturating_mul(1 << 20)
}

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

/// A runtime for what waits on the network.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("cannot start the runtime: {e}")))
}
