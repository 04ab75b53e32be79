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
use crate::run::Stop;

/// Writes a result to stdout. A reader that went away (as `head` does) is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
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

/// The first Ctrl-C asks to stop; the second ends the process at once.
pub(crate) fn stop_on_ctrl_c(runtime: &tokio::runtime::Runtime, stop: &Stop) {
    let stop = stop.clone();
    runtime.spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if stop.asked() {
                crate::console::say("stopped: at once; the last checkpoint and all collected traces are kept");
                #[expect(clippy::exit, reason = "the user asked a second time")]
                std::process::exit(crate::error::Exit::Interrupted as i32);
            }
            crate::console::say("stopping: saving what is done (at most some seconds; Ctrl-C again stops at once)");
            stop.ask();
        }
    });
}
