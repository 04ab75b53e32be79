//! Errors as OpenAI's clients read them: `{"error": {"message", "type", "param", "code"}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// After so many seconds a client that was turned away may ask again.
const RETRY_SECONDS: u32 = 2;

/// What goes back instead of a completion.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    kind: &'static str,
    message: String,
    /// The field of the request that is at fault.
    param: Option<String>,
    code: Option<&'static str>,
}

/// The result of answering a request.
pub(super) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), param: None, code: None }
    }

    /// The request as a whole cannot be read.
    pub(super) fn request(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "invalid_request_error", message)
    }

    /// A field of the request is wrong.
    pub(super) fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        let param = Some(param.into());
        Self { param, ..Self::request(StatusCode::BAD_REQUEST, message) }
    }

    /// Another model is requested for.
    pub(super) fn model_not_found(requested: &str, served: &str) -> Self {
        let requested: String = requested.chars().take(100).collect();
        let message = format!("there is no model {requested:?} here; ask for {served:?} or leave `model` out");
        let param = Some("model".to_owned());
        Self { param, code: Some("model_not_found"), ..Self::request(StatusCode::NOT_FOUND, message) }
    }

    /// Prompt and completion do not fit.
    pub(super) fn context_length(param: &str, message: String) -> Self {
        Self { code: Some("context_length_exceeded"), ..Self::field(param, message) }
    }

    /// Another site's page asks, or the server is called by a name that is not its own.
    pub(super) fn forbidden(message: String, code: &'static str) -> Self {
        Self { code: Some(code), ..Self::new(StatusCode::FORBIDDEN, "permission_error", message) }
    }

    /// The body is longer than `limit` bytes.
    pub(super) fn body_too_long(limit: usize) -> Self {
        let message = format!("the body has more than {limit} bytes; shorten messages");
        Self::request(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// No place is left for another completion.
    pub(super) fn busy(places: usize) -> Self {
        let message = format!(
            "{places} completions are being sampled or waiting, and no more are taken; ask again in {RETRY_SECONDS} seconds \
             (the server's option --queue says how many may wait)"
        );
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self { code: Some("rate_limit_exceeded"), ..Self::new(status, "rate_limit_error", message) }
    }

    /// The fault is on this side.
    pub(super) fn server(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The engine is gone: nothing can be answered any more.
    pub(super) fn unavailable() -> Self {
        let message = "the engine has ended; start the server again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
    }

    pub(super) fn body(&self) -> Value {
        let Self { kind, message, param, code, .. } = self;
        json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS.into());
        }
        response
    }
}
