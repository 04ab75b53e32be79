#![expect(clippy::too_many_lines, reason = "what is shown stands here word for word")]

use super::shows;

#[test]
fn sql_is_shown_where_it_is_wrong() {
    shows(
        &[("AND correct\"", "AND correkt\"")],
        r#"
error: `curate.policy`: there is no column "correkt"
  --> recipe.toml:22:40
   |
22 | policy = "well_formed AND finished AND correkt"
   |                                        ^^^^^^^ did you mean `correct`?
   |
   = help: the columns are: ..."#,
    );
    shows(
        &[("AND correct\"", "correct\"")],
        r#"
error: `curate.policy`: it cannot be used: Expected: end of expression, found: correct
  --> recipe.toml:22:36
   |
22 | policy = "well_formed AND finished correct"
   |                                    ^^^^^^^
   |
   = help: write one SQL condition on the columns of the verdicts
   = help: the columns are: ..."#,
    );
    shows(
        &[("AND finished AND", "AND AND")],
        r#"
error: `curate.policy`: it cannot be used: Expected: end of expression, found: correct
  --> recipe.toml:22:31
   |
22 | policy = "well_formed AND AND correct"
   |                               ^^^^^^^
   |
   = help: write one SQL condition on the columns of the verdicts
   = help: the columns are: ..."#,
    );
    shows(
        &[("AND correct\"", "AND\"")],
        r#"
error: `curate.policy`: it cannot be used: Expected: an expression, found its end
  --> recipe.toml:22:39
   |
22 | policy = "well_formed AND finished AND"
   |                                       ^
   |
   = help: write one SQL condition on the columns of the verdicts
   = help: the columns are: ..."#,
    );
    shows(
        &[("AND correct\"", "AND sample\"")],
        r#"
error: `curate.policy`: it cannot be used: sample must be true or false; it is a UInt32
  --> recipe.toml:22:40
   |
22 | policy = "well_formed AND finished AND sample"
   |                                        ^^^^^^
   |
   = help: write one SQL condition on the columns of the verdicts
   = help: the columns are: ..."#,
    );
    shows(
        &[("AND correct\"", "AND random() < 0.5\"")],
        r#"
error: `curate.policy`: it cannot be used: random() < 0.5 is another each time, and what is selected must not be
  --> recipe.toml:22:40
   |
22 | policy = "well_formed AND finished AND random() < 0.5"
   |                                        ^^^^^^^^^^^^^^
   |
   = help: write one SQL condition on the columns of the verdicts
   = help: the columns are: ..."#,
    );
    shows(
        &[("AND correct\"", "AND lenght(kind) > 3\"")],
        r#"
error: `curate.policy`: it cannot be used: Invalid function 'lenght'. Did you mean 'length'?
  --> recipe.toml:22:40
   |
22 | policy = "well_formed AND finished AND lenght(kind) > 3"
   |                                        ^^^^^^
   |
   = help: write one SQL condition on the columns of the verdicts
   = help: the columns are: ..."#,
    );
    shows(
        &[("AND correct\"", "AND tokens > kind + 1\"")],
        r#"
error: `curate.policy`: it cannot be used: Cannot coerce arithmetic expression Utf8 + Int64 to valid types
  --> recipe.toml:22:40
   |
22 | policy = "well_formed AND finished AND tokens > kind + 1"
   |                                        ^^^^^^^^^^^^^^^^^
   |
   = help: write one SQL condition on the columns of the verdicts
   = help: the columns are: ..."#,
    );
    shows(
        &[("AND correct\"", "AND (correct\"")],
        r#"
error: `curate.policy`: it cannot be used: Expected: ), found its end
  --> recipe.toml:22:48
   |
22 | policy = "well_formed AND finished AND (correct"
   |                                                ^
   |
   = help: write one SQL condition on the columns of the verdicts
   = help: the columns are: ..."#,
    );
    shows(
        &[(
            "policy = \"well_formed AND finished AND correct\"",
            "policy = \"\"\"\nwell_formed -- readable\n  AND finnished\n  AND correct\n\"\"\"",
        )],
        r#"
error: `curate.policy`: there is no column "finnished"
  --> recipe.toml:24:7
   |
24 |   AND finnished
   |       ^^^^^^^^^ did you mean `finished`?
   |
   = help: the columns are: ..."#,
    );
    shows(
        &[("policy = \"well_formed AND finished AND correct\"", "policy = \"well_formed AND\\tkind = \\\"x\\\"\"")],
        r#"
error: `curate.policy`: there is no column "x"
 --> curate.policy:1:24
  |
1 | well_formed AND    kind = "x"
  |                           ^^^
  |
  = help: the columns are: ..."#,
    );
    shows(
        &[("policy = \"well_formed AND finished AND correct\"", "policy = \"\"")],
        r#"
error: `curate.policy`: it cannot be used: Expected: an expression, found its end
  --> recipe.toml:22:11
   |
22 | policy = ""
   |           ^
   |
   = help: write one SQL condition on the columns of the verdicts
   = help: the columns are: ..."#,
    );
}

#[test]
fn columns_are_listed_once() {
    shows(
        &[
            ("AND correct\"", "AND correkt AND tokenz > 3\""),
            ("pass_rate ASC", "pas_rate ASC"),
            ("NOT TRUE AND well_formed", "NOT TRUE AND wel_formed"),
            ("by = \"domain\"", "by = \"domian\""),
        ],
        r#"
error: `curate.policy`: there is no column "correkt"
  --> recipe.toml:22:40
   |
22 | policy = "well_formed AND finished AND correkt AND tokenz > 3"
   |                                        ^^^^^^^ did you mean `correct`?

error: `curate.policy`: there is no column "tokenz"
  --> recipe.toml:22:52
   |
22 | policy = "well_formed AND finished AND correkt AND tokenz > 3"
   |                                                    ^^^^^^ did you mean `tokens`?

error: `curate.balance.by`: there is no column "domian"
  --> recipe.toml:28:6
   |
28 | by = "domian"
   |      ^^^^^^^^ did you mean `domain`?
   |
   = help: the columns are: ...

error: `curate.judge.where`: there is no column "wel_formed"
  --> recipe.toml:40:34
   |
40 | where = "correct IS NOT TRUE AND wel_formed"
   |                                  ^^^^^^^^^^ did you mean `well_formed`?"#,
    );
}

#[test]
fn orders_and_what_the_judge_sees_are_sql_too() {
    shows(
        &[("tokens DESC", "lenght DESC")],
        r#"
error: `curate.balance.prefer`: there is no column "lenght"
  --> recipe.toml:31:26
   |
31 | prefer = "pass_rate ASC, lenght DESC"
   |                          ^^^^^^
   |
   = help: the columns are: ..."#,
    );
    shows(
        &[("ASC, tokens DESC", "ASC tokens DESC")],
        r#"
error: `curate.balance.prefer`: before tokens a comma is missing
  --> recipe.toml:31:25
   |
31 | prefer = "pass_rate ASC tokens DESC"
   |                         ^^^^^^
   |
   = help: write what may follow ORDER BY on the columns of the verdicts, as in "pass_rate ASC, tokens DESC"
   = help: the columns are: ..."#,
    );
    shows(
        &[("by = \"domain\"", "by = \"topic\"")],
        r#"
error: `curate.balance.by`: there is no column "topic"
  --> recipe.toml:28:6
   |
28 | by = "topic"
   |      ^^^^^^^
   |
   = help: the columns are: ..."#,
    );
    shows(
        &[("AND well_formed\"\nsampling", "AND judge_verdict IS NULL\"\nsampling")],
        r#"
error: `curate.judge.where`: judge_verdict is not known yet
  --> recipe.toml:40:34
   |
40 | where = "correct IS NOT TRUE AND judge_verdict IS NULL"
   |                                  ^^^^^^^^^^^^^
   |
   = help: write one SQL condition on the columns of the verdicts, without those that the judge fills
   = help: the columns are: ..."#,
    );
    shows(
        &[("where = \"correct IS NOT TRUE AND well_formed\"", "where = \"correct IS NOT\"")],
        r#"
error: `curate.judge.where`: it cannot be used: Expected: [NOT] NULL | TRUE | FALSE | DISTINCT | [form] NORMALIZED FROM after IS, found its end
  --> recipe.toml:40:24
   |
40 | where = "correct IS NOT"
   |                        ^
   |
   = help: write one SQL condition on the columns of the verdicts, without those that the judge fills
   = help: the columns are: ..."#,
    );
    shows(
        &[("{question} {gold} {answer}", "{question} {reference}")],
        r#"
error: `curate.judge.prompt`: it does not say where {answer} goes
  --> recipe.toml:42:10
   |
42 | prompt = "{question} {reference}"
   |          ^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: write it where the text is to stand

error: `curate.judge.prompt`: it names {reference}
  --> recipe.toml:42:10
   |
42 | prompt = "{question} {reference}"
   |          ^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: it may name {question}, {gold}, {answer}"#,
    );
}

#[test]
fn values_that_cannot_be_are_shown_field_by_field() {
    shows(
        &[("learning_rate = 3e-3", "learning_rate = -1.0")],
        r"
error: `train.optimizer.learning_rate`: it is -1
  --> recipe.toml:73:17
   |
73 | learning_rate = -1.0
   |                 ^^^^
   |
   = help: set it above 0",
    );
    shows(
        &[("top_p = 0.95", "top_p = 1.5"), ("samples = 2", "samples = 0"), ("temperature = 0.0", "temperature = -1")],
        r"
error: `collect.samples`: it is 0
  --> recipe.toml:16:11
   |
16 | samples = 0
   |           ^
   |
   = help: set it to 1 or more

error: `collect.sampling.top_p`: it is 1.5
  --> recipe.toml:19:41
   |
19 | sampling = { temperature = 0.6, top_p = 1.5, max_tokens = 160 }
   |                                         ^^^
   |
   = help: set it above 0 and at most to 1

error: `curate.judge.sampling.temperature`: it is -1
  --> recipe.toml:41:28
   |
41 | sampling = { temperature = -1, top_p = 1.0, max_tokens = 4096 }
   |                            ^^
   |
   = help: set it from 0 to 10",
    );
    shows(
        &[("name = \"whole\"", "name = \"../whole\"")],
        r#"
error: `name`: "../whole" cannot become a folder
 --> recipe.toml:1:8
  |
1 | name = "../whole"
  |        ^^^^^^^^^^
  |
  = help: use letters, digits, '-' and '_'"#,
    );
    shows(
        &[("rows = 6, threshold = 0.9", "rows = 0, threshold = 1.9")],
        r"
error: `curate.near_traces.rows`: it is 0
  --> recipe.toml:25:49
   |
25 | near_traces = { shingle = 5, bands = 20, rows = 0, threshold = 1.9 }
   |                                                 ^
   |
   = help: set it from 1 to 64

error: `curate.near_traces.threshold`: it is 1.9
  --> recipe.toml:25:64
   |
25 | near_traces = { shingle = 5, bands = 20, rows = 0, threshold = 1.9 }
   |                                                                ^^^
   |
   = help: set it from 0 to 1",
    );
    shows(
        &[("quotas = { math = 30 }", "quotas = { math = 30 }\ntotal = 3")],
        r"
error: `curate.balance.total`: it goes with shares; quotas say the number of each value
  --> recipe.toml:30:9
   |
30 | total = 3
   |         ^
   |
   = help: leave it out",
    );
    shows(
        &[("quotas = { math = 30 }", "shares = { \"a.b\" = -1.0, c = 1.0 }")],
        r#"
error: `curate.balance.shares.a.b`: it is -1
  --> recipe.toml:29:20
   |
29 | shares = { "a.b" = -1.0, c = 1.0 }
   |                    ^^^^
   |
   = help: set it to 0 or more"#,
    );
    shows(
        &[("quotas = { math = 30 }\n", "")],
        r"
error: `curate.balance`: it has neither quotas nor shares
  --> recipe.toml:27:1
   |
27 | [curate.balance]
   | ^^^^^^^^^^^^^^^^
   |
   = help: write one of the two",
    );
    shows(
        &[("max_steps = 3\n", "max_steps = 40\n")],
        r"
error: `prompts.max_steps`: it is 40
 --> recipe.toml:9:13
  |
9 | max_steps = 40
  |             ^^
  |
  = help: set it to 8 or less",
    );
    shows(
        &[(
            "kind = \"teacher\"\nmodel = \"embedded\"\nsamples = 2\ninstruction = \"\"\nseed = 1\nsampling = { temperature = 0.6, top_p = 0.95, max_tokens = 160 }",
            "kind = \"import\"\ninput = \"x\"\nteacher = \"t\"\nformat = { columns = { question = \"q\", answer = \"a\", text = \"t\" } }",
        )],
        r#"
error: `collect.format.columns`: it says more than once where the reply is
  --> recipe.toml:17:22
   |
17 | format = { columns = { question = "q", answer = "a", text = "t" } }
   |                      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: set `answer` (with or without `thinking`), or `text`, or `messages`, and only one of the three"#,
    );
    shows(
        &[("num_key_value_heads = 2", "num_key_value_heads = 3")],
        r"
error: `student.base.num_attention_heads`: num_attention_heads is not a multiple of num_key_value_heads
  --> recipe.toml:50:23
   |
50 | num_attention_heads = 4
   |                       ^
   |
   = help: correct the sizes",
    );
    shows(
        &[("sequence_length = 512", "sequence_length = 1024")],
        r"
error: `pack.sequence_length`: 1024 tokens, but the base holds 512
  --> recipe.toml:56:19
   |
56 | sequence_length = 1024
   |                   ^^^^
   |
   = help: lower it, or raise student.base.max_position_embeddings",
    );
    shows(
        &[("held_out = 50", "held_out = 0")],
        r"
error: `train.eval_every`: it is 50, but no traces are held out to evaluate on
  --> recipe.toml:67:14
   |
67 | eval_every = 50
   |              ^^
   |
   = help: set pack.held_out above 0, or leave train.eval_every out",
    );
    shows(
        &[(
            "[train.optimizer]",
            "[train.lora]\nrank = 16\nalpha = 32.0\ndropout = 0.05\ntarget_modules = [\"q_prj\"]\n\n[train.optimizer]",
        )],
        r#"
error: `train.lora`: student.base has random weights, and adapters need a trained base
  --> recipe.toml:72:1
   |
72 | [train.lora]
   | ^^^^^^^^^^^^
   |
   = help: name a folder in [student.base], or leave [train.lora] out

error: `train.lora.target_modules`: there is no projection "q_prj"
  --> recipe.toml:76:18
   |
76 | target_modules = ["q_prj"]
   |                  ^^^^^^^^^
   |
   = help: name some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"#,
    );
    shows(
        &[("AND correct\"", "AND student_tokens < 90\"")],
        r#"
error: `curate.policy`: student_tokens are not known: student.base has random weights, and its tokenizer is made from the traces that are selected
  --> recipe.toml:22:10
   |
22 | policy = "well_formed AND finished AND student_tokens < 90"
   |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: ask for thinking_chars or tokens, or name a base with a folder"#,
    );
    shows(
        &[("shard_gigabytes = 4.0", "shard_gigabytes = 0")],
        r"
error: `export.shard_gigabytes`: it is 0
  --> recipe.toml:87:19
   |
87 | shard_gigabytes = 0
   |                   ^
   |
   = help: set it above 0",
    );
}
