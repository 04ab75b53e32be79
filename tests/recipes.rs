use std::fs;

use crate::support::{TestFolder, root};

#[test]
fn every_recipe_plans_with_inputs_in_place() {
    let folder = TestFolder::new();
    folder.write("traces.jsonl", "{}\n");
    folder.write("base/config.json", "{}");
    for entry in fs::read_dir(root().join("recipes")).unwrap() {
        let path = entry.unwrap().path();
        let recipe = path.to_str().unwrap();
        let mut arguments = vec!["plan", recipe];
        if fs::read_to_string(&path).unwrap().contains("input = ") {
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
    for entry in fs::read_dir(root().join("recipes")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
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
