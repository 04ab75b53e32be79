use std::fs;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use fixtures::mock::{Answer, Mock, Received};
use serde_json::{Value, json};

use crate::support::{Ran, TestFolder, root};

const RUN: [&str; 8] =
    ["run", "recipe.toml", "--input", "traces=traces.jsonl", "--input", "base=base", "--to", "curate"];

/// The recipe for traces that exist, with its commented judge.
static RECIPE: LazyLock<String> = LazyLock::new(|| {
    let text = fs::read_to_string(root().join("recipes/r1-traces-smollm2.toml")).unwrap();
    let (before, rest) = text.split_once("# [curate.judge]\n").unwrap();
    let (section, after) = rest.split_once("# \"\"\"\n").unwrap();
    let section = section.lines().map(|line| line.strip_prefix('#').unwrap().trim_start()).collect::<Vec<_>>();
    let text = format!("{before}[curate.judge]\n{}\n\"\"\"\n{after}", section.join("\n"));
    text.replace("correct AND NOT duplicate", "(correct OR judge_verdict = 'correct')")
});

/// Questions of which rules tell the even ones.
fn folder(traces: usize, answer: impl Fn(usize) -> String) -> TestFolder {
    let folder = TestFolder::new();
    let rows = (0..traces).map(|n| {
        let (gold, answer) = if n % 2 == 0 { (n.to_string(), n.to_string()) } else { ("it is hot".into(), answer(n)) };
        let row = json!({
            "formated_question": format!("What of {n}?"), "answer": gold,
            "reason": format!("SECRET thoughts {n}"), "gen_ans": format!("So: \\boxed{{{answer}}}"),
        });
        format!("{row}\n")
    });
    folder.write("traces.jsonl", &rows.collect::<String>());
    folder.write_model_base();
    folder.write("recipe.toml", &RECIPE);
    folder
}

fn run(folder: &TestFolder, mock: &Mock) -> Ran {
    folder.run(&[RUN.as_slice(), &["--judge-endpoint", &mock.url]].concat())
}

fn says(correctness: &str) -> Answer {
    let verdict = json!({"analysis": format!("I find it {correctness}."), "correctness": correctness});
    Answer::reply(&json!({"reasoning": "hm", "content": format!("```json\n{verdict}\n```")}))
}

fn judge(asked: &Received) -> Answer {
    if asked.body.is_null() {
        return Answer::json(404, &json!({}));
    }
    says(if asked.question().contains("heat") { "correct" } else { "incorrect" })
}

/// The requests for completions.
fn completions(mock: &Mock) -> Vec<Received> {
    mock.received().into_iter().filter(|asked| !asked.body.is_null()).collect()
}

fn verdicts(folder: &TestFolder) -> Vec<Value> {
    let sql = "SELECT judge_verdict, judge_analysis FROM verdicts ORDER BY row";
    let ran = folder.run(&["sql", sql, "--run", "runs/r1-traces-smollm2", "--format", "json"]);
    ran.succeeds();
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_rules_cannot_tell_is_judged_and_paid_for_once() {
    // 1: right; 3: wrong; 5: never a verdict; 7: one at the second try; 9: refused; 11: says what 1 says, to something else.
    let folder = folder(12, |n| ["heat", "cold", "garbled", "late heat", "long", "heat"][n / 2].to_owned());
    let mock = Mock::start(|asked| {
        let again = !asked.body.is_null() && asked.question().ends_with("within strings escaped.");
        let answers = |answer| !asked.body.is_null() && asked.question().contains(answer);
        if answers("garbled") {
            Answer::reply(&json!({"content": "Well, correct."}))
        } else if answers("late") && !again {
            Answer::finished(&json!({"content": "{"}), "length")
        } else if answers("long") {
            Answer::json(400, &json!({"error": {"message": "too long"}}))
        } else {
            judge(asked)
        }
    });
    let ran = run(&folder, &mock);
    ran.succeeds();
    let words =
        "6 of 6 traces judged: 3 correct, 1 incorrect, 1 unreadable, 1 refused; 7 replies of 70 tokens, 7 of them new";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    assert!(ran.stderr.contains("9 of 12 traces selected"), "{}", ran.stderr);
    let found = verdicts(&folder);
    let of = |n: usize| (found[n]["judge_verdict"].as_str(), found[n]["judge_analysis"].as_str());
    assert!((0..12).step_by(2).all(|n| of(n) == (None, None)), "{found:?}");
    assert_eq!(of(1), (Some("correct"), Some("I find it correct.")));
    assert_eq!(of(3), (Some("incorrect"), Some("I find it incorrect.")));
    assert_eq!(of(5), (Some("unreadable"), Some("Well, correct.")));
    assert_eq!(of(7).0, Some("correct"));
    assert_eq!(of(9), (Some("refused"), Some("HTTP 400: too long")));
    let asked = completions(&mock);
    assert_eq!(asked.len(), 8);
    assert!(asked.iter().all(|asked| !asked.question().contains("SECRET") && asked.body["model"] == "deepseek-chat"));

    // Another policy: nothing is asked of the replies that are there.
    folder.write("recipe.toml", &RECIPE.replace("well_formed AND finished AND", "finished AND"));
    run(&folder, &mock).succeeds();
    assert_eq!(verdicts(&folder), found);
    let since = completions(&mock).split_off(8);
    assert!(since.len() == 1 && since[0].question().contains("long"), "only what was refused: {since:?}");

    // Another model: all is asked again. `plan` says how much that may be.
    folder.write("recipe.toml", &RECIPE.replace("deepseek-chat", "another"));
    let plan = folder.run(&[&["plan"], &RUN[1..6]].concat());
    assert!(plan.stdout.contains("asks another about 6 of 12 traces, at most 4096 tokens each"), "{}", plan.stdout);
    run(&folder, &mock).succeeds();
    assert_eq!(completions(&mock).len(), 9 + 8);
}

#[test]
fn another_recipes_judge_is_not_asked_again() {
    let folder = folder(8, |n| format!("heat {n}"));
    let mock = Mock::start(judge);
    run(&folder, &mock).succeeds();
    assert_eq!(completions(&mock).len(), 4);
    folder.write("recipe.toml", &RECIPE.replace("name = \"r1-traces-smollm2\"", "name = \"another\""));
    let ran = run(&folder, &mock);
    ran.succeeds();
    assert!(ran.stderr.contains("4 replies of 40 tokens, 0 of them new, 4 adopted"), "{}", ran.stderr);
    assert_eq!(completions(&mock).len(), 4);
    let record = fs::read_to_string(folder.path("runs/another/curate/artifact.json")).unwrap();
    let judged = serde_json::from_str::<Value>(&record).unwrap()["summary"]["judge"].take();
    let from = judged["adopted_from"].as_object().unwrap();
    assert!(judged["adopted"] == 4 && from.keys().all(|place| place.starts_with("r1-traces-smollm2/3-")), "{judged}");
}

#[test]
fn a_policy_needs_no_judge_again_and_a_new_condition_only_for_what_is_new() {
    let folder = folder(8, |n| format!("heat {n}"));
    let mock = Mock::start(judge);
    let some = RECIPE.replace("where = \"", "where = \"row < 4 AND ");
    folder.write("recipe.toml", &some);
    run(&folder, &mock).succeeds();
    assert_eq!(completions(&mock).len(), 2);
    folder.write("recipe.toml", &some.replace("finished AND", ""));
    folder.run(&RUN).succeeds();
    folder.write("recipe.toml", &RECIPE);
    folder.run(&RUN).fails(2, &["deepseek-chat", "--judge-endpoint"]);
    run(&folder, &mock).succeeds();
    assert_eq!(completions(&mock).len(), 4);
}

#[test]
fn killed_in_the_middle_only_the_rest_is_asked() {
    let folder = folder(80, |n| format!("heat {n}"));
    let mock = Mock::start(|asked| judge(asked).after(Duration::from_millis(20)));
    let arguments = [RUN.as_slice(), &["--judge-endpoint", &mock.url, "--concurrency", "1"]].concat();
    let mut child = folder.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while completions(&mock).len() < 12 {
        assert!(begun.elapsed() < Duration::from_mins(1), "the judge was not asked");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = completions(&mock).len();
    assert!(before < 40, "it was done before it was killed");
    run(&folder, &mock).succeeds();
    // One was on its way, and one may have arrived without being written down yet.
    let twice = completions(&mock).len() - 40;
    assert!(twice <= 2, "{twice} were asked twice");
    assert!(verdicts(&folder).iter().skip(1).step_by(2).all(|v| v["judge_verdict"] == "correct"));
}

#[test]
fn a_judge_that_is_down_is_named_and_costs_nothing_that_was_bought() {
    let folder = folder(40, |n| format!("heat {n}"));
    folder.run(&RUN).fails(2, &["deepseek-chat", "--judge-endpoint"]);
    assert!(!folder.path("runs/r1-traces-smollm2/collect").exists(), "said before anything is done");
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/v1");
    folder.run(&[RUN.as_slice(), &["--judge-endpoint", &url]].concat()).fails(3, &["judge deepseek-chat", &url]);

    let paid = Arc::new(AtomicBool::new(false));
    let credit = Arc::clone(&paid);
    let mock = Mock::start(move |asked| {
        if asked.body.is_null() || credit.load(SeqCst) || asked.question().contains("heat 1}") {
            judge(asked)
        } else {
            Answer::json(402, &json!({"error": {"message": "no credit left"}}))
        }
    });
    let arguments = [RUN.as_slice(), &["--judge-endpoint", &mock.url, "--concurrency", "1"]].concat();
    let broke = Ran::of(&folder.command(&arguments).env("R1_DISTILL_JUDGE_API_KEY", "sk-judge").output().unwrap());
    broke.fails(3, &["judge deepseek-chat", &mock.url, "no credit left", "1 of 20 replies are kept", "run again"]);
    assert!(mock.received().iter().all(|asked| asked.authorization.as_deref() == Some("Bearer sk-judge")));
    assert!(!folder.path("runs/r1-traces-smollm2/curate").exists());

    paid.store(true, SeqCst);
    run(&folder, &mock).succeeds();
    let first = completions(&mock).iter().filter(|asked| asked.question().contains("heat 1}")).count();
    assert_eq!(first, 1);
}

#[test]
fn a_judge_that_refuses_everything_is_no_verdict() {
    let folder = folder(4, |n| format!("heat {n}"));
    let mock = Mock::start(|asked| {
        let refusal = Answer::json(400, &json!({"error": {"message": "unknown parameter: seed"}}));
        if asked.body.is_null() { judge(asked) } else { refusal }
    });
    run(&folder, &mock).fails(3, &["judge deepseek-chat", "refuses all 2 requests", "unknown parameter: seed"]);
    folder.write("recipe.toml", &RECIPE.replace("where = \"correct", "where = \"corect"));
    run(&folder, &mock).fails(2, &["curate.judge.where", "corect", "answer_verdict"]);
    folder.write("recipe.toml", &RECIPE.replace("{answer}", "{reply}"));
    run(&folder, &mock).fails(2, &["curate.judge.prompt", "{answer}"]);
}
