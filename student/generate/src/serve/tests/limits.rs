//! What clients may not do to a server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fixture::*;
use crate::serve::{Patience, ServeOptions};

const JSON: &str = "Content-Type: application/json";

/// A model that goes on for minutes.
fn endless() -> crate::serve::ChatModel {
    let format = format();
    let circle = format.tokenizer.encode("1").unwrap()[0];
    let model = scripted_model(&format, &[circle, circle], 1 << 18);
    chat_model(format, model)
}

fn code_of(body: &str) -> Value {
    serde_json::from_str::<Value>(body).unwrap()["error"]["code"].clone()
}

#[test]
fn a_page_of_another_site_cannot_drive_a_server_on_loopback() {
    let options = ServeOptions { allow_hosts: vec!["chat.example".into()], ..ServeOptions::default() };
    let server = Running::start_with(writes(format(), "12"), options);
    let body = String::from_utf8(chat_body(json!({ "temperature": 0 }))).unwrap();
    let post = |headers: &[&str]| server.raw("POST /v1/chat/completions", headers, &body);
    // What programs on this machine send, and what a proxy does that was allowed.
    for headers in [
        ["Host: localhost:8000", JSON, "X: y"],
        ["Host: 127.0.0.1:8000", JSON, "Origin: http://localhost:3000"],
        ["Host: chat.example", JSON, "Origin: https://chat.example"],
    ] {
        assert_eq!(post(&headers).0, 200, "{headers:?}");
    }
    // A name that was made to resolve to 127.0.0.1: the browser says whose.
    let (status, _, reply) = post(&["Host: evil.example:8000", JSON]);
    assert_eq!((status, code_of(&reply)), (403, json!("host_not_allowed")));
    assert!(reply.contains("--allow-host evil.example"), "{reply}");
    for path in ["/v1/models", "/health", "/nothing"] {
        assert_eq!(server.raw(&format!("GET {path}"), &["Host: evil.example"], "").0, 403, "{path}");
    }
    // A script of another site, with what it may send without asking, and a form.
    let (status, _, reply) =
        post(&["Host: 127.0.0.1:8000", "Origin: https://evil.example", "Content-Type: text/plain"]);
    assert_eq!((status, code_of(&reply)), (403, json!("origin_not_allowed")));
    assert_eq!(post(&["Host: 127.0.0.1", "Origin: null", JSON]).0, 403);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let (status, _, reply) = post(&["Host: 127.0.0.1", &format!("Content-Type: {kind}")]);
        assert_eq!(status, 415, "{kind}");
        assert!(reply.contains("application/json") && reply.contains("invalid_request_error"), "{reply}");
    }
    assert_eq!(post(&["Host: 127.0.0.1"]).0, 415);
    assert_eq!(post(&["Host: 127.0.0.1", JSON, "Content-Encoding: gzip"]).0, 415);
    assert_eq!(post(&[JSON]).0, 400, "no host");
    // Asking for permission gets none.
    let asks = ["Origin: http://localhost:3000", "Host: localhost", "Access-Control-Request-Method: POST"];
    let (status, head, _) = server.raw("OPTIONS /v1/chat/completions", &asks, "");
    assert!(status == 405 && !head.contains("access-control"), "{head}");
}

#[test]
fn more_than_the_queue_holds_is_turned_away_until_there_is_room() {
    let options = ServeOptions { queue: 1, ..ServeOptions::default() };
    let server = Running::start_with(endless(), options);
    let stream = chat_body(json!({ "temperature": 0, "stream": true }));
    // Two are sampled, one waits; the head comes once it was taken.
    let mut held: Vec<TcpStream> = (0..3).map(|_| server.send("POST", CHAT, &stream)).collect();
    for connection in &mut held {
        connection.read_exact(&mut [0; 12]).unwrap();
    }
    let quick = String::from_utf8(chat_body(json!({ "temperature": 0, "max_tokens": 1 }))).unwrap();
    let ask = || server.raw("POST /v1/chat/completions", &["Host: localhost", JSON], &quick);
    let (status, head, body) = ask();
    assert_eq!((status, code_of(&body)), (429, json!("rate_limit_exceeded")));
    assert!(
        head.contains("retry-after: 2") && body.contains("3 completions") && body.contains("--queue"),
        "{head} {body}"
    );
    assert_eq!(server.get("/health").0, 200, "it is busy, not broken");
    held.clear();
    let begun = Instant::now();
    while ask().0 != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the places are not free again");
    }
    // Every completion of a request takes a place, and what never fits is no matter of waiting.
    let (status, body) = server.chat(json!({ "n": 4, "max_tokens": 1 }));
    assert_eq!((status, &body["error"]["param"]), (400, &json!("n")));
    while server.chat(json!({ "n": 3, "max_tokens": 1 })).0 != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "three places are not free");
    }
    let held = server.send("POST", CHAT, &stream);
    (&held).read_exact(&mut [0; 12]).unwrap();
    assert_eq!(server.chat(json!({ "n": 3, "max_tokens": 1 })).0, 429);
}

#[test]
fn a_body_that_does_not_come_gives_its_place_back() {
    let patience = Patience { body: Duration::from_millis(300), ..Patience::default() };
    let options = ServeOptions { queue: 0, patience, ..ServeOptions::default() };
    let server = Running::start_with(writes(format(), "12"), options);
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: 50\r\nExpect: 100-continue\r\n\r\n"
    );
    let stalled: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            // It is asked for the body: so it has its place.
            stream.read_exact(&mut [0; 25]).unwrap();
            stream
        })
        .collect();
    assert_eq!(server.chat(json!({ "temperature": 0 })).0, 429, "both places are taken");
    for mut stream in stalled {
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 408") && reply.contains("did not come within 300ms"), "{reply}");
    }
    server.chat_ok(json!({ "temperature": 0 }));
}
