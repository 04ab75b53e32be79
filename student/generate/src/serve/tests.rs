use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokens::template::Template;

use self::fixture::*;
use super::*;

mod fixture;
mod limits;

/// Every token of this is another one, as a script needs it; it holds characters of two, three and four bytes.
const SCRIPT: &str = "<think>\n1 é2✓</think>(😀,9)";

fn messages_of(reply: &Value) -> Vec<(Value, Value)> {
    let choices = reply["choices"].as_array().unwrap();
    choices.iter().map(|c| (c["message"]["reasoning_content"].clone(), c["message"]["content"].clone())).collect()
}

/// The sums of a stream's deltas, choice by choice.
fn sums_of(chunks: &[Value], n: usize) -> Vec<(String, String)> {
    let mut sums = vec![(String::new(), String::new()); n];
    for choice in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()) {
        let sum = &mut sums[choice["index"].as_u64().unwrap() as usize];
        sum.0 += choice["delta"]["reasoning_content"].as_str().unwrap_or_default();
        sum.1 += choice["delta"]["content"].as_str().unwrap_or_default();
    }
    sums
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_reply_has_its_thinking_apart_and_its_tokens_counted() {
    let model = writes(format(), SCRIPT);
    let thinking = model.format.tokenizer.encode("<think>\n1 é2✓</think>").unwrap().len();
    let all = model.format.tokenizer.encode(SCRIPT).unwrap().len();
    let prompt = model.format.prompt_ids(&[records::record::Message::user("How many apples?")]).unwrap().len();
    let server = Running::start(model);
    let reply = server.chat_ok(json!({ "model": "student", "temperature": 0 }));
    assert_eq!(reply["object"], "chat.completion");
    assert_eq!(reply["model"], "student");
    assert_eq!(reply["choices"][0]["message"]["role"], "assistant");
    assert_eq!(messages_of(&reply), [(json!("1 é2✓"), json!("(😀,9)"))]);
    assert_eq!(reply["choices"][0]["finish_reason"], "stop");
    let usage = json!({
        "prompt_tokens": prompt, "completion_tokens": all, "total_tokens": prompt + all,
        "completion_tokens_details": { "reasoning_tokens": thinking },
    });
    assert_eq!(reply["usage"], usage);
}

#[test]
fn a_stream_begins_with_the_role_and_never_shows_a_tag_or_half_a_character() {
    let server = Running::start(writes(format(), SCRIPT));
    let fields = json!({ "temperature": 0, "stream_options": { "include_usage": true } });
    let mut chunks = server.stream(fields.clone());
    let usage = chunks.pop().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"], server.chat_ok(fields)["usage"]);
    let deltas: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    assert_eq!(*deltas[0], json!({ "role": "assistant", "content": "" }));
    let expected: Vec<Value> = ["1", " é", "2", "✓"].map(|text| json!({ "reasoning_content": text })).into();
    let answer = ["(", "😀", ",", "9", ")"].map(|text| json!({ "content": text }));
    let expected: Vec<Value> = expected.into_iter().chain(answer).chain([json!({})]).collect();
    assert_eq!(deltas[1..].iter().map(|d| (*d).clone()).collect::<Vec<_>>(), expected);
    for chunk in &chunks {
        assert_eq!((&chunk["object"], &chunk["id"]), (&json!("chat.completion.chunk"), &chunks[0]["id"]));
        assert!(chunk["usage"].is_null());
        assert_eq!(chunk["created"], chunks[0]["created"]);
    }
    let ends: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]).collect();
    assert_eq!(ends.iter().filter(|end| ***end == "stop").count(), 1);
    assert_eq!(*ends[ends.len() - 1], "stop");
    // Without asking, no counts.
    let chunks = server.stream(json!({ "temperature": 0 }));
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none() && chunk["choices"] != json!([])));
}

#[test]
fn a_stream_adds_up_to_the_reply_with_the_same_seed() {
    let format = format_that_opens_thinking();
    let model = random_model(&format, 1024);
    let server = Running::start(chat_model(format, model));
    let mut closed = 0;
    for seed in 0..6 {
        let fields = json!({ "seed": seed, "n": 2, "temperature": 1, "top_p": 1, "max_tokens": 400 });
        let reply = server.chat_ok(fields.clone());
        let whole: Vec<_> = messages_of(&reply).iter().map(|(r, c)| (text(r), text(c))).collect();
        assert_eq!(sums_of(&server.stream(fields), 2), whole, "seed {seed}");
        closed += whole.iter().filter(|(_, content)| !content.is_empty()).count();
        let usage = &reply["usage"];
        let counts = [&usage["completion_tokens_details"]["reasoning_tokens"], &usage["completion_tokens"]];
        let [reasoning, completion] = counts.map(|count| count.as_u64().unwrap());
        let answered = whole.iter().any(|(_, content)| !content.is_empty());
        assert!(reasoning > 0 && (if answered { reasoning < completion } else { reasoning == completion }), "{usage}");
    }
    assert!(closed > 0, "no seed closed its thinking: the test shows nothing about the answer");
}

#[test]
fn choices_differ_and_come_again_with_the_seed() {
    let format = format();
    let model = random_model(&format, 256);
    let server = Running::start(chat_model(format, model));
    let ask = |fields: Value| messages_of(&server.chat_ok(fields));
    let fields = |seed: u64, n: u32| json!({ "seed": seed, "n": n, "temperature": 1, "max_tokens": 30 });
    let four = ask(fields(7, 4));
    assert_eq!(four, ask(fields(7, 4)));
    assert_eq!(four[..2], ask(fields(7, 2))[..], "a choice does not depend on how many there are");
    for (i, one) in four.iter().enumerate() {
        assert!(four[..i].iter().all(|other| other != one), "choices {four:?}");
    }
    let other = ask(fields(8, 4));
    assert!(other.iter().all(|choice| !four.contains(choice)), "the next seed shares no choice");
    let unseeded = json!({ "temperature": 1, "max_tokens": 30 });
    assert_ne!(ask(unseeded.clone()), ask(unseeded), "without a seed each request draws its own");
}

#[test]
fn requests_at_the_same_time_do_not_change_each_other() {
    let format = format();
    let model = random_model(&format, 256);
    let server = Running::start(chat_model(format, model));
    let ask = |seed: usize| {
        let content = "apples ".repeat(seed + 1);
        let messages = json!([{ "role": "user", "content": content }]);
        let fields = json!({ "messages": messages, "seed": seed, "temperature": 1, "max_tokens": 20 + seed });
        messages_of(&server.chat_ok(fields))
    };
    let alone: Vec<_> = (0..8).map(ask).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|seed| scope.spawn(move || ask(seed))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let model = writes(format(), SCRIPT);
    let until_comma = model.format.tokenizer.encode("<think>\n1 é2✓</think>(😀,").unwrap().len();
    let server = Running::start(model);
    for (stop, reasoning, content) in [
        (json!("😀,"), json!("1 é2✓"), json!("(")),
        (json!(["nothing", "2✓", "9"]), json!("1 é"), Value::Null),
        (json!("</think>"), json!("1 é2✓"), Value::Null),
        (json!(["9)x"]), json!("1 é2✓"), json!("(😀,9)")),
    ] {
        let fields = json!({ "temperature": 0, "stop": stop });
        let reply = server.chat_ok(fields.clone());
        assert_eq!(messages_of(&reply), [(reasoning.clone(), content.clone())], "{stop}");
        assert_eq!(reply["choices"][0]["finish_reason"], "stop");
        let chunks = server.stream(fields);
        assert_eq!(sums_of(&chunks, 1), [(text(&reasoning), text(&content))], "{stop}");
    }
    let reply = server.chat_ok(json!({ "temperature": 0, "stop": "😀," }));
    assert_eq!(reply["usage"]["completion_tokens"], until_comma, "sampled up to the stop string, no further");
}

#[test]
fn a_token_limit_cuts_and_says_so() {
    let server = Running::start(writes(format(), SCRIPT));
    let reply = server.chat_ok(json!({ "temperature": 0, "max_tokens": 3 }));
    assert_eq!(messages_of(&reply), [(json!("1"), Value::Null)], "content is null while the model still thinks");
    assert_eq!(reply["choices"][0]["finish_reason"], "length");
    assert_eq!(reply["usage"]["completion_tokens"], 3);
    assert_eq!(reply["usage"]["completion_tokens_details"]["reasoning_tokens"], 3);
    let chunks = server.stream(json!({ "temperature": 0, "max_completion_tokens": 3 }));
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");
    // No tags: all is content.
    let server = Running::start(writes(format(), "12"));
    let reply = server.chat_ok(json!({ "temperature": 0 }));
    assert_eq!(messages_of(&reply), [(Value::Null, json!("12"))]);
    assert_eq!(reply["usage"]["completion_tokens_details"]["reasoning_tokens"], 0);
}

#[test]
fn errors_are_openai_error_objects_with_the_right_status() {
    let server = Running::start(writes(format(), "12"));
    let error = |(status, body): (u16, Value)| {
        let error = &body["error"];
        assert!(error["message"].is_string() && error["type"] == "invalid_request_error", "{body}");
        (status, error["param"].clone(), error["code"].clone())
    };
    let chat = |fields: Value| error(server.chat(fields));
    let call = |method: &str, path: &str, body: &[u8]| {
        let (status, body) = server.call(method, path, body);
        error((status, serde_json::from_str(&body).unwrap()))
    };
    let none = Value::Null;
    assert_eq!(chat(json!({ "model": "gpt" })), (404, json!("model"), json!("model_not_found")));
    assert_eq!(chat(json!({ "n": 100_000_000 })), (400, json!("n"), none.clone()));
    assert_eq!(chat(json!({ "logprobs": true })), (400, json!("logprobs"), none.clone()));
    assert_eq!(call("POST", CHAT, b"{\"messages\": "), (400, none.clone(), none.clone()));
    assert_eq!(call("POST", CHAT, "[".repeat(100_000).as_bytes()), (400, none.clone(), none.clone()));
    assert_eq!(call("POST", CHAT, b"\xFF\xFE"), (400, none.clone(), none.clone()));
    assert_eq!(call("GET", CHAT, b""), (405, none.clone(), none.clone()));
    assert_eq!(call("POST", "/v1/completions", b"{}"), (404, none.clone(), none.clone()));
    assert_eq!(call("POST", CHAT, &vec![b' '; (4 << 20) + 1]), (413, none.clone(), none));
    let exceeded = json!("context_length_exceeded");
    for words in [300, 100_000] {
        let messages = json!([{ "role": "user", "content": "how many? ".repeat(words) }]);
        assert_eq!(chat(json!({ "messages": messages })), (400, json!("messages"), exceeded.clone()));
    }
    assert_eq!(chat(json!({ "max_tokens": 256 })), (400, json!("max_tokens"), exceeded));
    // After all of that it still answers.
    server.chat_ok(json!({ "temperature": 0 }));
}

#[test]
fn what_a_template_raises_is_the_clients_to_mend() {
    let mut format = format();
    format.template = Template::new("{{ raise_exception('roles must alternate') }}").unwrap();
    let model = random_model(&format, 64);
    let server = Running::start(chat_model(format, model));
    let (status, body) = server.chat(json!({}));
    assert_eq!((status, &body["error"]["param"]), (400, &json!("messages")));
    assert!(body["error"]["message"].as_str().unwrap().contains("roles must alternate"), "{body}");
}

#[test]
fn a_client_that_leaves_frees_its_slot() {
    // Two slots, and a model that would take minutes to fill the context.
    let format = format();
    let circle = format.tokenizer.encode("1").unwrap()[0];
    let model = scripted_model(&format, &[circle, circle], 1 << 18);
    let server = Running::start(chat_model(format, model));
    let quick = json!({ "temperature": 0, "max_tokens": 2 });
    for stream in [true, false] {
        let endless = chat_body(json!({ "temperature": 0, "stream": stream }));
        let mut held: Vec<_> = (0..2).map(|_| server.send("POST", CHAT, &endless)).collect();
        if stream {
            for connection in &mut held {
                connection.read_exact(&mut [0; 600]).unwrap();
            }
        } else {
            std::thread::sleep(Duration::from_millis(300));
        }
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| server.chat_ok(quick.clone()));
            std::thread::sleep(Duration::from_millis(500));
            assert!(!waiting.is_finished(), "both slots are taken");
            let left = Instant::now();
            held.clear();
            assert_eq!(messages_of(&waiting.join().unwrap())[0].1, "11");
            assert!(left.elapsed() < Duration::from_secs(10), "after {:?}", left.elapsed());
        });
    }
}

#[test]
fn models_and_health() {
    let server = Running::start(writes(format(), "12"));
    let (status, models) = server.get("/v1/models");
    assert_eq!(status, 200);
    let model = &models["data"][0];
    assert_eq!((&model["id"], &model["object"]), (&json!("student"), &json!("model")));
    assert_eq!(model["max_model_len"], 256);
    assert_eq!(server.get("/health"), (200, json!({ "status": "ok" })));
}

#[test]
fn an_engine_that_has_ended_is_told() {
    let format = format();
    let mut model = random_model(&format, 64);
    // A projection of the wrong width: the first step panics, and the engine's thread with it.
    let device = model.device();
    let mut parameters = model.parameters_mut().into_iter();
    let (_, projection) = parameters.find(|(name, _)| name == "model.layers.0.self_attn.o_proj.weight").unwrap();
    *projection = burn::tensor::Tensor::zeros([17, 16], &device);
    let server = Running::start(chat_model(format, model));
    assert_eq!(server.get("/health").0, 200);
    let (status, body) = server.call("POST", CHAT, &chat_body(json!({ "stream": true })));
    assert_eq!(status, 200, "the stream had begun");
    assert!(body.contains("server_error") && body.trim_end().ends_with("data: [DONE]"), "{body}");
    let (status, body) = server.chat(json!({}));
    assert_eq!((status, &body["error"]["type"]), (503, &json!("server_error")));
    assert_eq!(server.get("/health").0, 503);
}

#[test]
fn shutdown_ends_what_is_in_progress_and_takes_nothing_new() {
    let format = format();
    let circle = format.tokenizer.encode("1").unwrap()[0];
    let model = scripted_model(&format, &[circle, circle], 4096);
    let mut server = Running::start(chat_model(format, model));
    // A client that has connected and says nothing must not hold it up.
    let idle = std::net::TcpStream::connect(server.address).unwrap();
    let fields = json!({ "temperature": 0, "stream": true, "max_tokens": 2000 });
    let mut busy = server.send("POST", CHAT, &chat_body(fields));
    let mut begun = [0; 12];
    busy.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    server.signal();
    let mut rest = String::new();
    busy.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("data: [DONE]"), "the stream was brought to its end");
    assert_eq!(rest.matches("\"content\":\"1\"").count(), 2000);
    assert_eq!(server.wait().unwrap(), 0, "nothing was cut off");
    assert!(std::net::TcpStream::connect(server.address).is_err(), "nobody listens");
    drop(idle);
}

#[test]
fn shutdown_does_not_wait_for_ever() {
    let options = ServeOptions { drain: Duration::from_millis(200), ..ServeOptions::default() };
    let mut server = Running::start_with(writes(format(), "12"), options);
    // Half a request.
    let mut stalled = std::net::TcpStream::connect(server.address).unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100";
    stalled.write_all(format!("{head}\r\n\r\n{{").as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let signalled = Instant::now();
    server.signal();
    assert_eq!(server.wait().unwrap(), 1, "what is cut off is counted");
    let took = signalled.elapsed();
    assert!((Duration::from_millis(150)..Duration::from_secs(10)).contains(&took), "{took:?}");
}

#[test]
fn stop_ids_are_those_of_the_format_and_of_generation_config() {
    let dir = tempfile::tempdir().unwrap();
    let mut format = format();
    format.end_of_turn_id = 2;
    assert_eq!(stop_ids(dir.path(), &format).unwrap(), [1, 2]);
    let path = dir.path().join("generation_config.json");
    for (eos, expected) in [
        (json!({}), vec![1, 2]),
        (json!({ "eos_token_id": null }), vec![1, 2]),
        (json!({ "eos_token_id": 9 }), vec![1, 2, 9]),
        (json!({ "eos_token_id": [9, 1, 5] }), vec![1, 2, 5, 9]),
    ] {
        std::fs::write(&path, eos.to_string()).unwrap();
        assert_eq!(stop_ids(dir.path(), &format).unwrap(), expected);
    }
    for wrong in [json!("<eos>"), json!([-1]), json!(5_000_000_000_u64)] {
        std::fs::write(&path, json!({ "eos_token_id": wrong }).to_string()).unwrap();
        let message = stop_ids(dir.path(), &format).unwrap_err().to_string();
        assert!(message.contains("generation_config.json") && message.contains("eos_token_id"), "{message}");
    }
    // A file that is there and cannot be read is not one that is missing.
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("generation_config.json", &path).unwrap();
    let message = stop_ids(dir.path(), &format).unwrap_err().to_string();
    assert!(message.contains("generation_config.json"), "{message}");
}

#[test]
fn a_folder_is_served_under_its_own_name() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("my-student");
    std::fs::create_dir(&dir).unwrap();
    let format = format();
    let mut script = format.tokenizer.encode("12").unwrap();
    // A stop token that only generation_config.json names.
    script.push(2);
    let model = scripted_model(&format, &script, 256);
    model::weights::write_model(&dir, &model, 1 << 30).unwrap();
    format.tokenizer.save(&dir.join("tokenizer.json")).unwrap();
    let tokenizer_config = json!({
        "chat_template": format.template.source(), "bos_token": format.bos, "eos_token": format.eos,
    });
    for (name, content) in [
        ("config.json", model.config.to_json(Some(0), 1)),
        ("tokenizer_config.json", tokenizer_config),
        ("generation_config.json", json!({ "eos_token_id": [1, 2] })),
    ] {
        std::fs::write(dir.join(name), content.to_string()).unwrap();
    }
    let device = model.device();
    assert_eq!(ChatModel::load(&dir, Some("other".into()), &device, limits(64)).unwrap().name, "other");
    let loaded = ChatModel::load(&dir, None, &device, limits(64)).unwrap();
    assert_eq!((loaded.name.as_str(), loaded.engine.context()), ("my-student", 64));
    let server = Running::start(loaded);
    let reply = server.chat_ok(json!({ "model": "my-student", "temperature": 0 }));
    assert_eq!(messages_of(&reply), [(Value::Null, json!("12"))]);
    assert_eq!(reply["choices"][0]["finish_reason"], "stop");
}
