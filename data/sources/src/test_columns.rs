//! The tests of problems as datasets hold them.
//!
//! Known shapes of the column of tests: Python code (HumanEval's `test`, LeetCode sets, KodCode's functions for pytest), also
//! as `{test_code, test_entry_point}`; a list of assertions (MBPP's `test_list`); `{inputs, outputs, fn_name?}` (APPS, TACO,
//! OpenThoughts); `{language, test_cases: [{input, output, fn_name?}]}` (`verification_info` of open-r1's sets) or such cases
//! alone; and a [`TestSpec`] as it is written here. Each may also be JSON in a string. With a function's name, inputs are
//! arguments and outputs what it must return; without one, they are standard input and output.

mod asserts;
#[cfg(test)]
mod judged;

use std::fmt::Write;

use records::test_spec::{Case, CodeTests, Language, TestSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::asserts::{called, complete};

/// Which columns of a file hold tests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestColumns {
    /// The column of the tests.
    pub tests: String,
    /// The column of Python code that comes before the tests (MBPP: `test_setup_code`).
    pub setup: Option<String>,
    /// The column of Python code that comes before the program (HumanEval: `prompt`).
    pub preamble: Option<String>,
    /// The column of the name of the function under test (HumanEval: `entry_point`).
    pub entry_point: Option<String>,
    /// What a program may rely on beside its language.
    pub environment: Environment,
    /// The programs' language, where the tests do not say.
    pub language: Language,
}

impl TestColumns {
    /// All columns that are mapped.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let others = [&self.setup, &self.preamble, &self.entry_point];
        std::iter::once(self.tests.as_str()).chain(others.into_iter().filter_map(Option::as_deref))
    }
}

/// What a program may rely on beside its language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Nothing.
    Plain,
    /// What LeetCode has ready: common modules are imported, `ListNode` and `TreeNode` are there.
    Leetcode,
}

const LEETCODE: &str = "\
import bisect, collections, functools, heapq, itertools, math, operator, random, re, string
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *

class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next

class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val = val
        self.left = left
        self.right = right
";

/// What the columns hold, as text where they hold text.
#[derive(Debug, Clone)]
pub(crate) struct Cells<'a> {
    pub(crate) tests: &'a Value,
    pub(crate) setup: Option<String>,
    pub(crate) preamble: Option<String>,
    pub(crate) entry_point: Option<String>,
}

/// Reads the tests of a problem; the error says what is wrong with them. Where it is not known what programs may rely on,
/// those that are asked for a function have what LeetCode has ready: mostly they are written for that.
pub(crate) fn spec_of_cells(
    cells: &Cells<'_>,
    environment: Option<Environment>,
    language: Language,
) -> Result<TestSpec, String> {
    let parsed;
    let value = match cells.tests {
        // Only objects and lists: Python code such as `1` is JSON too.
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            parsed = serde_json::from_str(text).unwrap_or_else(|_| cells.tests.clone());
            &parsed
        }
        other => other,
    };
    let functions = environment.unwrap_or(Environment::Leetcode);
    let asserts = |code: &str, known: Option<String>| {
        let setup = cells.setup.as_deref().map_or(String::new(), |setup| [setup.trim_end(), "\n"].concat());
        CodeTests::Asserts {
            code: [&setup, code].concat(),
            entry_point: cells.entry_point.clone().or(known),
            preamble: preamble(
                environment.unwrap_or(if code.contains("Solution()") {
                    Environment::Leetcode
                } else {
                    Environment::Plain
                }),
                cells.preamble.as_deref(),
            ),
        }
    };
    let of = |language, tests| TestSpec { language, tests, time_limit_seconds: None, memory_mb: None };
    match value {
        Value::String(code) => {
            let (code, tested) = complete(code, cells.entry_point.as_deref())?;
            Ok(of(Language::Python, asserts(&code, tested)))
        }
        Value::Array(items) if items.iter().all(Value::is_string) && !items.is_empty() => {
            let lines: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            Ok(of(Language::Python, asserts(&lines.join("\n"), called(&lines))))
        }
        Value::Array(items) => Ok(of(language, of_cases(items, None, functions)?)),
        Value::Object(fields) if fields.contains_key("tests") => {
            serde_json::from_value(value.clone()).map_err(|e| format!("the tests cannot be read: {e}"))
        }
        Value::Object(fields) if fields.get("test_code").is_some_and(Value::is_string) => {
            let name = fields.get("test_entry_point").and_then(Value::as_str).map(str::to_owned);
            let cells =
                Cells { tests: &fields["test_code"], entry_point: cells.entry_point.clone().or(name), ..cells.clone() };
            spec_of_cells(&cells, environment, language)
        }
        Value::Object(fields) => of_object(fields, functions, language),
        _ => Err("the tests are neither code, nor cases, nor a list of assertions".into()),
    }
}

fn preamble(environment: Environment, own: Option<&str>) -> String {
    let ready = match environment {
        Environment::Plain => "",
        Environment::Leetcode => LEETCODE,
    };
    [ready, own.unwrap_or_default()].concat()
}

fn of_object(fields: &Map<String, Value>, environment: Environment, language: Language) -> Result<TestSpec, String> {
    let language = match fields.get("language").and_then(Value::as_str) {
        None => language,
        Some(name) if name.to_lowercase().starts_with("python") => Language::Python,
        Some(name) if ["cpp", "c++"].contains(&name.to_lowercase().as_str()) => Language::Cpp,
        Some(name) => return Err(format!("programs in {name} cannot be run here; give python or cpp")),
    };
    let parsed;
    let cases = match fields.get("test_cases") {
        Some(Value::String(text)) => {
            parsed = serde_json::from_str(text).map_err(|e| format!("`test_cases` is no JSON: {e}"))?;
            Some(&parsed)
        }
        other => other,
    };
    let of = |tests| TestSpec { language, tests, time_limit_seconds: None, memory_mb: None };
    let name = fields.get("fn_name").and_then(Value::as_str);
    match cases {
        Some(Value::Array(cases)) => return Ok(of(of_cases(cases, name, environment)?)),
        Some(Value::Object(inner)) if !inner.contains_key("test_cases") => {
            let inner_name = inner.get("fn_name").and_then(Value::as_str);
            return Ok(of(of_columns(inner, name.or(inner_name), environment)?));
        }
        _ => {}
    }
    Ok(of(of_columns(fields, name, environment)?))
}

/// Inputs and outputs in a list each; `input` and `output` where a file's writer made lists of them.
fn of_columns(fields: &Map<String, Value>, name: Option<&str>, environment: Environment) -> Result<CodeTests, String> {
    let list = |names: [&str; 2]| names.iter().find_map(|name| fields.get(*name)?.as_array());
    let (Some(inputs), Some(outputs)) = (list(["inputs", "input"]), list(["outputs", "output"])) else {
        return Err("the tests have neither `test_cases` nor `inputs` and `outputs`".into());
    };
    if inputs.len() != outputs.len() {
        return Err(format!("{} inputs but {} outputs", inputs.len(), outputs.len()));
    }
    let in_list = list(["fn_name", "fn_name"]).and_then(|names| names.first()?.as_str());
    of_pairs(&inputs.iter().zip(outputs).collect::<Vec<_>>(), name.or(in_list), environment)
}

fn of_cases(cases: &[Value], name: Option<&str>, environment: Environment) -> Result<CodeTests, String> {
    let name = name.or_else(|| cases.first()?.get("fn_name")?.as_str());
    let mut pairs = Vec::with_capacity(cases.len());
    for (case, number) in cases.iter().zip(0..) {
        match (case.get("input"), case.get("output")) {
            (Some(input), Some(output)) => pairs.push((input, output)),
            _ => return Err(format!("case {number} has no `input` or no `output`")),
        }
    }
    of_pairs(&pairs, name, environment)
}

fn of_pairs(pairs: &[(&Value, &Value)], name: Option<&str>, environment: Environment) -> Result<CodeTests, String> {
    if pairs.is_empty() {
        return Err("there are no cases: every program would pass".into());
    }
    if let Some(name) = name {
        return calls(name, pairs, environment);
    }
    let cases = pairs.iter().map(|(input, output)| Ok(Case { input: stream(input)?, output: stream(output)? }));
    Ok(CodeTests::Stdio { cases: cases.collect::<Result<_, String>>()? })
}

/// Text of a stream: a string, or its lines.
fn stream(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Array(lines) => lines.iter().map(|line| Ok([&stream(line)?, "\n"].concat())).collect(),
        _ => Err(format!("{} is no text", value.to_string().chars().take(40).collect::<String>())),
    }
}

/// How a function is called and what it must return. As APPS has it, arguments may be JSON lines, an expected value may
/// stand alone in a list, a tuple is as good as a list, and the function may be a method of `Solution`.
const CALLS: &str = "\
def _plain(value):
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {(str(key) if type(key) is int else key): _plain(item) for key, item in value.items()}
    return value

def _right(found, expected):
    found = _plain(found)
    return found == expected or (isinstance(expected, list) and len(expected) == 1 and found == expected[0])

try:
    _function = Solution().FUNCTION
except (NameError, AttributeError, TypeError):
    _function = FUNCTION
";

fn calls(name: &str, pairs: &[(&Value, &Value)], environment: Environment) -> Result<CodeTests, String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(format!("{name:?} is not the name of a function"));
    }
    let mut code = ["import json\n", &CALLS.replace("FUNCTION", name)].concat();
    for (number, (input, output)) in pairs.iter().enumerate() {
        let arguments = match input {
            Value::Array(_) => (*input).clone(),
            Value::String(lines) => lines
                .lines()
                .filter(|line| !line.trim().is_empty())
                .map(serde_json::from_str)
                .collect::<Result<Vec<Value>, _>>()
                .map(Value::from)
                .map_err(|e| format!("the input of case {number} is not one JSON value a line: {e}"))?,
            _ => return Err(format!("the input of case {number} is no list of arguments")),
        };
        let expected = match output {
            Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| (*output).clone()),
            _ => (*output).clone(),
        };
        let quoted = |value: &Value| python_string(&value.to_string());
        let (arguments, expected) = (quoted(&arguments), quoted(&expected));
        let _ = writeln!(code, "assert _right(_function(*json.loads({arguments})), json.loads({expected}))");
    }
    // The function is the program's own, also where its name is one that is ready (`gcd`, `count`).
    let preamble = match preamble(environment, None) {
        ready if ready.is_empty() => ready,
        ready => format!("{ready}\nglobals().pop({name:?}, None)\n"),
    };
    Ok(CodeTests::Asserts { code, entry_point: Some(name.to_owned()), preamble })
}

/// A Python string literal: JSON's escapes are Python's too, but for pairs of surrogates, which are not used.
fn python_string(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(tests: &Value, entry_point: Option<&str>) -> Result<TestSpec, String> {
        let cells = Cells { tests, setup: None, preamble: None, entry_point: entry_point.map(Into::into) };
        spec_of_cells(&cells, Some(Environment::Plain), Language::Cpp)
    }

    fn code_of(spec: &TestSpec) -> (&str, Option<&str>) {
        match &spec.tests {
            CodeTests::Asserts { code, entry_point, .. } => (code, entry_point.as_deref()),
            CodeTests::Stdio { .. } => panic!("{spec:?}"),
        }
    }

    #[test]
    fn streams() {
        let want = CodeTests::Stdio { cases: vec![Case { input: "1\n2\n".into(), output: "3\n".into() }] };
        for tests in [
            json!({"inputs": ["1\n2\n"], "outputs": ["3\n"]}),
            json!("{\"inputs\": [[1, \"2\"]], \"outputs\": [[\"3\"]]}"),
            json!([{"input": "1\n2\n", "output": "3\n"}]),
            json!({"test_cases": [{"input": "1\n2\n", "output": "3\n", "type": "stdin_stdout", "fn_name": null}]}),
            json!({"test_cases": {"input": ["1\n2\n"], "output": ["3\n"], "fn_name": [null]}}),
            json!({"test_cases": "{\"inputs\": [\"1\\n2\\n\"], \"outputs\": [\"3\\n\"]}"}),
        ] {
            let spec = read(&tests, None).unwrap();
            assert_eq!((&spec.tests, spec.language), (&want, Language::Cpp), "{tests}");
            // As it is written here, it is read again.
            assert_eq!(read(&serde_json::to_value(&spec).unwrap(), None).unwrap(), spec);
        }
        let python = json!({"language": "python", "test_cases": [{"input": "", "output": ""}]});
        assert_eq!(read(&python, None).unwrap().language, Language::Python);
    }

    #[test]
    fn assertions() {
        let spec = read(&json!("def check(candidate):\n    assert candidate(1) == 2\n"), Some("f")).unwrap();
        assert!(code_of(&spec).0.ends_with("check(f)\n"));
        for (lines, name) in [
            (json!(["assert f(1) == 2", "assert f(g(1)) == 2"]), Some("f")),
            (json!(["assert set(near(1)) == set([2])"]), Some("near")),
            (json!(["assert sum(10, 15) == 25", "assert sum (1, 2) == 3"]), Some("sum")),
            (json!(["assert math.isclose(area(1), 2)"]), Some("area")),
            (json!(["assert (Diff([1])) == [1]"]), Some("Diff")),
            (json!(["assert x == 1"]), None),
        ] {
            assert_eq!(code_of(&read(&lines, None).unwrap()).1, name, "{lines}");
        }
    }

    #[test]
    fn calls_become_assertions() {
        let spec = read(&json!({"fn_name": "f", "inputs": [[1, "a\"\n"]], "outputs": [[true]]}), None).unwrap();
        let (code, _) = code_of(&spec);
        assert!(code.contains("_function = f\n"), "{code}");
        let last = code.lines().last().unwrap();
        assert_eq!(last, r#"assert _right(_function(*json.loads("[1,\"a\\\"\\n\"]")), json.loads("[true]"))"#);
    }

    #[test]
    fn what_is_no_test_is_refused() {
        for (tests, says) in [
            (json!({"inputs": [], "outputs": []}), "no cases"),
            (json!([]), "no cases"),
            (json!({"inputs": ["1"], "outputs": []}), "1 inputs but 0 outputs"),
            (json!([{"input": "1"}]), "case 0"),
            (json!({"language": "rust", "test_cases": []}), "rust"),
            (json!(3), "neither"),
            (json!({"fn_name": "f()", "inputs": [[1]], "outputs": [1]}), "not the name"),
            (json!({"fn_name": "f", "inputs": ["{"], "outputs": [1]}), "case 0"),
        ] {
            let problem = read(&tests, None).unwrap_err();
            assert!(problem.contains(says), "{tests}: {problem}");
        }
    }
}
