//! What goes back: one JSON object, or a stream of chunks as server-sent events.
//!
//! Both are made of the same deltas, so a stream adds up to what the object holds. Thinking is in `reasoning_content`, as
//! SGLang and DeepSeek's own API name it; `content` is null where the thinking never ended, as in vLLM.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::response::sse::Event;
use futures::future::try_join_all;
use futures::stream::{BoxStream, SelectAll, Stream, StreamExt, select_all, unfold};
use serde_json::{Value, json};

use super::choice::Choice;
use super::error::{ApiError, ApiResult};
use super::text::Delta;

/// What all parts of one reply have in common.
pub(super) struct Reply {
    pub(super) id: String,
    pub(super) model: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) prompt_tokens: usize,
    pub(super) include_usage: bool,
}

/// Tokens of all choices.
#[derive(Default)]
struct Usage {
    completion: usize,
    reasoning: usize,
}

impl Usage {
    fn add(&mut self, choice: &Choice) {
        self.completion += choice.tokens;
        self.reasoning += choice.reasoning_tokens;
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

impl Reply {
    fn object(&self, kind: &str, choices: &Value) -> Value {
        json!({ "id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices })
    }

    fn usage(&self, usage: &Usage) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": usage.completion,
            "total_tokens": self.prompt_tokens + usage.completion,
            "completion_tokens_details": { "reasoning_tokens": usage.reasoning },
        })
    }

    /// Waits for all choices.
    pub(super) async fn whole(self, choices: Vec<Choice>) -> ApiResult<Value> {
        let done = try_join_all(choices.into_iter().map(|mut choice| async move {
            let mut text = Delta::default();
            while let Some(delta) = choice.next().await? {
                text.append(&delta);
            }
            Ok((choice, text))
        }))
        .await?;
        let mut usage = Usage::default();
        let mut choices = Vec::with_capacity(done.len());
        for (index, (choice, Delta { reasoning, content })) in done.into_iter().enumerate() {
            usage.add(&choice);
            let unanswered = content.is_empty() && !reasoning.is_empty();
            let message = json!({
                "role": "assistant",
                "content": (!unanswered).then_some(content),
                "reasoning_content": (!reasoning.is_empty()).then_some(reasoning),
            });
            choices.push(json!({ "index": index, "message": message, "finish_reason": choice.finish_reason }));
        }
        let mut object = self.object("chat.completion", &Value::Array(choices));
        object["usage"] = self.usage(&usage);
        Ok(object)
    }

    /// Chunks as they come: every choice's role, then its deltas, then its end; last the token counts if asked for.
    /// Dropping the stream cancels what is still being sampled.
    pub(super) fn stream(self, choices: Vec<Choice>) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        let mut queue = VecDeque::new();
        for index in 0..choices.len() {
            queue.push_back(self.chunk(index, &json!({ "role": "assistant", "content": "" }), None).to_string());
        }
        let running = select_all(choices.into_iter().enumerate().map(|(index, choice)| steps(index, choice)));
        let streaming = Streaming { reply: self, queue, running, usage: Usage::default(), done: false };
        unfold(streaming, |mut streaming| async move {
            let data = streaming.next().await?;
            Some((Ok(Event::default().data(data)), streaming))
        })
    }

    fn chunk(&self, index: usize, delta: &Value, end: Option<&Choice>) -> Value {
        let finish_reason = end.and_then(|choice| choice.finish_reason);
        let choice = json!({ "index": index, "delta": delta, "finish_reason": finish_reason });
        let mut chunk = self.object("chat.completion.chunk", &json!([choice]));
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }
}

/// What a choice does next.
enum Step {
    Text(usize, Delta),
    End(usize, Box<Choice>),
    Failed(ApiError),
}

fn steps(index: usize, choice: Choice) -> BoxStream<'static, Step> {
    unfold(Some(Box::new(choice)), move |choice| async move {
        let mut choice = choice?;
        Some(match choice.next().await {
            Ok(Some(delta)) => (Step::Text(index, delta), Some(choice)),
            Ok(None) => (Step::End(index, choice), None),
            Err(error) => (Step::Failed(error), None),
        })
    })
    .boxed()
}

/// A stream of chunks under way.
struct Streaming {
    reply: Reply,
    /// Chunks that are ready to go.
    queue: VecDeque<String>,
    running: SelectAll<BoxStream<'static, Step>>,
    usage: Usage,
    done: bool,
}

impl Streaming {
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(chunk) = self.queue.pop_front() {
                return Some(chunk);
            }
            if self.done {
                return None;
            }
            match self.running.next().await {
                Some(step) => self.take(step),
                None => self.end(),
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            // One field a chunk, because clients look at the one and then, else, at the other.
            Step::Text(index, delta) => {
                for (field, text) in [("reasoning_content", delta.reasoning), ("content", delta.content)] {
                    if !text.is_empty() {
                        self.queue.push_back(self.reply.chunk(index, &json!({ field: text }), None).to_string());
                    }
                }
            }
            Step::End(index, choice) => {
                self.usage.add(&choice);
                self.queue.push_back(self.reply.chunk(index, &json!({}), Some(&choice)).to_string());
            }
            // The status line is long gone: the error is an event, as in vLLM.
            Step::Failed(error) => {
                self.running.clear();
                self.queue.extend([error.body().to_string(), "[DONE]".to_owned()]);
                self.done = true;
            }
        }
    }

    fn end(&mut self) {
        if self.reply.include_usage {
            let mut chunk = self.reply.object("chat.completion.chunk", &json!([]));
            chunk["usage"] = self.reply.usage(&self.usage);
            self.queue.push_back(chunk.to_string());
        }
        self.queue.push_back("[DONE]".to_owned());
        self.done = true;
    }
}
