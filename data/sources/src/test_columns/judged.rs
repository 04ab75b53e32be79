//! Tests of datasets are judged: right solutions pass, wrong ones fail.

use std::process::Command;
use std::sync::OnceLock;

use CodeVerdict::{Accepted, RuntimeError, WrongAnswer};
use fixtures::{can_run, shared};
use rayon::prelude::*;
use sandbox::judge::{CodeVerdict, Outcome, judge_program};
use sandbox::{Limits, Sandbox};
use serde_json::json;

use super::*;

/// The sandboxes of all tests; `None` where the test that asks skips.
fn sandbox() -> Option<&'static Sandbox> {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    can_run().then(|| SANDBOX.get_or_init(|| Sandbox::open(2).unwrap()))
}

fn judge(program: &str, spec: &TestSpec) -> Option<Outcome> {
    let limits = Limits { time_limit_seconds: 2.0, memory_mb: 256 };
    Some(judge_program(sandbox()?, program, spec, &limits))
}

#[track_caller]
fn expect(outcome: Option<Outcome>, verdict: CodeVerdict, test: Option<u32>, says: &str) {
    if let Some(outcome) = outcome {
        assert_eq!((outcome.verdict, outcome.test), (verdict, test), "{outcome:?}");
        assert!(outcome.message.contains(says), "{outcome:?}");
    }
}

#[test]
fn datasets_of_calls() {
    let columns = TestColumns {
        tests: "t".into(),
        setup: None,
        preamble: None,
        entry_point: None,
        environment: Environment::Leetcode,
        language: Language::Python,
    };
    let read = |tests: &Value| {
        let cells = Cells { tests, setup: None, preamble: None, entry_point: None };
        spec_of_cells(&cells, Some(columns.environment), columns.language).unwrap()
    };
    let calls = read(
        &json!({"fn_name": "pair", "inputs": [[1, "a"], [2, "é\"\\\n😀"]], "outputs": [[[1, "a"]], [2, "é\"\\\n😀"]]}),
    );
    expect(judge("def pair(a, b): return a, b", &calls), Accepted, None, "");
    expect(
        judge("class Solution:\n  def pair(self, a: int, b: Optional[str]): return [a, b]", &calls),
        Accepted,
        None,
        "",
    );
    expect(judge("def pair(a, b): return b, a", &calls), WrongAnswer, Some(17), "");
    expect(judge("def other(a, b): return a, b", &calls), RuntimeError, Some(16), "no 'pair'");
    // What is ready is not the program's, even under the name that is asked for.
    let ready = read(&json!({"fn_name": "gcd", "inputs": [[4, 6]], "outputs": [2]}));
    expect(judge("x = 1", &ready), RuntimeError, Some(16), "no 'gcd'");
    expect(judge("class Solution:\n  def gcd(self, a, b): return math.gcd(a, b)", &ready), Accepted, None, "");
    expect(judge("class Solution:\n  pass\ndef gcd(a, b): return 2", &ready), Accepted, None, "");
    let lines =
        read(&json!({"language": "python", "test_cases": [{"input": "[1, 2]\n3", "output": "6", "fn_name": "sum"}]}));
    expect(judge("def sum(xs, y): return xs[0] + xs[1] + y", &lines), Accepted, None, "");
}

/// Every so manieth row of a published set, where tests have them and sandboxes too; all of them with `R1D_ALL=1`, which
/// takes minutes.
fn rows(name: &str, step: usize) -> Option<Vec<Map<String, Value>>> {
    // Both are asked for, so that a test that lacks both is counted for both.
    let (sandbox, shared) = (sandbox(), shared("data/prompts"));
    sandbox?;
    let path = shared?.join(name);
    let text = if name.ends_with(".gz") {
        String::from_utf8(Command::new("gzip").arg("-dc").arg(path).output().unwrap().stdout).unwrap()
    } else {
        std::fs::read_to_string(path).unwrap()
    };
    let step = if std::env::var_os("R1D_ALL").is_some() { 1 } else { step };
    let rows: Vec<_> = text.lines().step_by(step).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!rows.is_empty(), "{name} has no rows");
    Some(rows)
}

fn spec(row: &Map<String, Value>, columns: &TestColumns) -> TestSpec {
    let text = |column: &Option<String>| column.as_ref().map(|c| row[c].as_str().unwrap().to_owned());
    let cells = Cells {
        tests: &row[&columns.tests],
        setup: text(&columns.setup),
        preamble: text(&columns.preamble),
        entry_point: text(&columns.entry_point),
    };
    spec_of_cells(&cells, Some(columns.environment), columns.language).unwrap()
}

fn columns(tests: &str) -> TestColumns {
    TestColumns {
        tests: tests.into(),
        setup: None,
        preamble: None,
        entry_point: None,
        environment: Environment::Plain,
        language: Language::Python,
    }
}

/// Judges programs, and prints how that went.
fn verdicts(what: &str, programs: &[(String, TestSpec)]) -> Vec<CodeVerdict> {
    let limits = Limits { time_limit_seconds: 10.0, memory_mb: 512 };
    let began = std::time::Instant::now();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let found: Vec<CodeVerdict> = pool.install(|| {
        programs
            .par_iter()
            .map(|(program, spec)| judge_program(sandbox().unwrap(), program, spec, &limits).verdict)
            .collect()
    });
    let count = |verdict| found.iter().filter(|v| **v == verdict).count();
    eprintln!(
        "{what}: {} programs, {} AC, {} WA, {} RE, {} TLE; {:.1} ms each",
        found.len(),
        count(Accepted),
        count(WrongAnswer),
        count(RuntimeError),
        count(CodeVerdict::TimeLimit),
        began.elapsed().as_secs_f64() * 1000.0 / found.len() as f64
    );
    found
}

/// Asserts that the programs, which are as many as the rows they solve, are all accepted.
fn all_pass(what: &str, rows: &[Map<String, Value>], programs: &[(String, TestSpec)]) {
    let found = verdicts(what, programs);
    let failed: Vec<_> = rows.iter().zip(&found).filter(|(_, verdict)| **verdict != Accepted).collect();
    let failed: Vec<_> = failed.into_iter().map(|(row, verdict)| (&row["task_id"], verdict)).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// A program after which the function `name` returns something else.
fn wrong(program: &str, name: &str, value: &str) -> String {
    format!(
        "{program}\n\n_right_one = {name}\n\ndef {name}(*args, **kwargs):\n    _right_one(*args, **kwargs)\n    return {value}\n"
    )
}

#[test]
fn human_eval() {
    let Some(rows) = rows("HumanEval.jsonl.gz", 2) else { return };
    let columns =
        TestColumns { preamble: Some("prompt".into()), entry_point: Some("entry_point".into()), ..columns("test") };
    let text = |row: &Map<String, Value>, column: &str| row[column].as_str().unwrap().to_owned();
    let solution = |row: &Map<String, Value>| text(row, "prompt") + &text(row, "canonical_solution");
    let right: Vec<_> = rows.iter().map(|row| (solution(row), spec(row, &columns))).collect();
    all_pass("HumanEval, reference solutions", &rows, &right);
    // An object is equal to nothing; the stub of the prompt returns nothing.
    let mutants: Vec<_> = rows
        .iter()
        .map(|row| (wrong(&solution(row), &text(row, "entry_point"), "object()"), spec(row, &columns)))
        .collect();
    assert!(!verdicts("HumanEval, wrong values", &mutants).contains(&Accepted));
    let stubs: Vec<_> = rows.iter().map(|row| ("x = 1".to_owned(), spec(row, &columns))).collect();
    assert!(!verdicts("HumanEval, stubs", &stubs).contains(&Accepted));
}

#[test]
fn mbpp() {
    let Some(rows) = rows("mbpp.jsonl", 10) else { return };
    let columns = TestColumns { setup: Some("test_setup_code".into()), ..columns("test_list") };
    let right: Vec<_> =
        rows.iter().map(|row| (row["code"].as_str().unwrap().to_owned(), spec(row, &columns))).collect();
    all_pass("MBPP, reference solutions", &rows, &right);
    let mutants: Vec<_> = right
        .iter()
        .map(|(program, spec)| {
            let CodeTests::Asserts { entry_point: Some(name), .. } = &spec.tests else { panic!("{spec:?}") };
            (wrong(program, name, "object()"), spec.clone())
        })
        .collect();
    assert!(!verdicts("MBPP, wrong values", &mutants).contains(&Accepted));
}

/// The set has no solutions. What stands for them is a table of the expected values, which is right as far as the tests go.
#[test]
fn leetcode() {
    let Some(rows) = rows("leetcode_20240121-Jul.jsonl", 6) else { return };
    let columns = TestColumns { environment: Environment::Leetcode, ..columns("test") };
    let mut right = Vec::new();
    let mut mutants = Vec::new();
    for row in &rows {
        let tests = row["test"].as_str().unwrap();
        let inputs = tests.lines().filter_map(|line| line.strip_prefix("test_input = "));
        let checks = tests.lines().filter_map(|line| line.strip_prefix("assert my_solution."));
        let Some(pairs) =
            inputs.zip(checks).map(|(i, c)| Some((i, c.split_once("(**test_input) == ")?))).collect::<Option<Vec<_>>>()
        else {
            continue;
        };
        let Some(name) = pairs.first().map(|(_, (name, _))| *name) else { continue };
        let table = |expected: &dyn Fn(usize, &str) -> String| {
            let entries = pairs
                .iter()
                .enumerate()
                .map(|(i, (input, (_, value)))| format!("    ({input}, {}),\n", expected(i, value)));
            format!(
                "true, false, null = True, False, None\nTABLE = [\n{}]\nclass Solution:\n    def {name}(self, **given):\n        return next(value for key, value in TABLE if key == given)\n",
                entries.collect::<String>()
            )
        };
        let last = pairs.len() - 1;
        right.push((table(&|_, value| value.to_owned()), spec(row, &columns)));
        mutants.push((
            table(&|i, value| if i == last { format!("[({value}), 0]") } else { value.to_owned() }),
            spec(row, &columns),
        ));
    }
    eprintln!("LeetCode: tables for {} of {} problems", right.len(), rows.len());
    assert!(right.len() * 100 >= rows.len() * 95, "{}", right.len());
    assert!(verdicts("LeetCode, tables", &right).iter().all(|v| *v == Accepted));
    assert!(!verdicts("LeetCode, one entry changed", &mutants).contains(&Accepted));
}

/// Linked lists go both ways: tests make them of the program's class and read what comes back.
#[test]
fn leetcode_lists() {
    let Some(rows) = rows("leetcode_20240121-Jul.jsonl", 1) else { return };
    let columns = TestColumns { environment: Environment::Leetcode, ..columns("test") };
    let row = rows.iter().find(|row| row["test"].as_str().unwrap().contains("doubleIt")).unwrap();
    let solution = "
class Solution:
    def doubleIt(self, head: Optional[ListNode]) -> Optional[ListNode]:
        digits, node = '', head
        while node:
            digits, node = digits + str(node.val), node.next
        head = None
        for digit in reversed(str(int(digits) * FACTOR)):
            head = ListNode(int(digit), head)
        return head
";
    for (factor, verdict) in [("2", Accepted), ("3", WrongAnswer)] {
        let found = judge(&solution.replace("FACTOR", factor), &spec(row, &columns)).unwrap();
        assert_eq!(found.verdict, verdict, "{found:?}");
    }
}

/// Small changes to right programs: most are found by the tests.
#[test]
fn mutations() {
    let Some(rows) = rows("mbpp.jsonl", 20) else { return };
    let columns = TestColumns { setup: Some("test_setup_code".into()), ..columns("test_list") };
    let (mut passing, mut all) = (0, 0);
    for (from, to) in [("<", "<="), (" + ", " - "), ("+ 1", "+ 2"), ("==", "!="), ("return ", "return not ")] {
        let mutants: Vec<_> = rows
            .iter()
            .filter_map(|row| {
                let program = row["code"].as_str().unwrap();
                let changed = program.replacen(from, to, 1);
                (changed != program).then(|| (changed, spec(row, &columns)))
            })
            .collect();
        let found = verdicts(&format!("MBPP, {from:?} for {to:?}"), &mutants);
        passing += found.iter().filter(|v| **v == Accepted).count();
        all += found.len();
    }
    // Three tests a problem: some changes make no difference to them.
    assert!(passing * 5 < all, "{passing} of {all}");
}
