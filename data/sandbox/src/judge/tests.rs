//! Programs in real sandboxes, on machines that can make them.

mod forging;
mod hostile;
mod verdicts;

use records::test_spec::{Case, CodeTests, Language};

use super::*;
use crate::tests::sandbox;

const LIMITS: Limits = Limits { time_limit_seconds: 2.0, memory_mb: 256 };

fn stdio_spec(language: Language, cases: &[(&str, &str)]) -> TestSpec {
    let case = |(input, output): &(&str, &str)| Case { input: (*input).into(), output: (*output).into() };
    let tests = CodeTests::Stdio { cases: cases.iter().map(case).collect() };
    TestSpec { language, tests, time_limit_seconds: None, memory_mb: None }
}

fn asserts_spec(code: &str) -> TestSpec {
    let tests = CodeTests::Asserts { code: code.into(), entry_point: Some("f".into()), preamble: String::new() };
    TestSpec { language: Language::Python, tests, time_limit_seconds: None, memory_mb: None }
}

fn judge(program: &str, spec: &TestSpec) -> Option<Outcome> {
    Some(judge_program(sandbox()?, program, spec, &LIMITS))
}

/// The verdict on a Python program that should print `expected`.
fn printing(program: &str, expected: &str) -> Option<Outcome> {
    judge(program, &stdio_spec(Language::Python, &[("", expected)]))
}
