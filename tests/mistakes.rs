use std::fs;

use crate::support::{TestFolder, root, small_quickstart, tiny_recipe};

/// A folder with a recipe of which some texts are replaced.
fn folder(text: &str, changes: &[(&str, &str)]) -> TestFolder {
    let folder = TestFolder::new();
    let changed = changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    folder.write("recipe.toml", &changed);
    folder
}

/// Refused by `plan` and by `run`, with this message and nothing begun.
#[track_caller]
fn refused(folder: &TestFolder, options: &[&str], message: &str) {
    for command in ["plan", "run", "tokens"] {
        let ran = folder.run(&[[command, "recipe.toml"].as_slice(), options].concat());
        assert_eq!(ran.stderr.trim_end(), message.trim(), "{command}");
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{command}");
    }
    assert!(!folder.path("runs").exists(), "nothing was begun");
}

/// Refused by `plan` and by `run`, with these words, before a stage was begun.
#[track_caller]
fn refused_before_stages(folder: &TestFolder, options: &[&str], words: &[&str]) {
    for command in ["plan", "run"] {
        let ran = folder.run(&[[command, "recipe.toml"].as_slice(), options].concat());
        ran.fails(2, words);
        assert_eq!(ran.stdout, "", "{command}");
        assert!(!ran.stderr.contains("1/8 prompts"), "{command}: {}", ran.stderr);
    }
}

#[test]
fn a_misspelt_table_is_no_missing_field() {
    let name = "error: unknown table `trian`
 --> recipe.toml:4:2
  |
4 | [trian]
  |  ^^^^^ did you mean `train`?

error: missing fields `name`, `description`, [prompts], [collect], [curate], [student], [pack], [evaluate] and [export] in the recipe";
    let text = "# A comment.

# Another.
[trian]
epochs = 3
rows_per_step = 2
rows_per_pass = 2
seed = 1
keep_best = false
precision = \"f32\"

[train.optimizer]
learning_rate = 3e-3
warmup_ratio = 0.05
final_ratio = 0.1
weight_decay = 0.01
beta1 = 0.9
beta2 = 0.98
epsilon = 1e-8
max_grad_norm = 1.0
";
    let ran = folder(text, &[]).run(&["plan", "recipe.toml"]);
    assert!(ran.stderr.starts_with(name), "{}", ran.stderr);
    assert!(!ran.stderr.contains("epochs"), "{}", ran.stderr);
    let header = "\n[train]\n";
    let line = tiny_recipe().lines().position(|line| line == "[train]").unwrap() + 1;
    let message = format!(
        "
error: unknown table `trian`
  --> recipe.toml:{line}:2
   |
{line} | [trian]
   |  ^^^^^ did you mean `train`?"
    );
    let message =
        if line < 100 { message } else { message.replace("\n   |", "\n    |").replace("\n  -->", "\n   -->") };
    refused(&folder(&tiny_recipe(), &[(header, "\n[trian]\n")]), &[], &message);
}

#[test]
fn what_is_no_recipe_is_told_what_it_is() {
    let said = |bytes: &[u8]| {
        let folder = TestFolder::new();
        fs::write(folder.path("recipe.toml"), bytes).unwrap();
        let ran = folder.run(&["run", "recipe.toml"]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        ran.stderr.trim_end().to_owned()
    };
    let shown = |title: &str| {
        format!("error: {title}\n--> recipe.toml\n = help: `r1-distill init` writes a recipe to start from")
    };
    let unreadable = |problem: &str| {
        format!("error: cannot read the recipe recipe.toml: {problem}; `r1-distill init` writes one to start from")
    };
    for (bytes, expected) in [
        (b"{\"name\": \"x\", \"prompts\": {}}".as_slice(), shown("this is JSON; a recipe is TOML")),
        (b"# A recipe\nname: x\nprompts:\n  kind: procedural\n", shown("this is YAML; a recipe is TOML")),
        (b"---\nname: x\n", shown("this is YAML; a recipe is TOML")),
        (b"", shown("the recipe is empty")),
        (b"# nothing yet\n\n", shown("the recipe is empty")),
        (b"\x7fELF\0\0", unreadable("it is no text: it holds bytes of zero")),
        (
            b"name = \"x\"\nc = \"\xe9\"\n",
            unreadable("it is no UTF-8: line 2 has a byte that is not; save it as UTF-8"),
        ),
        ("#".repeat((1 << 20) + 1).as_bytes(), unreadable("it is larger than 1 MB")),
    ] {
        assert_eq!(said(bytes), expected);
    }
    let folder = TestFolder::new();
    fs::create_dir(folder.path("recipe.toml")).unwrap();
    let ran = folder.run(&["plan", "recipe.toml"]);
    assert_eq!((ran.code, ran.stderr.trim_end()), (Some(2), unreadable("it is a folder").as_str()));
}

#[test]
fn sql_of_a_policy_file_is_shown_in_that_file() {
    let text = tiny_recipe();
    let policy = text.lines().find(|line| line.starts_with("policy = ")).unwrap();
    let folder = folder(&text, &[(policy, "policy = { file = \"mine.sql\" }")]);
    folder.write("mine.sql", "-- right\nwell_formed\n  AND finnished -- came to its end\n  AND correct\n");
    let ran = folder.run(&["plan", "recipe.toml"]);
    let (shown, columns) = ran.stderr.split_once("the columns are: ").unwrap();
    assert_eq!(
        shown,
        "error: `curate.policy`: there is no column \"finnished\"
 --> mine.sql:3:7
  |
3 |   AND finnished -- came to its end
  |       ^^^^^^^^^ did you mean `finished`?
  |
  = help: "
    );
    assert!(columns.starts_with("row, trace_id, prompt_id, domain"), "{columns}");
    assert_eq!(ran.code, Some(2));
}

#[test]
fn what_only_curation_reads_is_read_before_traces_are_bought() {
    let text = small_quickstart();
    let contamination = "[curate.contamination]\npreset = \"strict\"\nbenchmarks = [{ name = \"A\", input = \"aime24\", question = \"problem\" }]\n";
    let before = "[student.base]\n";
    let folder = folder(&text, &[(before, &format!("{contamination}\n{before}"))]);
    folder.write("a.jsonl", "{\"question\": \"1 + 1?\"}\n");
    let words = ["the benchmark \"A\"", "a.jsonl", "row 1 has no column \"problem\"", "it has: question"];
    refused_before_stages(&folder, &["--input", "aime24=a.jsonl"], &words);
    folder.write("b/1.jsonl", "{\"problem\": \"1 + 1?\"}\n");
    folder.write("b/2.jsonl", "{\"problem\": \"1 + 2?\"}\n");
    refused_before_stages(&folder, &["--input", "aime24=b"], &["aime24", "2 files where one is read"]);
    // Not where only the first stages are run.
    folder.run(&["run", "recipe.toml", "--input", "aime24=b", "--to", "prompts"]).succeeds();
}

#[test]
fn a_base_without_a_tokenizer_or_with_too_short_a_context_is_refused_before_stages() {
    let folder = TestFolder::new();
    let recipe = fs::read_to_string(root().join("recipes/r1-traces-smollm2.toml")).unwrap();
    folder.write("recipe.toml", &recipe);
    folder.write(
        "t.jsonl",
        "{\"formated_question\": \"2 + 2?\", \"answer\": \"4\", \"reason\": \"r\", \"gen_ans\": \"4\"}\n",
    );
    folder.write("empty/config.json", "{}");
    let inputs = ["--input", "traces=t.jsonl", "--input", "base=empty"];
    refused_before_stages(&folder, &inputs, &["empty/tokenizer.json", "there is no tokenizer here"]);
    folder.write_model_base();
    folder.write("recipe.toml", &recipe.replace("sequence_length = 1024", "sequence_length = 4096"));
    let inputs = ["--input", "traces=t.jsonl", "--input", "base=base"];
    refused_before_stages(&folder, &inputs, &["pack.sequence_length", "4096 tokens", "holds 2048"]);
}

#[test]
fn programs_without_tests_are_told_before_the_teacher_is_asked() {
    let code = "[curate.code]\ntime_limit_seconds = 6.0\nmemory_mb = 512\n\n[student.base]\n";
    let folder = folder(&small_quickstart(), &[("[student.base]\n", code)]);
    folder.run(&["run", "recipe.toml"]).fails(2, &["curate.code", "no prompt has tests", "leave [curate.code] out"]);
    let asked = fs::read_dir(folder.path("runs/quickstart")).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        path.join("traces").exists()
    });
    assert!(!asked, "no teacher was asked");
}

#[test]
fn problems_without_gold_answers_are_told_before_the_training() {
    let text = tiny_recipe();
    let (before, rest) = text.split_once("[evaluate.accuracy.problems]\n").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let file = "kind = \"file\"\ninput = \"exam\"\ndomain = \"math\"\nformat = { columns = { question = \"q\" } }";
    let folder = folder(&format!("{before}[evaluate.accuracy.problems]\n{file}\n\n{after}"), &[]);
    folder.write("exam.jsonl", "{\"q\": \"1 + 1?\"}\n{\"q\": \"1 + 2?\"}\n");
    let ran = folder.run(&["run", "recipe.toml", "--input", "exam=exam.jsonl"]);
    ran.fails(2, &["evaluate.accuracy.problems", "2 of 2 problems have no gold answer", "\"1 + 1?\""]);
    assert!(!ran.stderr.contains("2/8 collect"), "{}", ran.stderr);
}

#[test]
fn inputs_are_known_by_name() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &fs::read_to_string(root().join("recipes/r1-traces-smollm2.toml")).unwrap());
    refused(
        &folder,
        &["--input", "trace=t.jsonl", "--input", "base=base"],
        "error: --input trace: the recipe recipe.toml has no input of this name; did you mean traces? it has: traces, base",
    );
    refused(
        &folder,
        &["--input", "model=base"],
        "error: --input model: the recipe recipe.toml has no input of this name; it has: traces, base",
    );
    refused(
        &folder,
        &["--input", "base=a", "--input", "traces=t", "--input", "base=b"],
        "error: --input base is given twice, as a and as b; leave one out",
    );
    folder.write("recipe.toml", &tiny_recipe());
    refused(
        &folder,
        &["--input", "base=base"],
        "error: --input base: the recipe recipe.toml has no input of this name; it has none",
    );
}

#[test]
fn stages_are_known_by_name() {
    let folder = folder(&tiny_recipe(), &[]);
    folder.run(&["run", "recipe.toml", "--to", "trian"]).fails(2, &["'trian'", "--to", "'train'", "evaluate"]);
    assert!(!folder.path("runs").exists(), "nothing was begun");
}

#[test]
fn init_leaves_what_is_there_alone() {
    let folder = TestFolder::new();
    folder.write("mine.toml", "mine");
    folder.run(&["init", "mine.toml"]).fails(2, &["mine.toml", "is there already", "name another file"]);
    assert_eq!(fs::read_to_string(folder.path("mine.toml")).unwrap(), "mine");
    fs::create_dir(folder.path("folder")).unwrap();
    folder.run(&["init", "folder"]).fails(2, &["folder", "is there already"]);
    std::os::unix::fs::symlink("nowhere", folder.path("link.toml")).unwrap();
    folder.run(&["init", "link.toml"]).fails(2, &["link.toml", "is there already"]);
    assert!(folder.path("link.toml").is_symlink());
    folder.run(&["init", "other.toml", "--from", "quikstart"]).fails(2, &["quikstart", "quickstart"]);
}
