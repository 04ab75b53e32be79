//! Inputs and models on the Hugging Face Hub, which is a server on a loopback port here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use fixtures::mock::{Answer, Mock, Received};
use serde_json::{Value, json};

use crate::fake::{COMMIT, FakeHub, blob};
use crate::support::{Ran, TestFolder, root};

const TRACES: &str = "hf://datasets/open-r1/Mixture";
const BASE: &str = "hf://tiny/Base";

fn rows(from: usize, to: usize) -> Vec<u8> {
    let row = |n: usize| {
        let reply = format!("<think>\n{n} and {n}.\n</think>\n\n\\boxed{{{}}}", 2 * n);
        let question = json!({"content": format!("Twice {n}?"), "role": "user"});
        json!({"messages": [question, {"content": reply, "role": "assistant"}], "num_tokens": 9, "source": "s"})
    };
    (from..to).map(|n| format!("{}\n", row(n))).collect::<Vec<_>>().concat().into_bytes()
}

/// A dataset of two shards and a model, the embedded teacher's.
fn repositories() -> Vec<FakeHub> {
    let files: BTreeMap<String, Vec<u8>> = fs::read_dir(root().join("teacher/assets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    let (a, b) = (rows(0, 25), rows(25, 40));
    let shards: [(&str, &[u8]); 3] = [("README.md", b"#"), ("all/0.jsonl", &a), ("all/1.jsonl", &b)];
    vec![
        FakeHub::new("datasets/open-r1/Mixture", &shards),
        FakeHub { repository: "models/tiny/Base".into(), files, ..FakeHub::default() },
    ]
}

fn answer(hubs: &[FakeHub], asked: &Received) -> Answer {
    let asked_for = |hub: &&FakeHub| asked.line.contains(hub.repository.trim_start_matches("models/"));
    hubs.iter().find(asked_for).unwrap_or(&hubs[0]).answer(asked)
}

fn start() -> Mock {
    let hubs = repositories();
    Mock::start(move |asked| answer(&hubs, asked))
}

fn folder() -> TestFolder {
    let folder = TestFolder::new();
    let text = fs::read_to_string(root().join("recipes/r1-traces-smollm2.toml")).unwrap();
    let lines = text.lines().map(|line| match line.split_once(" = ") {
        Some(("format", _)) => "format = \"mixture-of-thoughts\"".to_owned(),
        Some(("policy", _)) => "policy = \"well_formed\"".to_owned(),
        // The embedded teacher holds no more than twice that.
        Some(("sequence_length", _)) => "sequence_length = 256".to_owned(),
        _ => line.to_owned(),
    });
    folder.write("recipe.toml", &lines.collect::<Vec<_>>().join("\n"));
    folder
}

/// The program, with the mock for a Hub.
fn run(folder: &TestFolder, mock: &Mock, arguments: &[&str]) -> Ran {
    let mut command = folder.command(arguments);
    Ran::of(&command.env("HF_ENDPOINT", endpoint(mock)).output().unwrap())
}

fn endpoint(mock: &Mock) -> &str {
    mock.url.trim_end_matches("/v1")
}

fn inputs<'a>(command: &'a str, traces: &'a str) -> Vec<&'a str> {
    vec![command, "recipe.toml", "--input", traces, "--input", "base=hf://tiny/Base"]
}

fn record(folder: &TestFolder, stage: &str) -> Value {
    let path = folder.path(&format!("runs/r1-traces-smollm2/{stage}/artifact.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn is_file(asked: &Received) -> bool {
    asked.line.contains("/resolve/")
}

#[test]
fn inputs_are_planned_downloaded_once_and_recorded_with_their_commit() {
    let (folder, mock) = (folder(), start());
    let traces = format!("traces={TRACES}/all/*.jsonl");
    let planned = run(&folder, &mock, &inputs("plan", &traces));
    planned.succeeds();
    let pinned = format!("{TRACES}@{COMMIT}/all/*.jsonl");
    for words in [
        format!("input traces: {pinned}, 2 files to be downloaded (1 MB)"),
        format!("input base: {BASE}@{COMMIT}, "),
        "1/8 prompts   ????????  would run after the download".to_owned(),
    ] {
        assert!(planned.stdout.contains(&words), "no {words:?} in {}", planned.stdout);
    }
    // Verdicts count the tokens of a base.
    folder.write("set/0.jsonl", &String::from_utf8(rows(0, 25)).unwrap());
    let planned = run(&folder, &mock, &inputs("plan", "traces=set")).stdout;
    assert!(planned.contains("3/8 curate    ????????") && !planned.contains("2/8 collect   ?"), "{planned}");
    assert!(!mock.received().iter().any(is_file) && !folder.path("hf").exists(), "a plan downloads nothing");

    let arguments = [inputs("run", &traces), vec!["--to", "curate"]].concat();
    let ran = run(&folder, &mock, &arguments);
    ran.succeeds();
    assert!(ran.stderr.contains(&format!("input traces: {pinned}, 2 files to be downloaded")), "{}", ran.stderr);
    assert!(ran.stderr.contains("40 traces, imported from 40 rows"), "{}", ran.stderr);
    assert!(!mock.received().iter().any(|asked| asked.line.contains("README")), "only what is named");
    for stage in ["prompts", "collect"] {
        assert_eq!(record(&folder, stage)["sources"], json!({"input traces": pinned}));
    }
    let tokenizer = json!({"tokenizer of input base": format!("{BASE}@{COMMIT}")});
    assert_eq!(record(&folder, "curate")["sources"], tokenizer);

    let asked = mock.received().len();
    let again = run(&folder, &mock, &arguments);
    again.succeeds();
    assert!(again.stderr.contains(&format!("input traces: {pinned}, 2 files in the cache")), "{}", again.stderr);
    assert_eq!(again.stderr.matches("(cached)").count(), 3, "{}", again.stderr);
    let planned = run(&folder, &mock, &inputs("plan", &traces));
    assert!(
        planned.stdout.contains("3/8 curate") && planned.stdout.matches("  cached").count() == 3,
        "{}",
        planned.stdout
    );
    assert_eq!(mock.received().len(), asked, "nobody is asked again");

    // What decides is the content: the same files from a folder are the same input.
    for (name, content) in [("set/0.jsonl", rows(0, 25)), ("set/1.jsonl", rows(25, 40))] {
        folder.write(name, &String::from_utf8(content).unwrap());
    }
    let local = run(&folder, &mock, &[inputs("run", "traces=set"), vec!["--to", "curate"]].concat());
    assert_eq!(local.stderr.matches("(cached)").count(), 3, "{}", local.stderr);
}

#[test]
fn the_report_and_the_card_name_what_was_read() {
    let (folder, mock) = (folder(), start());
    let text = fs::read_to_string(folder.path("recipe.toml")).unwrap();
    let small = text.replace("held_out = 16", "held_out = 0");
    folder.write("recipe.toml", &small);
    let traces = format!("traces={TRACES}/all");
    run(&folder, &mock, &[inputs("run", &traces), vec!["--max-steps", "1"]].concat()).succeeds();
    assert_eq!(record(&folder, "pack")["sources"], json!({"input base": format!("{BASE}@{COMMIT}")}));
    let read = |name: &str| fs::read_to_string(folder.path(&format!("runs/r1-traces-smollm2/{name}"))).unwrap();
    for page in ["report/report.md", "report/report.html"] {
        for place in [format!("{BASE}@{COMMIT}"), format!("{TRACES}@{COMMIT}/all")] {
            assert!(read(page).contains(&place), "{page}: no {place}");
        }
    }
    let card = read("export/model/README.md");
    for words in
        ["base_model: tiny/Base", &format!("tiny/Base at commit {COMMIT}"), &format!("Mixture at commit {COMMIT}")]
    {
        assert!(card.contains(words), "no {words} in {card}");
    }
}

#[test]
fn killed_in_the_middle_nothing_reads_as_complete_and_the_rest_is_asked_for() {
    let folder = folder();
    let hubs = repositories();
    let part = hubs[0].files["all/1.jsonl"].len() / 2;
    let rests = AtomicUsize::new(0);
    let mock = Mock::start(move |asked| match &asked.range {
        // Half of the second shard, and then nothing for longer than the test takes.
        None if asked.line.ends_with("/all/1.jsonl") => answer(&hubs, asked).cut(),
        Some(_) if rests.fetch_add(1, SeqCst) == 0 => answer(&hubs, asked).after(Duration::from_mins(10)),
        _ => answer(&hubs, asked),
    });
    let traces = format!("traces={TRACES}/all");
    let arguments = [inputs("run", &traces), vec!["--to", "prompts"]].concat();
    let mut command = folder.command(&arguments);
    let mut child = command.env("HF_ENDPOINT", endpoint(&mock)).stderr(Stdio::null()).spawn().unwrap();
    let repository = folder.path("hf/hub/datasets--open-r1--Mixture");
    let partial = repository.join(format!("blobs/{}.incomplete", blob(&rows(25, 40))));
    let whole = repository.join(format!("snapshots/{COMMIT}/all/0.jsonl"));
    let begun = Instant::now();
    while mock.received().iter().all(|asked| asked.range.is_none())
        || partial.metadata().map_or(0, |file| file.len()) < part as u64
        || !whole.exists()
    {
        assert!(begun.elapsed() < Duration::from_mins(1), "it did not come so far");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let mut offline = folder.command(&arguments);
    Ran::of(&offline.env("HF_HUB_OFFLINE", "1").output().unwrap())
        .fails(2, &["not in the Hugging Face cache", "hf download"]);
    let ran = run(&folder, &mock, &arguments);
    ran.succeeds();
    assert!(ran.stderr.contains("1 of 2 files to be downloaded"), "{}", ran.stderr);
    let ranges: Vec<_> = mock.received().into_iter().filter_map(|asked| asked.range).collect();
    assert_eq!(ranges, vec![format!("bytes={part}-"); 2], "before the kill and after it");
    assert_eq!(fs::read(repository.join(format!("snapshots/{COMMIT}/all/1.jsonl"))).unwrap(), rows(25, 40));
}

#[test]
fn queries_read_from_the_hub() {
    let (folder, mock) = (folder(), start());
    let query = format!("SELECT count(*) AS n FROM '{TRACES}/all/*.jsonl'");
    let ran = run(&folder, &mock, &["sql", &query, "--format", "csv"]);
    ran.succeeds();
    assert_eq!(ran.stdout, "n\n40\n");
    assert!(ran.stderr.contains(COMMIT), "{}", ran.stderr);
    let table = format!("t={TRACES}/all/0.jsonl");
    let asked = mock.received().len();
    let query = "SELECT count(*) AS n, sum(tokens(messages[1]['content'])) > 25 AS many FROM t";
    let ran = run(&folder, &mock, &["sql", query, "--table", &table, "--tokenizer", BASE, "--format", "csv"]);
    ran.succeeds();
    assert_eq!(ran.stdout, "n,many\n25,true\n");
    let files: Vec<String> =
        mock.received()[asked..].iter().filter(|asked| is_file(asked)).map(|a| a.line.clone()).collect();
    assert!(files.len() == 1 && files[0].ends_with("/tokenizer.json"), "{files:?}");
    run(&folder, &mock, &["sql", "SELECT 1 FROM 'hf://datasets/open-r1/Mixture/none.parquet'"])
        .fails(2, &["no file or folder has a name like that", COMMIT]);
    run(&folder, &mock, &["sql", "SELECT 1 FROM 's3://bucket/a.parquet'"]).fails(2, &["hf://"]);
}

#[test]
fn a_model_on_the_hub_answers() {
    let (folder, mock) = (folder(), start());
    let ran = run(&folder, &mock, &["generate", BASE, "What is 3 + 4?", "--max-tokens", "8"]);
    ran.succeeds();
    assert!(!ran.stdout.trim().is_empty());
    let local = root().join("teacher/assets");
    let same = run(&folder, &mock, &["generate", local.to_str().unwrap(), "What is 3 + 4?", "--max-tokens", "8"]);
    assert_eq!(ran.stdout, same.stdout);
    let found = folder.path("hf/hub/models--tiny--Base/snapshots").join(COMMIT);
    assert!(found.join("config.json").is_file() && found.join("model.safetensors").is_file());
    run(&folder, &mock, &["generate", "hf://datasets/open-r1/Mixture", "x"])
        .fails(2, &["a dataset where a model is read"]);
}

#[test]
fn what_the_hub_does_not_give_is_said() {
    let folder = folder();
    let hubs = repositories();
    let mock = Mock::start(move |asked| {
        let gated = asked.authorization.as_deref() != Some("Bearer hf_of_the_file") && is_file(asked);
        if gated { Answer::bytes(401, vec![]).header("X-Error-Code", "GatedRepo") } else { answer(&hubs, asked) }
    });
    let traces = format!("traces={TRACES}/all");
    let arguments = [inputs("run", &traces), vec!["--to", "prompts"]].concat();
    run(&folder, &mock, &arguments).fails(2, &["input traces: hf://", "accept the terms", "set HF_TOKEN"]);
    folder.write("hf/token", "hf_of_the_file\n");
    let mut command = folder.command(&arguments);
    let other = command.env("HF_ENDPOINT", endpoint(&mock)).env("HF_TOKEN", "hf_other").output().unwrap();
    Ran::of(&other).fails(2, &["accept the terms", "check that the token may read it"]);
    run(&folder, &mock, &arguments).succeeds();
    for (input, words) in [
        ("traces=hf://datasets/open-r1/Other/all", ["input traces:", "check the name open-r1/Other"]),
        ("traces=hf://datasets/open-r1/Mixture@v9/all", ["@v9", "check the revision v9"]),
        ("traces=hf://datasets/open-r1/Mixture/none", ["no file or folder has a name like that", COMMIT]),
        ("traces=hf://datasets/open-r1/Mixture", ["input traces:", "name one of its folders: all"]),
        ("traces=hf://datasets/open-r1", ["input traces:", "hf://datasets/OWNER/NAME/PATH"]),
        ("traces=hf://open-r1/Mixture", ["input traces:", "a model where data is read"]),
    ] {
        run(&folder, &mock, &inputs("plan", input)).fails(2, &words);
    }

    // Nobody is there: the network's fault, not the command's; a plan says what it can.
    let unheard = TestFolder::new();
    fs::copy(folder.path("recipe.toml"), unheard.path("recipe.toml")).unwrap();
    let gone = "http://127.0.0.1:1";
    let mut command = unheard.command(&arguments);
    Ran::of(&command.env("HF_ENDPOINT", gone).output().unwrap())
        .fails(3, &["cannot connect to http://127.0.0.1:1", "run again"]);
    let (table, query) = (format!("t={TRACES}/all/0.jsonl"), format!("SELECT 1 FROM '{TRACES}/all/0.jsonl'"));
    let near = format!("SELECT * FROM near_duplicates('{TRACES}/all/0.jsonl', 'source', 'source')");
    for arguments in [vec!["sql", &query], vec!["sql", "SELECT 1 FROM t", "--table", &table], vec!["sql", &near]] {
        let mut command = unheard.command(&arguments);
        Ran::of(&command.env("HF_ENDPOINT", gone).output().unwrap())
            .fails(3, &["error: hf://datasets/open-r1/Mixture", "cannot connect to http://127.0.0.1:1", "run again"]);
    }
    let mut command = unheard.command(&inputs("plan", &traces));
    let planned = Ran::of(&command.env("HF_ENDPOINT", gone).output().unwrap());
    planned.succeeds();
    assert!(planned.stdout.contains("how large it is cannot be said: cannot connect"), "{}", planned.stdout);
    let mut command = unheard.command(&arguments);
    Ran::of(&command.env("HF_ENDPOINT", "hub").output().unwrap()).fails(2, &["HF_ENDPOINT=hub", "not a URL"]);
    assert!(!Path::new(&unheard.path("runs")).exists());
}
