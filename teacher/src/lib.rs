//! Reaching a teacher: any OpenAI-compatible `/v1/chat/completions` endpoint (vLLM, SGLang, llama.cpp, an API, or the
//! student's own server).
//!
//! The life of a request: its id is known before it is sent (a hash of prompt, teacher, instruction, temperature, nucleus
//! mass, seed and sample number), so what a ledger holds is never asked for again, be it one's own or that of another
//! collection under the same folder of [`Runs`]. A [`Collection`] keeps a bounded number of requests in flight, one per
//! sample, so that no failure takes other samples with it. A failure that time may mend is retried with
//! backoff; one that it will not is final. The reply is read leniently, since it was paid for: a field this crate has
//! never heard of loses nothing. It is committed to the ledger, synced, before it counts. When every reply is there,
//! they are written, in the order of the prompts, into Parquet. A judge of answers is asked in the same way, and its replies
//! are read from the ledger.
//!
//! This is the only crate that makes HTTP requests.

mod adopt;
mod ask;
#[cfg(test)]
#[path = "../../tests/checked.rs"]
mod checked;
mod client;
mod collect;
pub mod embedded;
mod error;
pub mod hub;
mod index;
mod ledger;
mod retry;
mod to_parquet;
mod wire;

pub use adopt::{Estimate, Runs, estimate};
pub use ask::{LEDGER_FILE, Progress, Request};
pub use client::{Endpoint, check};
pub use collect::{CollectSummary, Collection};
pub use error::{Error, Result};
pub use retry::Waits;
