use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(body: &Value) -> Result<ChatRequest, ApiError> {
    ChatRequest::parse(body.to_string().as_bytes(), "student")
}

/// A good request with one field more, or another value for one.
fn with(name: &str, value: Value) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": "1 + 2?" }] });
    body[name] = value;
    body
}

#[test]
fn defaults_and_every_field() {
    let request = parse(&with("user", json!("ignored"))).unwrap();
    let expected = ChatRequest {
        messages: vec![Message::user("1 + 2?")],
        n: 1,
        seed: None,
        temperature: 0.6,
        top_p: 0.95,
        max_tokens: None,
        stop: Vec::new(),
        stream: false,
        include_usage: false,
    };
    assert_eq!(request, expected);
    let request = parse(&json!({
        "model": "student", "n": 3, "seed": -1, "temperature": 0, "top_p": 1, "max_completion_tokens": 7,
        "stop": ["a", "b"], "stream": true, "stream_options": { "include_usage": true }, "unknown": [1],
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": [{ "type": "text", "text": "1" }, { "type": "text", "text": "+ 2?" }] },
        ],
    }));
    let expected = ChatRequest {
        messages: vec![Message { role: "system".into(), content: "Be brief.".into() }, Message::user("1\n+ 2?")],
        n: 3,
        seed: Some(u64::MAX),
        temperature: 0.0,
        top_p: 1.0,
        max_tokens: Some(7),
        stop: vec!["a".into(), "b".into()],
        stream: true,
        include_usage: true,
    };
    assert_eq!(request.unwrap(), expected);
}

#[test]
fn wrong_values_are_refused_by_name() {
    for (name, value) in [
        ("model", json!(7)),
        ("n", json!(0)),
        ("n", json!(17)),
        ("n", json!(1e30)),
        ("n", json!(-1)),
        ("n", json!("2")),
        ("seed", json!(1.5)),
        ("seed", json!(1e300)),
        ("temperature", json!(-0.1)),
        ("temperature", json!(2.1)),
        ("temperature", json!("hot")),
        ("top_p", json!(0)),
        ("top_p", json!(1.1)),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(u64::MAX)),
        ("max_completion_tokens", json!(0.5)),
        ("stop", json!("")),
        ("stop", json!(["a", "b", "c", "d", "e"])),
        ("stop", json!([1])),
        ("stop", json!("x".repeat(257))),
        ("stream", json!("yes")),
        ("stream_options", json!(true)),
        ("messages", json!([])),
        ("messages", json!("hello")),
        ("messages", Value::Null),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(5)),
        ("frequency_penalty", json!(0.1)),
        ("presence_penalty", json!(-1)),
        ("repetition_penalty", json!(1.1)),
        ("top_k", json!(40)),
        ("min_p", json!(0.05)),
        ("logit_bias", json!({ "50": -100 })),
        ("response_format", json!({ "type": "json_object" })),
        ("response_format", json!("json")),
        ("tool_choice", json!("required")),
        ("tools", json!([{ "type": "function", "function": { "name": "f" } }])),
        ("reasoning_effort", json!("high")),
        ("continue_final_message", json!(true)),
        ("modalities", json!(["text", "audio"])),
    ] {
        let error = parse(&with(name, value.clone())).unwrap_err();
        assert_eq!(error.status, StatusCode::BAD_REQUEST, "{name}: {value}");
        assert_eq!(error.body()["error"]["param"], name, "{value}");
        assert!(error.body()["error"]["message"].as_str().unwrap().contains(name));
    }
}

#[test]
fn values_that_ask_for_nothing_are_let_pass() {
    for (name, value) in [
        ("frequency_penalty", json!(0)),
        ("presence_penalty", json!(0.0)),
        ("repetition_penalty", json!(1)),
        ("logprobs", json!(false)),
        ("top_k", json!(-1)),
        ("logit_bias", json!({})),
        ("response_format", json!({ "type": "text" })),
        ("tools", json!([])),
        ("tool_choice", json!("auto")),
        ("modalities", json!(["text"])),
        ("model", Value::Null),
        ("stop", Value::Null),
        ("stream_options", json!({})),
    ] {
        parse(&with(name, value.clone())).unwrap_or_else(|e| panic!("{name}: {value}: {e:?}"));
    }
    let mut body = with("tools", json!([{ "type": "function" }]));
    body["tool_choice"] = json!("none");
    parse(&body).unwrap();
}

#[test]
fn wrong_messages_are_refused_where_they_stand() {
    let good = json!({ "role": "user", "content": "?" });
    for (message, at) in [
        (json!("hello"), "messages[1]"),
        (json!({ "content": "?" }), "messages[1].role"),
        (json!({ "role": "tool", "content": "?" }), "messages[1].role"),
        (json!({ "role": "user" }), "messages[1].content"),
        (json!({ "role": "user", "content": 7 }), "messages[1].content"),
        (json!({ "role": "user", "content": [{ "type": "image_url" }] }), "messages[1].content[0]"),
        (json!({ "role": "user", "content": ["text"] }), "messages[1].content[0]"),
        (json!({ "role": "assistant", "content": "", "tool_calls": [{}] }), "messages[1].tool_calls"),
    ] {
        let error = parse(&with("messages", json!([good, message]))).unwrap_err();
        assert_eq!((error.status, error.body()["error"]["param"].as_str()), (StatusCode::BAD_REQUEST, Some(at)));
    }
}

#[test]
fn what_is_not_json_is_refused() {
    let nested = "[".repeat(100_000) + &"]".repeat(100_000);
    for body in ["", "{", "[]", "null", "{\"n\": NaN}", "{\"temperature\": 1e999}", "\u{FFFD}", nested.as_str()] {
        let error = ChatRequest::parse(body.as_bytes(), "student").unwrap_err();
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(ChatRequest::parse(b"\xFF", "student").unwrap_err().status, StatusCode::BAD_REQUEST);
}

#[test]
fn two_limits_must_agree_and_another_model_is_not_found() {
    let mut body = with("max_tokens", json!(5));
    body["max_completion_tokens"] = json!(5);
    assert_eq!(parse(&body).unwrap().max_tokens, Some(5));
    body["max_completion_tokens"] = json!(6);
    assert_eq!(parse(&body).unwrap_err().body()["error"]["param"], "max_tokens");
    let error = parse(&with("model", json!("gpt"))).unwrap_err();
    assert_eq!((error.status, &error.body()["error"]["code"]), (StatusCode::NOT_FOUND, &json!("model_not_found")));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z<>é]{0,8}".prop_map(Value::from),
        Just(json!("text")),
        Just(json!("user")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let key = proptest::sample::select(vec!["role", "content", "type", "text", "include_usage", "tool_calls"]);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..4).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_value_of_any_field_does_harm(
        name in proptest::sample::select(vec![
            "model", "messages", "n", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop",
            "stream", "stream_options", "tools", "tool_choice", "response_format", "logit_bias", "modalities",
        ]),
        value in any_value(),
    ) {
        match parse(&with(name, value)) {
            Ok(request) => {
                prop_assert!((0.0..=2.0).contains(&request.temperature) && request.top_p > 0.0 && request.top_p <= 1.0);
                prop_assert!((1..=16).contains(&request.n) && !request.messages.is_empty());
            }
            Err(error) => prop_assert!(error.status.is_client_error()),
        }
    }
}
