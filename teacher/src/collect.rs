//! A collection: every sample of every prompt is asked for, then all are sealed into Parquet.

use std::path::Path;
use std::time::Instant;

use data::record::Prompt;
use serde::Serialize;
use tokio::sync::watch;

use crate::ask::{LEDGER_FILE, Progress, Request, blocking, fill, jobs};
use crate::client::Endpoint;
use crate::ledger::Ledger;
use crate::seal::{PartLimit, seal};
use crate::{Error, Result};

/// What a complete collection came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CollectSummary {
    /// Traces sealed.
    pub traces: usize,
    /// Those of them that this run asked for; the others were in the ledger.
    pub new: usize,
    /// Tokens of the prompts, over all traces that say.
    pub prompt_tokens: u64,
    /// Tokens written, over all traces that say.
    pub completion_tokens: u64,
    /// Seconds this run took.
    pub seconds: f64,
}

/// Asks for every sample of every prompt that `dir`'s ledger does not hold, then seals all into Parquet files in `dir`.
///
/// When `stop` turns true nothing more is sent, replies in flight get a few seconds to arrive, and the error is
/// [`Error::Stopped`]. Whatever the error, what arrived is kept, and calling again asks for the rest only.
pub async fn collect(
    prompts: &[Prompt],
    request: &Request,
    endpoint: &Endpoint,
    dir: &Path,
    stop: &watch::Receiver<bool>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<CollectSummary> {
    let start = Instant::now();
    let jobs = jobs(prompts, request)?;
    let (ledger, filled) = fill(&jobs, request, endpoint, dir, stop, progress).await?;
    if filled.failed > 0 {
        let kept = jobs.len() - filled.failed;
        return Err(Error::Incomplete { kept, failed: filled.failed, first_error: filled.first_error });
    }
    let ids: Vec<String> = jobs.into_iter().map(|job| job.id).collect();
    let folder = dir.to_owned();
    let sealed = blocking(move || seal(&ledger, &ids, &folder, PartLimit::default())).await?;
    Ok(CollectSummary {
        traces: sealed.traces,
        new: filled.new,
        prompt_tokens: sealed.prompt_tokens,
        completion_tokens: sealed.completion_tokens,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Copies the traces this request wants from the ledger of another collection into that of `dir`, so that a changed
/// recipe does not buy them again. Returns how many; 0 if the other folder has no ledger.
pub fn adopt(prompts: &[Prompt], request: &Request, from: &Path, dir: &Path) -> Result<usize> {
    let other = from.join(LEDGER_FILE);
    if !other.exists() {
        return Ok(0);
    }
    let jobs = jobs(prompts, request)?;
    Ledger::open(&dir.join(LEDGER_FILE))?.adopt(&other, jobs.iter().map(|job| job.id.as_str()))
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
