use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use fixtures::mock::{Answer, Mock, Received};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Ran, TestFolder, small_quickstart};

const INDEX: &str = "runs/.replies.sqlite";

/// A recipe that asks a teacher at an endpoint about a few problems.
fn recipe(name: &str, prompts: usize, seed: u32, max_tokens: usize) -> String {
    let text = small_quickstart()
        .replace("name = \"quickstart\"", &format!("name = \"{name}\""))
        .replace("count = 80", &format!("count = {prompts}"))
        .replace("model = \"embedded\"", "model = \"served\"")
        .replace("AND finished AND correct AND NOT duplicate", "AND finished");
    let (prompts, rest) = text.split_once("[collect]").unwrap();
    let (collect, after) = rest.split_once("[curate]").unwrap();
    let collect = collect.replace("seed = 1", &format!("seed = {seed}"));
    let collect = collect.replace("max_tokens = 160", &format!("max_tokens = {max_tokens}"));
    format!("{prompts}[collect]{collect}[curate]{after}")
}

/// A text that question and seed decide, of as many tokens as they say; a lower limit cuts it off.
fn served(asked: &Received) -> Answer {
    if asked.body.is_null() {
        return Answer::json(404, &json!({}));
    }
    let (question, seed, most) = (asked.question(), &asked.body["seed"], asked.body["max_tokens"].as_u64().unwrap());
    let length = tokens(question, seed.as_u64().unwrap());
    let (written, ended) = if length <= most { (length, "stop") } else { (most, "length") };
    let content = format!("thinking about {question} {seed}</think>after {written} tokens");
    let usage = json!({"prompt_tokens": 5, "completion_tokens": written});
    let choice = json!({"message": {"content": content}, "finish_reason": ended});
    Answer::json(200, &json!({"choices": [choice], "usage": usage}))
}

fn tokens(question: &str, seed: u64) -> u64 {
    20 + (question.len() as u64 * 7 + seed) % 100
}

/// The requests for completions.
fn completions(mock: &Mock) -> usize {
    mock.received().iter().filter(|asked| !asked.body.is_null()).count()
}

fn collect(folder: &TestFolder, text: &str, mock: &Mock) -> Ran {
    folder.write("recipe.toml", text);
    folder.run(&["run", "recipe.toml", "--to", "collect", "--endpoint", &mock.url])
}

/// What a run's table of traces holds of each trace.
fn traces(folder: &TestFolder, name: &str) -> BTreeMap<String, Value> {
    let sql = "SELECT id, prompt_id, seed, thinking, answer, max_tokens, completion_tokens, finish_reason FROM traces";
    let ran = folder.run(&["sql", sql, "--run", &format!("runs/{name}"), "--format", "json"]);
    ran.succeeds();
    let rows = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| (row["id"].as_str().unwrap().to_owned(), row)).collect()
}

fn summary(folder: &TestFolder, name: &str, stage: &str) -> Value {
    let record = fs::read_to_string(folder.path(&format!("runs/{name}/{stage}/artifact.json"))).unwrap();
    serde_json::from_str::<Value>(&record).unwrap()["summary"].take()
}

fn ledger(folder: &TestFolder, name: &str) -> PathBuf {
    folder.path(&format!("runs/{name}/collect/traces/ledger.sqlite")).canonicalize().unwrap()
}

/// The embedded teacher on 40 problems: what a seed gives does not depend on what other seeds have left in the folder.
#[test]
fn another_seed_gets_other_texts_in_a_used_folder_and_those_of_a_fresh_one() {
    let of_seed = |seed: u32| recipe("seeds", 40, seed, 160).replace("model = \"served\"", "model = \"embedded\"");
    let (used, fresh) = (TestFolder::new(), TestFolder::new());
    let sampled = |folder: &TestFolder, seed: u32| {
        folder.write("recipe.toml", &of_seed(seed));
        let ran = folder.run(&["run", "recipe.toml", "--to", "collect"]);
        ran.succeeds();
        assert!(ran.stderr.contains("40 traces, 40 new from embedded-"), "{}", ran.stderr);
        traces(folder, "seeds")
    };
    let first = sampled(&used, 1);
    let second = sampled(&used, 2);
    assert_eq!(second, sampled(&fresh, 2));
    let by_prompt = |rows: &BTreeMap<String, Value>, field: &str| -> BTreeMap<String, String> {
        rows.values().map(|row| (row["prompt_id"].to_string(), row[field].to_string())).collect()
    };
    let equal = |field: &str| {
        let (a, b) = (by_prompt(&first, field), by_prompt(&second, field));
        assert_eq!((a.len(), b.len()), (40, 40));
        a.into_iter().filter(|(prompt, value)| b[prompt] == *value).count()
    };
    assert_eq!((equal("id"), equal("seed")), (0, 0));
    assert!(equal("thinking") < 20, "{} texts of 40 are equal", equal("thinking"));
}

#[test]
fn the_same_recipe_under_another_name_asks_nothing_and_counts_what_it_takes_over() {
    let folder = TestFolder::new();
    let mock = Mock::start(served);
    folder.write("recipe.toml", &recipe("first", 20, 1, 160));
    let ran = folder.run(&["run", "recipe.toml", "--endpoint", &mock.url]);
    ran.succeeds();
    let bought = completions(&mock);
    assert_eq!(bought, 20 + 6 * 2, "traces, and samples of the teacher's measurement");
    assert!(!ran.stderr.contains("adopted"), "{}", ran.stderr);

    folder.write("recipe.toml", &recipe("second", 20, 1, 160));
    folder.run(&["run", "recipe.toml", "--to", "prompts"]).succeeds();
    let plan = folder.run(&["plan", "recipe.toml"]).stdout;
    for words in ["0 replies are held, 20 would be adopted from first/2-collect-", ", 0 would be asked for"] {
        assert!(plan.contains(words), "no {words:?} in: {plan}");
    }
    assert!(plan.contains("12 would be adopted from first/6-evaluate-"), "{plan}");
    // Not even the endpoint is needed.
    let ran = folder.run(&["run", "recipe.toml"]);
    ran.succeeds();
    assert_eq!(completions(&mock), bought);
    assert_eq!(traces(&folder, "first"), traces(&folder, "second"));
    for words in
        ["20 traces, 0 new from served, 20 adopted from first/2-collect-", "teacher: 12 adopted from first/6-evaluate-"]
    {
        assert!(ran.stderr.contains(words), "no {words:?} in: {}", ran.stderr);
    }
    let collected = summary(&folder, "second", "collect");
    assert_eq!((&collected["new"], &collected["adopted"]), (&json!(0), &json!(20)));
    let from = collected["adopted_from"].as_object().unwrap();
    assert!(from.len() == 1 && from.iter().all(|(place, n)| place.starts_with("first/2-") && *n == 20), "{from:?}");
    assert_eq!(summary(&folder, "second", "evaluate")["teacher"]["adopted"], 12);
    assert_eq!(summary(&folder, "first", "collect")["adopted"], 0);
    for page in ["report.html", "report.md"] {
        let report = fs::read_to_string(folder.path(&format!("runs/second/report/{page}"))).unwrap();
        assert!(report.contains("20 adopted from first/2-collect-"), "{page}");
        assert!(report.contains("12 adopted from first/6-evaluate-"), "{page}");
    }
    // One more problem, under a third name: one more request.
    collect(&folder, &recipe("third", 21, 1, 160), &mock).succeeds();
    assert_eq!(completions(&mock), bought + 1);
}

#[test]
fn another_token_limit_asks_only_for_what_it_changes() {
    let folder = TestFolder::new();
    let mock = Mock::start(served);
    let of_limit = |limit: usize| recipe("limits", 30, 1, limit);
    let mut before = 0;
    let mut asks = |limit: usize| {
        let ran = collect(&folder, &of_limit(limit), &mock);
        ran.succeeds();
        let asked = completions(&mock) - before;
        before += asked;
        (asked, traces(&folder, "limits"))
    };
    let cut = |rows: &BTreeMap<String, Value>| rows.values().filter(|row| row["finish_reason"] == "length").count();
    let longer_than = |rows: &BTreeMap<String, Value>, limit: u64| {
        rows.values().filter(|row| row["completion_tokens"].as_u64().unwrap() > limit).count()
    };
    let (asked, at_70) = asks(70);
    assert_eq!((asked, at_70.len()), (30, 30));
    let cut_at_70 = cut(&at_70);
    assert!((5..25).contains(&cut_at_70), "{cut_at_70}");

    // Raised: what was cut is asked again, under the same ids, and what was whole keeps the limit it was sampled under.
    let (asked, at_200) = asks(200);
    assert_eq!((asked, cut(&at_200)), (cut_at_70, 0));
    assert!(at_200.keys().eq(at_70.keys()));
    for (id, row) in &at_200 {
        let earlier = &at_70[id];
        if earlier["finish_reason"] == "length" {
            assert!(row["max_tokens"] == 200 && row["seed"] == earlier["seed"], "{row}");
        } else {
            assert_eq!(row, earlier);
        }
    }
    // Between them: all fits or does not.
    let (asked, at_100) = asks(100);
    assert_eq!((asked, cut(&at_100)), (longer_than(&at_200, 100), longer_than(&at_200, 100)));
    // Lower: what does not fit.
    let (asked, at_50) = asks(50);
    assert_eq!((asked, cut(&at_50)), (longer_than(&at_200, 50), longer_than(&at_200, 50)));
    // Back to each of them, also where nothing but the ledgers is left of it.
    for (limit, then) in [(70, &at_70), (200, &at_200), (100, &at_100), (50, &at_50)] {
        let (asked, now) = asks(limit);
        assert!(asked == 0 && now == *then, "{limit}");
    }
    let text = of_limit(70).replace("name = \"limits\"", "name = \"elsewhere\"");
    collect(&folder, &text, &mock).succeeds();
    assert_eq!((completions(&mock), &traces(&folder, "elsewhere")), (before, &at_70));
}

#[test]
fn a_neighbour_that_is_locked_is_named_and_costs_nothing_unless_it_has_what_is_wanted() {
    let folder = TestFolder::new();
    let mock = Mock::start(served);
    collect(&folder, &recipe("first", 8, 1, 160), &mock).succeeds();
    collect(&folder, &recipe("second", 8, 2, 160), &mock).succeeds();
    assert_eq!(completions(&mock), 16);
    let path = ledger(&folder, "first");
    let locked = Connection::open(&path).unwrap();
    locked.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let name = path.strip_prefix(folder.path("runs").canonicalize().unwrap()).unwrap().to_string_lossy().into_owned();

    // Another seed: nothing of what is wanted is there.
    let ran = collect(&folder, &recipe("third", 8, 3, 160), &mock);
    ran.succeeds();
    for words in [name.as_str(), "locked", "none is wanted"] {
        assert!(ran.stderr.contains(words), "no {words:?} in: {}", ran.stderr);
    }
    assert_eq!(completions(&mock), 24);

    // The same seed: all of it is there, and some more is not.
    let wanted = recipe("fourth", 10, 1, 160);
    let ran = collect(&folder, &wanted, &mock);
    assert_ne!(ran.code, Some(0));
    for words in [name.as_str(), "8 of the 10 replies wanted are there", "nothing was asked for", "run again"] {
        assert!(ran.stderr.contains(words), "no {words:?} in: {}", ran.stderr);
    }
    assert_eq!(completions(&mock), 24, "nothing was bought");
    drop(locked);
    let ran = collect(&folder, &wanted, &mock);
    ran.succeeds();
    assert!(ran.stderr.contains("2 new from served, 8 adopted from first/"), "{}", ran.stderr);
    assert_eq!(completions(&mock), 26);

    // A ledger that is none is named too.
    fs::remove_file(ledger(&folder, "second")).unwrap();
    fs::write(folder.path("runs/second/collect/traces/ledger.sqlite"), "no ledger, whoever wrote this here").unwrap();
    let ran = collect(&folder, &recipe("fifth", 8, 1, 160), &mock);
    ran.succeeds();
    assert!(ran.stderr.contains("second/2-collect-") && ran.stderr.contains("not a database"), "{}", ran.stderr);
    assert_eq!(completions(&mock), 26);
}

#[test]
fn an_index_that_is_damaged_or_gone_is_made_again_and_says_so() {
    let folder = TestFolder::new();
    let mock = Mock::start(served);
    collect(&folder, &recipe("first", 8, 1, 160), &mock).succeeds();
    let garbage = b"Whatever this is, it is no index. ".repeat(1000);
    for (n, damage) in [Some(garbage), None].into_iter().enumerate() {
        let words = if let Some(damage) = damage {
            fs::write(folder.path(INDEX), damage).unwrap();
            "was damaged: made again from "
        } else {
            fs::remove_file(folder.path(INDEX)).unwrap();
            "was not there: made again from "
        };
        let ran = collect(&folder, &recipe(&format!("again{n}"), 8, 1, 160), &mock);
        ran.succeeds();
        assert!(ran.stderr.contains(INDEX) && ran.stderr.contains(words), "no {words:?} in: {}", ran.stderr);
        assert!(ran.stderr.contains("0 new from served, 8 adopted from again0/") || n == 0, "{}", ran.stderr);
    }
    assert_eq!(completions(&mock), 8);
}

#[test]
fn what_a_killed_run_bought_is_found_by_others_and_two_at_once_buy_nothing_twice() {
    let folder = TestFolder::new();
    // It answers ten, and no more before it is let go.
    let (answered, go_on) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    let gate = Arc::clone(&go_on);
    let mock = Mock::start(move |asked| {
        let waits = !asked.body.is_null() && answered.fetch_add(1, SeqCst) >= 10;
        while waits && !gate.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        served(asked)
    });
    folder.write("first.toml", &recipe("first", 60, 1, 160));
    let arguments = ["run", "first.toml", "--to", "collect", "--endpoint", &mock.url, "--concurrency", "1"];
    let mut child = folder.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while completions(&mock) < 11 {
        assert!(begun.elapsed() < Duration::from_mins(1), "the teacher was not asked");
        std::thread::sleep(Duration::from_millis(5));
    }
    // While it runs, another one is told who is asking for what it wants.
    let ran = collect(&folder, &recipe("second", 60, 1, 160), &mock);
    assert_ne!(ran.code, Some(0));
    for words in ["runs/first/2-collect-", "replies wanted are being asked for", "wait until that run has ended"] {
        assert!(ran.stderr.contains(words), "no {words:?} in: {}", ran.stderr);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(completions(&mock), 11);
    go_on.store(true, SeqCst);
    let ran = collect(&folder, &recipe("second", 60, 1, 160), &mock);
    ran.succeeds();
    // One was on its way when it was killed.
    assert_eq!(completions(&mock), 61, "{}", ran.stderr);
    assert!(ran.stderr.contains("50 new from served, 10 adopted from first/"), "{}", ran.stderr);
}

/// A teacher that is asked again gives other texts under equal ids: what the rules found is kept by text.
#[test]
fn what_rules_found_of_a_text_is_not_taken_for_another_text_of_equal_id() {
    let folder = TestFolder::new();
    let answer = |text: &'static str| {
        Mock::start(move |asked| {
            if asked.body.is_null() {
                return Answer::json(404, &json!({}));
            }
            Answer::reply(&json!({"content": format!("hm</think>{text}")}))
        })
    };
    let of_policy = |policy: &str| recipe("texts", 5, 1, 160).replace("AND finished", policy);
    let extracted = |policy: &str, text: &'static str| {
        folder.write("recipe.toml", &of_policy(policy));
        folder.run(&["run", "recipe.toml", "--to", "curate", "--endpoint", &answer(text).url]).succeeds();
        let sql = "SELECT DISTINCT extracted FROM verdicts";
        folder.run(&["sql", sql, "--run", "runs/texts", "--format", "csv"]).stdout
    };
    assert_eq!(extracted("AND finished", "\\boxed{7}"), "extracted\n7\n");
    // The collection is made again, as whoever removes its folder wants it.
    let collected = folder.path("runs/texts/collect").canonicalize().unwrap();
    fs::remove_dir_all(collected).unwrap();
    assert_eq!(extracted("AND finished AND row >= 0", "\\boxed{8}"), "extracted\n8\n");
}
