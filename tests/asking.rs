use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Ran, TestFolder, tiny_recipe};
use fixtures::{shared, skipped};

/// A folder with a run of the tiny recipe up to curation.
fn curated(recipe: &str) -> TestFolder {
    let folder = TestFolder::new();
    folder.write("recipe.toml", recipe);
    folder.run(&["run", "recipe.toml", "--to", "curate"]).succeeds();
    folder
}

/// The shell with these lines as its input.
fn session(folder: &TestFolder, arguments: &[&str], lines: &str) -> Ran {
    let mut command = folder.command(&[&["sql"], arguments].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A shell that left before it read everything is judged by what it printed.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    Ran::of(&child.wait_with_output().unwrap())
}

#[test]
fn a_session_describes_formats_times_and_writes() {
    let folder = curated(&tiny_recipe());
    let ran = session(&folder, &[], "\\d\n\\d traces\n\\d curated\n\\functions verify\n\\help\n");
    ran.succeeds();
    for words in ["verdicts", "traces: 300 rows in ", "thinking ", "ubigint", "struct(role text, content text)[]"] {
        assert!(ran.stdout.contains(words), "no {words:?} in: {}", ran.stdout);
    }
    assert!(
        ran.stdout.contains("verify(text, gold) -> boolean") && ran.stdout.contains("\\timing [on|off]"),
        "{}",
        ran.stdout
    );

    let lines = "\
-- two statements on one line; and a text with a semicolon
SELECT 1 AS one; SELECT ';' AS sign
  , 2 AS two;
\\format csv
SELECT count(*) AS n
FROM traces
WHERE words(think('<think>' || thinking || '</think>' || answer)) = words(thinking);
\\format json
SELECT id, sample FROM traces ORDER BY id LIMIT 1;
\\format markdown
\\timing on
SELECT 3 AS three;
\\o out/kept.parquet
SELECT id, answer FROM traces;
\\format csv
SELECT count(*) AS kept FROM 'out/kept.parquet';
\\q
SELECT 'never';
";
    let ran = session(&folder, &[], lines);
    ran.succeeds();
    let found = &ran.stdout;
    assert!(
        found.starts_with("+-----+\n| one |\n+-----+\n| 1   |\n+-----+\n+------+-----+\n| sign | two |\n"),
        "{found}"
    );
    assert!(found.contains("\nn\n300\n{\"id\":\"") && found.contains("| three |\n| ---: |\n| 3 |\n"), "{found}");
    assert!(found.ends_with("kept\n300\n"), "{found}");
    assert!(ran.stderr.contains("1 row in ") && ran.stderr.contains("out/kept.parquet: 300 rows"), "{}", ran.stderr);
}

#[test]
fn rows_are_limited_where_they_are_read_and_whole_where_they_are_kept() {
    let folder = curated(&tiny_recipe());
    let ran = folder.run(&["sql", "SELECT id FROM traces"]);
    assert_eq!(ran.stdout.lines().count(), 104);
    assert!(ran.stderr.contains("only the first 100 rows"), "{}", ran.stderr);
    let ran = folder.run(&["sql", "SELECT id FROM traces", "--format", "csv"]);
    assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (301, ""));
    let ran = folder.run(&["sql", "SELECT id FROM traces", "--format", "csv", "--max-rows", "7"]);
    assert_eq!(ran.stdout.lines().count(), 8);
    folder.run(&["sql", "SELECT id FROM traces", "--output", "ids.jsonl"]).succeeds();
    assert_eq!(fs::read_to_string(folder.path("ids.jsonl")).unwrap().lines().count(), 300);
    folder.run(&["sql", "SELECT id FROM traces", "--format", "parquet"]).fails(2, &["--output"]);
    folder.run(&["sql", "SELECT id FROM traces", "--output", "ids"]).fails(2, &["ids", ".parquet"]);
    let own = "runs/tiny/collect/traces/part-00000.parquet";
    folder.run(&["sql", "SELECT 1", "--output", own]).fails(2, &["table traces is read from there"]);
    // A reader that goes away is no failure.
    let mut child = folder
        .command(&["sql", "SELECT id, thinking FROM traces a", "--format", "csv"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn files_are_tables_without_a_run() {
    let folder = TestFolder::new();
    folder.write("t.jsonl", "{\"q\": \"2+2?\", \"gold\": \"4\", \"reply\": \"<think>easy</think>\\\\boxed{4}\"}\n{\"q\": \"3+3?\", \"gold\": \"6\", \"reply\": \"7\"}\n");
    folder.write("golds.csv", "q,hard\n2+2?,no\n");
    let query = "SELECT t.q, verify(reply, gold) AS ok, hard FROM t LEFT JOIN 'golds.csv' g ON t.q = g.q ORDER BY 1";
    let ran = folder.run(&["sql", query, "--table", "t=t.jsonl", "--format", "csv"]);
    ran.succeeds();
    assert_eq!(ran.stdout, "q,ok,hard\n2+2?,true,no\n3+3?,false,\n");
    folder.run(&["sql", "SELECT count(*) FROM 't.jsonl'"]).succeeds();
    folder.run(&["sql", "SELECT 1", "--table", "t"]).fails(2, &["NAME=PATH"]);
    folder.run(&["sql", "SELECT 1", "--table", "T-1=t.jsonl"]).fails(2, &["T-1", "small letters"]);
    folder.run(&["sql", "SELECT 1", "--table", "t=t.jsonl", "--table", "t=golds.csv"]).fails(2, &["of that name"]);
    folder
        .run(&["sql", "SELECT 1", "--table", "t=none.jsonl"])
        .fails(2, &["none.jsonl: there is no such file or folder"]);
    folder.run(&["sql", "SELECT tokens(q) FROM 't.jsonl'"]).fails(2, &["--tokenizer"]);
    folder.run(&["sql", "SELECT 1", "--tokenizer", "none"]).fails(2, &["none", "tokenizer"]);
}

#[test]
fn mistakes_are_answered_with_what_there_is() {
    let folder = curated(&tiny_recipe());
    folder.run(&["sql", "SELECT * FROM verdict"]).fails(2, &["verdict", "did you mean verdicts?", "traces"]);
    folder.run(&["sql", "SELECT corect FROM verdicts"]).fails(2, &["did you mean correct?", "well_formed"]);
    folder.run(&["sql", "SELECT fink(thinking) FROM traces"]).fails(2, &["fink", "think, answer"]);
    folder.run(&["sql", "SELECT FROM WHERE"]).fails(2, &["SQL"]);
    folder.run(&["sql", "COPY traces TO 'x.csv'"]).fails(2, &["not supported", "--output"]);
    session(&folder, &[], "\\tming\n").fails(2, &["\\tming", "did you mean \\timing?"]);
    session(&folder, &[], "\\format xml\n").fails(2, &["xml", "markdown"]);
    session(&folder, &[], "\\d verdict\n").fails(2, &["did you mean verdicts?"]);
    session(&folder, &[], "\\functions jaccart\n").fails(2, &["did you mean jaccard?"]);
    session(&folder, &[], "\\o file\n").fails(2, &["file", "\\format"]);
    // A script ends with its first mistake.
    let ran = session(&folder, &[], "SELECT 1 AS a;\nSELECT b;\nSELECT 3 AS c;\n");
    ran.fails(2, &["b"]);
    assert!(ran.stdout.contains("| a |") && !ran.stdout.contains("| c |"), "{}", ran.stdout);
    assert!(!folder.path("x.csv").exists());
}

#[test]
fn a_trace_is_shown_by_the_beginning_of_its_id() {
    let folder = curated(&tiny_recipe().replace("AND correct AND NOT duplicate", "AND correct AND row > 10"));
    let id = folder.run(&["sql", "SELECT trace_id FROM verdicts WHERE row = 3", "--format", "csv"]).stdout;
    let id = id.lines().nth(1).unwrap();
    let ran = folder.run(&["show", &id[..10]]);
    ran.succeeds();
    for words in [
        &format!("trace {id}  not selected"),
        "\nprompt  ",
        "\nthinking  ",
        "\nanswer",
        "\ngold",
        "the answer is right",
        "✗ row > 10\n",
        "repetition  loop_chars 0",
    ] {
        assert!(ran.stdout.contains(words), "no {words:?} in: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains('\u{1b}'), "colours are for terminals");
    let ran = folder.run(&["show", id, "--json"]);
    let all: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&all["trace"]["id"], &all["selected"]), (&id.into(), &false.into()));
    assert_eq!(all["prompt"]["id"], all["trace"]["prompt_id"]);
    assert_eq!(all["verdict"]["correct"], true);
    folder.run(&["show", "xyz"]).fails(2, &["xyz", "none of the 300 traces", "the nearest are"]);
    folder.run(&["show", ""]).fails(2, &["300 ids begin like that"]);
    folder.run(&["show", id, "--run", "nowhere"]).fails(2, &["nowhere", "--run"]);
    TestFolder::new().run(&["show", "a"]).fails(2, &["run a recipe first"]);
}

#[test]
fn a_policy_in_a_file_counts_by_its_text() {
    let recipe = tiny_recipe();
    let line = recipe.lines().find(|line| line.starts_with("policy = ")).unwrap().to_owned();
    let folder = TestFolder::new();
    folder.write("recipe.toml", &recipe.replace(&line, "policy = { file = \"policy.sql\" }"));
    folder.run(&["plan", "recipe.toml"]).fails(2, &["policy.sql", "curate.policy"]);
    folder.write("policy.sql", "-- what is kept\nwell_formed\nAND finished -- whole\n");
    folder.run(&["run", "recipe.toml", "--to", "curate"]).succeeds();
    // The same text elsewhere is the same policy; another text is another.
    folder.write("other/kept.sql", &fs::read_to_string(folder.path("policy.sql")).unwrap());
    folder.write("recipe.toml", &recipe.replace(&line, "policy = { file = \"other/kept.sql\" }"));
    assert_eq!(folder.run(&["plan", "recipe.toml"]).stdout.matches("cached").count(), 3);
    folder.write("other/kept.sql", "well_formed AND finished AND correct\n");
    let plan = folder.run(&["plan", "recipe.toml"]).stdout;
    assert!(plan.matches("cached").count() == 2 && plan.contains("policy"), "{plan}");
}

#[test]
fn real_traces_can_be_asked() {
    let Some(traces) = shared("data/traces") else { return };
    let folder = TestFolder::new();
    let mut asked = 0;
    for entry in fs::read_dir(traces).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if [".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv"].iter().any(|ending| name.ends_with(ending)) {
            let query = format!("SELECT count(*) AS n FROM '{}'", path.display());
            let ran = folder.run(&["sql", &query, "--format", "csv"]);
            ran.succeeds();
            assert!(ran.stdout.lines().nth(1).unwrap().parse::<u64>().unwrap() > 0, "{name}");
            asked += 1;
        }
    }
    assert!(asked > 0, "R1D_SHARED has no traces");
}

/// Ends a terminal, and what runs in it, also where a test fails.
struct Terminal(String);

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-S", &self.0, "kill-server"]).output();
    }
}

/// In a terminal of its own: editing, completion, several lines, the pager and Ctrl-C.
#[test]
fn the_shell_works_in_a_terminal() {
    let run = |arguments: &[&str]| Command::new("tmux").args(arguments).output();
    if run(&["-V"]).is_err() {
        return skipped("tmux", "tmux, in which the shell is used, is not there");
    }
    let folder = curated(&tiny_recipe());
    let socket = folder.path("tmux").to_string_lossy().into_owned();
    let _terminal = Terminal(socket.clone());
    let tmux = |arguments: &[&str]| run(&[&["-S", &socket, "-f", "/dev/null"], arguments].concat()).unwrap();
    let program = env!("CARGO_BIN_EXE_r1-distill");
    let inside = folder.path(".").to_string_lossy().into_owned();
    // Ctrl-C reaches the whole group; the shell around it is to live on.
    let start = format!("trap : INT; PAGER='less -S' {program} sql; echo left");
    tmux(&[
        "new-session",
        "-d",
        "-s",
        "s",
        "-x",
        "90",
        "-y",
        "24",
        "-c",
        &inside,
        "sh",
        "-c",
        &format!("{start}; sleep 60"),
    ]);
    let screen = || String::from_utf8_lossy(&tmux(&["capture-pane", "-p", "-t", "s"]).stdout).into_owned();
    let wait = |words: &str| {
        let begun = std::time::Instant::now();
        while !screen().contains(words) {
            assert!(begun.elapsed().as_secs() < 60, "no {words:?} on:\n{}", screen());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    // tmux takes a semicolon at the end of a word for the end of its own command.
    let keys = |keys: &[&str]| {
        let keys: Vec<String> =
            keys.iter().map(|key| key.strip_suffix(';').map_or((*key).into(), |key| format!("{key}\\;"))).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        tmux(&[&["send-keys", "-t", "s"], &keys[..]].concat())
    };
    wait("sql>");
    keys(&["SELECT count(*) AS many", "Enter", "FROM verd", "Tab"]);
    wait("FROM verdicts");
    keys(&[";", "Enter"]);
    wait("| 300  |");
    wait("1 row");
    keys(&["SELECT verify("]);
    wait("verify(text, gold) -> boolean");
    keys(&["C-c"]);
    keys(&["SELECT * FROM verdicts;", "Enter"]);
    wait("| row");
    assert!(!screen().contains("sql>"), "the pager has the screen:\n{}", screen());
    keys(&["q"]);
    wait("only the first 100 rows");
    // Some 10^12 rows: it is stopped, and the shell goes on.
    keys(&["SELECT count(*) FROM range(1, 1000000) a, range(1, 1000000) b WHERE a.value < b.value;", "Enter"]);
    std::thread::sleep(std::time::Duration::from_millis(700));
    keys(&["C-c"]);
    wait("the query was stopped");
    keys(&["\\q", "Enter"]);
    wait("left");
    let history = fs::read_to_string(folder.path("runs/tiny/.sql-history")).unwrap();
    assert!(history.contains("SELECT count(*) AS many\\nFROM verdicts;"), "{history}");
}
