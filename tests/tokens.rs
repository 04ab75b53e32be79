//! Tokens are proven before they are trained on: what `tokens` shows, what is refused and with which remedy, and what a
//! longer context leaves in the exported folder. The base is the embedded teacher's folder with a change.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Ran, TestFolder, root, tiny_recipe};

const INPUTS: [&str; 4] = ["--input", "traces=traces.jsonl", "--input", "base=base"];

/// A recipe that fine-tunes a folder on a few long traces, with some texts replaced.
fn recipe(changes: &[(&str, &str)]) -> String {
    let text = fs::read_to_string(root().join("recipes/r1-traces-smollm2.toml")).unwrap();
    let small = [
        ("sequence_length = 1024", "sequence_length = 256"),
        ("held_out = 16", "held_out = 0"),
        ("max_steps = 16", "max_steps = 1"),
    ];
    small.iter().chain(changes).fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

/// A folder with the recipe, eight traces (the second of them long) and the base, its JSON files changed.
fn folder(changes: &[(&str, &str)], config: impl Fn(&mut Value), tokenizer_config: impl Fn(&mut Value)) -> TestFolder {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &recipe(changes));
    let row = |n: usize| {
        let steps = if n == 1 { 90 } else { 3 };
        let reason = format!("Let me see. {}So it is B.", format!("She buys {n} more apples. ").repeat(steps));
        json!({"formated_question": format!("What is {n}?"), "answer": "B", "reason": reason, "gen_ans": "B"})
            .to_string()
    };
    folder.write("traces.jsonl", &(0..8).map(|n| row(n) + "\n").collect::<String>());
    let assets = root().join("teacher/assets");
    for name in ["config.json", "tokenizer_config.json"] {
        let mut value: Value = serde_json::from_str(&fs::read_to_string(assets.join(name)).unwrap()).unwrap();
        if name == "config.json" {
            config(&mut value);
        } else {
            tokenizer_config(&mut value);
        }
        folder.write(&format!("base/{name}"), &value.to_string());
    }
    for name in ["tokenizer.json", "model.safetensors"] {
        fs::copy(assets.join(name), folder.path(&format!("base/{name}"))).unwrap();
    }
    folder
}

fn ran(folder: &TestFolder, command: &[&str]) -> Ran {
    folder.run(&[&command[..1], &["recipe.toml"], &command[1..], &INPUTS].concat())
}

fn nothing(_: &mut Value) {}

/// One of the traces is long.
#[test]
fn traces_are_selected_by_the_students_tokens() {
    let policy = "policy = \"well_formed AND finished AND correct AND NOT duplicate\"";
    let folder = folder(&[(policy, "policy = \"well_formed AND student_tokens <= 200\"")], nothing, nothing);
    let curated = ran(&folder, &["run", "--to", "curate"]);
    curated.succeeds();
    let line =
        |words: &str| curated.stderr.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == words);
    assert!(line("student_tokens <= 200 1 7"), "{}", curated.stderr);
    // As `tokens` counts what is trained on.
    let query = "SELECT count(*) AS same FROM verdicts v JOIN curated c ON v.trace_id = c.trace_id
                 WHERE student_tokens = tokens(messages[2]['content'])";
    let counted = folder.run(&["sql", query, "--tokenizer", "base", "--format", "csv"]);
    assert_eq!(counted.stdout, "same\n7\n", "{}", counted.stderr);
    let query = "SELECT trace_id, student_tokens FROM verdicts LIMIT 1";
    let counted = folder.run(&["sql", query, "--format", "csv"]).stdout;
    let (id, count) = counted.lines().nth(1).unwrap().split_once(',').unwrap();
    let shown = folder.run(&["show", id]);
    assert!(shown.stdout.contains(&format!("student_tokens {count}")), "{}", shown.stdout);

    // Of the base nothing but the tokenizer counts.
    let config = fs::read_to_string(folder.path("base/config.json")).unwrap();
    folder.write("base/config.json", &format!("{config}\n"));
    assert!(ran(&folder, &["plan"]).stdout.matches("  cached").count() == 3, "another config is no other tokenizer");
    let tokenizer = fs::read_to_string(folder.path("base/tokenizer.json")).unwrap();
    folder.write("base/tokenizer.json", &format!("{tokenizer}\n"));
    let planned = ran(&folder, &["plan"]).stdout;
    assert!(planned.contains("would run: tokenizer of input base has other content"), "{planned}");
    let again = ran(&folder, &["run", "--to", "curate"]);
    assert!(again.stderr.contains("judged: student_tokens of 8 traces; the rest is known"), "{}", again.stderr);
    fs::remove_file(folder.path("base/tokenizer.json")).unwrap();
    ran(&folder, &["run", "--to", "curate"]).fails(2, &["tokenizer.json", "there is no tokenizer here"]);
}

#[test]
fn tokens_shows_what_the_trainer_sees() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe());
    folder.run(&["tokens", "recipe.toml"]).fails(2, &["r1-distill run recipe.toml --to pack"]);
    folder.run(&["run", "recipe.toml", "--to", "pack"]).succeeds();
    let text = folder.run(&["tokens", "recipe.toml", "--count", "2"]);
    text.succeeds();
    assert_eq!(text.stdout.matches("── trace ").count(), 2, "{}", text.stdout);
    assert_eq!(text.stdout.matches(" ok: ").count(), 6, "{}", text.stdout);
    for words in
        ["[prompt, not counted by the loss", "[supervised: ", "<think>\n", "</think>", "BOS <｜begin▁of▁sentence｜> 0"]
    {
        assert!(text.stdout.contains(words), "no {words:?} in {}", text.stdout);
    }
    let name = text.stdout.split("── trace ").nth(1).unwrap().split(':').next().unwrap().to_owned();
    let table = folder.run(&["tokens", "recipe.toml", "--trace", &name, "--ids"]);
    table.succeeds();
    assert_eq!(table.stdout.matches("── trace ").count(), 1);
    assert!(table.stdout.contains("0       0  -     <｜begin▁of▁sentence｜>"), "{}", table.stdout);
    assert!(table.stdout.contains("  yes   <｜end▁of▁sentence｜>"), "{}", table.stdout);
    folder.run(&["tokens", "recipe.toml", "--trace", "nobody"]).fails(2, &["nobody", "SELECT trace_id"]);
}

#[test]
fn what_must_not_be_trained_on_is_refused_with_the_remedy() {
    let no_change: [(&str, &str); 0] = [];
    let bos_twice = |config: &mut Value| {
        config["chat_template"] = json!(format!("{{{{ bos_token }}}}{}", config["chat_template"].as_str().unwrap()));
    };
    let twice = folder(&no_change, nothing, bos_twice);
    ran(&twice, &["run"]).fails(2, &["twice", "remove one of the two"]);
    // Before the pack stage is done, `tokens` shows what it would refuse.
    let shown = ran(&twice, &["tokens"]);
    shown.fails(2, &["twice"]);
    assert!(shown.stdout.contains("REFUSED") && shown.stdout.contains("[supervised: "), "{}", shown.stdout);

    let few = folder(&no_change, |config| config["vocab_size"] = json!(100), nothing);
    ran(&few, &["run"]).fails(2, &["token id", "vocabulary of 100", "tokenizer that belongs to this base"]);

    let short = folder(&[("sequence_length = 256", "sequence_length = 1000")], nothing, nothing);
    let words = ["pack.sequence_length", "holds 512", "max_position_embeddings = 1024", "rope_theta"];
    ran(&short, &["run"]).fails(2, &words);

    let raised = [("# max_position_embeddings = 32768", "max_position_embeddings = 32768")];
    let raised = folder(&raised, |config| config["max_position_embeddings"] = json!(4096), nothing);
    ran(&raised, &["run"]).fails(2, &["rope_theta", "4096 to 32768", "300000"]);
}

#[test]
fn an_evaluation_beyond_the_context_is_refused_before_training() {
    let folder = TestFolder::new();
    folder.write("recipe.toml", &tiny_recipe().replace("max_tokens = 24", "max_tokens = 600"));
    let ran = folder.run(&["run", "recipe.toml"]);
    ran.fails(
        2,
        &["evaluate.accuracy.protocol.sampling.max_tokens", "holds 512", "student.base.max_position_embeddings"],
    );
    assert!(!ran.stderr.contains("6/8"), "{}", ran.stderr);
}

#[test]
fn long_traces_are_dropped_or_split_and_counted() {
    let dropped = ran(&folder(&[], nothing, nothing), &["run", "--to", "pack"]);
    dropped.succeeds();
    assert!(dropped.stderr.contains("1 too long and left out"), "{}", dropped.stderr);
    let split = folder(&[("too_long = \"drop\"", "too_long = \"split\"")], nothing, nothing);
    let packed = ran(&split, &["run", "--to", "pack"]);
    packed.succeeds();
    let pieces = packed.stderr.split("1 too long (1 split into ").nth(1).unwrap();
    let pieces: usize = pieces.split(' ').next().unwrap().parse().unwrap();
    assert!(pieces > 1);
    let shown = ran(&split, &["tokens", "--count", "100"]);
    shown.succeeds();
    assert_eq!(shown.stdout.matches("── trace ").count(), 7 + pieces, "{}", shown.stdout);
}

#[test]
fn a_raised_context_is_in_the_exported_folder() {
    let changes = [
        ("# max_position_embeddings = 32768", "max_position_embeddings = 8192"),
        ("# rope_theta = 300000.0", "rope_theta = 300000.0"),
    ];
    let folder = folder(&changes, nothing, nothing);
    ran(&folder, &["run"]).succeeds();
    let exported = |name: &str| -> Value {
        let path = folder.path(&format!("runs/r1-traces-smollm2/export/model/{name}"));
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let config = exported("config.json");
    assert_eq!(config["max_position_embeddings"], 8192);
    assert_eq!(
        (&config["rope_theta"], &config["rope_parameters"]["rope_theta"]),
        (&json!(300_000.0), &json!(300_000.0))
    );
    assert_eq!(exported("tokenizer_config.json")["model_max_length"], 8192);
    let report = fs::read_to_string(folder.path("runs/r1-traces-smollm2/report/report.md")).unwrap();
    assert!(report.contains("1 too long and left out"), "{report}");
}

/// A base whose weights are broken is named with its file and tensor before any trace is imported, and so is a model that is
/// to answer; what stands in the weights is no fault of the traces.
#[test]
fn a_weight_that_is_not_finite_is_found_before_anything_is_done() {
    let folder = folder(&[], nothing, nothing);
    let path = folder.path("base/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let name = "model.layers.1.mlp.up_proj.weight";
    assert_eq!(tensors[name]["dtype"], "BF16");
    let at = 8 + header + tensors[name]["data_offsets"][0].as_u64().unwrap() as usize + 2 * 7;
    for (number, word) in [([0xc0, 0x7f], "NaN"), ([0x80, 0xff], "-inf")] {
        bytes[at..at + 2].copy_from_slice(&number);
        fs::write(&path, &bytes).unwrap();
        let refused = ran(&folder, &["run"]);
        refused
            .fails(2, &["base/model.safetensors", name, "1 of its", &format!("number 7, {word}"), "download it again"]);
        assert!(!refused.stderr.contains("1/8") && !refused.stderr.contains("its traces"), "{}", refused.stderr);
        folder.run(&["generate", "base", "What is 1?"]).fails(2, &["base/model.safetensors", name, word]);
    }
    // Curation needs no weights.
    ran(&folder, &["run", "--to", "curate"]).succeeds();
}

#[test]
fn what_does_not_fit_is_said_with_the_set_it_is_of() {
    // Two traces, of which the long one fits nowhere: the seed decides which of them is held out.
    let mut said = std::collections::BTreeSet::new();
    for seed in 1..30 {
        let seed = format!("held_out = 1\nseed = {seed}\n");
        let folder = folder(&[("held_out = 0\nseed = 1\n", seed.as_str())], nothing, nothing);
        let traces = fs::read_to_string(folder.path("traces.jsonl")).unwrap();
        folder.write("traces.jsonl", &traces.lines().take(2).map(|line| line.to_owned() + "\n").collect::<String>());
        let packed = ran(&folder, &["run", "--to", "pack"]);
        packed.fails(2, &["set: pack.sequence_length: none of 1 traces fits into 256 tokens"]);
        said.extend(["the held-out set", "the training set"].into_iter().filter(|set| packed.stderr.contains(set)));
        if said.len() == 2 {
            break;
        }
    }
    assert_eq!(said.len(), 2, "{said:?}");

    let folder = folder(&[("sequence_length = 256", "sequence_length = 8")], nothing, nothing);
    ran(&folder, &["run", "--to", "pack"]).fails(2, &["the training set: pack.sequence_length", "none of 8 traces"]);
}
