use std::fs;

use serde_json::{Value, json};

use crate::support::{TestFolder, root};

/// The recipe for traces that exist, with its two formats replaced.
fn recipe(format: &str) -> String {
    let text = fs::read_to_string(root().join("recipes/r1-traces-smollm2.toml")).unwrap();
    let lines = text.lines().map(|line| match line.split_once(" = ") {
        Some(("format", _)) => format!("format = {format}"),
        Some(("policy", _)) => "policy = \"well_formed\"".to_owned(),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn row(n: usize) -> Value {
    let reply = format!("<think>\n{n} and {n}.\n</think>\n\n\\boxed{{{}}}", 2 * n);
    let messages = json!([{"content": format!("Twice {n}?"), "role": "user"}, {"content": reply, "role": "assistant"}]);
    json!({"messages": messages, "num_tokens": null, "source": "somewhere"})
}

/// Rows in two shards, one of them compressed, with some that cannot be used.
fn inputs(folder: &TestFolder) -> Vec<Value> {
    let rows: Vec<Value> = (0..40).map(row).collect();
    let lines = |rows: &[Value]| rows.iter().map(|row| format!("{row}\n")).collect::<Vec<_>>().concat();
    folder.write("set/a.jsonl", &lines(&rows[..25]));
    folder.write("set/b.jsonl", &format!("{{\"messages\": []}}\n{}not a row\n", lines(&rows[25..])));
    folder.write_model_base();
    rows
}

#[test]
fn a_folder_in_a_published_schema_is_imported_and_written_again() {
    let folder = TestFolder::new();
    let rows = inputs(&folder);
    folder.write("recipe.toml", &recipe("\"mixture-of-thoughts\""));
    let arguments = ["run", "recipe.toml", "--input", "traces=set", "--input", "base=base", "--to", "curate"];
    let ran = folder.run(&arguments);
    ran.succeeds();
    assert!(
        ran.stderr.contains("40 traces, imported from 42 rows, 2 could not be used (rejected.jsonl)"),
        "{}",
        ran.stderr
    );
    let run = "runs/r1-traces-smollm2";
    let rejected = fs::read_to_string(folder.path(&format!("{run}/collect/rejected.jsonl"))).unwrap();
    let rejected: Vec<Value> = rejected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rejected.iter().map(|r| r["row"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 17]);
    assert!(rejected.iter().all(|r| r["file"] == "set/b.jsonl"), "{rejected:?}");

    folder.run(&["dataset", run, "--format", "mixture-of-thoughts", "--output", "out/mot.jsonl"]).succeeds();
    folder.run(&["dataset", run, "--format", "messages", "--output", "out/mot.jsonl"]).fails(2, &["is there already"]);
    folder.run(&["dataset", run, "--format", "messages", "--output", "out/mot.csv"]).fails(2, &[".jsonl.zst"]);
    let written = fs::read_to_string(folder.path("out/mot.jsonl")).unwrap();
    let written: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(written, rows);

    // What is written is read by its own format, as one file, by a pattern and compressed.
    folder.write("again.toml", &recipe("\"open-thoughts3\"").replace("name = \"r1-", "name = \"again-"));
    for name in ["a.parquet", "b.jsonl.zst"] {
        let path = format!("out/{name}");
        folder.run(&["dataset", run, "--format", "open-thoughts3", "--output", &path]).succeeds();
        let input = format!("traces=out/{}*", &name[..2]);
        let ran = folder.run(&["run", "again.toml", "--input", &input, "--input", "base=base", "--to", "collect"]);
        ran.succeeds();
        assert!(ran.stderr.contains("40 traces, imported from 40 rows"), "{}", ran.stderr);
    }
}

#[test]
fn what_cannot_be_imported_or_written_is_said() {
    let folder = TestFolder::new();
    inputs(&folder);
    folder.write("recipe.toml", &recipe("\"openr1-math\""));
    let run =
        |input: &str| folder.run(&["run", "recipe.toml", "--input", input, "--input", "base=base", "--to", "collect"]);
    run("traces=set").fails(2, &["no column \"problem\"", "messages, num_tokens, source", "rejected.jsonl"]);
    run("traces=none/*.jsonl").fails(2, &["none/*.jsonl", "no file has a name like that"]);
    let missing = "traces=hf://datasets/open-r1/OpenR1-Math-220k/data";
    let command = "hf download open-r1/OpenR1-Math-220k --repo-type dataset --include 'data/*'";
    let mut program = folder.command(&["plan", "recipe.toml", "--input", missing, "--input", "base=base"]);
    let ran = crate::support::Ran::of(&program.env("HF_HUB_OFFLINE", "1").output().unwrap());
    ran.fails(2, &["not in the Hugging Face cache", command]);
    folder.write("recipe.toml", &recipe("\"alpaca\""));
    run("traces=set").fails(2, &["alpaca", "mixture-of-thoughts"]);

    folder
        .run(&["dataset", "runs/none", "--format", "messages", "--output", "x.jsonl"])
        .fails(2, &["runs/none", "curate"]);
}
