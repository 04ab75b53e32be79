//! A model behind OpenAI's chat API, so that a student is asked as any teacher is.
//!
//! `POST /v1/chat/completions`, `GET /v1/models`, `GET /health`; fields and errors as OpenAI documents them, thinking
//! apart from the answer as SGLang's `deepseek-r1` parser gives it. What a request gets depends on the request alone:
//! the engine sees to that, and choice i of seed s draws from its own generator.
//!
//! What clients may do to it is bounded: who may ask (`guard`), how long a connection may keep it waiting (`connections`),
//! the bytes of a body, and the completions that are sampled or wait.

mod choice;
mod connections;
mod error;
mod guard;
mod reply;
mod text;
mod wire;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use burn::tensor::Device;
use model::Model;
use records::artifact::read_json;
use records::record::{Sampling, short_hash};
use serde_json::{Value, json};
use tokens::chat::ChatFormat;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore};

use self::choice::Choice;
pub use self::connections::Patience;
use self::error::{ApiError, ApiResult};
use self::guard::{Hosts, check_body};
use self::reply::{Reply, now};
use self::wire::ChatRequest;
use crate::engine::{Engine, Limits, Request};
use crate::{Error, Result};

/// Largest body, bytes.
const BODY_LIMIT: usize = 4 << 20;
/// Bodies above this are read and tokenized on a thread of their own, so that others are not kept waiting, and one at a
/// time: while it is tokenized, a prompt takes several hundred times its size.
const LONG_BODY: usize = 16 << 10;

/// How a server treats those who ask.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Completions that may wait beside those being sampled; a request for more gets the status 429.
    pub queue: usize,
    /// Hosts that requests may name, beside `localhost` and the addresses of loopback; with a server that listens on another
    /// address, any address may be named.
    pub allow_hosts: Vec<String>,
    /// How long requests in progress may go on after the shutdown.
    pub drain: Duration,
    /// How long a client may keep a connection waiting.
    pub patience: Patience,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { queue: 256, allow_hosts: Vec::new(), drain: Duration::from_secs(30), patience: Patience::default() }
    }
}

/// A model that can be asked.
#[derive(Debug)]
pub struct ChatModel {
    /// The name it is asked for by.
    pub name: String,
    /// Its tokenizer and template.
    pub format: ChatFormat,
    /// What samples from it.
    pub engine: Engine,
}

impl ChatModel {
    /// Loads a model folder; `name` is the folder's unless given. `limits` are the engine's.
    pub fn load(dir: &Path, name: Option<String>, device: &Device, limits: Limits) -> Result<Self> {
        let format = ChatFormat::from_dir(dir)?;
        let stops = stop_ids(dir, &format)?;
        let model = Model::load(dir, device)?;
        let name = if let Some(name) = name {
            name
        } else {
            // `.` and `student/..` have no name of their own.
            let dir = dir.canonicalize().map_err(|e| records::Error::io("read", dir, e))?;
            dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy().into_owned()
        };
        Ok(Self { name, format, engine: Engine::start(model, stops, limits)? })
    }
}

/// The token ids that end a completion: end of turn, end of text, and what `generation_config.json` adds to them.
pub fn stop_ids(dir: &Path, format: &ChatFormat) -> Result<Vec<u32>> {
    let mut stops = vec![format.end_of_turn_id, format.eos_id];
    let path = dir.join("generation_config.json");
    if records::disk::exists(&path)? {
        let config: Value = read_json(&path)?;
        let listed = match &config["eos_token_id"] {
            Value::Null => Vec::new(),
            Value::Array(ids) => ids.iter().collect(),
            id => vec![id],
        };
        for id in listed {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
                Error::model(&path, format!("eos_token_id: {id} is not a token id"), "correct it, or remove the field")
            })?;
            stops.push(id);
        }
    }
    stops.sort_unstable();
    stops.dedup();
    Ok(stops)
}

/// Answers requests until `shutdown` is done, then ends those in progress, within `options.drain`; `draining` is called before
/// with the number of completions in progress. Returns how many of them were cut off.
pub async fn serve(
    listener: TcpListener,
    model: Arc<ChatModel>,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
    draining: impl FnOnce(usize),
) -> Result<usize> {
    let address = listener.local_addr().map_err(|source| Error::Server { source })?;
    let hosts = Hosts::new(&options.allow_hosts, address.ip())?;
    let server = Arc::new(Server::new(model, hosts, &options));
    let router = router(server.clone());
    let in_progress = || server.in_progress();
    let patience = options.patience;
    Ok(connections::run(listener, router, patience, in_progress, shutdown, options.drain, draining).await)
}

fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(models))
        .route("/health", get(health))
        .fallback(async |uri: Uri| ApiError::request(StatusCode::NOT_FOUND, format!("there is no {}", uri.path())))
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            let message = format!("{} does not take {method}", uri.path());
            ApiError::request(StatusCode::METHOD_NOT_ALLOWED, message)
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(server.clone(), only_known_hosts))
        .with_state(server)
}

async fn only_known_hosts(
    State(server): State<Arc<Server>>,
    request: axum::extract::Request,
    next: Next,
) -> ApiResult<Response> {
    server.hosts.check(request.uri(), request.headers())?;
    Ok(next.run(request).await)
}

/// What all requests share.
struct Server {
    model: Arc<ChatModel>,
    /// Whether a request has found the engine gone.
    engine_ended: AtomicBool,
    hosts: Hosts,
    /// Places of completions, those being sampled and those waiting.
    places: Arc<Semaphore>,
    most: usize,
    /// How long a body may take.
    body_time: Duration,
    /// Held while a long body is read.
    long_body: Arc<Mutex<()>>,
    /// When it was started, seconds since 1970.
    since: u64,
}

impl Server {
    fn new(model: Arc<ChatModel>, hosts: Hosts, options: &ServeOptions) -> Self {
        let most = model.engine.slots().saturating_add(options.queue).min(Semaphore::MAX_PERMITS);
        Self {
            model,
            engine_ended: AtomicBool::new(false),
            hosts,
            places: Arc::new(Semaphore::new(most)),
            most,
            body_time: options.patience.body,
            long_body: Arc::default(),
            since: now(),
        }
    }

    /// Completions that are being sampled or waiting.
    fn in_progress(&self) -> usize {
        self.most - self.places.available_permits()
    }

    fn engine_has_ended(&self) -> ApiError {
        self.engine_ended.store(true, Ordering::Relaxed);
        ApiError::unavailable()
    }
}

async fn health(State(server): State<Arc<Server>>) -> ApiResult<Json<Value>> {
    if server.engine_ended.load(Ordering::Relaxed) {
        return Err(ApiError::unavailable());
    }
    Ok(Json(json!({ "status": "ok" })))
}

async fn models(State(server): State<Arc<Server>>) -> Json<Value> {
    let model = json!({
        "id": server.model.name,
        "object": "model",
        "created": server.since,
        "owned_by": "r1-distill",
        "max_model_len": server.model.engine.context(),
    });
    Json(json!({ "object": "list", "data": [model] }))
}

/// The body, whole.
async fn body_of(server: &Server, request: axum::extract::Request) -> ApiResult<Bytes> {
    check_body(request.headers())?;
    let body = tokio::time::timeout(server.body_time, Bytes::from_request(request, &()));
    let body = body.await.map_err(|_| {
        let message = format!("the body did not come within {:?}; send it again", server.body_time);
        ApiError::request(StatusCode::REQUEST_TIMEOUT, message)
    })?;
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::body_too_long(BODY_LIMIT),
        status => ApiError::request(status, rejection.body_text()),
    })
}

async fn chat(State(server): State<Arc<Server>>, request: axum::extract::Request) -> ApiResult<Response> {
    // Before the body is read: what waits for it takes memory as well.
    let busy = |_| ApiError::busy(server.most);
    let mut place = server.places.clone().try_acquire_owned().map_err(busy)?;
    let body = body_of(&server, request).await?;
    let prepared = if body.len() > LONG_BODY {
        let turn = server.long_body.clone().lock_owned().await;
        let model = server.model.clone();
        // The turn goes along: the work goes on even if the client leaves.
        let task = tokio::task::spawn_blocking(move || {
            let prepared = Prepared::new(&model, &body);
            drop(turn);
            prepared
        });
        task.await.map_err(|e| ApiError::server(format!("reading the prompt failed: {e}")))??
    } else {
        Prepared::new(&server.model, &body)?
    };
    let Prepared { request, prompt, opens_thinking, max_tokens } = prepared;
    let random = || getrandom::u64().map_err(|e| ApiError::server(format!("the system gives no random numbers: {e}")));
    let reply = Reply {
        id: format!("chatcmpl-{:016x}", random()?),
        model: server.model.name.clone(),
        created: now(),
        prompt_tokens: prompt.len(),
        include_usage: request.include_usage,
    };
    let sampling = Sampling { temperature: request.temperature, top_p: request.top_p, max_tokens };
    let seed = request.seed.map_or_else(random, Ok)?;
    if request.n as usize > server.most {
        return Err(ApiError::field("n", format!("this server takes at most {} completions at a time", server.most)));
    }
    place.merge(server.places.clone().try_acquire_many_owned(request.n - 1).map_err(busy)?);
    let mut choices = Vec::with_capacity(request.n as usize);
    for index in 0..request.n {
        let Some(its) = place.split(1) else { return Err(ApiError::server("a place is missing")) };
        let one = Request { prompt: prompt.clone(), sampling, seed: seed_of_choice(seed, index) };
        let events = server.model.engine.submit(one).map_err(|e| match e {
            Error::EngineEnded => server.engine_has_ended(),
            e => ApiError::server(e.to_string()),
        })?;
        choices.push(Choice::new(server.clone(), events, request.stop.clone(), opens_thinking, its));
    }
    if request.stream {
        // Comments keep proxies and clients from taking a long queue for a dead connection.
        return Ok(Sse::new(reply.stream(choices)).keep_alive(KeepAlive::default()).into_response());
    }
    Ok(Json(reply.whole(choices).await?).into_response())
}

/// A request that is ready for the engine.
struct Prepared {
    request: ChatRequest,
    prompt: Vec<u32>,
    /// Whether the template has written `<think>` at the end of the prompt.
    opens_thinking: bool,
    max_tokens: u32,
}

impl Prepared {
    fn new(model: &ChatModel, body: &[u8]) -> ApiResult<Self> {
        let request = ChatRequest::parse(body, &model.name)?;
        // What a template raises is about the messages: roles that do not alternate, a system prompt it does not take.
        let text =
            model.format.render(&request.messages, true).map_err(|e| ApiError::field("messages", e.to_string()))?;
        let prompt = model.format.tokenizer.encode(&text).map_err(|e| ApiError::server(e.to_string()))?;
        let (tokens, context) = (prompt.len(), model.engine.context());
        if tokens >= context {
            let message = format!("the prompt has {tokens} tokens and the context is {context}; shorten messages");
            return Err(ApiError::context_length("messages", message));
        }
        let room = (context - tokens) as u32;
        let max_tokens = request.max_tokens.unwrap_or(room);
        if max_tokens > room {
            let message = format!(
                "the prompt has {tokens} tokens, {max_tokens} are asked for, and the context is {context}; ask for at most {room}"
            );
            return Err(ApiError::context_length("max_tokens", message));
        }
        Ok(Self { request, prompt, opens_thinking: text.trim_end().ends_with("<think>"), max_tokens })
    }
}

/// A seed for one choice: choice 1 of seed 7 is not choice 0 of seed 8.
fn seed_of_choice(seed: u64, index: u32) -> u64 {
    let hash = short_hash(format!("{seed}\u{1f}{index}").as_bytes());
    u64::from_str_radix(&hash, 16).unwrap_or(seed)
}

#[cfg(test)]
mod tests;
