use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Ran, TestFolder, small_quickstart, tiny_recipe};

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

/// A mixture is what its recipe says, and a mistake in it is told before anything is run.
#[test]
fn quotas_decide_the_mixture() {
    let folder = TestFolder::new();
    let balance = |section: &str| {
        let section =
            format!("[curate.balance]\nby = \"sample\"\nothers = \"none\"\nseed = 1\n{section}\n[student.base]");
        tiny_recipe().replace("[student.base]", &section)
    };
    folder.write("recipe.toml", &balance("quotas = { 0 = 120 }\nprefer = \"thinking_chars DESC\""));
    let ran = folder.run(&["run", "recipe.toml", "--to", "curate"]);
    ran.succeeds();
    for words in ["quotas by sample", "sample     passed      quota       kept    prompts", "120 of 300 traces"] {
        assert!(ran.stderr.contains(words), "no {words:?} in: {}", ran.stderr);
    }
    let query = "SELECT (SELECT min(thinking_chars) FROM verdicts v JOIN curated c ON v.trace_id = c.trace_id) >=
                        (SELECT max(thinking_chars) FROM verdicts v LEFT ANTI JOIN curated c ON v.trace_id = c.trace_id
                         WHERE correct AND NOT duplicate) AS ok";
    let ran = folder.run(&["sql", query, "--format", "csv"]);
    ran.succeeds();
    assert_eq!(ran.stdout, "ok\ntrue\n");

    // Other quotas judge nothing again.
    folder.write("recipe.toml", &balance("quotas = { 0 = 1000 }"));
    let plan = folder.run(&["plan", "recipe.toml"]).stdout;
    assert!(plan.contains("balance.quotas.0: 120 → 1000"), "{plan}");
    let ran = folder.run(&["run", "recipe.toml", "--to", "curate"]);
    ran.succeeds();
    for words in ["judged: nothing; the rest is known from before", "short by "] {
        assert!(ran.stderr.contains(words), "no {words:?} in: {}", ran.stderr);
    }

    for (section, words) in [
        ("quotas = { 0 = -1 }", ["recipe.toml", "-1", "out of range"]),
        ("quotas = { 0 = 1 }\nprefer = \"lenght DESC\"", ["curate.balance.prefer", "lenght", "thinking_chars"]),
        ("shares = { 0 = 1.0 }\nquotas = { 0 = 1 }", ["curate.balance", "both quotas and shares", "leave one"]),
    ] {
        folder.write("recipe.toml", &balance(section));
        folder.run(&["plan", "recipe.toml"]).fails(2, &words);
    }
    folder.write("recipe.toml", &balance("quotas = { 7 = 1 }"));
    folder.run(&["run", "recipe.toml", "--to", "curate"]).fails(2, &["curate.balance.quotas", "\"7\"", "0 (300)"]);
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
    let mut interrupted = 0;
    for part in [0.2, 0.4, 0.6] {
        let mut child = killed.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * part));
        interrupted += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(interrupted > 0, "every run ended before it was killed");
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

/// No file may grow beyond a limit, as on a disk that is full for everything larger: the step that cannot be saved ends
/// the run with a message, what was saved before stays as it was, and with room again the end is the same to the bit.
/// (`tests/crash.sh` fills a real file system.)
#[test]
fn a_checkpoint_that_cannot_be_written_costs_nothing_but_time() {
    let straight = TestFolder::new();
    straight.write("recipe.toml", &tiny_recipe());
    straight.run(&["run", "recipe.toml"]).succeeds();

    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    folder.run(&["run", "recipe.toml", "--to", "pack"]).succeeds();
    let arguments = ["run", "recipe.toml", "--to", "train", "--checkpoint-seconds", "0"];
    let mut child = folder.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
    while checkpoints(&folder).is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "the training ended without a checkpoint");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = checkpoints(&folder);

    // Ignoring the signal makes the system call fail, as a full disk does, instead of ending the process.
    let limited = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
    let program = env!("CARGO_BIN_EXE_r1-distill");
    let mut command = Command::new("sh");
    command.current_dir(folder.path("")).args(["-c", limited, program]).args(arguments);
    let ran = Ran::of(&command.output().unwrap());
    ran.fails(1, &["cannot be saved in runs/tiny/5-train-", "/student", "is good", "make room there and run the same"]);
    assert!(checkpoints(&folder) == before, "the checkpoints before it were touched");

    folder.run(&["run", "recipe.toml"]).succeeds();
    assert!(weights(&straight) == weights(&folder), "the weights differ");
}

/// Every file of the student's checkpoints.
fn checkpoints(folder: &TestFolder) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(stages) = fs::read_dir(folder.path("runs/tiny")) else { return Vec::new() };
    let names = stages.map(|stage| stage.unwrap().path());
    let Some(train) = names.into_iter().find(|path| path.to_string_lossy().contains("5-train-")) else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(train.join("student")) else { return Vec::new() };
    let steps = entries.map(|entry| entry.unwrap().path()).filter(|path| path.to_string_lossy().contains("/step-"));
    let files = steps.flat_map(|step| fs::read_dir(step).unwrap()).map(|file| file.unwrap().path());
    let mut all: Vec<(PathBuf, Vec<u8>)> = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    all.sort();
    all
}

/// `--max-steps` decides the result, so it counts as the recipe's own field does.
#[test]
fn max_steps_on_the_command_line_is_that_of_the_recipe() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    folder.run(&["run", "recipe.toml", "--to", "train", "--max-steps", "3"]).succeeds();
    let metrics = fs::read_to_string(folder.path("runs/tiny/train/student/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 3);
    let plan = folder.run(&["plan", "recipe.toml"]).stdout;
    assert!(plan.contains("max_steps: 3 → "), "{plan}");
    folder.write("recipe.toml", &tiny_recipe().replace("# max_steps = 100", "max_steps = 3"));
    assert_eq!(folder.run(&["plan", "recipe.toml"]).stdout.matches("cached").count(), 5);
    folder.run(&["run", "recipe.toml", "--max-steps", "0"]).fails(2, &["--max-steps"]);
}

/// Passes are dealt out and their gradients added up in order, so that the number of devices decides nothing.
#[test]
fn two_devices_give_the_weights_of_one() {
    let recipe = tiny_recipe().replace("rows_per_pass = 4", "rows_per_pass = 1");
    let [one, two] = ["cpu", "cpu,cpu"].map(|devices| {
        let folder = TestFolder::new();
        folder.write("recipe.toml", &recipe);
        folder.run(&["run", "recipe.toml", "--max-steps", "6", "--device", devices]).succeeds();
        weights(&folder)
    });
    assert!(one == two, "the weights differ");
}

/// The loss on held-out traces is where a user looks for it.
#[test]
fn the_evaluation_loss_is_in_the_tables_the_report_and_tensorboard() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    folder.run(&["run", "recipe.toml"]).succeeds();
    let query = "SELECT count(eval_loss) AS n, count(*) AS steps FROM metrics WHERE step % 5 = 0";
    let ran = folder.run(&["sql", query, "--format", "csv"]);
    ran.succeeds();
    let line = ran.stdout.lines().nth(1).unwrap();
    let (evaluations, steps) = line.split_once(',').unwrap();
    assert!(evaluations == steps && evaluations != "0", "{line}");
    // The control is not measured on the student's traces: a column of nothing but null.
    let ran = folder.run(&["sql", "SELECT count(eval_loss) AS n FROM control_metrics", "--format", "csv"]);
    ran.succeeds();
    assert_eq!(ran.stdout, "n\n0\n");
    let report = fs::read_to_string(folder.path("runs/tiny/report/report.html")).unwrap();
    assert!(report.contains("student, held-out traces"));
    let names = fs::read_dir(folder.path("runs/tiny/train/student")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    assert_eq!(names.filter(|name| name.contains("tfevents")).count(), 1);

    folder.write("recipe.toml", &tiny_recipe().replace("held_out = 10", "held_out = 0"));
    folder.run(&["run", "recipe.toml"]).fails(2, &["train.eval_every", "pack.held_out"]);
}

/// A model that one run exported is the base of the next, which trains adapters.
#[test]
fn adapters_are_exported_beside_the_model_they_are_merged_into() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    folder.run(&["run", "recipe.toml", "--max-steps", "2", "--to", "export"]).succeeds();
    let base = folder.path("runs/tiny/export/model").canonicalize().unwrap();

    let lora = "[train.lora]\nrank = 2\nalpha = 4.0\ndropout = 0.1\ntarget_modules = [\"v_proj\", \"up_proj\"]\n\n";
    let adapted = tiny_recipe().replace("name = \"tiny\"", "name = \"adapted\"");
    let adapted = adapted.replace("[train.optimizer]", &format!("{lora}[train.optimizer]"));
    folder.write("random.toml", &adapted);
    folder.run(&["run", "random.toml"]).fails(2, &["train.lora", "student.base"]);

    let (before, rest) = adapted.split_once("[student.base]").unwrap();
    let (_, after) = rest.split_once("[pack]").unwrap();
    let base_section = "kind = \"folder\"\ninput = \"base\"\n";
    let text = format!("{before}[student.base]\n{base_section}\n[pack]{after}");
    folder.write("adapted.toml", &text);
    let input = format!("base={}", base.display());
    folder.run(&["run", "adapted.toml", "--input", &input, "--max-steps", "4"]).succeeds();
    let export = folder.path("runs/adapted/export");
    let read = |name: &str| fs::read(export.join(name)).unwrap();
    let config = String::from_utf8(read("adapter/adapter_config.json")).unwrap();
    assert!(config.contains("\"base_model_name_or_path\": \"base\""), "{config}");
    assert!(!read("adapter/adapter_model.safetensors").is_empty());
    assert_ne!(read("model/model.safetensors"), fs::read(base.join("model.safetensors")).unwrap());
    let card = String::from_utf8(read("model/README.md")).unwrap();
    // Two blocks; v from 32 to 16 wide, up from 32 to 64.
    assert!(card.contains("LoRA of rank 2") && card.contains(": 576 of 28,960 parameters were trained"), "{card}");
}

/// The same where a teacher is sampled: what it was asked before the kill is not asked again, and what it is asked
/// after gives what it would have given.
#[test]
fn a_killed_run_with_a_teacher_ends_with_the_same_weights() {
    killed_equals_straight(&small_quickstart(), "quickstart");
}
