//! What the program prints is what it found: numbers that agree wherever they stand, and promises that are kept.

use std::fs;

use serde_json::Value;

use crate::support::{TestFolder, root, small_quickstart, tiny_recipe};

/// The losses and supervised tokens of a training's steps, in order.
fn steps(folder: &TestFolder, training: &str) -> Vec<(f64, f64)> {
    let text = fs::read_to_string(folder.path(&format!("runs/tiny/train/{training}/metrics.jsonl"))).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|m| (m["loss"].as_f64().unwrap(), m["supervised_tokens"].as_f64().unwrap())).collect()
}

fn mean(steps: &[(f64, f64)]) -> String {
    let tokens: f64 = steps.iter().map(|(_, tokens)| tokens).sum();
    format!("{:.3}", steps.iter().map(|(loss, tokens)| loss * tokens).sum::<f64>() / tokens)
}

/// Parameters in the exported files: the one count that nobody wrote down.
fn parameters(folder: &TestFolder) -> String {
    let bytes = fs::read(folder.path("runs/tiny/export/model/model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let count: usize = tensors.tensors().iter().map(|(_, tensor)| tensor.shape().iter().product::<usize>()).sum();
    let digits = count.to_string();
    let (thousands, rest) = digits.split_at(digits.len() - 3);
    format!("{thousands},{rest}")
}

/// Trainings of few steps have no ends that could be told apart, and what is said of them is true all the same.
#[test]
fn console_report_and_card_give_one_loss_and_one_number_of_parameters() {
    for most in [1, 2, 3, 4, 7, 25] {
        let folder = TestFolder::new();
        folder.write("recipe.toml", &tiny_recipe().replace("control = true", "control = false"));
        let ran = folder.run(&["run", "recipe.toml", "--max-steps", &most.to_string()]);
        ran.succeeds();
        let steps = steps(&folder, "student");
        assert_eq!(steps.len(), most);
        let end = 10.min(most / 2);
        let (loss, of) = match most {
            1 => (mean(&steps), "of its only step".to_owned()),
            2 | 3 => (mean(&steps), format!("mean over the supervised tokens of all {most} steps")),
            _ => (
                format!("{} → {}", mean(&steps[..end]), mean(&steps[most - end..])),
                format!("means over the supervised tokens of the first and of the last {end} steps"),
            ),
        };
        let read = |place: &str| fs::read_to_string(folder.path(&format!("runs/tiny/{place}"))).unwrap();
        let (report, page, card) =
            (read("report/report.md"), read("report/report.html"), read("export/model/README.md"));
        let parameters = parameters(&folder);
        let stage = |name: &str| ran.stderr.lines().find(|line| line.contains(name) && line.len() > 20).unwrap();
        let console = stage("5/8 train");
        let expected = format!("{most} steps of {parameters} parameters, training loss {loss} ({of})");
        assert!(console.contains(&expected), "{expected}: {console}");
        assert!(card.contains(&format!("- Training loss: {loss} nats a token ({of})\n")), "{card}");
        assert!(card.contains(&format!("- Parameters: {parameters}\n")), "{card}");
        assert!(report.contains(&format!("- **{parameters}** parameters trained\n")), "{report}");
        let row = report.lines().find(|line| line.starts_with("| student |") && line.contains(&parameters));
        assert!(row.is_some_and(|row| row.contains(&format!("| {loss} |"))), "{row:?}");
        assert!(report.contains(&format!("Loss: {of}.")) && page.contains(&loss), "{report}");

        // The loss on held-out traces is one number too.
        let held_out = ran.stderr.lines().find(|line| line.trim_start().starts_with("held-out loss")).unwrap();
        let words: Vec<&str> = held_out.split_whitespace().collect();
        let (before, after) = (words[2], words[4]);
        assert!(
            card.contains(&format!("Loss on held-out traces: {before} nats a token before, {after} after")),
            "{card}"
        );
        assert!(report.contains(&format!("- **{after}** held-out loss, from {before}\n")), "{report}");
        assert!(report.contains(&format!("is {after} nats per token")), "{report}");
    }
}

#[test]
fn report_and_card_say_what_an_interval_covers() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    let ran = folder.run(&["run", "recipe.toml"]);
    ran.succeeds();
    for place in ["report/report.md", "report/report.html", "export/model/README.md"] {
        let text = fs::read_to_string(folder.path(&format!("runs/tiny/{place}"))).unwrap();
        for words in ["covers the sampling of the problems and of the answers", "another seed of the training"] {
            assert!(text.contains(words), "{place} does not say {words:?}");
        }
    }

    // A second run that makes only the report says what it found.
    let report = folder.path("runs/tiny/report/report.md");
    let text = fs::read_to_string(&report).unwrap();
    assert!(text.matches("| computed |").count() == 7 && !text.contains("cached"), "{text}");
    let made = fs::read_link(folder.path("runs/tiny/report")).unwrap();
    fs::remove_dir_all(folder.path("runs/tiny").join(made)).unwrap();
    folder.run(&["run", "recipe.toml"]).succeeds();
    let text = fs::read_to_string(&report).unwrap();
    assert!(text.matches("| cached |").count() == 7 && text.contains("for 7 stages, 7 cached"), "{text}");
}

#[test]
fn what_a_policy_that_selects_nothing_found_can_be_asked() {
    let folder = TestFolder::new();
    let recipe = tiny_recipe();
    let line = recipe.lines().find(|line| line.starts_with("policy = ")).unwrap().to_owned();
    let policy = |sql: &str| folder.write("recipe.toml", &recipe.replace(&line, &format!("policy = \"{sql}\"")));
    // There is a selection of another policy already, which must not be taken for this one's.
    policy("sample = 0 AND correct");
    folder.run(&["run", "recipe.toml", "--to", "curate"]).succeeds();
    policy("correct AND loop_chars > 7");
    for to in ["curate", "report", "report"] {
        let ran = folder.run(&["run", "recipe.toml", "--to", to]);
        ran.fails(2, &["selects none of 300 traces", "loop_chars > 7 drops 300", "0 of 300 traces selected"]);
        assert!(!ran.stderr.contains("4/8"), "{}", ran.stderr);
        // The command of the message, as it stands there.
        let command = ran.stderr.lines().find_map(|line| line.split_once("r1-distill sql --run ")).unwrap().1;
        let (run, query) = command.split_once(' ').unwrap();
        let asked = folder.run(&["sql", "--run", run, query.trim_matches('"'), "--format", "csv", "--max-rows", "999"]);
        asked.succeeds();
        assert_eq!(asked.stdout.lines().count(), 301, "{}", asked.stdout);
    }
    let count = "SELECT (SELECT count(*) FROM verdicts WHERE correct) AS right, (SELECT count(*) FROM curated) AS kept";
    let asked = folder.run(&["sql", count, "--format", "csv"]);
    assert_eq!(asked.stdout, "right,kept\n300,0\n", "{}", asked.stderr);
    let shown = folder.run(&["show", "--where", "correct AND sample = 0"]);
    shown.succeeds();
    assert!(
        shown.stdout.contains("  not selected\n") && shown.stdout.contains("✗ loop_chars > 7\n"),
        "{}",
        shown.stdout
    );
    let dataset = ["dataset", "runs/tiny", "--format", "messages", "--output", "none.jsonl"];
    folder.run(&dataset).fails(2, &["nothing was selected", "curate.policy"]);
    assert!(!folder.path("none.jsonl").exists());
    folder.run(&["plan", "recipe.toml"]).succeeds();
}

#[test]
fn quotas_that_keep_nothing_leave_verdicts_to_ask() {
    let folder = TestFolder::new();
    let recipe = tiny_recipe();
    let policy = recipe.lines().find(|line| line.starts_with("policy = ")).unwrap();
    let section =
        "[curate.balance]\nby = \"kind\"\nothers = \"none\"\nseed = 1\nquotas = { shop = 5 }\n\n[student.base]";
    let recipe = recipe.replace(policy, "policy = \"kind <> 'shop'\"").replace("[student.base]", section);
    folder.write("recipe.toml", &recipe);
    folder.run(&["run", "recipe.toml", "--to", "curate"]).fails(2, &["curate.balance", "keep none", "FROM verdicts"]);
    let asked = folder.run(&["sql", "SELECT count(*) AS n FROM verdicts", "--format", "csv"]);
    assert_eq!(asked.stdout, "n\n300\n", "{}", asked.stderr);
}

/// Each line about `show` in README's first steps and in --help, as it is written there.
#[test]
fn what_the_first_steps_show_is_there() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &small_quickstart().replace("count = 80", "count = 30"));
    folder.run(&["run", "recipe.toml", "--to", "curate"]).succeeds();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let help = folder.run(&["--help"]).stdout;
    let lines = readme.lines().chain(help.lines()).map(str::trim_start);
    let commands: Vec<&str> = lines.filter_map(|line| line.strip_prefix("r1-distill show")).collect();
    assert!(commands.len() >= 2, "{commands:?}");
    for command in commands {
        // What follows two spaces or a # is said of the command; a quoted text is one argument.
        let command = command.split("  ").next().unwrap().split('#').next().unwrap().trim();
        let arguments: Vec<&str> = command
            .split('"')
            .enumerate()
            .flat_map(|(n, part)| if n % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
            .collect();
        let ran = folder.run(&[&["show"], arguments.as_slice()].concat());
        ran.succeeds();
        for words in ["trace ", "\nthinking  ", "\nanswer", "\nrules"] {
            assert!(ran.stdout.contains(words), "{command:?} shows no {words:?}: {}", ran.stdout);
        }
    }
    // The condition is one on the verdicts; others of its kind are named.
    let ran = folder.run(&["show", "--where", "thinking_chars > 0"]);
    assert!(ran.stderr.contains("the first of 30 where thinking_chars > 0; others: "), "{}", ran.stderr);
    let other = ran.stderr.split("others: ").nth(1).unwrap().split_whitespace().next().unwrap();
    assert!(folder.run(&["show", other]).stdout.contains(&format!("trace {other}  ")));
    folder.run(&["show", "--where", "thinking_chars < 0"]).fails(2, &["no trace", "thinking_chars < 0"]);
    folder.run(&["show", "--where", "corect"]).fails(2, &["corect", "thinking_chars"]);
    folder.run(&["show", "aa", "--where", "correct"]).fails(2, &["--where"]);
    // No benchmark was given and no program was run: nothing is ticked for that.
    let shown = folder.run(&["show"]).stdout;
    assert!(!shown.contains("contaminated IS NULL") && !shown.contains("code_verdict"), "{shown}");
}
