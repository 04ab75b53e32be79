use std::fs;
use std::path::PathBuf;

use crate::support::{TestFolder, root};

fn recipes() -> Vec<PathBuf> {
    let files = fs::read_dir(root().join("recipes")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect()
}

#[test]
fn every_recipe_plans_with_inputs_in_place() {
    let folder = TestFolder::new();
    folder.write("traces.jsonl", "{}\n");
    folder.write_model_base();
    for path in recipes() {
        let recipe = path.to_str().unwrap();
        let mut arguments = vec!["plan", recipe];
        if fs::read_to_string(&path).unwrap().contains("\ninput = ") {
            arguments.extend(["--input", "traces=traces.jsonl", "--input", "base=base"]);
        }
        let ran = folder.run(&arguments);
        ran.succeeds();
        assert_eq!(ran.stdout.matches("would run: has not run yet").count(), 8, "{}", ran.stdout);
    }
}

/// What stands in a recipe as a comment can be used as it stands.
#[test]
fn sections_that_are_comments_are_sections() {
    let folder = TestFolder::new();
    let recipe = fs::read_to_string(root().join("recipes/quickstart.toml")).unwrap();
    let mut inside = false;
    let uncommented = recipe.lines().map(|line| {
        inside = line.starts_with("# [curate.") || inside && line.starts_with("# ");
        if inside { line.trim_start_matches("# ") } else { line }
    });
    folder.write("recipe.toml", &uncommented.collect::<Vec<_>>().join("\n"));
    folder.write("aime.jsonl", "{\"problem\":\"p\",\"solution\":\"s\"}\n");
    folder.run(&["plan", "recipe.toml", "--input", "aime24=aime.jsonl"]).succeeds();
    let text = fs::read_to_string(folder.path("recipe.toml")).unwrap();
    for section in ["\n[curate.balance]", "\n[curate.contamination]", "\n[curate.code]"] {
        assert!(text.contains(section), "{section}");
    }
}

#[test]
fn recipes_name_no_place_on_this_machine() {
    for path in recipes() {
        let text = fs::read_to_string(path).unwrap();
        assert!(!text.contains("/home/") && !text.contains("shared"), "{text}");
    }
}

#[test]
fn init_writes_a_recipe_that_plans_and_never_overwrites() {
    let folder = TestFolder::new();
    for start in ["quickstart", "embedded-teacher"] {
        let name = format!("{start}.toml");
        folder.run(&["init", &name, "--from", start]).succeeds();
        folder.run(&["plan", &name]).succeeds();
    }
    folder.run(&["init", "quickstart.toml"]).fails(2, &["is there already"]);
}

/// Traces by their gold answers: thinking, answer, and which of the shipped policies keep them.
fn traces() -> Vec<(&'static str, String, String, &'static [&'static str])> {
    const ALL: &[&str] = &["am-deepseek-r1", "open-thoughts", "r1-paper", "strict"];
    const READABLE: &[&str] = &["am-deepseek-r1", "open-thoughts", "r1-paper"];
    const VERIFIED: &[&str] = &["am-deepseek-r1", "open-thoughts"];
    const OPEN: &[&str] = &["open-thoughts"];
    let sentences = |n: usize| {
        (0..n).map(|i| format!("The pump has moved {i} litres by minute {}. ", 3 * i)).collect::<Vec<_>>().concat()
    };
    let calm =
        "The tank holds more than the pump moves in an hour, so it is not empty by then.\n\nWe add what is left.";
    let answer = |gold: &str| format!("It is what is left.\n\n\\boxed{{{gold}}}");
    vec![
        ("11", calm.into(), answer("11"), ALL),
        ("12", calm.into(), answer("99"), &[]),
        ("13", format!("{calm} 因此，我们需要"), answer("13"), VERIFIED),
        ("14", sentences(60), answer("14"), VERIFIED),
        (
            "15",
            format!("{calm}\n```python\nprint(15)\n```\nIt prints 15."),
            answer("15"),
            &["am-deepseek-r1", "open-thoughts", "strict"],
        ),
        ("16", format!("{calm}\n\nWhat the pump moves in the second hour is as mu"), answer("16"), READABLE),
        ("17", format!("{calm} As an AI, I have no tank."), answer("17"), READABLE),
        (
            "18",
            format!(
                "{calm}\n{}",
                "So it is not empty after all that was said, and we have to add once more what the pump has moved.\n"
                    .repeat(30)
            ),
            answer("18"),
            OPEN,
        ),
    ]
}

#[test]
fn every_policy_keeps_what_it_says() {
    let folder = TestFolder::new();
    let row = |(gold, thinking, answer, _): &(&str, String, String, &[&str])| {
        let question = format!("How many litres are in tank {gold}?");
        // Rust's way to write these strings is JSON's too.
        format!(
            "{{\"question\": {question:?}, \"gold\": {gold:?}, \"thinking\": {thinking:?}, \"answer\": {answer:?}}}\n"
        )
    };
    let rows = traces().iter().map(row).collect::<Vec<_>>().concat();
    folder.write("traces.jsonl", &rows);
    folder.write_model_base();
    let recipe = fs::read_to_string(root().join("recipes/r1-traces-smollm2.toml")).unwrap();
    let recipe = recipe
        .replace(
            "{ question = \"formated_question\", answer = \"answer\" }",
            "{ question = \"question\", answer = \"gold\" }",
        )
        .replace(
            "question = \"formated_question\", thinking = \"reason\", answer = \"gen_ans\"",
            "question = \"question\", thinking = \"thinking\", answer = \"answer\"",
        );
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(root().join("recipes/policies")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        folder.write(&format!("{name}.sql"), &fs::read_to_string(&path).unwrap());
        let line = recipe.lines().find(|line| line.starts_with("policy = ")).unwrap();
        folder.write("recipe.toml", &recipe.replace(line, &format!("policy = {{ file = \"{name}.sql\" }}")));
        let inputs = ["--input", "traces=traces.jsonl", "--input", "base=base"];
        folder.run(&[["run", "recipe.toml", "--to", "curate"].as_slice(), &inputs].concat()).succeeds();
        let ran = folder.run(&["sql", "--format", "csv", "SELECT gold FROM curated ORDER BY gold"]);
        ran.succeeds();
        let kept: Vec<&str> = ran.stdout.lines().skip(1).collect();
        let traces = traces();
        let wanted: Vec<&str> =
            traces.iter().filter(|trace| trace.3.contains(&name.as_str())).map(|trace| trace.0).collect();
        assert_eq!(kept, wanted, "{name}: {}", ran.stderr);
        names.push(name);
    }
    names.sort();
    assert_eq!(names, ["am-deepseek-r1", "open-thoughts", "r1-paper", "strict"]);
}
