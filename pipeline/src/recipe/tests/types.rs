#![expect(clippy::too_many_lines, reason = "what is shown stands here word for word")]

use super::shows;

#[test]
fn kinds_and_words_are_suggested() {
    shows(
        &[("\"procedural\"", "\"proceduarl\"")],
        r#"
error: `prompts.kind` may not be "proceduarl"
 --> recipe.toml:5:8
  |
5 | kind = "proceduarl"
  |        ^^^^^^^^^^^^ did you mean "procedural"?
  |
  = help: it may be "procedural" or "file""#,
    );
    shows(
        &[("kind = \"procedural\"", "kind = \"proceduarl\""), ("count = 300\n", "cuont = 300\n")],
        r#"
error: unknown field `cuont` in [prompts]
 --> recipe.toml:7:1
  |
7 | cuont = 300
  | ^^^^^ did you mean `count`?

error: `prompts.kind` may not be "proceduarl"
 --> recipe.toml:5:8
  |
5 | kind = "proceduarl"
  |        ^^^^^^^^^^^^ did you mean "procedural"?
  |
  = help: it may be "procedural" or "file""#,
    );
    shows(
        &[("kind = \"teacher\"", "kind = \"guess\"")],
        r#"
error: `collect.kind` may not be "guess"
  --> recipe.toml:14:8
   |
14 | kind = "guess"
   |        ^^^^^^^
   |
   = help: it may be "teacher", "import" or "worked""#,
    );
    shows(
        &[("kind = \"teacher\"\n", "")],
        r#"
error: missing field `kind` in [collect]
  --> recipe.toml:13:1
   |
13 | [collect]
   | ^^^^^^^^^
   |
   = help: it may be "teacher", "import" or "worked""#,
    );
    shows(
        &[("kind = \"teacher\"", "knd = \"teacher\"")],
        r#"
error: unknown field `knd` in [collect]
  --> recipe.toml:14:1
   |
14 | knd = "teacher"
   | ^^^ did you mean `kind`?"#,
    );
    shows(
        &[("kind = \"teacher\"", "kind = 3")],
        r#"
error: `collect.kind` must be "teacher", "import" or "worked", not an integer
  --> recipe.toml:14:8
   |
14 | kind = 3
   |        ^ must be "teacher", "import" or "worked""#,
    );
    shows(
        &[("precision = \"f32\"", "precision = \"fp32\"")],
        r#"
error: `train.precision` may not be "fp32"
  --> recipe.toml:70:13
   |
70 | precision = "fp32"
   |             ^^^^^^ did you mean "f32"?
   |
   = help: it may be "f32" or "bf16""#,
    );
    shows(
        &[(
            "kind = \"procedural\"\nseed = 1\ncount = 300\nmin_steps = 2\nmax_steps = 3\nmax_value = 40\nmax_change = 9",
            "kind = \"file\"\ninput = \"x\"\ndomain = \"math\"\nformat = \"openr1_math\"",
        )],
        r#"
error: `prompts.format` may not be "openr1_math"
 --> recipe.toml:8:10
  |
8 | format = "openr1_math"
  |          ^^^^^^^^^^^^^ did you mean "openr1-math"?
  |
  = help: it may be "mixture-of-thoughts", "openr1-math", "open-thoughts", "open-thoughts3", "bespoke-stratos", "am-deepseek-r1", "nemotron-v1", "sharegpt" or "messages""#,
    );
    shows(
        &[(
            "kind = \"procedural\"\nseed = 1\ncount = 300\nmin_steps = 2\nmax_steps = 3\nmax_value = 40\nmax_change = 9",
            "kind = \"file\"\ninput = \"x\"\ndomain = \"math\"\nformat = { column = { question = \"q\" } }",
        )],
        r#"
error: unknown table `prompts.format.column`
 --> recipe.toml:8:12
  |
8 | format = { column = { question = "q" } }
  |            ^^^^^^ did you mean `columns`?"#,
    );
}

#[test]
fn wrong_types_are_told_with_what_is_right() {
    shows(
        &[("count = 300", "count = \"300\"")],
        r#"
error: `prompts.count` must be an integer, not a string
 --> recipe.toml:7:9
  |
7 | count = "300"
  |         ^^^^^ write 300"#,
    );
    shows(
        &[("count = 300", "count = \"many\"")],
        r#"
error: `prompts.count` must be an integer, not a string
 --> recipe.toml:7:9
  |
7 | count = "many"
  |         ^^^^^^ must be an integer"#,
    );
    shows(
        &[("epochs = 3", "epochs = 3.0")],
        r"
error: `train.epochs` must be an integer, not a number with a point
  --> recipe.toml:62:10
   |
62 | epochs = 3.0
   |          ^^^ write 3",
    );
    shows(
        &[("epochs = 3", "epochs = 2.5")],
        r"
error: `train.epochs` must be an integer, not a number with a point
  --> recipe.toml:62:10
   |
62 | epochs = 2.5
   |          ^^^ must be an integer",
    );
    shows(
        &[("epochs = 3", "epochs = -1")],
        r"
error: `train.epochs` is -1, which is out of range
  --> recipe.toml:62:10
   |
62 | epochs = -1
   |          ^^ from 0 to 4294967295",
    );
    shows(
        &[("epochs = 3", "epochs = 5000000000")],
        r"
error: `train.epochs` is 5000000000, which is out of range
  --> recipe.toml:62:10
   |
62 | epochs = 5000000000
   |          ^^^^^^^^^^ from 0 to 4294967295",
    );
    shows(
        &[("count = 300", "count = 99999999999999999999")],
        r"
error: `prompts.count` is 99999999999999999999, which is out of range
 --> recipe.toml:7:9
  |
7 | count = 99999999999999999999
  |         ^^^^^^^^^^^^^^^^^^^^ from 0 to 18446744073709551615",
    );
    shows(
        &[("weight_decay = 0.01", "weight_decay = nan")],
        r"
error: `train.optimizer.weight_decay` is nan, which is no number to compute with
  --> recipe.toml:76:16
   |
76 | weight_decay = nan
   |                ^^^ must be finite",
    );
    shows(
        &[("weight_decay = 0.01", "weight_decay = \"0.01\"")],
        r#"
error: `train.optimizer.weight_decay` must be a number, not a string
  --> recipe.toml:76:16
   |
76 | weight_decay = "0.01"
   |                ^^^^^^ write 0.01"#,
    );
    shows(
        &[("keep_best = false", "keep_best = \"False\"")],
        r#"
error: `train.keep_best` must be true or false, not a string
  --> recipe.toml:68:13
   |
68 | keep_best = "False"
   |             ^^^^^^^ write false"#,
    );
    shows(
        &[("near_prompts = { shingle = 5, bands = 20, rows = 6, threshold = 0.8 }", "near_prompts = 0.8")],
        r"
error: `curate.near_prompts` must be a table, not a number with a point
  --> recipe.toml:24:16
   |
24 | near_prompts = 0.8
   |                ^^^ must be a table",
    );
    shows(
        &[("quotas = { math = 30 }", "quotas = { math = \"30\" }")],
        r#"
error: `curate.balance.quotas.math` must be an integer, not a string
  --> recipe.toml:29:19
   |
29 | quotas = { math = "30" }
   |                   ^^^^ write 30"#,
    );
    shows(
        &[("model_name = \"whole\"", "model_name = 1979-05-27")],
        r"
error: `export.model_name` must be a string, not a date
  --> recipe.toml:85:14
   |
85 | model_name = 1979-05-27
   |              ^^^^^^^^^^ must be a string",
    );
}

#[test]
fn what_is_no_toml_is_shown_where_it_is_not() {
    shows(
        &[("epochs = 3", "epochs = = 3")],
        r"
error: this is no TOML: extra `=`, expected nothing
  --> recipe.toml:62:10
   |
62 | epochs = = 3
   |          ^",
    );
    shows(
        &[("name = \"whole\"", "name = \"whole")],
        r#"
error: this is no TOML: invalid basic string, expected `"`
 --> recipe.toml:1:14
  |
1 | name = "whole
  |              ^"#,
    );
    shows(
        &[("precision = \"f32\"", "precision = f32")],
        r#"
error: this is no TOML: a string stands in quotes
  --> recipe.toml:70:13
   |
70 | precision = f32
   |             ^^^ write "f32""#,
    );
    shows(
        &[("too_long = \"drop\"", "too_long = drop # not split")],
        r#"
error: this is no TOML: a string stands in quotes
  --> recipe.toml:57:12
   |
57 | too_long = drop # not split
   |            ^^^^ write "drop""#,
    );
    shows(
        &[("keep_best = false", "keep_best = False")],
        r"
error: this is no TOML: a string stands in quotes
  --> recipe.toml:68:13
   |
68 | keep_best = False
   |             ^^^^^ write false",
    );
    shows(
        &[("[train]", "[train")],
        r"
error: this is no TOML: unclosed table, expected `]`
  --> recipe.toml:61:7
   |
61 | [train
   |       ^",
    );
    shows(
        &[("epochs = 3\n", "epochs = 3\nrows_per_step = 9\n")],
        r"
error: `rows_per_step` is there twice
  --> recipe.toml:65:1
   |
63 | rows_per_step = 9
   | ------------- first here
64 | # max_steps = 100
65 | rows_per_step = 2
   | ^^^^^^^^^^^^^ and again here",
    );
    shows(
        &[("shingle = 5,", "shingle = 5, bands = 3,")],
        r"
error: `bands` is there twice
  --> recipe.toml:24:42
   |
24 | near_prompts = { shingle = 5, bands = 3, bands = 20, rows = 6, threshold = 0.8 }
   |                               -----      ^^^^^ and again here
   |                               |
   |                               first here",
    );
    shows(
        &[("[export]", "[train]\nepochs = 1\n\n[export]")],
        r"
error: the table [train] is there twice
  --> recipe.toml:84:2
   |
61 | [train]
   |  ----- first here
...
84 | [train]
   |  ^^^^^ and again here",
    );
    shows(
        &[("quotas = { math = 30 }", "quotas = { math = 30 ")],
        r#"
error: this is no TOML: missing comma between key-value pairs, expected `,`
  --> recipe.toml:30:1
   |
30 | others = "none"
   | ^"#,
    );
}
