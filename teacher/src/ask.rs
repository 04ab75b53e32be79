//! The asking loop: what a ledger lacks is asked for, with a bounded number of requests in flight.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt, stream};
use records::record::{Prompt, PromptId, Sampling, Trace, TraceId, short_hash};
use records::think;
use tokio::sync::watch;

use crate::client::{Endpoint, OpenAiClient};
use crate::ledger::Ledger;
use crate::retry::{Cause, Failure, Gate, with_retries};
use crate::wire::ChatRequest;
use crate::{Error, Result};

/// The ledger's name within a collection's folder.
pub const LEDGER_FILE: &str = "ledger.sqlite";

/// The most replies in one commit: groups of 32 cost one sync and not 32 (measured: 15 times the throughput).
pub(crate) const GROUP: usize = 32;

/// So many failures with no success between them mean that the endpoint is down, not that some prompts are odd.
pub(crate) const MAX_CONSECUTIVE_FAILURES: usize = 20;

/// What decides the traces: all of it is part of their identity, except the token limit, under which a text is the same
/// but for where it is cut off.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The teacher's name as recorded in the traces, whatever the endpoint calls it.
    pub teacher: String,
    /// Appended to each question after a blank line; may be empty. It is no system prompt, which R1 should not have (its
    /// model card, "Usage Recommendations"); one is sent where the problem itself has one.
    pub instruction: String,
    /// Traces per prompt.
    pub samples: u32,
    /// How they are sampled.
    pub sampling: Sampling,
    /// From which each request's own seed is derived.
    pub seed: u64,
}

/// How far a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Traces in the ledger, those of earlier runs included.
    pub done: usize,
    /// Traces asked for.
    pub total: usize,
    /// Tokens the teacher wrote in this run.
    pub completion_tokens: u64,
    /// Requests that failed after all attempts.
    pub failed: usize,
}

/// One sample of one prompt.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) id: TraceId,
    prompt: &'a Prompt,
    sample: u32,
}

/// What came of asking.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    /// Replies that arrived.
    pub(crate) new: usize,
    /// Requests that brought none.
    pub(crate) failed: usize,
    /// Why, of the first of them.
    pub(crate) first_error: String,
    /// Those of them that the endpoint refused, with its words, by the prompts' ids.
    pub(crate) refused: HashMap<PromptId, String>,
}

/// Asks for the jobs that are not held, and commits the replies to the ledger. An error means that not all of them were
/// asked.
pub(crate) async fn fill(
    jobs: &[Job<'_>],
    held: &[bool],
    request: &Request,
    endpoint: &Endpoint,
    ledger: &Arc<Mutex<Ledger>>,
    stop: &watch::Receiver<bool>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Filled> {
    let client = OpenAiClient::new(endpoint)?;
    let missing: Vec<usize> = (0..jobs.len()).filter(|&n| !held[n]).collect();
    let mut tally = Tally::new(jobs.len(), missing.len());
    progress(tally.progress);

    let gate = Gate::new(stop);
    {
        let (client, gate) = (&client, &gate);
        let requests = missing.into_iter().take_while(|_| gate.is_open()).map(|n| async move {
            let outcome = ask_one(client, request, endpoint, &jobs[n], gate).await;
            (&jobs[n], outcome)
        });
        let replies = stream::iter(requests)
            .buffer_unordered(endpoint.concurrency)
            // Whatever arrived while the last group was being committed makes up the next one.
            .ready_chunks(GROUP)
            .take_until(gate.stopped_for(endpoint.waits.grace));
        let mut replies = pin!(replies);
        while let Some(group) = replies.next().await {
            let traces = tally.sort(group, gate);
            if !traces.is_empty() {
                let tokens = traces.iter().map(|trace| u64::from(trace.completion_tokens.unwrap_or(0))).sum();
                let count = traces.len();
                let ledger = Arc::clone(ledger);
                blocking(move || lock(&ledger).insert(&traces)).await?;
                // Only now: a reply counts when it is durable.
                tally.commit(count, tokens);
            }
            progress(tally.progress);
        }
    }
    tally.finish(endpoint, &gate)
}

/// The ledger, also after a panic elsewhere: SQLite keeps its file whole.
pub(crate) fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All that the request wants, in the order of the prompts; a prompt that is listed twice counts once.
pub(crate) fn jobs<'a>(prompts: &'a [Prompt], request: &Request) -> Result<Vec<Job<'a>>> {
    if prompts.is_empty() {
        return Err(records::Error::invalid("prompts", "there are none", "check the source and its filters").into());
    }
    if request.samples == 0 {
        return Err(
            records::Error::invalid("samples", "0 traces per prompt are asked for", "set it to 1 or more").into()
        );
    }
    let mut seen = HashSet::new();
    let distinct = prompts.iter().filter(|prompt| seen.insert(&prompt.id));
    let jobs = distinct.flat_map(|prompt| {
        (0..request.samples).map(move |sample| {
            let Request { teacher, instruction, sampling, seed, .. } = request;
            let id = TraceId::of(&prompt.id, teacher, instruction, *sampling, *seed, sample);
            Job { id, prompt, sample }
        })
    });
    Ok(jobs.collect())
}

/// The seed of one request: from its identity, so that it never depends on who asks when. It has 31 bits, which every
/// server's seed field takes.
pub(crate) fn request_seed(id: &TraceId) -> u64 {
    let hash = short_hash(id.as_str().as_bytes());
    hash.chars().filter_map(|digit| digit.to_digit(16)).fold(0, |n, digit| (n << 4 | u64::from(digit)) & 0x7fff_ffff)
}

/// Asks for one sample until it is there or has failed for good.
async fn ask_one(
    client: &OpenAiClient<'_>,
    request: &Request,
    endpoint: &Endpoint,
    job: &Job<'_>,
    gate: &Gate,
) -> std::result::Result<Trace, Failure> {
    let Sampling { temperature, top_p, max_tokens } = request.sampling;
    let seed = request_seed(&job.id);
    let body = ChatRequest {
        model: &endpoint.model,
        messages: job.prompt.messages(&request.instruction),
        temperature,
        top_p,
        max_tokens,
        seed,
    };
    let reply = with_retries(endpoint.waits, endpoint.max_attempts, gate, || client.chat(&body)).await?;
    let (thinking, answer) = think::split(reply.reasoning.as_deref(), &reply.content);
    Ok(Trace::new(job.id.clone(), job.prompt.id.clone(), &request.teacher, job.sample)
        .with_text(thinking, answer, reply.finish_reason)
        .with_tokens(reply.prompt_tokens, reply.completion_tokens)
        .with_sampling(request.sampling, Some(seed)))
}

/// What has come of the requests so far.
struct Tally {
    progress: Progress,
    filled: Filled,
    consecutive_failures: usize,
    /// The failure that closed the gate.
    fatal: Option<String>,
}

impl Tally {
    fn new(total: usize, missing: usize) -> Self {
        let progress = Progress { done: total - missing, total, completion_tokens: 0, failed: 0 };
        Self { progress, filled: Filled::default(), consecutive_failures: 0, fatal: None }
    }

    /// Takes the failures in, gives the traces back, and closes the gate if going on is pointless.
    fn sort(&mut self, group: Vec<(&Job<'_>, std::result::Result<Trace, Failure>)>, gate: &Gate) -> Vec<Trace> {
        let mut traces = Vec::new();
        for (job, outcome) in group {
            match outcome {
                Ok(trace) => {
                    self.consecutive_failures = 0;
                    traces.push(trace);
                }
                Err(failure) if failure.cause == Cause::Closed => {}
                Err(failure) => self.fail(job, failure, gate),
            }
        }
        traces
    }

    fn fail(&mut self, job: &Job<'_>, failure: Failure, gate: &Gate) {
        let message = format!("prompt {} sample {}: {}", job.prompt.id, job.sample, failure.message);
        self.progress.failed += 1;
        self.consecutive_failures += 1;
        let down = self.consecutive_failures > MAX_CONSECUTIVE_FAILURES;
        if self.fatal.is_none() && (down || failure.cause == Cause::Endpoint) {
            let count = if down { "too many failures in a row, at last " } else { "" };
            self.fatal = Some(format!("{count}{message}"));
            gate.halt();
        }
        if self.filled.failed == 0 {
            self.filled.first_error = message;
        }
        self.filled.failed += 1;
        if failure.cause == Cause::Request {
            self.filled.refused.insert(job.prompt.id.clone(), failure.message);
        }
    }

    fn commit(&mut self, traces: usize, tokens: u64) {
        self.filled.new += traces;
        self.progress.done += traces;
        self.progress.completion_tokens += tokens;
    }

    /// What came, if all was asked for.
    fn finish(self, endpoint: &Endpoint, gate: &Gate) -> Result<Filled> {
        let Progress { done: kept, total, .. } = self.progress;
        if kept == total {
            return Ok(self.filled);
        }
        if let Some(problem) = self.fatal {
            return Err(Error::GaveUp { url: endpoint.base_url.clone(), problem, kept, total });
        }
        if !gate.is_open() {
            return Err(Error::Stopped { kept, total });
        }
        Ok(self.filled)
    }
}

/// Runs file work off the threads that drive the requests.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and drops this future with it.
            Err(_) => pending().await,
        },
    }
}
