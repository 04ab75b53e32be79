//! What users read, as a whole: a change of it is seen in a review.
//!
//! After a change that is meant, `INSTA_UPDATE=always cargo test --release --workspace` writes the files anew.

use std::fmt::Write as _;

use insta::{Settings, assert_snapshot};

use crate::support::{TestFolder, tiny_recipe};

const COMMANDS: [&str; 11] =
    ["run", "plan", "seeds", "tokens", "dataset", "sql", "show", "serve", "generate", "init", "completions"];

/// Compares in this way: numbers, fingerprints and the test's folder differ from run to run.
fn filtered(folder: &TestFolder) -> Settings {
    let mut settings = Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(&folder.path("").to_string_lossy(), "[folder]/");
    // Progress depends on time.
    settings.add_filter(r"(?m)^  \w[^:\n]* \d+/\d+.*\n", "");
    settings
}

/// Also without what depends on the processor: losses, shares, sizes and seconds.
fn without_numbers(folder: &TestFolder) -> Settings {
    let mut settings = filtered(folder);
    settings.add_filter(r"\b[0-9a-f]{8}\b", "[fingerprint]");
    settings.add_filter(r"\b\d+(?:[.,]\d+)*(?:e-?\d+)?", "#");
    settings.add_filter(r"# min # s|# ms", "# s");
    settings.add_filter(r" +#", " #");
    settings
}

#[test]
fn help() {
    let folder = TestFolder::new();
    let mut all = folder.run(&["--help"]).stdout;
    for command in COMMANDS {
        write!(all, "\n$ r1-distill {command} --help\n{}", folder.run(&[command, "--help"]).stdout).unwrap();
    }
    filtered(&folder).bind(|| assert_snapshot!("help", all));
}

#[test]
fn errors() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    folder.write("mistakes.toml", &tiny_recipe().replace("[train]", "[trian]").replace("top_p = 0.95", "top_p = 1.5"));
    folder.write("not.toml", "name = = 3");
    folder.write("rows.jsonl", "{\"a\": 1}\n{\"a\": }\n");
    let mut all = String::new();
    for arguments in [
        &["run", "none.toml"] as &[&str],
        &["run", "not.toml"],
        &["run", "mistakes.toml"],
        &["run", "recipe.toml", "--to", "tarin"],
        &["run", "recipe.toml", "--device", "gpu"],
        &["run", "recipe.toml", "--device", "cuda:0"],
        &["sql"],
        &["sql", "SELECT b FROM 'rows.jsonl'"],
        &["sql", "SELEC 1", "--table", "t=rows.jsonl"],
        &["show"],
        &["serve", "none"],
        &["generate", "none", "2 + 2?"],
    ] {
        let ran = folder.run(arguments);
        let code = ran.code.map_or_else(|| "signal".to_owned(), |code| code.to_string());
        write!(all, "$ r1-distill {}\n{}exit code {code}\n\n", arguments.join(" "), ran.stderr).unwrap();
    }
    filtered(&folder).bind(|| assert_snapshot!("errors", all));
}

/// A run from its plan to its end, and the plan after a change.
#[test]
fn console() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    let plan = folder.run(&["plan", "recipe.toml"]);
    let run = folder.run(&["run", "recipe.toml", "--max-steps", "8"]);
    run.succeeds();
    folder.write("recipe.toml", &tiny_recipe().replace("learning_rate = 2e-3", "learning_rate = 1e-3"));
    let changed = folder.run(&["plan", "recipe.toml", "--max-steps", "8"]);
    let all = format!(
        "$ r1-distill plan recipe.toml\n{}\n$ r1-distill run recipe.toml --max-steps 8\n{}\n\
         $ r1-distill plan recipe.toml --max-steps 8     # with another learning rate\n{}",
        plan.stdout, run.stderr, changed.stdout
    );
    without_numbers(&folder).bind(|| assert_snapshot!("console", all));
}
