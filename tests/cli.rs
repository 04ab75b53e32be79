use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Ran, TestFolder, root, tiny_recipe};

/// The recipe with one text replaced.
fn with(from: &str, to: &str) -> String {
    let text = tiny_recipe();
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}

fn recipe(name: &str) -> String {
    fs::read_to_string(root().join("recipes").join(name)).unwrap()
}

#[test]
fn help_explains_every_command_and_the_exit_codes() {
    let ran = TestFolder::new().run(&["--help"]);
    ran.succeeds();
    for word in [
        "run",
        "plan",
        "seeds",
        "tokens",
        "sql",
        "show",
        "serve",
        "generate",
        "init",
        "completions",
        "Exit codes",
        "130",
    ] {
        assert!(ran.stdout.contains(word), "{word}");
    }
    let ran = TestFolder::new().run(&["run", "--help"]);
    for word in ["--to", "--input", "--endpoint", "--device", "NAME=PATH"] {
        assert!(ran.stdout.contains(word), "{word}");
    }
}

#[test]
fn a_recipe_that_is_not_there_says_how_to_get_one() {
    TestFolder::new().run(&["run", "none.toml"]).fails(2, &["none.toml", "r1-distill init"]);
}

#[test]
fn mistakes_in_a_recipe_are_named() {
    for (text, words) in [
        (with("sequence_length = 512", "sequence_lenght = 512"), ["sequence_lenght", "unknown field"]),
        (with("sequence_length = 512", "sequence_length = \"long\""), ["pack.sequence_length", "must be an integer"]),
        (with("sequence_length = 512", ""), ["missing field", "sequence_length"]),
        (with("kind = \"worked\"", "kind = \"guess\""), ["guess", "may not be"]),
        (with("learning_rate = 2e-3", "learning_rate = -1.0"), ["train.optimizer.learning_rate", "above 0"]),
        (with("top_p = 0.95", "top_p = 1.5"), ["evaluate.accuracy.protocol.sampling.top_p", "1.5"]),
        (with("AND correct AND", "AND student_tokens < 90 AND"), ["student_tokens", "thinking_chars"]),
        (with("name = \"tiny\"", "name = \"../tiny\""), ["../tiny", "folder"]),
        (with("sequence_length = 512", "sequence_length = = 3"), ["recipe.toml:", "no TOML"]),
    ] {
        let folder = TestFolder::new();
        folder.write("recipe.toml", &text);
        folder.run(&["run", "recipe.toml"]).fails(2, &words);
    }
}

#[test]
fn values_only_a_stage_can_judge_are_named_by_it() {
    for (text, words) in [
        (with("max_steps = 4\nmax_value = 50", "max_steps = 40\nmax_value = 50"), ["max_steps", "40"]),
        (with("NOT duplicate\"", "NOT duplicat\""), ["duplicat", "duplicate"]),
        (with("NOT duplicate\"", "1 = 0\""), ["selects none", "drops"]),
        (with("num_key_value_heads = 2", "num_key_value_heads = 3"), ["num_key_value_heads", "multiple"]),
        (with("sequence_length = 512", "sequence_length = 8"), ["pack.sequence_length", "8 tokens"]),
        (with("held_out = 10", "held_out = 300"), ["pack.held_out", "300"]),
    ] {
        let folder = TestFolder::new();
        folder.write("recipe.toml", &text);
        folder.run(&["run", "recipe.toml"]).fails(2, &words);
    }
}

#[test]
fn inputs_are_asked_for_by_name() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &recipe("r1-traces-smollm2.toml"));
    folder.run(&["run", "recipe.toml"]).fails(2, &["--input", "=PATH"]);
    folder.run(&["run", "recipe.toml", "--input", "base"]).fails(2, &["NAME=PATH"]);
    let missing = ["run", "recipe.toml", "--input", "traces=no.jsonl", "--input", "base=none"];
    folder.run(&missing).fails(2, &["there is no such file or folder"]);
}

#[test]
fn an_empty_or_broken_problem_file_is_named() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &recipe("r1-traces-smollm2.toml"));
    folder.write_model_base();
    fs::copy(root().join("teacher/assets/model.safetensors"), folder.path("base/model.safetensors")).unwrap();
    let run = ["run", "recipe.toml", "--input", "traces=t.jsonl", "--input", "base=base"];
    folder.write("t.jsonl", "");
    folder.run(&run).fails(2, &["t.jsonl", "no rows"]);
    folder.write("t.jsonl", "{\"formated_question\": ");
    folder.run(&run).fails(2, &["t.jsonl", "row 1", "not a JSON object"]);
    folder.write("t.jsonl", "{\"question\": \"2 + 2?\", \"answer\": \"B\"}\n");
    folder.run(&run).fails(2, &["formated_question", "question"]);
}

#[test]
fn a_base_that_is_no_model_is_refused_before_training() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &recipe("r1-traces-smollm2.toml"));
    let row = "{\"formated_question\": \"2 + 2?\", \"answer\": \"B\", \"reason\": \"four\", \"gen_ans\": \"B\"}\n";
    let other = row.replace("2 + 2", "2 + 3");
    folder.write("t.jsonl", &format!("{row}{other}"));
    folder.write("base/config.json", "{}");
    let run = ["run", "recipe.toml", "--input", "traces=t.jsonl", "--input", "base=base"];
    folder.run(&run).fails(2, &["tokenizer.json", "model folder"]);
}

#[test]
fn a_teacher_that_is_down_is_an_exit_code_of_its_own() {
    let folder = TestFolder::new();
    let text = recipe("quickstart.toml").replace("model = \"embedded\"", "model = \"deepseek-r1\"");
    folder.write("recipe.toml", &text);
    folder.run(&["run", "recipe.toml"]).fails(2, &["--endpoint", "deepseek-r1"]);
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/v1");
    folder.run(&["run", "recipe.toml", "--endpoint", &url]).fails(3, &[&url]);
}

#[test]
fn a_device_that_is_not_there_is_refused_at_once() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    folder.run(&["run", "recipe.toml", "--device", "cuda:0"]).fails(2, &["cuda"]);
    folder.run(&["run", "recipe.toml", "--device", "gpu"]).fails(2, &["gpu", "cuda:0"]);
    assert!(!folder.path("runs").exists(), "nothing was begun");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    folder.write("taken", "a file where a folder should be");
    folder.run(&["run", "recipe.toml", "--runs", "taken"]).fails(2, &["taken", "--runs"]);
}

#[test]
fn a_second_run_of_the_same_recipe_is_refused_while_the_first_is_going() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &with("count = 300", "count = 3000"));
    let mut first = folder.command(&["run", "recipe.toml"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_for(&folder, "runs/tiny/.lock");
    let second = folder.run(&["run", "recipe.toml"]);
    first.kill().unwrap();
    first.wait().unwrap();
    second.fails(1, &["another run"]);
}

#[test]
fn ctrl_c_saves_and_says_so() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &with("count = 300", "count = 6000"));
    let child = folder.command(&["run", "recipe.toml"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    wait_for(&folder, "runs/tiny/pack");
    std::thread::sleep(Duration::from_millis(300));
    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let ran = Ran::of(&child.wait_with_output().unwrap());
    ran.fails(130, &["stopping", "stopped", "run the same command"]);
}

#[test]
fn sql_without_a_run_says_what_to_do() {
    let folder = TestFolder::new();
    folder.run(&["sql", "SELECT * FROM traces"]).fails(2, &["traces", "run a recipe first", "--table"]);
    folder.run(&["sql", "SELECT 1", "--run", "nowhere"]).fails(2, &["nowhere", "--run"]);
}

#[test]
fn a_folder_that_is_no_model_is_named() {
    let folder = TestFolder::new();
    fs::create_dir(folder.path("empty")).unwrap();
    folder.run(&["generate", "empty", "hello"]).fails(2, &["empty", "config.json"]);
    folder.run(&["serve", "nowhere"]).fails(2, &["nowhere", "config.json"]);
}

fn wait_for(folder: &TestFolder, path: &str) {
    let begun = Instant::now();
    while !folder.path(path).exists() {
        assert!(begun.elapsed() < Duration::from_mins(1), "{path} did not appear");
        std::thread::sleep(Duration::from_millis(20));
    }
}
