//! A collection: all samples of some prompts. What its ledger lacks is taken over from other collections, the rest is
//! asked for, and all are written into Parquet.
//!
//! Whoever needs replies to prompts of their own reads them from the ledger instead ([`Collection::replies`]).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use records::record::{Prompt, PromptId, Trace, TraceId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::adopt::Runs;
use crate::ask::{Filled, Job, LEDGER_FILE, Progress, Request, blocking, fill, jobs, lock};
use crate::client::Endpoint;
use crate::ledger::Ledger;
use crate::to_parquet::{PartLimit, to_parquet};
use crate::{Error, Result};

/// What a complete collection came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectSummary {
    /// Traces written.
    pub traces: usize,
    /// Those of them that this run asked for; the others were in the ledger, or are adopted.
    pub new: usize,
    /// Those of them that other collections bought, in this run or an earlier one.
    pub adopted: usize,
    /// The folders of those collections, relative to the folder of runs, with the number from each.
    pub adopted_from: BTreeMap<String, usize>,
    /// Tokens of the prompts, over all traces that say.
    pub prompt_tokens: u64,
    /// Tokens written, over all traces that say.
    pub completion_tokens: u64,
    /// Seconds this run took.
    pub seconds: f64,
}

/// Every sample of every prompt, whose replies are in the ledger of one folder, which is locked for as long as this lives.
#[derive(Debug)]
pub struct Collection<'a> {
    request: &'a Request,
    jobs: Vec<Job<'a>>,
    /// Which of them have a reply.
    held: Vec<bool>,
    ledger: Arc<Mutex<Ledger>>,
    dir: PathBuf,
    /// Where something is claimed.
    claimed: Option<&'a Runs>,
    /// Replies that arrived.
    new: usize,
    notes: Vec<String>,
    start: Instant,
}

impl<'a> Collection<'a> {
    /// Opens the ledger of `dir`, or makes it, and takes over what other collections under `runs` have bought of what it
    /// lacks. Where some of that is known to be there and cannot be read, or is being asked for by another run, that is an
    /// error: it would be bought twice.
    pub fn open(prompts: &'a [Prompt], request: &'a Request, dir: &Path, runs: Option<&'a Runs>) -> Result<Self> {
        let start = Instant::now();
        let jobs = jobs(prompts, request)?;
        let limit = request.sampling.max_tokens;
        let mut ledger = Ledger::open(&dir.join(LEDGER_FILE))?;
        let mut held = ledger.has(jobs.iter().map(|job| &job.id), limit)?;
        let notes = match runs {
            Some(runs) => runs.adopt(&jobs, limit, &mut held, &mut ledger)?,
            None => Vec::new(),
        };
        let claimed = runs.filter(|_| held.contains(&false));
        let ledger = Arc::new(Mutex::new(ledger));
        Ok(Self { request, jobs, held, ledger, dir: dir.to_owned(), claimed, new: 0, notes, start })
    }

    /// What there is to say of other collections: those that cannot be read, an index that was made again.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How many replies there will be.
    pub fn total(&self) -> usize {
        self.jobs.len()
    }

    /// How many are to be asked for.
    pub fn missing(&self) -> usize {
        self.held.iter().filter(|&&held| !held).count()
    }

    /// Asks for what is missing. Returns the prompts that the endpoint refused, by id, with its words (too long for the
    /// model, turned down by a filter): asking again would not help them.
    ///
    /// When `stop` turns true nothing more is sent, replies in flight get a few seconds to arrive, and the error is
    /// [`Error::Stopped`]. Whatever the error, what arrived is kept, and a later collection asks for the rest only.
    pub async fn ask(
        &mut self,
        endpoint: &Endpoint,
        stop: &watch::Receiver<bool>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<HashMap<PromptId, String>> {
        let filled = self.fill(endpoint, stop, progress).await?;
        if filled.failed > filled.refused.len() {
            return Err(self.incomplete(filled));
        }
        Ok(filled.refused)
    }

    /// Asks as [`ask`](Self::ask) does, for replies to all of it: a refused one is a failed one.
    pub async fn ask_all(
        &mut self,
        endpoint: &Endpoint,
        stop: &watch::Receiver<bool>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<()> {
        let filled = self.fill(endpoint, stop, progress).await?;
        if filled.failed > 0 {
            return Err(self.incomplete(filled));
        }
        Ok(())
    }

    async fn fill(
        &mut self,
        endpoint: &Endpoint,
        stop: &watch::Receiver<bool>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Filled> {
        let filled = fill(&self.jobs, &self.held, self.request, endpoint, &self.ledger, stop, progress).await?;
        self.new += filled.new;
        let (ledger, limit) = (Arc::clone(&self.ledger), self.request.sampling.max_tokens);
        let ids = self.ids();
        self.held = blocking(move || lock(&ledger).has(&ids, limit)).await?;
        Ok(filled)
    }

    fn incomplete(&self, filled: Filled) -> Error {
        let kept = self.total() - filled.failed;
        Error::Incomplete { kept, failed: filled.failed, first_error: filled.first_error }
    }

    fn ids(&self) -> Vec<TraceId> {
        self.jobs.iter().map(|job| job.id.clone()).collect()
    }

    /// Writes all replies to Parquet files in the folder.
    pub fn to_parquet(&self) -> Result<CollectSummary> {
        let ledger = lock(&self.ledger);
        let written =
            to_parquet(&ledger, &self.ids(), self.request.sampling.max_tokens, &self.dir, PartLimit::default())?;
        drop(ledger);
        let adopted_from = self.adopted_from()?;
        Ok(CollectSummary {
            traces: written.traces,
            new: self.new,
            adopted: adopted_from.values().sum(),
            adopted_from,
            prompt_tokens: written.prompt_tokens,
            completion_tokens: written.completion_tokens,
            seconds: self.start.elapsed().as_secs_f64(),
        })
    }

    /// From which other collections replies came, with their number.
    pub fn adopted_from(&self) -> Result<BTreeMap<String, usize>> {
        lock(&self.ledger).origins(self.jobs.iter().map(|job| &job.id), self.request.sampling.max_tokens)
    }

    /// The replies, in the order of the prompts and their samples; a prompt that is listed twice counts once.
    pub fn replies(&self) -> Result<Vec<Option<Trace>>> {
        let mut found = Vec::with_capacity(self.jobs.len());
        lock(&self.ledger).visit(&self.ids(), self.request.sampling.max_tokens, |_, trace| {
            found.push(trace);
            Ok(())
        })?;
        Ok(found)
    }
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        if let Some(runs) = self.claimed {
            // Were it to fail: a claim counts only while the ledger is locked, and the next collection enters the replies.
            let _ = runs.settle(&self.dir.join(LEDGER_FILE));
        }
    }
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
