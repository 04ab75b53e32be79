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
