//! The HTTP side: one client per endpoint, one attempt per call.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode, Url};

use crate::retry::{Cause, Failure, Waits};
use crate::wire::{self, ChatRequest, Reply};
use crate::{Error, Result};

/// Most bytes of a reply: so many for each token that it may have, and so many beside them. Tokens have 128 bytes at most, those
/// of white space, and servers send the thinking in two fields or escape what is not ASCII.
const BYTES_PER_TOKEN: usize = 512;
const BYTES_BESIDE: usize = 1 << 20;
/// Most bytes of the list of models; those of the largest gateways have under one million.
const BYTES_OF_MODELS: usize = 16 << 20;
/// Bytes that are read of a refusal.
const BYTES_OF_REFUSAL: usize = 64 << 10;

/// How to reach a teacher. None of it enters a trace's identity.
#[derive(Clone)]
pub struct Endpoint {
    /// Where the API begins, as `http://127.0.0.1:8000/v1`; a trailing slash does not matter.
    pub base_url: String,
    /// The model's name as the server knows it.
    pub model: String,
    /// Sent as a bearer token. Never printed.
    pub api_key: Option<String>,
    /// The most requests in flight.
    pub concurrency: usize,
    /// The most one attempt may take, from connecting to the last byte.
    pub timeout: Duration,
    /// How often one request is tried before it counts as failed.
    pub max_attempts: u32,
    /// How long is waited between attempts, and after a stop.
    pub waits: Waits,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("base_url", &self.base_url)
            .field("model", &self.model)
            .field("api_key", &self.api_key.as_ref().map(|_| "[redacted]"))
            .field("concurrency", &self.concurrency)
            .field("timeout", &self.timeout)
            .field("max_attempts", &self.max_attempts)
            .field("waits", &self.waits)
            .finish()
    }
}

/// Asks the endpoint which models it serves, before anything is spent: is it up, does it take the key, does it serve
/// the model? A server that keeps no such list passes; its first request will tell.
pub async fn check(endpoint: &Endpoint) -> Result<()> {
    let client = OpenAiClient::new(endpoint)?;
    let response = client.models().await.map_err(|failure| {
        Error::endpoint(&endpoint.base_url, failure.message, "is the server running, and is this its address?")
    })?;
    match response.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let remedy = match endpoint.api_key {
                Some(_) => "check the API key",
                None if response.status == StatusCode::FORBIDDEN => "if it wants an API key: none was given",
                None => "it wants an API key and none was given",
            };
            Err(Error::endpoint(&endpoint.base_url, client.refusal(&response).message, remedy))
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => Err(
            Error::endpoint(&endpoint.base_url, client.refusal(&response).message, "wait until the server is ready"),
        ),
        StatusCode::OK => match wire::read_models(&response.body) {
            Some(models) if !models.is_empty() && !models.iter().any(|m| wire::is_model(m, &endpoint.model)) => {
                const SHOWN: usize = 10;
                let more = if models.len() > SHOWN { ", ..." } else { "" };
                let listed = models.iter().take(SHOWN).map(|name| wire::excerpt(name)).collect::<Vec<_>>().join(", ");
                let problem = format!("model `{}` is not served here", endpoint.model);
                Err(Error::endpoint(&endpoint.base_url, problem, format!("it serves: {listed}{more}")))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// A client of one endpoint.
#[derive(Debug)]
pub(crate) struct OpenAiClient<'a> {
    endpoint: &'a Endpoint,
    http: reqwest::Client,
}

/// A response, read to its end.
struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl<'a> OpenAiClient<'a> {
    /// Checks what the user gave and sets the client up; sends nothing.
    pub(crate) fn new(endpoint: &'a Endpoint) -> Result<Self> {
        let url = check_settings(endpoint)?;
        let mut builder = client_builder(&url)
            .timeout(endpoint.timeout)
            .connect_timeout(endpoint.timeout.min(Duration::from_secs(10)));
        if let Some(key) = &endpoint.api_key {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.trim())).map_err(|_| {
                let problem = "the API key holds a character that no HTTP header can carry";
                Error::endpoint(&endpoint.base_url, problem, "check how the key was copied")
            })?;
            value.set_sensitive(true);
            builder = builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
        }
        let http = builder.build().map_err(|e| {
            let problem = format!("cannot set up the HTTP client: {}", root_cause(&e));
            Error::endpoint(&endpoint.base_url, problem, "https needs the system's CA certificates to be installed")
        })?;
        Ok(Self { endpoint, http })
    }

    /// One attempt at one completion.
    pub(crate) async fn chat(&self, request: &ChatRequest<'_>) -> std::result::Result<Reply, Failure> {
        let most = BYTES_PER_TOKEN.saturating_mul(request.max_tokens as usize).saturating_add(BYTES_BESIDE);
        let response = self.send(self.http.post(self.url("chat/completions")).json(request), most).await?;
        if !response.status.is_success() {
            return Err(self.refusal(&response));
        }
        // What is quoted of a reply that cannot be used is cut, so that a key in it must be gone before.
        wire::read_reply(&response.body).or_else(|_| wire::read_reply(&self.without_key(&response.body)))
    }

    async fn models(&self) -> std::result::Result<Response, Failure> {
        let patience = self.endpoint.timeout.min(Duration::from_secs(30));
        self.send(self.http.get(self.url("models")).timeout(patience), BYTES_OF_MODELS).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint.base_url.trim().trim_end_matches('/'))
    }

    /// Sends a request and reads the response to its end; one of more than `most` bytes is the endpoint's failure, and of a
    /// refusal no more than the beginning is read.
    async fn send(&self, request: RequestBuilder, most: usize) -> std::result::Result<Response, Failure> {
        let mut response = request.send().await.map_err(|e| self.broken(&e))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let most = if status.is_success() { most } else { BYTES_OF_REFUSAL };
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.broken(&e))? {
            let room = most - body.len();
            if chunk.len() > room {
                if status.is_success() {
                    return Err(self.too_long(most));
                }
                body.extend_from_slice(&chunk[..room]);
                break;
            }
            body.extend_from_slice(&chunk);
        }
        // A stray byte must not cost a reply.
        Ok(Response { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// A response that goes on and on. Asking again, for this or for other things, would bring more of the same.
    fn too_long(&self, most: usize) -> Failure {
        let message = format!(
            "the answer has more than {most} bytes, more than what was asked for can have; is {} a server of chat \
             completions, and does it keep to max_tokens?",
            self.endpoint.base_url
        );
        self.redacted(Failure { cause: Cause::Endpoint, ..Failure::moment(message) })
    }

    /// No response, or half of one.
    fn broken(&self, error: &reqwest::Error) -> Failure {
        let cause = root_cause(error);
        self.redacted(Failure::moment(if error.is_timeout() && !error.is_connect() {
            format!("no complete reply within {:?}", self.endpoint.timeout)
        } else if error.is_connect() {
            format!("cannot connect: {cause}")
        } else {
            format!("the connection broke: {cause}")
        }))
    }

    /// A response that is not a reply.
    fn refusal(&self, response: &Response) -> Failure {
        let status = response.status.as_u16();
        let mut failure = Failure::status(status, wire::error_message(&self.without_key(&response.body)));
        let header = |name| response.headers.get(name).and_then(|value| value.to_str().ok());
        if response.status.is_redirection() {
            failure.cause = Cause::Endpoint;
            failure.message = format!(
                "HTTP {status}: it redirects to {}; set the base URL to where the API is",
                wire::excerpt(header(LOCATION).unwrap_or("(nowhere)"))
            );
        } else if status == 404 || status == 405 {
            failure.message +=
                " (check the model's name, and that the base URL ends where the API begins, often in /v1)";
        }
        failure.retry_after = retry_after(&response.headers);
        self.redacted(failure)
    }

    fn redacted(&self, mut failure: Failure) -> Failure {
        failure.message = self.without_key(&failure.message);
        failure
    }

    /// Servers quote the key they refuse.
    fn without_key(&self, text: &str) -> String {
        // Shorter ones are placeholders ("EMPTY"), and may be words of the message.
        match self.endpoint.api_key.as_deref().map(str::trim).filter(|key| key.len() >= 8) {
            Some(key) => text.replace(key, "[redacted]"),
            None => text.to_owned(),
        }
    }
}

/// What all clients of this crate have in common. Redirects are not followed: one would turn a POST into a GET, and take a
/// key along to another host.
pub(crate) fn client_builder(url: &Url) -> reqwest::ClientBuilder {
    // Fails if a provider is there already, which is just as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("r1-distill/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none());
    if url.scheme() == "http" {
        // A bare container has no certificates, and needs none here.
        builder = builder.tls_certs_only([]);
    }
    if is_loopback(url) { builder.no_proxy() } else { builder }
}

/// How long a server asks to be left alone. The other form, a date, needs synchronous clocks; our own backoff serves as
/// well.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse::<f64>().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn check_settings(endpoint: &Endpoint) -> Result<Url> {
    let Endpoint { base_url, concurrency, timeout, max_attempts, .. } = endpoint;
    let refuse = |problem: &str, remedy: &str| Err(Error::endpoint(base_url, problem, remedy));
    let Ok(url) = Url::parse(base_url.trim()) else {
        return refuse("not a URL", "give it as http://127.0.0.1:8000/v1");
    };
    if !url.username().is_empty() || url.password().is_some() {
        // Not quoted: it holds a secret.
        return Err(Error::endpoint("(hidden)", "the base URL holds credentials", "give them as the API key instead"));
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return refuse("not an http or https URL", "give it as http://127.0.0.1:8000/v1");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("the base URL has a query or a fragment", "end it where the API begins, often in /v1");
    }
    if *concurrency == 0 || *max_attempts == 0 || timeout.is_zero() {
        return refuse("concurrency, timeout and max_attempts must be positive", "set them to at least 1");
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// The innermost error: reqwest's own says only that sending failed.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod limit_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use fixtures::mock::{Answer, Mock};
    use records::record::{FinishReason, Message};
    use serde_json::json;

    fn endpoint(base_url: &str) -> Endpoint {
        Endpoint {
            base_url: base_url.into(),
            model: "r1".into(),
            api_key: None,
            concurrency: 2,
            timeout: Duration::from_secs(5),
            max_attempts: 1,
            waits: Waits::default(),
        }
    }

    async fn chat(endpoint: &Endpoint) -> std::result::Result<Reply, Failure> {
        let request = ChatRequest {
            model: &endpoint.model,
            messages: vec![Message::user("3 + 4?")],
            temperature: 0.6,
            top_p: 0.95,
            max_tokens: 64,
            seed: 5,
        };
        OpenAiClient::new(endpoint).unwrap().chat(&request).await
    }

    #[tokio::test]
    async fn a_request_looks_as_the_protocol_has_it() {
        let mock = Mock::start(|_| Answer::reply(&json!({"reasoning": "r", "content": "7"})));
        let with_key = Endpoint { api_key: Some("sk-secret-123\n".into()), ..endpoint(&format!("{}/", mock.url)) };
        let reply = chat(&with_key).await.unwrap();
        assert_eq!((reply.content.as_str(), reply.finish_reason), ("7", FinishReason::Stop));
        let asked = mock.received();
        assert_eq!(asked[0].line, "POST /v1/chat/completions");
        assert_eq!(asked[0].authorization.as_deref(), Some("Bearer sk-secret-123"));
        let expected = json!({
            "model": "r1", "messages": [{"role": "user", "content": "3 + 4?"}],
            "temperature": 0.6, "top_p": 0.95, "max_tokens": 64, "seed": 5,
        });
        assert_eq!(asked[0].body, expected);
    }

    #[tokio::test]
    async fn refusals_carry_the_servers_words_but_never_the_key() {
        let mock =
            Mock::start(|_| Answer::json(401, &json!({"error": {"message": "Incorrect API key: sk-secret-123"}})));
        let with_key = Endpoint { api_key: Some("sk-secret-123".into()), ..endpoint(&mock.url) };
        let failure = chat(&with_key).await.unwrap_err();
        assert_eq!(failure, Failure::status(401, "Incorrect API key: [redacted]"));
        let error = check(&with_key).await.unwrap_err().to_string();
        assert!(error.contains("[redacted]; check the API key"), "{error}");
        let debug = format!("{with_key:?} {:?}", OpenAiClient::new(&with_key).unwrap());
        assert!(debug.contains("[redacted]") && !debug.contains("secret"), "{debug}");
    }

    #[tokio::test]
    async fn what_breaks_on_the_way_is_the_moments_failure() {
        let mock = Mock::start(|_| Answer::reply(&json!({"content": "a long answer"})).cut());
        let failure = chat(&endpoint(&mock.url)).await.unwrap_err();
        assert!(failure.cause == Cause::Moment && failure.message.contains("broke"), "{failure:?}");

        let mock = Mock::start(|_| Answer::reply(&json!({"content": "7"})).after(Duration::from_secs(2)));
        let hasty = Endpoint { timeout: Duration::from_millis(50), ..endpoint(&mock.url) };
        let failure = chat(&hasty).await.unwrap_err();
        assert_eq!(failure, Failure::moment("no complete reply within 50ms"));

        let failure = chat(&endpoint("http://127.0.0.1:1/v1")).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Moment);
        assert!(failure.message.contains("cannot connect: ") && failure.message.contains("refused"), "{failure:?}");
    }

    #[tokio::test]
    async fn retry_after_and_redirects_are_read() {
        for (value, expected) in [
            ("2", Some(Duration::from_secs(2))),
            ("0.5", Some(Duration::from_millis(500))),
            ("-1", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ] {
            let mock = Mock::start(move |_| Answer::json(429, &json!({})).header("Retry-After", value));
            assert_eq!(chat(&endpoint(&mock.url)).await.unwrap_err().retry_after, expected, "{value}");
        }
        let mock = Mock::start(|_| Answer::json(307, &json!({})).header("Location", "https://api.example/v1"));
        let failure = chat(&endpoint(&mock.url)).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Endpoint);
        assert!(failure.message.contains("redirects to https://api.example/v1"), "{failure:?}");
    }

    #[tokio::test]
    async fn the_check_tells_what_is_wrong() {
        let error_of = async |status: u16, body: serde_json::Value| {
            let mock = Mock::start(move |_| Answer::json(status, &body));
            let result = check(&endpoint(&mock.url)).await;
            assert_eq!(mock.received()[0].line, "GET /v1/models");
            result.err().map(|e| e.to_string())
        };
        assert_eq!(error_of(200, json!({"data": [{"id": "v3"}, {"id": "r1"}]})).await, None);
        // No list, no objection: some servers keep none.
        for (status, body) in [(404, json!({})), (500, json!({})), (200, json!({"data": []})), (200, json!([]))] {
            assert_eq!(error_of(status, body).await, None);
        }
        let other = error_of(200, json!({"data": [{"id": "v3"}, {"id": "v2"}]})).await.unwrap();
        assert!(other.contains("model `r1` is not served here; it serves: v3, v2"), "{other}");
        let keyless = error_of(401, json!({"error": {"message": "Unauthorized"}})).await.unwrap();
        assert!(keyless.contains("HTTP 401: Unauthorized; it wants an API key and none was given"), "{keyless}");
        let loading = error_of(503, json!({"error": {"message": "Loading model"}})).await.unwrap();
        assert!(loading.contains("Loading model; wait until the server is ready"), "{loading}");
        let down = check(&endpoint("http://127.0.0.1:1/v1")).await.unwrap_err().to_string();
        assert!(down.contains("http://127.0.0.1:1/v1") && down.contains("is the server running"), "{down}");
    }

    #[tokio::test]
    async fn settings_that_cannot_work_are_refused_before_sending() {
        for (url, why) in [
            ("127.0.0.1:8000", "URL"),
            ("ftp://host/v1", "not an http or https URL"),
            ("http://host/v1?version=1", "query"),
            ("http://me:hunter2@host/v1", "credentials"),
        ] {
            let error = check(&endpoint(url)).await.unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{url}: {error}");
        }
        let idle = Endpoint { concurrency: 0, ..endpoint("http://127.0.0.1:1/v1") };
        assert!(check(&idle).await.unwrap_err().to_string().contains("must be positive"));
        let broken_key = Endpoint { api_key: Some("se\ncret".into()), ..endpoint("http://127.0.0.1:1/v1") };
        let error = check(&broken_key).await.unwrap_err().to_string();
        assert!(error.contains("API key") && !error.contains("cret"), "{error}");
    }

    #[test]
    fn loopback_is_recognised() {
        for (url, expected) in [
            ("http://127.0.0.1:8000/v1", true),
            ("http://localhost/v1", true),
            ("http://[::1]:8000/v1", true),
            ("http://10.0.0.1/v1", false),
            ("https://localhost.example/v1", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
