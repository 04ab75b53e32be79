//! Sampling from a model: continuous batching over a key-value cache, on a thread of its own.
//!
//! Requests join as slots become free and leave when they end, as in Orca (Yu et al. 2022). What a request gets depends
//! on the request alone: products of two and more rows have the same bits whatever the other rows are, attention is
//! per sequence, and every request draws from its own seeded generator. So the batch is never a single row.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use model::Model;
use model::config::ModelConfig;
use model::kv_cache::KvCache;
use model::segments::{Extension, Group};
use model::weights::numbers;
use records::record::{FinishReason, Sampling};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::sampler::Sampler;
use crate::{Error, Result};

/// Prompt rows that one step may add to the decoding ones: bounds the memory of a step.
const PREFILL_ROWS: usize = 2048;

/// What an engine may hold at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most tokens of prompt and completion together; cut to what the model holds.
    pub context: usize,
    /// Most sequences decoded together; lowered to as many as the cache holds.
    pub batch: usize,
    /// Most memory of the key-value cache, bytes.
    pub cache_bytes: u64,
}

impl Limits {
    /// Context and sequences as they come to be for a model; refused if the cache does not hold a single sequence.
    pub fn fit(self, config: &ModelConfig) -> Result<(usize, usize)> {
        const MIB: u64 = 1 << 20;
        let context = self.context.min(config.max_position_embeddings);
        let token = KvCache::bytes_per_token(config).max(1);
        // One token is the padding row's.
        let tokens = (self.cache_bytes / token).saturating_sub(1);
        let slots = tokens / (context as u64).max(1);
        if slots == 0 {
            let needed = (context as u64 + 1).saturating_mul(token).div_ceil(MIB);
            let problem = format!(
                "one sequence of {context} tokens takes {needed} MiB, and the cache may have {} MiB",
                self.cache_bytes / MIB
            );
            let remedy = match tokens {
                0..2 => format!("allow it {needed} MiB with --cache-mib"),
                _ => format!("allow it {needed} MiB with --cache-mib, or ask for sequences of at most {tokens} tokens"),
            };
            return Err(Error::invalid("key-value cache", problem, remedy));
        }
        Ok((context, usize::try_from(slots).unwrap_or(usize::MAX).min(self.batch.max(1))))
    }
}

/// A prompt to continue.
#[derive(Debug, Clone)]
pub struct Request {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// How to sample; `max_tokens` counts new tokens.
    pub sampling: Sampling,
    /// Seed of this request's draws.
    pub seed: u64,
}

/// What comes back, in order: tokens, then one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The next token. The token that ends the text is not sent.
    Token(u32),
    /// The completion ended.
    Finished(FinishReason),
}

/// A whole completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// New tokens, without the one that ended it.
    pub token_ids: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// A running engine. Dropping it ends its thread after the work in progress.
#[derive(Debug)]
pub struct Engine {
    queue: Option<Sender<(Request, UnboundedSender<Event>)>>,
    thread: Option<JoinHandle<()>>,
    context: usize,
    slots: usize,
    vocab: usize,
}

impl Engine {
    /// Starts an engine. `stops` are the token ids that end a completion. Refused where the cache that `limits` allow holds
    /// no sequence of the context.
    pub fn start(model: Model, stops: Vec<u32>, limits: Limits) -> Result<Self> {
        let (context, slots) = limits.fit(&model.config)?;
        let vocab = model.config.vocab_size;
        let (queue, requests) = channel();
        let thread = std::thread::spawn(move || Scheduler::new(model, stops, context, slots, requests).run());
        Ok(Self { queue: Some(queue), thread: Some(thread), context, slots, vocab })
    }

    /// So many sequences are decoded together at most.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Prompt and completion together may have this many tokens.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Queues a request; events arrive on the receiver. Dropping the receiver cancels it.
    pub fn submit(&self, request: Request) -> Result<UnboundedReceiver<Event>> {
        let length = request.prompt.len();
        if length == 0 || length >= self.context {
            return Err(Error::invalid(
                "prompt",
                format!("it has {length} tokens, the context is {}", self.context),
                "shorten it",
            ));
        }
        if let Some(id) = request.prompt.iter().find(|id| **id as usize >= self.vocab) {
            let problem = format!("token id {id} is outside the vocabulary of {}", self.vocab);
            return Err(Error::invalid("prompt", problem, "use the tokenizer that belongs to this model"));
        }
        let (sender, receiver) = unbounded_channel();
        self.queue.as_ref().ok_or(Error::EngineEnded)?.send((request, sender)).map_err(|_| Error::EngineEnded)?;
        Ok(receiver)
    }

    /// Completes all requests, in their order. Blocks. `progress` is called after each with how many are done; it
    /// returns `false` to stop early.
    pub fn complete(&self, requests: Vec<Request>, progress: &dyn Fn(usize) -> bool) -> Result<Vec<Completion>> {
        let receivers = requests.into_iter().map(|r| self.submit(r)).collect::<Result<Vec<_>>>()?;
        let mut completions = Vec::with_capacity(receivers.len());
        for mut receiver in receivers {
            let mut token_ids = Vec::new();
            let finish_reason = loop {
                match receiver.blocking_recv() {
                    Some(Event::Token(id)) => token_ids.push(id),
                    Some(Event::Finished(reason)) => break reason,
                    None => return Err(Error::EngineEnded),
                }
            };
            completions.push(Completion { token_ids, finish_reason });
            if !progress(completions.len()) {
                return Err(Error::Stopped { after: format!("after {} samples", completions.len()) });
            }
        }
        Ok(completions)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic in the engine has already been seen as a closed channel by whoever waited.
            let _ = thread.join();
        }
    }
}

/// A sequence in a slot.
struct Sequence {
    slot: usize,
    /// Tokens in the cache.
    cached: usize,
    /// Tokens not yet in the cache: the prompt, then the last drawn token.
    pending: Vec<u32>,
    /// New tokens still allowed.
    left: usize,
    sampler: Sampler,
    events: UnboundedSender<Event>,
}

struct Scheduler {
    model: Model,
    stops: Vec<u32>,
    cache: KvCache,
    free: Vec<usize>,
    running: Vec<Sequence>,
    waiting: VecDeque<(Request, UnboundedSender<Event>)>,
    requests: Receiver<(Request, UnboundedSender<Event>)>,
}

impl Scheduler {
    fn new(
        model: Model,
        stops: Vec<u32>,
        context: usize,
        slots: usize,
        requests: Receiver<(Request, UnboundedSender<Event>)>,
    ) -> Self {
        let cache = KvCache::new(&model.config, slots, context, &model.device());
        let free = (0..slots).rev().collect();
        Self { model, stops, cache, free, running: Vec::new(), waiting: VecDeque::new(), requests }
    }

    fn run(mut self) {
        while self.receive() {
            self.admit();
            self.step();
        }
    }

    /// Takes what is queued; waits if there is nothing to do. `false` when all is done and no more can come.
    fn receive(&mut self) -> bool {
        loop {
            if self.running.is_empty() && self.waiting.is_empty() {
                match self.requests.recv() {
                    Ok(request) => self.waiting.push_back(request),
                    Err(_) => return false,
                }
            }
            match self.requests.try_recv() {
                Ok(request) => self.waiting.push_back(request),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return true,
            }
        }
    }

    fn admit(&mut self) {
        let mut rows = 0;
        while let Some((request, events)) = self.waiting.front() {
            if events.is_closed() {
                // Cancelled before it began.
                self.waiting.pop_front();
                continue;
            }
            rows += request.prompt.len();
            if self.free.is_empty() || (rows > PREFILL_ROWS && rows > request.prompt.len()) {
                return;
            }
            let (Some((request, events)), Some(slot)) = (self.waiting.pop_front(), self.free.pop()) else { return };
            let room = self.cache.capacity - request.prompt.len();
            self.running.push(Sequence {
                slot,
                cached: 0,
                left: room.min(request.sampling.max_tokens as usize),
                sampler: Sampler::new(&request.sampling, request.seed),
                pending: request.prompt,
                events,
            });
        }
    }

    /// Runs the model once over all pending tokens and draws one token for each sequence.
    fn step(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let mut ids = Vec::new();
        let (mut groups, mut last_rows) = (Vec::new(), Vec::new());
        for sequence in &self.running {
            let start = ids.len();
            ids.extend_from_slice(&sequence.pending);
            groups.push(Group { rows: start..ids.len(), slot: sequence.slot, past: sequence.cached });
            last_rows.push(ids.len() - 1);
        }
        if groups.len() == 1 {
            // Never a single row: a matrix-vector product sums in another order.
            groups.push(Group { rows: ids.len()..ids.len() + 1, slot: self.cache.slots, past: 0 });
            last_rows.push(ids.len());
            ids.push(0);
        }
        let layout = Extension::new(groups, self.cache.capacity, self.model.rope());
        let logits = numbers(self.model.extend(&ids, &mut self.cache, &layout, &last_rows));
        let vocab = self.model.config.vocab_size;
        let mut running = std::mem::take(&mut self.running);
        for (sequence, logits) in running.iter_mut().zip(logits.chunks_exact(vocab)) {
            sequence.cached += sequence.pending.len();
            sequence.pending.clear();
            if sequence.left == 0 {
                // No draw: the limit was 0 tokens.
                let _ = sequence.events.send(Event::Finished(FinishReason::Length));
                continue;
            }
            let token = sequence.sampler.draw(logits);
            let end = if self.stops.contains(&token) {
                Some(FinishReason::Stop)
            } else {
                sequence.left -= 1;
                // A receiver that is gone has cancelled.
                let gone = sequence.events.send(Event::Token(token)).is_err();
                (gone || sequence.left == 0).then_some(FinishReason::Length)
            };
            match end {
                Some(reason) => drop(sequence.events.send(Event::Finished(reason))),
                None => sequence.pending.push(token),
            }
        }
        for sequence in running {
            if sequence.pending.is_empty() {
                self.free.push(sequence.slot);
            } else {
                self.running.push(sequence);
            }
        }
    }
}

#[cfg(test)]
mod tests;
