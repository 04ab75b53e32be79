use super::shows;

#[test]
fn misspelt_tables_are_named_and_what_is_in_them_is_not_missing() {
    shows(
        &[("[train]", "[trian]")],
        r"
error: unknown table `trian`
  --> recipe.toml:61:2
   |
61 | [trian]
   |  ^^^^^ did you mean `train`?",
    );
    shows(
        &[("[train]", "[trian]"), ("[train.optimizer]", "[trian.optimizer]")],
        r"
error: unknown table `trian`
  --> recipe.toml:61:2
   |
61 | [trian]
   |  ^^^^^ did you mean `train`?",
    );
    shows(
        &[("[train]", "[trian]"), ("epochs = 3\n", ""), ("[train.optimizer]", "[trian.optimizer]")],
        r"
error: unknown table `trian`
  --> recipe.toml:61:2
   |
61 | [trian]
   |  ^^^^^ did you mean `train`?

error: missing field `epochs` in [trian]
  --> recipe.toml:61:1
   |
61 | [trian]
   | ^^^^^^^
   |
   = help: `epochs`: Passes over the data.",
    );
    shows(
        &[("[curate.contamination]", "[curate.contaminaton]")],
        r"
error: unknown table `curate.contaminaton`
  --> recipe.toml:34:9
   |
34 | [curate.contaminaton]
   |         ^^^^^^^^^^^^ did you mean `contamination`?",
    );
    shows(
        &[("[curate.contamination]", "[curate.contaminaton]"), ("\"strict\"", "\"strikt\"")],
        r#"
error: unknown table `curate.contaminaton`
  --> recipe.toml:34:9
   |
34 | [curate.contaminaton]
   |         ^^^^^^^^^^^^ did you mean `contamination`?

error: `curate.contaminaton.preset` may not be "strikt"
  --> recipe.toml:35:10
   |
35 | preset = "strikt"
   |          ^^^^^^^^ did you mean "strict"?
   |
   = help: it may be "open-r1", "s1", "open-thoughts", "deepseek", "qwen" or "strict""#,
    );
    shows(
        &[("[train.optimizer]", "[train.optimiser]")],
        r"
error: unknown table `train.optimiser`
  --> recipe.toml:72:8
   |
72 | [train.optimiser]
   |        ^^^^^^^^^ did you mean `optimizer`?",
    );
}

#[test]
fn misspelt_fields_are_named() {
    shows(
        &[("sequence_length", "sequence_lenght")],
        r"
error: unknown field `sequence_lenght` in [pack]
  --> recipe.toml:56:1
   |
56 | sequence_lenght = 512
   | ^^^^^^^^^^^^^^^ did you mean `sequence_length`?",
    );
    shows(
        &[("near_prompts = { shingle = 5", "near_prompts = { shingel = 5")],
        r"
error: unknown field `shingel` in `curate.near_prompts`
  --> recipe.toml:24:18
   |
24 | near_prompts = { shingel = 5, bands = 20, rows = 6, threshold = 0.8 }
   |                  ^^^^^^^ did you mean `shingle`?",
    );
    shows(
        &[("question = \"problem\"", "questoin = \"problem\"")],
        r#"
error: unknown field `questoin` in `curate.contamination.benchmarks[0]`
  --> recipe.toml:36:48
   |
36 | benchmarks = [{ name = "AIME", input = "aime", questoin = "problem" }]
   |                                                ^^^^^^^^ did you mean `question`?"#,
    );
    shows(
        &[("shard_gigabytes", "shard_gigabyte_size")],
        r"
error: unknown field `shard_gigabyte_size` in [export]
  --> recipe.toml:87:1
   |
87 | shard_gigabyte_size = 4.0
   | ^^^^^^^^^^^^^^^^^^^ did you mean `shard_gigabytes`?",
    );
    shows(
        &[
            ("held_out = 50", "held_outs = 50"),
            ("hidden_size", "hiden_size"),
            ("license", "licence"),
            ("keep_best = false", "keep_best = \"yes\""),
        ],
        r#"
error: unknown field `hiden_size` in [student.base]
  --> recipe.toml:47:1
   |
47 | hiden_size = 128
   | ^^^^^^^^^^ did you mean `hidden_size`?

error: unknown field `held_outs` in [pack]
  --> recipe.toml:58:1
   |
58 | held_outs = 50
   | ^^^^^^^^^ did you mean `held_out`?

error: unknown field `licence` in [export]
  --> recipe.toml:86:1
   |
86 | licence = "mit"
   | ^^^^^^^ did you mean `license`?

error: `train.keep_best` must be true or false, not a string
  --> recipe.toml:68:13
   |
68 | keep_best = "yes"
   |             ^^^^^ must be true or false"#,
    );
}

#[test]
fn names_in_the_wrong_table_belong_somewhere() {
    shows(
        &[("epochs = 3\n", ""), ("held_out = 50\n", "held_out = 50\nepochs = 3\n")],
        r"
error: unknown field `epochs` in [pack]
  --> recipe.toml:59:1
   |
59 | epochs = 3
   | ^^^^^^ belongs to [train]",
    );
    shows(
        &[
            ("description = \"Every kind of section.\"\n", ""),
            ("license = \"mit\"", "license = \"mit\"\ndescription = \"x\""),
        ],
        r#"
error: unknown field `description` in [export]
  --> recipe.toml:86:1
   |
86 | description = "x"
   | ^^^^^^^^^^^ belongs to the top, before the first [table]"#,
    );
    shows(
        &[("[curate.contamination]", "[contamination]")],
        r"
error: unknown table `contamination`
  --> recipe.toml:34:2
   |
34 | [contamination]
   |  ^^^^^^^^^^^^^ belongs to [curate.contamination]",
    );
    shows(
        &[("model = \"embedded\"\n", "model = \"embedded\"\ninput = \"traces\"\n")],
        r#"
error: unknown field `input` in [collect]
  --> recipe.toml:16:1
   |
16 | input = "traces"
   | ^^^^^ belongs to [collect] with kind = "import""#,
    );
    shows(
        &[("[train.optimizer]", "[optimizer]")],
        r"
error: unknown table `optimizer`
  --> recipe.toml:72:2
   |
72 | [optimizer]
   |  ^^^^^^^^^ belongs to [train.optimizer]",
    );
    shows(
        &[("license = \"mit\"", "license = \"mit\"\nfoo.bar = 1")],
        r"
error: unknown table `export.foo`
  --> recipe.toml:87:1
   |
87 | foo.bar = 1
   | ^^^
   |
   = help: [export] may have `model_name`, `license` and `shard_gigabytes`",
    );
}

#[test]
fn missing_fields_are_named_with_their_table() {
    shows(
        &[("epochs = 3\n", "")],
        r"
error: missing field `epochs` in [train]
  --> recipe.toml:61:1
   |
61 | [train]
   | ^^^^^^^
   |
   = help: `epochs`: Passes over the data.",
    );
    shows(
        &[("epochs = 3\n", ""), ("rows_per_step = 2\n", "")],
        r"
error: missing fields `epochs` and `rows_per_step` in [train]
  --> recipe.toml:61:1
   |
61 | [train]
   | ^^^^^^^
   |
   = help: `epochs`: Passes over the data.
   = help: `rows_per_step`: Packed rows in one optimizer step.",
    );
    shows(
        &[("shingle = 5, bands = 20, rows = 6, threshold = 0.9", "shingle = 5, rows = 6, threshold = 0.9")],
        r"
error: missing field `bands` in `curate.near_traces`
  --> recipe.toml:25:15
   |
25 | near_traces = { shingle = 5, rows = 6, threshold = 0.9 }
   |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: `bands`: Bands of the signature.",
    );
    shows(
        &[("[pack]\nsequence_length = 512\ntoo_long = \"drop\"\nheld_out = 50\nseed = 1\n", "")],
        r"
error: missing table [pack] in the recipe
--> recipe.toml
 = help: [pack]: How traces become token rows.
 = help: `r1-distill init` writes a complete recipe",
    );
    shows(
        &[("question = \"problem\" }", "}")],
        r#"
error: missing field `question` in `curate.contamination.benchmarks[0]`
  --> recipe.toml:36:15
   |
36 | benchmarks = [{ name = "AIME", input = "aime", }]
   |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: `question`: The column of the question."#,
    );
}
