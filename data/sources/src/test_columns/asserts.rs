//! Python tests as datasets write them, completed to code that passes if it comes to its end.
//!
//! HumanEval defines `check(candidate)` and leaves it to others to call it. KodCode imports the program as `solution` and
//! leaves it to pytest to call the functions whose names begin with `test_`. Here a program's names are there without an
//! import.

use std::fmt::Write;

/// Completes the code of tests. Also gives the name of the function under test, where the code shows it.
pub(super) fn complete(code: &str, entry_point: Option<&str>) -> Result<(String, Option<String>), String> {
    let (code, imported) = without_imports(code)?;
    for library in ["pytest", "unittest"] {
        let uses = |line: &str| {
            let mut words = line.split([' ', '.', ',']);
            matches!(words.next(), Some("import" | "from")) && words.next() == Some(library)
        };
        if code.lines().any(uses) {
            return Err(format!("the tests need {library}, which is not there where they are run"));
        }
    }
    // One name can be said to be the program's; of several, none may be that of something else.
    if let [_, _, ..] = imported.as_slice()
        && let Some(name) =
            imported.iter().find(|name| BUILTINS.contains(&name.as_str()) || MODULES.contains(&name.as_str()))
    {
        return Err(format!("the tests import several names of the program, and {name} among them is Python's too"));
    }
    let defined = functions(&code);
    let called_already = |name: &str| code.lines().any(|line| line.starts_with(&format!("{name}(")));
    let mut calls = String::new();
    let mut tested = if let [name] = imported.as_slice() { Some(name.clone()) } else { None };
    match entry_point {
        Some(name) if defined.iter().any(|(function, _)| *function == "check") => {
            let _ = write!(calls, "\n\ncheck({name})\n");
        }
        // The name is that of the function that tests.
        Some(name) if defined.iter().any(|(function, _)| *function == name) => {
            if !called_already(name) {
                let _ = write!(calls, "\n\n{name}()\n");
            }
        }
        _ => {
            for (name, parameters) in defined.iter().filter(|(name, _)| name.starts_with("test_")) {
                if called_already(name) {
                    continue;
                }
                if !parameters.is_empty() {
                    return Err(format!("the tests need pytest: {name} takes ({parameters})"));
                }
                let _ = write!(calls, "\n\n{name}()\n");
            }
        }
    }
    // A function that the tests define themselves is not the program's.
    tested = tested.filter(|name| !defined.iter().any(|(function, _)| function == name));
    Ok((code + &calls, tested))
}

/// The code without `from solution import ...`, and the names that it imports.
fn without_imports(code: &str) -> Result<(String, Vec<String>), String> {
    const IMPORT: &str = "from solution import ";
    let (mut rest, mut names) = (String::with_capacity(code.len()), Vec::new());
    let mut lines = code.split_inclusive('\n');
    while let Some(line) = lines.next() {
        let Some(first) = line.strip_prefix(IMPORT) else {
            rest.push_str(line);
            continue;
        };
        let mut imported = first.split('#').next().unwrap_or(first).trim().to_owned();
        // Lines are kept, empty, so that what fails is found under its number.
        rest.push('\n');
        if imported.starts_with('(') {
            while !imported.contains(')') {
                let more = lines.next().ok_or("the tests end within an import")?;
                imported.push_str(more.split('#').next().unwrap_or(more).trim());
                rest.push('\n');
            }
        }
        for name in imported.trim_matches(['(', ')', ' ']).split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name.split_once(" as ") {
                Some((name, alias)) => {
                    let _ = writeln!(rest, "{} = {}", alias.trim(), name.trim());
                    names.push(name.trim().to_owned());
                }
                None if name == "*" => {}
                None => names.push(name.to_owned()),
            }
        }
    }
    Ok((rest, names))
}

/// Functions that are defined outermost, and what stands between their parentheses on that line.
fn functions(code: &str) -> Vec<(&str, &str)> {
    code.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix("def ")?;
            let open = rest.find('(')?;
            let close = rest.rfind(')').filter(|close| *close > open).unwrap_or(rest.len());
            Some((rest[..open].trim(), rest[open + 1..close].trim()))
        })
        .collect()
}

/// The function that assertions are about: the first one called in all of them that is no builtin; or else the first
/// that is called in all.
pub(super) fn called(lines: &[&str]) -> Option<String> {
    let names: Vec<Vec<&str>> = lines.iter().map(|line| calls_in(line)).collect();
    let in_all = |name: &&&str| names.iter().all(|line| line.contains(name));
    let first = names.first()?;
    let own = first.iter().find(|name| in_all(name) && !BUILTINS.contains(name));
    own.or_else(|| first.iter().find(in_all)).map(|name| (*name).to_owned())
}

/// Names before an opening parenthesis, without those of methods.
fn calls_in(line: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in line.match_indices('(') {
        let before = line[..at].trim_end();
        let start =
            before.rfind(|c| !is_name(c)).map_or(0, |i| i + before[i..].chars().next().map_or(0, char::len_utf8));
        let name = &before[start..];
        let is_method = before[..start].ends_with('.');
        if !name.is_empty() && !is_method && !["assert", "in", "not", "and", "or", "is", "if", "else"].contains(&name) {
            found.push(name);
        }
    }
    found
}

#[rustfmt::skip]
const BUILTINS: &[&str] = &[
    "abs", "all", "any", "bool", "bytes", "chr", "complex", "dict", "divmod", "enumerate", "filter", "float",
    "format", "frozenset", "hash", "hex", "int", "isinstance", "iter", "len", "list", "map", "max", "min", "next",
    "oct", "ord", "pow", "print", "range", "repr", "reversed", "round", "set", "slice", "sorted", "str", "sum",
    "tuple", "type", "zip",
];

/// Modules whose names need no import in tests (see `sandbox/harness/asserts.py`).
#[rustfmt::skip]
const MODULES: &[&str] = &[
    "bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq", "itertools",
    "json", "math", "np", "numpy", "operator", "os", "pandas", "pd", "random", "re", "statistics", "string", "sys",
    "time", "typing",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(code: &str, entry_point: Option<&str>) -> (String, Option<String>) {
        complete(code, entry_point).unwrap()
    }

    #[test]
    fn what_pytest_would_call_is_called() {
        let code = "from solution import add, sub as minus  # both\n\ndef test_add():\n    assert add(1, 1) == 2\n\n\
                    def test_sub() -> None:\n    assert minus(1, 1) == 0\n\ndef helper(x):\n    pass\n";
        let (complete, tested) = completed(code, None);
        assert!(complete.starts_with("\nminus = sub\n\ndef test_add():"), "{complete}");
        assert!(complete.ends_with("\n\ntest_add()\n\n\ntest_sub()\n"), "{complete}");
        assert_eq!(tested, None);
        let (complete, tested) =
            completed("from solution import (\n    sum,\n)\ndef test_x():\n    assert sum(1) == 1", None);
        assert_eq!(complete, "\n\n\ndef test_x():\n    assert sum(1) == 1\n\ntest_x()\n");
        assert_eq!(tested.as_deref(), Some("sum"));
    }

    #[test]
    fn an_entry_point_is_what_is_tested_or_what_tests() {
        let check = "def check(candidate):\n    assert candidate(1) == 2\n";
        assert!(completed(check, Some("f")).0.ends_with("\n\ncheck(f)\n"));
        assert_eq!(completed(check, None).0, check);
        let own = "def check_add():\n    assert add(1, 1) == 2\n";
        assert!(completed(own, Some("check_add")).0.ends_with("\n\ncheck_add()\n"));
        let called = "def test_add():\n    assert add(1, 1) == 2\ntest_add()\n";
        assert_eq!(completed(called, None).0, called);
        assert_eq!(completed("assert f(1) == 2", Some("f")).0, "assert f(1) == 2");
    }

    #[test]
    fn what_needs_a_test_runner_is_refused() {
        for (code, says) in [
            ("import pytest\nfrom solution import f\ndef test_f():\n    pass", "need pytest"),
            ("import unittest\nclass T(unittest.TestCase):\n    pass", "need unittest"),
            ("from unittest.mock import patch\n", "need unittest"),
            ("def test_f(tmp_path):\n    pass", "test_f takes (tmp_path)"),
            ("from solution import (f,\n", "within an import"),
            ("from solution import f, round\n", "round among them"),
        ] {
            let problem = complete(code, None).unwrap_err();
            assert!(problem.contains(says), "{code}: {problem}");
        }
    }
}
