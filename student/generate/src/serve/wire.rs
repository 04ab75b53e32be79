//! A chat request as it comes over the wire (OpenAI's `POST /v1/chat/completions`), checked field by field.
//!
//! Fields that would change the reply and are not carried out are refused by name: a reply sampled otherwise than asked
//! is worse than none. Fields that change nothing (`user`, `metadata`, ...) and unknown ones are ignored.

use axum::http::StatusCode;
use records::record::Message;
use serde_json::{Map, Value};

use super::error::{ApiError, ApiResult};

/// Most completions of one request.
const MAX_CHOICES: u64 = 16;
/// Most stop strings, as with OpenAI.
const MAX_STOPS: usize = 4;
/// Longest stop string, bytes.
const MAX_STOP_BYTES: usize = 256;

/// What is asked for.
#[derive(Debug, PartialEq)]
pub(super) struct ChatRequest {
    pub(super) messages: Vec<Message>,
    /// Completions.
    pub(super) n: u32,
    /// Drawn by the server when absent.
    pub(super) seed: Option<u64>,
    pub(super) temperature: f64,
    pub(super) top_p: f64,
    /// The rest of the context when absent.
    pub(super) max_tokens: Option<u32>,
    pub(super) stop: Vec<String>,
    pub(super) stream: bool,
    /// Whether a stream ends with the token counts.
    pub(super) include_usage: bool,
}

/// A field that is refused, and the values of it that ask for nothing.
type Refused = (&'static str, fn(&Value) -> bool);

const REFUSED: [Refused; 43] = [
    ("add_generation_prompt", is_true),
    ("allowed_token_ids", is_empty),
    ("audio", is_empty),
    ("bad_words", is_empty),
    ("best_of", is_one),
    ("chat_template", is_empty),
    ("chat_template_kwargs", is_empty),
    ("continue_final_message", is_false),
    ("documents", is_empty),
    ("ebnf", is_empty),
    ("echo", is_false),
    ("frequency_penalty", is_zero),
    ("function_call", asks_for_no_tool),
    ("functions", is_empty),
    ("guided_choice", is_empty),
    ("guided_grammar", is_empty),
    ("guided_json", is_empty),
    ("guided_regex", is_empty),
    ("ignore_eos", is_false),
    ("include_reasoning", is_true),
    ("json_schema", is_empty),
    ("logit_bias", is_empty),
    ("logprobs", is_false),
    ("min_p", is_zero),
    ("min_tokens", is_zero),
    ("modalities", |v| v.as_array().is_some_and(|m| m.iter().all(|m| m == "text"))),
    ("presence_penalty", is_zero),
    ("reasoning_effort", is_empty),
    ("regex", is_empty),
    ("repetition_penalty", is_one),
    ("response_format", |v| v["type"] == "text"),
    ("separate_reasoning", is_true),
    ("skip_special_tokens", is_true),
    ("stop_token_ids", is_empty),
    ("structured_outputs", is_empty),
    ("thinking_token_budget", is_empty),
    ("tool_choice", asks_for_no_tool),
    ("tools", is_empty),
    ("top_k", |v| is_zero(v) || v.as_i64() == Some(-1)),
    ("top_logprobs", is_zero),
    ("truncate_prompt_tokens", is_empty),
    ("typical_p", is_one),
    ("use_beam_search", is_false),
];

fn is_true(value: &Value) -> bool {
    *value == true
}

fn is_false(value: &Value) -> bool {
    *value == false
}

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

fn is_one(value: &Value) -> bool {
    value.as_f64().is_some_and(|x| (x - 1.0).abs() < f64::EPSILON)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn asks_for_no_tool(value: &Value) -> bool {
    value == "none" || value == "auto"
}

impl ChatRequest {
    /// Reads and checks a body; `served` is the name of the model here.
    pub(super) fn parse(body: &[u8], served: &str) -> ApiResult<Self> {
        let invalid = |problem: String| ApiError::request(StatusCode::BAD_REQUEST, problem);
        // Nesting is limited by serde_json, numbers to what f64 holds: there are no NaNs and no infinities.
        let body: Value = serde_json::from_slice(body).map_err(|e| invalid(format!("the body is not JSON: {e}")))?;
        let Value::Object(fields) = body else {
            return Err(invalid(format!("the body is {}, not a JSON object", kind(&body))));
        };
        let fields = Fields(fields);
        match fields.get("model") {
            None => {}
            Some(Value::String(requested)) if requested == served => {}
            Some(Value::String(requested)) => return Err(ApiError::model_not_found(requested, served)),
            Some(other) => return Err(wrong("model", "a string", other)),
        }
        let tools_off = fields.get("tool_choice").is_some_and(|choice| choice == "none");
        for (name, asks_for_nothing) in REFUSED {
            let moot = name == "tools" && tools_off;
            if fields.get(name).is_some_and(|value| !moot && !asks_for_nothing(value)) {
                return Err(ApiError::field(name, format!("{name}: this server cannot do that; leave it out")));
            }
        }
        Ok(Self {
            messages: messages(fields.get("messages"))?,
            n: fields.integer("n", 1, MAX_CHOICES)?.unwrap_or(1) as u32,
            seed: fields.seed()?,
            temperature: fields.number("temperature", 0.0, 2.0)?.unwrap_or(0.6),
            top_p: fields.top_p()?.unwrap_or(0.95),
            max_tokens: fields.max_tokens()?,
            stop: fields.stop()?,
            stream: fields.flag("stream")?,
            include_usage: fields.include_usage()?,
        })
    }
}

/// The fields of a body; `null` is as good as absent.
struct Fields(Map<String, Value>);

impl Fields {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn flag(&self, name: &str) -> ApiResult<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(wrong(name, "true or false", other)),
        }
    }

    fn integer(&self, name: &str, least: u64, most: u64) -> ApiResult<Option<u64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_u64().filter(|x| (least..=most).contains(x)) {
            Some(x) => Ok(Some(x)),
            None => Err(wrong(name, &format!("a whole number from {least} to {most}"), value)),
        }
    }

    fn number(&self, name: &str, least: f64, most: f64) -> ApiResult<Option<f64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_f64().filter(|x| (least..=most).contains(x)) {
            Some(x) => Ok(Some(x)),
            None => Err(wrong(name, &format!("a number from {least} to {most}"), value)),
        }
    }

    fn top_p(&self) -> ApiResult<Option<f64>> {
        match self.number("top_p", 0.0, 1.0)? {
            Some(0.0) => Err(ApiError::field("top_p", "top_p: it must be above 0, for some token to be left")),
            top_p => Ok(top_p),
        }
    }

    /// Any 64-bit integer; a negative one is taken by its bits.
    fn seed(&self) -> ApiResult<Option<u64>> {
        let Some(value) = self.get("seed") else { return Ok(None) };
        match value.as_u64().or(value.as_i64().map(i64::cast_unsigned)) {
            Some(seed) => Ok(Some(seed)),
            None => Err(wrong("seed", "a 64-bit integer", value)),
        }
    }

    /// `max_completion_tokens`, or `max_tokens` as it was called before.
    fn max_tokens(&self) -> ApiResult<Option<u32>> {
        let old = self.integer("max_tokens", 1, u64::from(u32::MAX))?;
        let new = self.integer("max_completion_tokens", 1, u64::from(u32::MAX))?;
        match (old, new) {
            (Some(old), Some(new)) if old != new => Err(ApiError::field(
                "max_tokens",
                format!("max_tokens is {old} and max_completion_tokens is {new}; give one of them"),
            )),
            _ => Ok(new.or(old).map(|tokens| tokens as u32)),
        }
    }

    fn stop(&self) -> ApiResult<Vec<String>> {
        let stops = match self.get("stop") {
            None => Vec::new(),
            Some(Value::String(stop)) => vec![stop.clone()],
            Some(Value::Array(stops)) if stops.len() <= MAX_STOPS => stops
                .iter()
                .map(|stop| stop.as_str().map(str::to_owned).ok_or_else(|| wrong("stop", "a list of strings", stop)))
                .collect::<Result<_, _>>()?,
            Some(other) => return Err(wrong("stop", &format!("a string or a list of up to {MAX_STOPS}"), other)),
        };
        if stops.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES) {
            let message = format!("stop: a stop string has 1 to {MAX_STOP_BYTES} bytes");
            return Err(ApiError::field("stop", message));
        }
        Ok(stops)
    }

    fn include_usage(&self) -> ApiResult<bool> {
        match self.get("stream_options") {
            None => Ok(false),
            Some(options @ Value::Object(_)) => match &options["include_usage"] {
                Value::Null => Ok(false),
                Value::Bool(include) => Ok(*include),
                other => Err(wrong("stream_options.include_usage", "true or false", other)),
            },
            Some(other) => Err(wrong("stream_options", "an object", other)),
        }
    }
}

fn messages(value: Option<&Value>) -> ApiResult<Vec<Message>> {
    let messages = match value {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        Some(Value::Array(_)) => return Err(ApiError::field("messages", "messages: it is empty; give at least one")),
        Some(other) => return Err(wrong("messages", "a list", other)),
        None => return Err(ApiError::field("messages", "messages: it is missing")),
    };
    messages.iter().enumerate().map(|(i, value)| message(&format!("messages[{i}]"), value)).collect()
}

fn message(at: &str, value: &Value) -> ApiResult<Message> {
    if !value.is_object() {
        return Err(wrong(at, "an object with role and content", value));
    }
    let role = match &value["role"] {
        Value::String(role) if ["system", "user", "assistant"].contains(&role.as_str()) => role.clone(),
        other => return Err(wrong(&format!("{at}.role"), "system, user or assistant", other)),
    };
    if !(value["tool_calls"].is_null() || is_empty(&value["tool_calls"])) {
        let at = format!("{at}.tool_calls");
        let message = format!("{at}: this server has no tools; leave it out");
        return Err(ApiError::field(at, message));
    }
    let at = format!("{at}.content");
    let content = match &value["content"] {
        Value::String(text) => text.clone(),
        // Joined as vLLM and SGLang join them for templates that take strings.
        Value::Array(parts) => {
            parts.iter().enumerate().map(|(i, p)| text_part(&at, i, p)).collect::<Result<Vec<_>, _>>()?.join("\n")
        }
        other => return Err(wrong(&at, "a string or a list of text parts", other)),
    };
    Ok(Message { role, content })
}

fn text_part<'a>(at: &str, i: usize, part: &'a Value) -> ApiResult<&'a str> {
    let text = part["text"].as_str().filter(|_| part["type"] == "text");
    text.ok_or_else(|| wrong(&format!("{at}[{i}]"), "a part of type text", part))
}

/// A field that is not what it should be.
fn wrong(at: &str, expected: &str, found: &Value) -> ApiError {
    ApiError::field(at, format!("{at}: it should be {expected}, not {}", kind(found)))
}

/// A value in a few words, however large it is.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.chars().count() <= 40 => format!("{text:?}"),
        Value::String(_) => "a long string".into(),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".into(),
    }
}

#[cfg(test)]
mod tests;
