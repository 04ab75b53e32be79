//! One completion of a request: the engine's tokens on their way to deltas.

use std::sync::Arc;

use records::record::FinishReason;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;

use super::Server;
use super::error::{ApiError, ApiResult};
use super::text::{Delta, Detokenizer, Splitter, StopStrings};
use crate::Result;
use crate::engine::Event;

/// A completion that is being sampled. Dropping it cancels it.
pub(super) struct Choice {
    server: Arc<Server>,
    events: UnboundedReceiver<Event>,
    detokenizer: Detokenizer,
    stops: StopStrings,
    splitter: Splitter,
    /// Its place among those that the server takes.
    _place: OwnedSemaphorePermit,
    /// Tokens written so far; the one that ends the text is not counted, as in the engine.
    pub(super) tokens: usize,
    /// Of these, those up to the end of the thinking, tags included.
    pub(super) reasoning_tokens: usize,
    /// Why it ended, once it has.
    pub(super) finish_reason: Option<FinishReason>,
}

impl Choice {
    pub(super) fn new(
        server: Arc<Server>,
        events: UnboundedReceiver<Event>,
        stops: Vec<String>,
        opened_by_prompt: bool,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            server,
            events,
            detokenizer: Detokenizer::default(),
            stops: StopStrings::new(stops),
            splitter: Splitter::new(opened_by_prompt),
            _place: place,
            tokens: 0,
            reasoning_tokens: 0,
            finish_reason: None,
        }
    }

    /// The next text, never empty; `None` when it has ended.
    pub(super) async fn next(&mut self) -> ApiResult<Option<Delta>> {
        while self.finish_reason.is_none() {
            let Some(event) = self.events.recv().await else {
                return Err(self.server.engine_has_ended());
            };
            let delta = self.read(event).map_err(|e| ApiError::server(e.to_string()))?;
            if !delta.is_empty() {
                return Ok(Some(delta));
            }
        }
        Ok(None)
    }

    fn read(&mut self, event: Event) -> Result<Delta> {
        let tokenizer = &self.server.model.format.tokenizer;
        let was_thinking = self.splitter.is_thinking();
        let (piece, end) = match event {
            Event::Token(id) => {
                self.tokens += 1;
                (self.detokenizer.push(tokenizer, id)?, None)
            }
            Event::Finished(reason) => (self.detokenizer.finish(tokenizer)?, Some(reason)),
        };
        let (mut certain, stopped) = self.stops.push(&piece);
        self.finish_reason = if stopped { Some(FinishReason::Stop) } else { end };
        if stopped {
            // The engine takes it as cancelled.
            self.events.close();
        } else if end.is_some() {
            certain.push_str(&self.stops.finish());
        }
        let mut delta = self.splitter.push(&certain);
        if self.finish_reason.is_some() {
            delta.append(&self.splitter.finish());
        }
        if was_thinking || self.splitter.is_thinking() {
            self.reasoning_tokens = self.tokens;
        }
        Ok(delta)
    }
}
