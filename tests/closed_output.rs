use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Ran, TestFolder, tiny_recipe};

/// A command, what it reads from stdin, and whether it writes to stdout.
struct Case {
    arguments: Vec<String>,
    stdin: &'static str,
    writes: bool,
}

fn case(arguments: &[&str], stdin: &'static str, writes: bool) -> Case {
    Case { arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(), stdin, writes }
}

/// Every command, each kind of output it has.
fn cases(trace: &str) -> Vec<Case> {
    let model = "runs/tiny/export/model";
    let query = "SELECT * FROM traces";
    let mut all = vec![
        case(&["--help"], "", true),
        case(&["--version"], "", true),
        case(&["run", "--help"], "", true),
        case(&["help", "serve"], "", true),
        case(&["plan", "recipe.toml", "--max-steps", "1"], "", true),
        case(&["sql"], "\\d\n\\functions\n\\help\n\\d traces\nSELECT 1;\nSELECT * FROM traces;\n", true),
        case(&["show", trace], "", true),
        case(&["show", trace, "--json"], "", true),
        case(&["show", trace, "--full"], "", true),
        case(&["tokens", "recipe.toml"], "", true),
        case(&["tokens", "recipe.toml", "--ids"], "", true),
        case(&["generate", model, "1 + 1?", "--max-tokens", "4"], "", true),
        case(&["generate", model, "1 + 1?", "--max-tokens", "4", "--json"], "", true),
        case(&["run", "recipe.toml", "--max-steps", "1", "--to", "export"], "", false),
        case(&["init", "NEW.toml"], "", false),
        case(&["dataset", "runs/tiny", "--format", "messages", "--output", "NEW.jsonl"], "", false),
        case(&["logits", model, "--ids", "1,2", "--out", "NEW.safetensors"], "", false),
        case(&["sql", query, "--output", "NEW.parquet"], "", false),
    ];
    let shells = ["bash", "elvish", "fish", "powershell", "zsh"];
    all.extend(shells.map(|shell| case(&["completions", shell], "", true)));
    all.extend(["table", "csv", "json", "markdown"].map(|format| case(&["sql", query, "--format", format], "", true)));
    all
}

/// Runs a command with these ends; what is written anew has a name of its own.
fn run(folder: &TestFolder, case: &Case, n: usize, stdout: Stdio, stderr: Stdio) -> Ran {
    let arguments: Vec<String> = case.arguments.iter().map(|a| a.replace("NEW", &format!("new-{n}"))).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = folder.command(&arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr).spawn().unwrap();
    child.stdin.take().unwrap().write_all(case.stdin.as_bytes()).unwrap();
    Ran::of(&child.wait_with_output().unwrap())
}

/// A pipe that nobody reads any more.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn no_command_minds_a_reader_that_has_gone_and_a_full_disk_is_an_error() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    folder.run(&["run", "recipe.toml", "--to", "export", "--max-steps", "1"]).succeeds();
    let traces = folder.run(&["sql", "SELECT id FROM traces LIMIT 1", "--format", "csv"]);
    let trace = traces.stdout.lines().nth(1).unwrap().to_owned();
    let (mut n, mut wrong) = (0, Vec::new());
    for case in cases(&trace) {
        let mut check = |how: &str, stdout: Stdio, stderr: Stdio, code: i32, words: &str| {
            n += 1;
            let ran = run(&folder, &case, n, stdout, stderr);
            if ran.code != Some(code) || ran.stderr.contains("panicked") || !ran.stderr.contains(words) {
                wrong.push(format!("{:?}, {how}: {:?}, {}", case.arguments, ran.code, ran.stderr));
            }
        };
        check("nobody reads stdout", unread(), Stdio::piped(), 0, "");
        check("nobody reads stderr", Stdio::piped(), unread(), 0, "");
        check("nobody reads", unread(), unread(), 0, "");
        check("stderr is full", Stdio::piped(), full(), 0, "");
        if case.writes {
            check("stdout is full", full(), Stdio::piped(), 1, "No space left on device");
        }
        n += 1;
        let program = env!("CARGO_BIN_EXE_r1-distill");
        let arguments = case.arguments.iter().map(|a| a.replace("NEW", &format!("new-{n}")));
        let mut closed = Command::new("sh");
        closed.current_dir(folder.path("")).args(["-c", "exec \"$0\" \"$@\" >&- 2>&-", program]).args(arguments);
        let ran = Ran::of(&closed.stdin(Stdio::null()).output().unwrap());
        if ran.code != Some(0) {
            wrong.push(format!("{:?}, both closed: {:?}", case.arguments, ran.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
