//! What is there and cannot be read ends a command with a message that names it, and is never taken for nothing.
//! Permission bits do not stop root, so that other means are used: a file where a folder is expected, a loop of links.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::support::{TestFolder, small_quickstart, tiny_recipe};

fn folder(recipe: &str) -> TestFolder {
    let folder = TestFolder::new();
    folder.write("recipe.toml", recipe);
    folder
}

/// A stage's folder, whether it is there or not: `plan` says its fingerprint.
fn place(folder: &TestFolder, recipe: &str, stage: &str) -> PathBuf {
    let plan = folder.run(&["plan", "recipe.toml"]).stdout;
    let line = plan.lines().find(|line| line.contains(&format!("/8 {stage}"))).unwrap();
    let (number, rest) = line.split_once("/8 ").unwrap();
    let fingerprint = rest.split_whitespace().nth(1).unwrap();
    folder.path(&format!("runs/{recipe}/{number}-{stage}-{fingerprint}"))
}

#[test]
fn a_training_does_not_begin_anew_where_its_folder_cannot_be_read() {
    let folder = folder(&tiny_recipe());
    folder.run(&["run", "recipe.toml", "--to", "pack"]).succeeds();
    let train = place(&folder, "tiny", "train");
    fs::create_dir(&train).unwrap();
    for name in ["step-000004", "metrics.jsonl"] {
        // A checkpoint whose record is a loop; metrics that are a folder.
        let student = train.join("student");
        fs::create_dir_all(student.join(name)).unwrap();
        if name.starts_with("step") {
            symlink("state.json", student.join(name).join("state.json")).unwrap();
        }
        folder.run(&["run", "recipe.toml"]).fails(1, &["/student/", name]);
        fs::remove_dir_all(&student).unwrap();
    }
    symlink("student", train.join("student")).unwrap();
    folder.run(&["run", "recipe.toml"]).fails(1, &["/student"]);
}

#[test]
fn a_line_of_the_metrics_that_is_damaged_is_named_by_the_report() {
    let folder = folder(&tiny_recipe());
    folder.run(&["run", "recipe.toml", "--max-steps", "4", "--to", "export"]).succeeds();
    let path = folder.path("runs/tiny/train/student/metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"step\":2", "\"step\":", 1)).unwrap();
    folder.run(&["run", "recipe.toml", "--max-steps", "4"]).fails(2, &["metrics.jsonl", "line 2"]);
    fs::write(&path, &text).unwrap();
    folder.run(&["run", "recipe.toml", "--max-steps", "4"]).succeeds();
}

/// Neither is the teacher's fault, and a script that waits for a teacher would wait for ever.
#[test]
fn a_ledger_that_cannot_be_used_and_a_folder_in_use_are_failures_of_a_stage() {
    let folder = folder(&small_quickstart());
    folder.run(&["run", "recipe.toml", "--to", "prompts"]).succeeds();
    let ledger = place(&folder, "quickstart", "collect").join("traces/ledger.sqlite");
    fs::create_dir_all(&ledger).unwrap();
    folder.run(&["run", "recipe.toml", "--to", "collect"]).fails(1, &["ledger", "ledger.sqlite"]);

    let lock = fs::File::open(folder.path("runs/quickstart/.lock")).unwrap();
    lock.lock().unwrap();
    folder.run(&["run", "recipe.toml"]).fails(1, &["another run is using", "--runs DIR"]);
    drop(lock);
    folder.write("file", "");
    folder.run(&["run", "recipe.toml", "--runs", "file"]).fails(2, &["file/quickstart"]);
}

#[test]
fn queries_and_plans_name_the_folder_of_runs_that_they_cannot_read() {
    let folder = folder(&tiny_recipe());
    folder.run(&["run", "recipe.toml", "--to", "prompts"]).succeeds();
    let prompts = folder.path("runs/tiny/prompts");
    let kept = fs::read_link(&prompts).unwrap();
    fs::remove_file(&prompts).unwrap();
    symlink("prompts", &prompts).unwrap();
    folder.run(&["sql", "SELECT count(*) FROM prompts"]).fails(1, &["runs/tiny/prompts"]);
    fs::remove_file(&prompts).unwrap();
    symlink(kept, &prompts).unwrap();
    folder.run(&["sql", "SELECT count(*) FROM prompts"]).succeeds();

    fs::rename(folder.path("runs"), folder.path("kept")).unwrap();
    symlink("runs", folder.path("runs")).unwrap();
    for arguments in [["sql", "SELECT 1"], ["show", "00"], ["plan", "recipe.toml"]] {
        folder.run(&arguments).fails(1, &["runs"]);
    }
}
