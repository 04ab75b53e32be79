use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use fixtures::mock::{Answer, Mock, Received};
use records::parquet_file::{parquet_files, read_folder};
use records::record::{FinishReason, Message, Sampling, Trace, TraceId};
use serde_json::json;

use super::*;
use crate::ask::{GROUP, MAX_CONSECUTIVE_FAILURES, request_seed};
use crate::retry::Waits;

const QUICK: Waits = Waits {
    first: Duration::from_millis(2),
    longest: Duration::from_millis(10),
    total: Duration::from_secs(20),
    grace: Duration::from_secs(20),
};

fn prompts(n: usize) -> Vec<Prompt> {
    (0..n).map(|i| Prompt::new("math", "sum", &format!("What is {i} + 1?"), None, "test")).collect()
}

fn request(samples: u32) -> Request {
    Request {
        teacher: "teacher".into(),
        instruction: "Answer within \\boxed{}.".into(),
        samples,
        sampling: Sampling { temperature: 0.6, top_p: 0.95, max_tokens: 64 },
        seed: 7,
    }
}

fn endpoint(mock: &Mock, concurrency: usize) -> Endpoint {
    Endpoint {
        base_url: mock.url.clone(),
        model: "r1".into(),
        api_key: None,
        concurrency,
        timeout: Duration::from_secs(20),
        max_attempts: 3,
        waits: QUICK,
    }
}

/// An answer that depends on the question and on the seed, as a deterministic server's would.
fn echo(asked: &Received) -> Answer {
    let content = format!("{} {}", asked.question(), asked.body["seed"]);
    Answer::reply(&json!({"reasoning_content": "let me see", "content": content}))
}

/// A receiver that is never told to stop.
fn never() -> watch::Receiver<bool> {
    watch::channel(false).1
}

async fn collect(
    prompts: &[Prompt],
    request: &Request,
    endpoint: &Endpoint,
    dir: &Path,
    stop: &watch::Receiver<bool>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<CollectSummary> {
    let mut collection = Collection::open(prompts, request, dir, None)?;
    collection.ask_all(endpoint, stop, progress).await?;
    collection.to_parquet()
}

async fn run(prompts: &[Prompt], samples: u32, endpoint: &Endpoint, dir: &Path) -> Result<CollectSummary> {
    collect(prompts, &request(samples), endpoint, dir, &never(), &|_| {}).await
}

/// How often each request (question and seed) reached the server.
fn times_asked(mock: &Mock) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for asked in mock.received() {
        *times.entry(asked.body.to_string()).or_default() += 1;
    }
    times
}

#[tokio::test]
async fn every_form_of_reply_becomes_a_trace() {
    for message in [
        json!({"reasoning_content": "4 + 1 = 5", "content": "\n\nIt is 5."}),
        json!({"reasoning": "4 + 1 = 5", "content": "It is 5."}),
        json!({"content": "<think>\n4 + 1 = 5\n</think>\n\nIt is 5."}),
        json!({"content": "4 + 1 = 5</think>It is 5."}),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mock = Mock::start(move |_| Answer::reply(&message));
        let prompts = prompts(1);
        let summary = run(&prompts, 1, &endpoint(&mock, 1), dir.path()).await.unwrap();
        assert_eq!((summary.traces, summary.new, summary.prompt_tokens, summary.completion_tokens), (1, 1, 5, 10));
        let traces = read_folder::<Trace>(dir.path()).unwrap();
        let Request { instruction, sampling, seed, .. } = request(1);
        let id = TraceId::of(&prompts[0].id, "teacher", &instruction, sampling, seed, 0);
        let expected = Trace::new(id, prompts[0].id.clone(), "teacher", 0)
            .with_text(Some("4 + 1 = 5".into()), "It is 5.", FinishReason::Stop)
            .with_tokens(Some(5), Some(10))
            .with_sampling(sampling, mock.received()[0].body["seed"].as_u64());
        assert_eq!(traces, [expected]);
        assert_eq!(mock.received()[0].question(), "What is 0 + 1?\n\nAnswer within \\boxed{}.");
    }
}

#[tokio::test]
async fn what_comes_before_a_question_is_sent_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mock = Mock::start(echo);
    let system = Message { role: "system".into(), content: "Be brief.".into() };
    let context = vec![system, Message::user("1 + 1?"), Message::assistant("2")];
    let prompts = [Prompt::new("math", "sum", "And 2 + 2?", None, "test").with_context(context)];
    run(&prompts, 1, &endpoint(&mock, 1), dir.path()).await.unwrap();
    let expected = json!([
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"}, {"role": "user", "content": "And 2 + 2?\n\nAnswer within \\boxed{}."}
    ]);
    assert_eq!(mock.received()[0].body["messages"], expected);
}

#[tokio::test]
async fn a_cut_thinking_and_an_unknown_ending_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mock = Mock::start(|asked| {
        if asked.question().starts_with("What is 0") {
            Answer::finished(&json!({"reasoning": "4 +", "content": null}), "length")
        } else {
            Answer::finished(&json!({"content": "5"}), "cosmic_ray")
        }
    });
    run(&prompts(2), 1, &endpoint(&mock, 2), dir.path()).await.unwrap();
    let traces = read_folder::<Trace>(dir.path()).unwrap();
    assert_eq!((traces[0].finish_reason, traces[0].thinking.as_deref()), (FinishReason::Length, None));
    assert_eq!(traces[0].answer, "<think>\n4 +");
    assert_eq!((traces[1].finish_reason, traces[1].answer.as_str()), (FinishReason::Other, "5"));
}

#[tokio::test]
async fn passing_failures_are_ridden_out() {
    let dir = tempfile::tempdir().unwrap();
    let mock = Mock::start(|asked| match (asked.question().as_bytes()[8], asked.earlier) {
        (b'0', 0) => Answer::json(429, &json!({"error": {"message": "slow down"}})).header("Retry-After", "0.05"),
        (b'1', 0 | 1) => Answer::json(500, &json!({"error": "engine died"})),
        (b'2', 0) => echo(asked).cut(),
        (b'3', 0) => Answer::reply(&json!({"content": ""})),
        (b'4', 0) => Answer::json(200, &json!({"error": {"message": "upstream", "code": 502}})),
        _ => echo(asked),
    });
    let summary = run(&prompts(6), 1, &endpoint(&mock, 6), dir.path()).await.unwrap();
    assert_eq!((summary.traces, summary.new), (6, 6));
    let mut times: Vec<usize> = times_asked(&mock).into_values().collect();
    times.sort_unstable();
    assert_eq!(times, [1, 2, 2, 2, 2, 3]);
}

#[tokio::test]
async fn one_prompts_failure_takes_no_other_with_it_and_is_asked_again_next_time() {
    let dir = tempfile::tempdir().unwrap();
    let mended = Arc::new(AtomicUsize::new(0));
    let flag = mended.clone();
    let mock = Mock::start(move |asked| {
        if asked.question().starts_with("What is 2") && flag.load(SeqCst) == 0 {
            Answer::json(400, &json!({"error": {"message": "too long for the context"}}))
        } else {
            echo(asked)
        }
    });
    let prompts = prompts(5);
    let error = run(&prompts, 2, &endpoint(&mock, 3), dir.path()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Incomplete { kept: 8, failed: 2, .. }), "{text}");
    assert!(text.contains(prompts[2].id.as_str()) && text.contains("HTTP 400: too long for the context"), "{text}");
    assert_eq!(parquet_files(dir.path()).unwrap().len(), 0);

    mended.store(1, SeqCst);
    let summary = run(&prompts, 2, &endpoint(&mock, 3), dir.path()).await.unwrap();
    assert_eq!((summary.traces, summary.new), (10, 2));
    assert_eq!(mock.received().len(), 12);
}

#[tokio::test]
async fn an_endpoint_that_refuses_us_ends_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mock = Mock::start(|_| Answer::json(401, &json!({"error": {"message": "wrong key"}})));
    let error = run(&prompts(50), 1, &endpoint(&mock, 2), dir.path()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, Error::GaveUp { kept: 0, total: 50, .. }) && text.contains("HTTP 401: wrong key"),
        "{text}"
    );
    assert!(mock.received().len() <= 4, "{}", mock.received().len());
}

#[tokio::test]
async fn an_endpoint_that_is_down_ends_it_soon_and_keeps_what_came() {
    let dir = tempfile::tempdir().unwrap();
    let served = AtomicUsize::new(0);
    let mock = Mock::start(move |asked| match served.fetch_add(1, SeqCst) {
        0..5 => echo(asked),
        _ => Answer::json(503, &json!({})),
    });
    let error = run(&prompts(200), 1, &endpoint(&mock, 1), dir.path()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::GaveUp { kept: 5, total: 200, .. }) && text.contains("HTTP 503"), "{text}");
    // Three attempts for each failure, and a first attempt that may have left before the last of them was counted.
    let until_given_up = 5 + 3 * (MAX_CONSECUTIVE_FAILURES + 1);
    assert!((until_given_up..=until_given_up + 1).contains(&mock.received().len()), "{}", mock.received().len());

    let nowhere = Endpoint { base_url: "http://127.0.0.1:1/v1".into(), max_attempts: 1, ..endpoint(&mock, 4) };
    let text = run(&prompts(30), 1, &nowhere, dir.path()).await.unwrap_err().to_string();
    assert!(text.contains("http://127.0.0.1:1/v1") && text.contains("cannot connect"), "{text}");
}

#[tokio::test]
async fn stopped_again_and_again_nothing_is_asked_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mock = Mock::start(|asked| echo(asked).after(Duration::from_millis(3)));
    let (prompts, request, endpoint) = (prompts(30), request(3), endpoint(&mock, 8));
    let mut kept_before = 0;
    for goal in [1, 20, 50] {
        let (stop, stopped) = watch::channel(false);
        let progress = |progress: Progress| {
            if progress.done >= goal {
                stop.send_replace(true);
            }
        };
        match collect(&prompts, &request, &endpoint, dir.path(), &stopped, &progress).await.unwrap_err() {
            Error::Stopped { kept, total: 90 } => {
                // What was in flight at the stop arrives within the grace; nothing new is sent.
                assert!((goal..goal + GROUP + 8).contains(&kept) && kept > kept_before, "{kept}");
                assert_eq!(mock.received().len(), kept);
                kept_before = kept;
            }
            other => panic!("{other}"),
        }
    }
    let summary = run(&prompts, 3, &endpoint, dir.path()).await.unwrap();
    assert_eq!((summary.traces, summary.new), (90, 90 - kept_before));
    assert_eq!(times_asked(&mock).len(), 90);
    assert!(times_asked(&mock).values().all(|&times| times == 1));
    // A complete collection asks for nothing.
    assert_eq!(run(&prompts, 3, &endpoint, dir.path()).await.unwrap().new, 0);
    assert_eq!(mock.received().len(), 90);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_server_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let mock = Mock::start(|asked| {
        let slow = asked.question().starts_with("What is 1");
        echo(asked).after(if slow { Duration::from_mins(1) } else { Duration::ZERO })
    });
    let (stop, stopped) = watch::channel(false);
    let progress = |progress: Progress| {
        if progress.done > 0 {
            stop.send_replace(true);
        }
    };
    let start = Instant::now();
    let waits = Waits { grace: Duration::from_millis(50), ..QUICK };
    let endpoint = Endpoint { waits, ..endpoint(&mock, 2) };
    let (prompts, request) = (prompts(2), request(1));
    let collecting = collect(&prompts, &request, &endpoint, dir.path(), &stopped, &progress);
    assert!(matches!(collecting.await.unwrap_err(), Error::Stopped { kept: 1, total: 2 }));
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn the_result_is_the_same_whatever_the_concurrency_and_the_bound_holds() {
    let mut results = Vec::new();
    for concurrency in [1, 7] {
        let dir = tempfile::tempdir().unwrap();
        // Early questions take longest, so that replies overtake one another.
        let mock = Mock::start(|asked| {
            let early = asked.question().len() < "What is 10 + 1?\n\nAnswer within \\boxed{}.".len();
            echo(asked).after(Duration::from_millis(if early { 12 } else { 1 }))
        });
        run(&prompts(20), 2, &endpoint(&mock, concurrency), dir.path()).await.unwrap();
        let most = mock.most_in_flight();
        assert!(most <= concurrency && (concurrency == 1 || most > 1), "{most} in flight of {concurrency}");
        results.push(std::fs::read(dir.path().join("traces-00000.parquet")).unwrap());
        let samples: Vec<u32> = read_folder::<Trace>(dir.path()).unwrap().iter().map(|trace| trace.sample).collect();
        assert_eq!(samples, [0, 1].repeat(20));
    }
    assert!(results[0] == results[1]);
}

#[tokio::test]
async fn progress_counts_what_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mock = Mock::start(echo);
    run(&prompts(3), 1, &endpoint(&mock, 2), dir.path()).await.unwrap();
    let seen = Mutex::new(Vec::new());
    let (stop, prompts, request) = (never(), prompts(10), request(1));
    let note = |progress| seen.lock().unwrap().push(progress);
    collect(&prompts, &request, &endpoint(&mock, 2), dir.path(), &stop, &note).await.unwrap();
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen[0], Progress { done: 3, total: 10, completion_tokens: 0, failed: 0 });
    assert_eq!(*seen.last().unwrap(), Progress { done: 10, total: 10, completion_tokens: 70, failed: 0 });
    assert!(seen.is_sorted_by_key(|progress| progress.done));
}

#[tokio::test]
async fn who_asks_for_themselves_reads_what_is_there_and_hears_what_was_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mock = Mock::start(|asked| match asked.question().as_bytes()[8] {
        b'1' => Answer::json(413, &json!({"error": {"message": "too long for the context"}})),
        _ => echo(asked),
    });
    let (prompts, request, endpoint) = (prompts(3), request(1), endpoint(&mock, 2));
    for round in 0..2 {
        let mut collection = Collection::open(&prompts, &request, dir.path(), None).unwrap();
        assert_eq!((collection.total(), collection.missing()), (3, [3, 1][round]));
        let refused = collection.ask(&endpoint, &never(), &|_| {}).await.unwrap();
        assert_eq!(refused, HashMap::from([(prompts[1].id.clone(), "HTTP 413: too long for the context".to_owned())]));
        let found = collection.replies().unwrap();
        let of: Vec<_> = found.iter().map(|trace| trace.as_ref().map(|t| &t.prompt_id)).collect();
        assert_eq!(of, [Some(&prompts[0].id), None, Some(&prompts[2].id)]);
    }
    // What was refused was not paid for, and may be asked again; replies may not.
    assert_eq!(mock.received().len(), 4);
    assert!(parquet_files(dir.path()).unwrap().is_empty());

    // What time may mend is no refusal.
    let busy = Mock::start(|_| Answer::json(503, &json!({})));
    let endpoint = Endpoint { base_url: busy.url.clone(), ..endpoint };
    let other = tempfile::tempdir().unwrap();
    let mut collection = Collection::open(&prompts, &request, other.path(), None).unwrap();
    let error = collection.ask(&endpoint, &never(), &|_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Incomplete { kept: 0, failed: 3, .. }), "{error}");
}

#[tokio::test]
async fn requests_without_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mock = Mock::start(echo);
    let none = run(&[], 1, &endpoint(&mock, 1), dir.path()).await.unwrap_err().to_string();
    assert!(none.contains("prompts: there are none"), "{none}");
    let no_samples = run(&prompts(1), 0, &endpoint(&mock, 1), dir.path()).await.unwrap_err().to_string();
    assert!(no_samples.contains("samples"), "{no_samples}");
    // The same question twice is one prompt.
    let twice = [prompts(2), prompts(1)].concat();
    assert_eq!(run(&twice, 1, &endpoint(&mock, 1), dir.path()).await.unwrap().traces, 2);
    assert_eq!(mock.received().len(), 2);
}

#[test]
fn seeds_come_from_the_identity_and_fit_every_server() {
    let seeds: HashSet<u64> = (0..1000).map(|n| request_seed(&TraceId::from_stored(format!("{n:016x}")))).collect();
    assert!(seeds.len() > 990 && seeds.iter().all(|&seed| seed < 1 << 31));
    let seed = |id| request_seed(&TraceId::from_stored(id));
    assert_eq!(seed("a"), seed("a"));
    assert_ne!(seed("a"), seed("b"));
}

/// A collection can be spawned on a runtime.
#[tokio::test]
async fn the_future_is_send() {
    let dir = tempfile::tempdir().unwrap();
    let mock = Mock::start(echo);
    let endpoint = endpoint(&mock, 2);
    let task = tokio::spawn(async move {
        collect(&prompts(2), &request(1), &endpoint, dir.path(), &never(), &|_| {}).await.map(|summary| summary.traces)
    });
    assert_eq!(task.await.unwrap().unwrap(), 2);
}
