use std::time::Instant;

use fixtures::mock::{Answer, Mock, Raw};
use records::record::Message;

use super::*;
use crate::retry::{Gate, with_retries};

const ENDLESS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn endpoint(base_url: &str) -> Endpoint {
    Endpoint {
        base_url: base_url.into(),
        model: "r1".into(),
        api_key: Some("sk-secret-123".into()),
        concurrency: 2,
        timeout: Duration::from_secs(20),
        max_attempts: 3,
        waits: Waits { first: Duration::from_millis(1), longest: Duration::from_millis(2), ..Waits::default() },
    }
}

/// As a collection asks: with retries.
async fn chat(endpoint: &Endpoint, max_tokens: u32) -> Failure {
    let messages = vec![Message::user("3 + 4?")];
    let request = ChatRequest { model: "r1", messages, temperature: 0.6, top_p: 0.95, max_tokens, seed: 5 };
    let client = OpenAiClient::new(endpoint).unwrap();
    let gate = Gate::new(&tokio::sync::watch::channel(false).1);
    let asked = with_retries(endpoint.waits, endpoint.max_attempts, &gate, || client.chat(&request)).await;
    asked.unwrap_err()
}

#[tokio::test]
async fn a_reply_without_end_is_the_endpoints_failure_and_named() {
    let mock = Raw::start(ENDLESS, &[b' '; 1 << 14], Duration::ZERO);
    let failure = chat(&endpoint(&mock.url), 1000).await;
    assert_eq!(failure.cause, Cause::Endpoint);
    let bytes = (1000 * 512 + (1 << 20)).to_string();
    for words in [bytes.as_str(), mock.url.as_str(), "max_tokens"] {
        assert!(failure.message.contains(words), "no {words} in {failure:?}");
    }
    assert_eq!(mock.requests(), 1, "it is not asked again");
}

#[tokio::test]
async fn a_length_that_lies_changes_nothing() {
    // More than the header says is not read; less is a broken connection.
    for (length, words) in [("3", "not the JSON expected"), ("99999999999", "has more than")] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let mock = Raw::start(&head, &[b' '; 1 << 14], Duration::ZERO);
        let failure = chat(&endpoint(&mock.url), 10).await;
        assert!(failure.message.contains(words), "{failure:?}");
    }
}

#[tokio::test]
async fn a_reply_that_trickles_ends_with_the_timeout() {
    let mock = Raw::start(ENDLESS, b" ", Duration::from_millis(10));
    let begun = Instant::now();
    let failure = chat(&Endpoint { timeout: Duration::from_millis(200), ..endpoint(&mock.url) }, 10).await;
    assert!(failure.message.starts_with("no complete reply within 200ms (tried 3 times)"), "{failure:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn of_a_refusal_the_beginning_is_read() {
    let mock = Raw::start("HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n", &[b'x'; 1 << 14], Duration::ZERO);
    let failure = chat(&endpoint(&mock.url), 10).await;
    assert_eq!(failure.cause, Cause::Request);
    assert!(failure.message.starts_with("HTTP 400: xxx") && failure.message.len() < 1000, "{failure:?}");
    // A key at the place where it is cut is not shown by half.
    for status in [401, 200] {
        let message = format!("{}sk-secret-123 {}", "x".repeat(993), "y".repeat(5000));
        let mock = Mock::start(move |_| {
            Answer::json(status, &serde_json::json!({"error": {"message": message, "code": 401}}))
        });
        let failure = chat(&endpoint(&mock.url), 10).await;
        assert!(!failure.message.contains("sk-s") && failure.message.len() < 1100, "{failure:?}");
    }
}

#[tokio::test]
async fn a_list_of_models_without_end_is_refused_before_anything_is_asked() {
    let mock = Raw::start(ENDLESS, &[b' '; 1 << 14], Duration::ZERO);
    let error = check(&endpoint(&mock.url)).await.unwrap_err().to_string();
    assert!(error.contains(&mock.url) && error.contains("more than 16777216 bytes"), "{error}");
}

/// Nothing is unpacked: what is small on its way is small here.
#[tokio::test]
async fn a_compressed_reply_is_not_unpacked() {
    let mock = Mock::start(|_| Answer::bytes(200, vec![0x1f, 0x8b, 8, 0]).header("Content-Encoding", "gzip"));
    let failure = chat(&endpoint(&mock.url), 10).await;
    assert!(failure.message.contains("not the JSON expected"), "{failure:?}");
    assert!(mock.received().iter().all(|asked| asked.line.starts_with("POST")));
}
