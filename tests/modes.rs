//! Whatever is published has the mode that the umask gives: weights are there to be read by others, and a user who wants
//! them private says so by a umask.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Ran, TestFolder, small_quickstart, tiny_recipe};

/// The program, under a umask.
fn run_under(umask: u32, folder: &TestFolder, arguments: &[&str]) {
    let plain = folder.command(arguments);
    let mut command = Command::new("sh");
    let script = format!("umask {umask:03o}; exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(plain.get_program()).args(plain.get_args()).current_dir(folder.path(""));
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ran::of(&command.output().unwrap()).succeeds();
}

/// Files and folders below a path whose mode is another one, and how many were looked at.
fn walk(path: &Path, umask: u32, wrong: &mut Vec<String>) -> usize {
    let found = fs::symlink_metadata(path).unwrap();
    if found.file_type().is_symlink() {
        return 0;
    }
    let all = if found.is_dir() { 0o777 } else { 0o666 };
    let (mode, expected) = (found.permissions().mode() & 0o7777, all & !umask);
    if mode != expected {
        wrong.push(format!("{}: {mode:04o} and not {expected:04o}", path.display()));
    }
    let entries =
        if found.is_dir() { fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect() } else { vec![] };
    1 + entries.iter().map(|entry| walk(entry, umask, wrong)).sum::<usize>()
}

#[track_caller]
fn all_have_the_mode(folder: &TestFolder, umask: u32, names: &[&str]) -> usize {
    let mut wrong = Vec::new();
    let count = names.iter().map(|name| walk(&folder.path(name), umask, &mut wrong)).sum();
    assert!(wrong.is_empty(), "under umask {umask:03o}:\n{}", wrong.join("\n"));
    count
}

#[test]
fn all_that_a_run_leaves_has_the_umasks_mode() {
    for umask in [0o022, 0o027, 0o077] {
        let folder = TestFolder::new();
        folder.write("recipe.toml", &tiny_recipe());
        run_under(umask, &folder, &["run", "recipe.toml", "--max-steps", "2", "--checkpoint-seconds", "0"]);
        let dataset = ["dataset", "runs/tiny", "--format", "messages", "--output", "out/messages.parquet"];
        run_under(umask, &folder, &dataset);
        run_under(umask, &folder, &["sql", "SELECT 1 AS one", "--output", "answers/one.csv"]);
        run_under(umask, &folder, &["init", "new/recipe.toml"]);
        let count = all_have_the_mode(&folder, umask, &["runs", "out", "answers", "new"]);
        assert!(count > 60, "only {count} files and folders");
        for name in ["export/model/model.safetensors", "train/student/step-000002/model.safetensors"] {
            assert!(folder.path(&format!("runs/tiny/{name}")).is_file(), "{name}");
        }
    }
}

/// A ledger, the teacher's files, and an adapter of a base that is a folder.
#[test]
fn ledgers_and_adapters_have_the_umasks_mode() {
    let folder = TestFolder::new();
    folder.write("quickstart.toml", &small_quickstart().replace("count = 80", "count = 6"));
    run_under(0o027, &folder, &["run", "quickstart.toml", "--to", "collect"]);
    folder.write("recipe.toml", &tiny_recipe());
    run_under(0o027, &folder, &["run", "recipe.toml", "--max-steps", "2", "--to", "export"]);
    let lora = "[train.lora]\nrank = 2\nalpha = 4.0\ndropout = 0.1\ntarget_modules = [\"v_proj\"]\n\n[train.optimizer]";
    let adapted = tiny_recipe().replace("name = \"tiny\"", "name = \"adapted\"").replace("[train.optimizer]", lora);
    let (before, rest) = adapted.split_once("[student.base]").unwrap();
    let (_, after) = rest.split_once("[pack]").unwrap();
    let base = "kind = \"folder\"\ninput = \"base\"\n";
    folder.write("adapted.toml", &format!("{before}[student.base]\n{base}\n[pack]{after}"));
    let input = format!("base={}", folder.path("runs/tiny/export/model").canonicalize().unwrap().display());
    run_under(0o027, &folder, &["run", "adapted.toml", "--input", &input, "--max-steps", "2", "--to", "export"]);
    let found =
        ["runs/quickstart/collect/traces/ledger.sqlite", "runs/adapted/export/adapter/adapter_model.safetensors"];
    assert!(found.iter().all(|name| folder.path(name).is_file()));
    all_have_the_mode(&folder, 0o027, &["runs"]);
}
