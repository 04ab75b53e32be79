//! Tests that come with a format by name are run: of each schema a row with the right program and one with a wrong one.

use fixtures::can_run;
use records::parquet_file::read_folder;
use records::record::PromptTests;
use sandbox::judge::judge_answer;
use sandbox::{Limits, Sandbox};

use super::*;

const ADD: &str = "a, b = map(int, input().split())\nprint(a + b)";
const WRONG_ADD: &str = "a, b = map(int, input().split())\nprint(a - b)";
const GCD: &str = "class Solution:\n    def gcd(self, a: int, b: int) -> int:\n        while b:\n            a, b = b, a % b\n        return a";
const WRONG_GCD: &str = "class Solution:\n    def gcd(self, a: int, b: int) -> int:\n        return min(a, b)";

fn answer(program: &str) -> String {
    format!("So:\n\n```python\n{program}\n```")
}

/// The verdicts on the programs in rows of a format; `None` where there are no tests that can be run.
fn verdicts(path: &Path, name: &str) -> Vec<Option<&'static str>> {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let files = Files::find(path).unwrap();
    let format: Format<FileMapping> = serde_json::from_value(json!(name)).unwrap();
    let mut rejected = Rejected::new(dir.path()).unwrap();
    let mut tests = Tests::new(&at("tests.parquet"));
    let prompts = load(&files, &format, "code", &mut rejected, &mut tests, &|_| true).unwrap();
    assert!(tests.finish().unwrap().runnable > 0);
    let traces = at("traces/traces.parquet");
    import(&files, &format_named(name), "r1", &prompts, &traces, &mut rejected, &|_| true).unwrap();
    assert_eq!(rejected.count(), 0);
    let limits = Limits { time_limit_seconds: 5.0, memory_mb: 256 };
    let tests: Vec<PromptTests> = read_records(&at("tests.parquet")).unwrap();
    let sandbox = Sandbox::open(2).unwrap();
    let verdict = |trace: &Trace| {
        let spec = tests.iter().find(|tests| tests.prompt_id == trace.prompt_id)?.spec.as_ref()?;
        Some(judge_answer(&sandbox, &trace.answer, &serde_json::from_str(spec).unwrap(), &limits).verdict.code())
    };
    read_folder(&at("traces")).unwrap().iter().map(verdict).collect()
}

/// Checks the verdicts on the rows' programs, read from lines and from Parquet.
fn expect(name: &str, rows: &[Value], expected: &[Option<&str>]) {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.jsonl"), lines(rows)).unwrap();
    write_parquet(&dir.path().join("b.parquet"), &batch(rows, &DataType::Utf8));
    for file in ["a.jsonl", "b.parquet"] {
        let found = verdicts(&dir.path().join(file), name);
        assert_eq!(found, expected, "{name}, {file}");
    }
}

#[test]
fn open_thoughts_metadata() {
    let row = |problem: &str, program: &str, tests: &str, starter: Option<&str>| {
        json!({
            "problem": problem, "deepseek_reasoning": "Hm.", "deepseek_solution": answer(program), "domain": "code",
            "ground_truth_solution": "```python\nprint(0)\n```", "source": "taco", "test_cases": tests, "starter_code": starter
        })
    };
    let streams = r#"{"inputs": ["1 2\n", "5 5\n"], "outputs": ["3\n", "10\n"]}"#;
    let calls = r#"{"fn_name": "gcd", "inputs": [[12, 18], [7, 3]], "outputs": [[6], [1]]}"#;
    // As code_contests has it: lists under the names of single cases.
    let contest = r#"{"input": ["1 2\n", "5 5\n"], "output": ["3\n", "10\n"]}"#;
    let rows = [
        row("Add.", ADD, streams, None),
        row("Add.", WRONG_ADD, streams, None),
        row("Gcd.", GCD, calls, Some("class Solution:")),
        row("Gcd.", WRONG_GCD, calls, Some("class Solution:")),
        // A name that is ready is not the program's.
        row("Gcd.", "from math import lcm", calls, Some("class Solution:")),
        row("Sum up.", ADD, contest, None),
        row("Sum up.", WRONG_ADD, contest, None),
        row("None.", ADD, r#"{"inputs": [], "outputs": []}"#, None),
    ];
    let expected = [Some("AC"), Some("WA"), Some("AC"), Some("WA"), Some("RE"), Some("AC"), Some("WA"), None];
    expect("open-thoughts", &rows, &expected);
}

#[test]
fn am_deepseek_r1() {
    let row = |question: &str, program: &str, test_case: Value| {
        json!({"messages": [
            {"role": "user", "content": question, "info": {"source": "code", "test_case": test_case}},
            {"role": "assistant", "content": format!("<think>Hm.</think><answer>{}</answer>", answer(program))}
        ]})
    };
    let kodcode = "from solution import round_up\n\ndef test_up():\n    assert round_up(1.2) == 2\n\ndef test_whole():\n    assert round_up(3) == 3\n";
    let own =
        json!({"test_code": "def check_round():\n    assert round_up(1.2) == 2\n", "test_entry_point": "check_round"});
    let (right, wrong) = ("def round_up(x):\n    return -int(-x // 1)", "def round_up(x):\n    return int(x)");
    for (tests, right, wrong) in [
        (json!({"inputs": ["1 2", "5 5"], "outputs": ["3", "10"]}), ADD, WRONG_ADD),
        (json!([{"input": "1 2", "output": "3"}, {"input": "5 5", "output": "10"}]), ADD, WRONG_ADD),
        (json!(["assert round_up(1.2) == 2", "assert round_up(3) == 3"]), right, wrong),
        (json!(kodcode), right, wrong),
        (own.clone(), right, wrong),
        (json!(own.to_string()), right, wrong),
    ] {
        let rows = [row("Do it.", right, tests.clone()), row("Do it.", wrong, tests.clone())];
        expect("am-deepseek-r1", &rows, &[Some("AC"), Some("WA")]);
    }
}

#[test]
fn verification_info_of_open_r1() {
    let row = |question: &str, program: &str, info: Value| {
        let reply = format!("<think>\nHm.\n</think>\n\n{}", answer(program));
        json!({
            "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": reply}],
            "source": "s", "verification_info": info
        })
    };
    let case = |input: &str, output: &str, name: Option<&str>, kind: &str| json!({"fn_name": name, "input": input, "output": output, "type": kind});
    let streams = json!({"language": "python", "test_cases": [
        case("1 2\n", "3\n", None, "stdin_stdout"), case("5 5\n", "10\n", None, "stdin_stdout")
    ]});
    let calls = json!({"language": "python", "test_cases": [
        case("12\n18", "6", Some("gcd"), "function_call"), case("7\n3", "1", Some("gcd"), "function_call")
    ]});
    let rows = [
        row("Add.", ADD, streams.clone()),
        row("Add.", WRONG_ADD, streams),
        row("Gcd.", GCD, calls.clone()),
        row("Gcd.", WRONG_GCD, calls),
    ];
    let expected = [Some("AC"), Some("WA"), Some("AC"), Some("WA")];
    expect("messages", &rows, &expected);
    expect("mixture-of-thoughts", &rows, &expected);
}

/// Tests that cannot be run are no reason to leave a row out: they are kept, with what is wrong with them.
#[test]
fn tests_that_cannot_be_run_are_kept_as_they_are() {
    let row = |question: &str, tests: Value| {
        json!({"messages": [
            {"role": "user", "content": question, "info": {"source": "code", "test_case": tests}},
            {"role": "assistant", "content": format!("<think>Hm.</think><answer>{}</answer>", answer("x = 1"))}
        ]})
    };
    let cases = [
        (json!({"cases": [1, 2]}), "neither"),
        (json!("import pytest\nfrom solution import f\n"), "need pytest"),
        (json!({"language": "rust", "test_cases": [{"input": "", "output": ""}]}), "programs in rust"),
        (json!({"test_cases": "{"}), "no JSON"),
        (json!(7), "neither code"),
    ];
    let rows: Vec<Value> = cases.iter().zip(0..).map(|((tests, _), n)| row(&n.to_string(), tests.clone())).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jsonl");
    // Later a row of the same question has tests that can be run.
    std::fs::write(&path, lines(&rows) + &lines(&[row("0", json!({"inputs": ["1"], "outputs": ["1"]}))])).unwrap();
    let got = read(&path, "am-deepseek-r1").unwrap();
    assert_eq!((got.prompts.len(), got.traces.len(), got.imported.rejected), (5, 6, 0));
    for ((tests, says), kept) in cases.iter().zip(&got.tests) {
        let source = tests.as_str().map_or_else(|| tests.to_string(), str::to_owned);
        assert_eq!((kept.source.as_deref(), kept.spec.as_deref(), kept.language), (Some(&*source), None, None));
        assert!(kept.problem.as_ref().unwrap().contains(says), "{kept:?}");
    }
    assert_eq!(got.tests.len(), 6);
    assert!(got.tests[5].spec.is_some() && got.tests[5].prompt_id == got.prompts[0].id);
}
