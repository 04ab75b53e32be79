use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{TestFolder, small_quickstart, tiny_recipe};

fn weights(folder: &TestFolder) -> Vec<u8> {
    fs::read(folder.path("runs/tiny/export/model/model.safetensors")).unwrap()
}

#[test]
fn a_run_makes_everything_once_and_answers_questions_about_it() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    let ran = folder.run(&["run", "recipe.toml"]);
    ran.succeeds();
    assert!(!ran.stderr.contains("cached"), "{}", ran.stderr);
    for name in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "README.md"] {
        assert!(folder.path(&format!("runs/tiny/export/model/{name}")).is_file(), "{name}");
    }
    let report = fs::read_to_string(folder.path("runs/tiny/report/report.html")).unwrap();
    assert!(report.contains("<svg") && report.contains("tiny"));

    // Nothing is made twice.
    let before = weights(&folder);
    let again = folder.run(&["run", "recipe.toml"]);
    again.succeeds();
    assert_eq!(again.stderr.matches("(cached)").count(), 8, "{}", again.stderr);
    assert_eq!(before, weights(&folder));

    // Its data can be asked.
    let ran =
        folder.run(&["sql", "SELECT count(*) AS n, sum(CASE WHEN correct THEN 1 ELSE 0 END) AS ok FROM verdicts"]);
    ran.succeeds();
    assert!(ran.stdout.contains("300"), "{}", ran.stdout);
    let query =
        "SELECT kind, avg(CAST(correct AS DOUBLE)) AS accuracy FROM samples WHERE model = 'after' GROUP BY kind";
    folder.run(&["sql", query]).succeeds();
    folder.run(&["sql", "SELECT * FROM trace"]).fails(2, &["trace", "traces"]);
    folder.run(&["sql", "SELECT nothing FROM traces"]).fails(2, &["nothing"]);
    folder.run(&["sql", "DROP TABLE traces"]).fails(2, &[]);

    // An edit runs what depends on it and nothing else, and `plan` says which field it was.
    let edited = tiny_recipe().replace("learning_rate = 2e-3", "learning_rate = 1e-3");
    folder.write("recipe.toml", &edited);
    let plan = folder.run(&["plan", "recipe.toml"]).stdout;
    assert_eq!(plan.matches("cached").count(), 4, "{plan}");
    assert!(plan.contains("optimizer.learning_rate: 0.002 → 0.001"), "{plan}");
    // Back to the first recipe: all of it is still there.
    folder.write("recipe.toml", &tiny_recipe());
    assert_eq!(folder.run(&["plan", "recipe.toml"]).stdout.matches("cached").count(), 8);
}

#[test]
fn to_a_stage_stops_there() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    folder.run(&["run", "recipe.toml", "--to", "curate"]).succeeds();
    assert!(folder.path("runs/tiny/curate").exists() && !folder.path("runs/tiny/pack").exists());
}

/// `kill -9` at moments spread over the run; each time it goes on, and the end is the same to the last bit.
fn killed_equals_straight(recipe: &str, name: &str) {
    let weights =
        |folder: &TestFolder| fs::read(folder.path(&format!("runs/{name}/export/model/model.safetensors"))).unwrap();
    let straight = TestFolder::new();
    straight.write("recipe.toml", recipe);
    let begun = std::time::Instant::now();
    straight.run(&["run", "recipe.toml"]).succeeds();
    let whole = begun.elapsed();

    let killed = TestFolder::new();
    killed.write("recipe.toml", recipe);
    let arguments = ["run", "recipe.toml", "--checkpoint-seconds", "0.05"];
    for part in [0.2, 0.4, 0.6] {
        let mut child = killed.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * part));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    killed.run(&arguments).succeeds();
    assert!(weights(&straight) == weights(&killed), "the weights differ");
    let metrics = |folder: &TestFolder| -> Vec<(u64, f64)> {
        let path: PathBuf = folder.path(&format!("runs/{name}/train/student/metrics.jsonl"));
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.map(|m| (m["step"].as_u64().unwrap(), m["loss"].as_f64().unwrap())).collect()
    };
    assert_eq!(metrics(&straight), metrics(&killed), "every step is logged once, with the same loss");
}

#[test]
fn a_killed_run_ends_with_the_same_weights() {
    killed_equals_straight(&tiny_recipe(), "tiny");
}

/// The same where a teacher is sampled: what it was asked before the kill is not asked again, and what it is asked
/// after gives what it would have given.
#[test]
fn a_killed_run_with_a_teacher_ends_with_the_same_weights() {
    killed_equals_straight(&small_quickstart(), "quickstart");
}
