//! The chat-completions protocol as servers speak it.
//!
//! What we send is a typed struct. What we read is walked as loose JSON, on purpose: servers differ in the name of the
//! reasoning field (vLLM since 0.16 and OpenRouter: `reasoning`; DeepSeek, SGLang, llama.cpp: `reasoning_content`;
//! others: inline), in finish reasons (TGI: `eos_token`, Together: `eos`) and in usage, and a strict type would throw
//! away a reply that was paid for.

use records::record::{FinishReason, Message};
use serde::Serialize;
use serde_json::Value;

use crate::retry::Failure;

/// Most characters of a server's message that are shown.
const MESSAGE_CHARS: usize = 1000;

/// One request for one sample.
#[derive(Debug, Serialize)]
pub(crate) struct ChatRequest<'a> {
    pub(crate) model: &'a str,
    pub(crate) messages: Vec<Message>,
    pub(crate) temperature: f64,
    pub(crate) top_p: f64,
    pub(crate) max_tokens: u32,
    pub(crate) seed: u64,
}

/// What of a reply makes a trace.
#[derive(Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) reasoning: Option<String>,
    pub(crate) content: String,
    pub(crate) finish_reason: FinishReason,
    pub(crate) prompt_tokens: Option<u32>,
    pub(crate) completion_tokens: Option<u32>,
}

/// Reads the body of a successful response.
pub(crate) fn read_reply(body: &str) -> Result<Reply, Failure> {
    let reply: Value = serde_json::from_str(body)
        .map_err(|e| Failure::moment(format!("the reply is not the JSON expected ({e}): {}", excerpt(body))))?;
    let choice = &reply["choices"][0];
    // Gateways report an upstream failure inside a response whose status is 200.
    if let Some(error) = [&reply["error"], &choice["error"]].into_iter().find(|e| !e.is_null()) {
        let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
        return Err(Failure::status(
            status,
            cut(&server_message(&reply).unwrap_or_else(|| error.to_string()), MESSAGE_CHARS),
        ));
    }
    if !choice.is_object() {
        return Err(Failure::moment(format!("the reply holds no choice: {}", excerpt(body))));
    }
    let reason = choice["finish_reason"].as_str();
    if let Some(reason @ ("abort" | "error")) = reason {
        return Err(Failure::moment(format!("the server broke off the generation (finish reason `{reason}`)")));
    }
    let message = &choice["message"];
    let reasoning = text(&message["reasoning_content"]).or_else(|| text(&message["reasoning"]));
    let content = text(&message["content"]).or_else(|| text(&message["refusal"]));
    // DeepSeek's API sends empty replies under load; a filter's empty reply is its final word.
    if reasoning.is_none() && content.is_none() && reason != Some("content_filter") {
        return Err(Failure::moment("the reply is empty: no reasoning and no content"));
    }
    let tokens = |field: &str| reply["usage"][field].as_u64().and_then(|n| u32::try_from(n).ok());
    Ok(Reply {
        reasoning,
        content: content.unwrap_or_default(),
        finish_reason: FinishReason::named(reason),
        prompt_tokens: tokens("prompt_tokens"),
        completion_tokens: tokens("completion_tokens"),
    })
}

/// The text of a string or of a list of `{"type": "text", "text": ..}` parts; `None` if there is none to speak of.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => return None,
    };
    (!text.trim().is_empty()).then_some(text)
}

/// The message in an error body: OpenAI's and vLLM's form, plain strings, and FastAPI's `detail`.
pub(crate) fn server_message(body: &Value) -> Option<String> {
    let places = ["/error/message", "/choices/0/error/message", "/error", "/message", "/detail"];
    places.iter().find_map(|place| body.pointer(place)?.as_str()).map(str::to_owned)
}

/// The message of an error response, whatever its form; the beginning of a long one.
pub(crate) fn error_message(body: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(body).ok();
    match parsed.as_ref().and_then(server_message) {
        Some(message) => cut(&message, MESSAGE_CHARS),
        None => excerpt(body),
    }
}

/// The ids in the answer of `GET /models`; `None` if it is not a list of models.
pub(crate) fn read_models(body: &str) -> Option<Vec<String>> {
    let list: Value = serde_json::from_str(body).ok()?;
    list["data"].as_array()?.iter().map(|model| model["id"].as_str().map(str::to_owned)).collect()
}

/// Whether a listed model is the one asked for (Gemini lists `models/NAME`, Ollama `NAME:latest`).
pub(crate) fn is_model(listed: &str, model: &str) -> bool {
    let bare = listed.strip_prefix("models/").unwrap_or(listed);
    [listed, bare, bare.strip_suffix(":latest").unwrap_or(bare)].contains(&model)
}

/// The beginning of a body, on one line.
pub(crate) fn excerpt(body: &str) -> String {
    cut(body, 300)
}

/// At most so many characters of a text, on one line.
fn cut(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.is_empty() => "(nothing)".into(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::Cause;
    use serde_json::json;

    fn read(message: &Value, finish_reason: &Value) -> Result<Reply, Failure> {
        read_reply(&json!({"choices": [{"message": message, "finish_reason": finish_reason}]}).to_string())
    }

    #[test]
    fn reasoning_is_found_under_either_name() {
        for field in ["reasoning", "reasoning_content"] {
            let reply = read(&json!({field: "because", "content": "7"}), &json!("stop")).unwrap();
            assert_eq!(reply.reasoning.as_deref(), Some("because"));
            assert_eq!(reply.content, "7");
        }
        // One of them may be there and empty.
        let reply = read(&json!({"reasoning_content": "", "reasoning": "because", "content": "7"}), &json!("stop"));
        assert_eq!(reply.unwrap().reasoning.as_deref(), Some("because"));
        let cut = read(&json!({"reasoning": "beca", "content": null}), &json!("length")).unwrap();
        assert_eq!((cut.content.as_str(), cut.finish_reason), ("", FinishReason::Length));
    }

    #[test]
    fn nothing_unusual_loses_a_reply() {
        for (name, reason) in [
            (json!("stop"), FinishReason::Stop),
            (json!("eos_token"), FinishReason::Stop),
            (json!("length"), FinishReason::Length),
            (json!("repetition"), FinishReason::Other),
            (json!("model_length"), FinishReason::Length),
            (json!(""), FinishReason::Unknown),
            (json!(null), FinishReason::Unknown),
            (json!(7), FinishReason::Unknown),
        ] {
            assert_eq!(read(&json!({"content": "7"}), &name).unwrap().finish_reason, reason, "{name}");
        }
        let parts =
            json!({"content": [{"type": "text", "text": "It is "}, {"type": "text", "text": "7"}, {"type": "x"}]});
        assert_eq!(read(&parts, &json!("stop")).unwrap().content, "It is 7");
        assert_eq!(read(&json!({"content": null, "refusal": "No."}), &json!("stop")).unwrap().content, "No.");
        // Keep-alive blank lines before the body, and usage of an odd type.
        let odd =
            "\n\n\n{\"choices\": [{\"message\": {\"content\": \"7\"}}], \"usage\": {\"completion_tokens\": -1.5}}";
        assert_eq!(read_reply(odd).unwrap().completion_tokens, None);
        let usage =
            json!({"choices": [{"message": {"content": "7"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 9}});
        let reply = read_reply(&usage.to_string()).unwrap();
        assert_eq!((reply.prompt_tokens, reply.completion_tokens), (Some(3), Some(9)));
    }

    #[test]
    fn a_reply_without_text_is_retried_unless_a_filter_made_it_so() {
        for message in [json!({"content": null}), json!({"content": "", "reasoning": " \n"}), json!({})] {
            assert_eq!(read(&message, &json!("stop")).unwrap_err().cause, Cause::Moment, "{message}");
        }
        let filtered = read(&json!({"content": null}), &json!("content_filter")).unwrap();
        assert_eq!((filtered.content.as_str(), filtered.finish_reason), ("", FinishReason::Other));
    }

    #[test]
    fn a_failure_in_a_200_is_a_failure() {
        let engine = json!({"error": {"message": "EngineCore died", "code": 500}}).to_string();
        assert_eq!(read_reply(&engine), Err(Failure::status(500, "EngineCore died")));
        let upstream = json!({"choices": [{"error": {"message": "bad", "code": 400}, "message": {"content": "7"}}]});
        assert_eq!(read_reply(&upstream.to_string()), Err(Failure::status(400, "bad")));
        for body in ["", "<html>Bad gateway</html>", "{\"choices\": []}", "{\"choices\": [{\"mess"] {
            assert_eq!(read_reply(body).unwrap_err().cause, Cause::Moment, "{body}");
        }
        for reason in ["abort", "error"] {
            assert_eq!(read(&json!({"content": "half"}), &json!(reason)).unwrap_err().cause, Cause::Moment);
        }
    }

    #[test]
    fn error_bodies_of_every_server_are_understood() {
        for body in [
            json!({"error": {"message": "too long", "code": 400}}),
            json!({"object": "error", "message": "too long"}),
            json!({"error": "too long"}),
            json!({"detail": "too long"}),
        ] {
            assert_eq!(error_message(&body.to_string()), "too long");
        }
        assert_eq!(error_message("  upstream\n timed out "), "upstream timed out");
        assert_eq!(error_message(""), "(nothing)");
        assert_eq!(error_message(&"ß".repeat(1000)).chars().count(), 301);
    }

    #[test]
    fn models_are_compared_as_servers_name_them() {
        let list = json!({"object": "list", "data": [{"id": "a"}, {"id": "b"}]}).to_string();
        assert_eq!(read_models(&list), Some(vec!["a".into(), "b".into()]));
        assert_eq!(read_models("{}"), None);
        assert!(is_model("r1", "r1") && is_model("models/r1", "r1") && is_model("r1:latest", "r1"));
        assert!(!is_model("r1", "r") && !is_model("r1:7b", "r1"));
    }
}
