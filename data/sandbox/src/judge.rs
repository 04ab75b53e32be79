//! Verification of code: does the program in an answer pass the tests of its problem?
//!
//! Programs run in a [`Sandbox`], and nowhere else. What decides is outside of the program's reach: what it prints is
//! compared here, with expected output that never enters the sandbox (`compare`), and assertions run in a process that the
//! program cannot see and to which it can give nothing but plain values (`sandbox/harness/`). So a program passes by
//! being right, not by printing that it is, by ending early, or by objects that equal everything.
//!
//! Verdicts are those of programming contests. Comparing output follows LiveCodeBench (arXiv 2403.07974).

mod answer;
mod compare;

pub use records::record::CodeVerdict;
use records::test_spec::{Case, CodeTests, TestSpec};
use serde_json::{Value, json};

pub use self::answer::program_in;
use crate::{Broken, Limits, OUT_OF_MEMORY, Running, SIGXCPU, Sandbox};

/// Characters of a message that are kept.
const MESSAGE_CHARS: usize = 1000;
/// A program may print this much more than it should.
const SPARE_OUTPUT: usize = 64 << 10;

/// A verdict, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict.
    pub verdict: CodeVerdict,
    /// The first test that failed: which case, from 0, or which line of the test code, from 1.
    pub test: Option<u32>,
    /// What the program or the compiler said last, or what differs; at most 1,000 characters.
    pub message: String,
}

impl Outcome {
    fn new(verdict: CodeVerdict, test: Option<u32>, message: &str) -> Self {
        // A program that does not compile fails no test of its own.
        let test = test.filter(|_| verdict != CodeVerdict::CompileError);
        let message = message.trim();
        // The end of what a program says is what matters.
        let from = message.char_indices().rev().nth(MESSAGE_CHARS - 1).map_or(0, |(at, _)| at);
        Self { verdict, test, message: message[from..].to_owned() }
    }
}

/// Judges the program in an answer. Limits of the tests' own go before `limits`.
pub fn judge_answer(sandbox: &Sandbox, answer: &str, spec: &TestSpec, limits: &Limits) -> Outcome {
    match program_in(answer, spec.language) {
        Some(program) => judge_program(sandbox, &program, spec, limits),
        None => Outcome::new(CodeVerdict::CompileError, None, "the answer has no block of code in the tests' language"),
    }
}

/// Judges a program: one sandbox, in which each test is a fresh process.
pub fn judge_program(sandbox: &Sandbox, program: &str, spec: &TestSpec, limits: &Limits) -> Outcome {
    let limits = Limits {
        time_limit_seconds: spec.time_limit_seconds.unwrap_or(limits.time_limit_seconds),
        memory_mb: spec.memory_mb.unwrap_or(limits.memory_mb),
    };
    if let Some(mistake) = limits.check().first() {
        return Outcome::new(CodeVerdict::SandboxError, None, &mistake.to_string());
    }
    if !sandbox.has(spec.language) {
        let message = "there is no g++ or clang++ on this machine: install one to judge programs in C++";
        return Outcome::new(CodeVerdict::SandboxError, None, message);
    }
    let (mut running, reply) = match sandbox.start(spec.language, program, &limits) {
        Ok(started) => started,
        Err(broken) => return of_broken(&broken, None),
    };
    if reply["compiled"] != true {
        return Outcome::new(CodeVerdict::CompileError, None, text(&reply, "stderr"));
    }
    match &spec.tests {
        CodeTests::Stdio { cases } => stdio(&mut running, cases, &limits),
        CodeTests::Asserts { code, entry_point, preamble } => {
            asserts(&mut running, code, entry_point.as_deref(), preamble, &limits)
        }
    }
}

fn stdio(running: &mut Running<'_>, cases: &[Case], limits: &Limits) -> Outcome {
    for (case, number) in cases.iter().zip(0..) {
        let most = 2 * case.output.len() + SPARE_OUTPUT;
        let request = json!({"do": "stdio", "stdin": case.input, "stdout_bytes": most});
        let reply = match running.session.ask(&request, limits.patience()) {
            Ok(reply) => reply,
            Err(broken) => return of_broken(&broken, Some(number)),
        };
        if let Some((verdict, message)) = of_end(&reply, limits) {
            return Outcome::new(verdict, Some(number), message);
        }
        if let Err(difference) = compare::compare(&case.output, text(&reply, "stdout")) {
            return Outcome::new(CodeVerdict::WrongAnswer, Some(number), &difference);
        }
    }
    Outcome::new(CodeVerdict::Accepted, None, "")
}

fn asserts(
    running: &mut Running<'_>,
    code: &str,
    entry_point: Option<&str>,
    preamble: &str,
    limits: &Limits,
) -> Outcome {
    let load = json!({"do": "load", "preamble": preamble});
    let request = json!({"do": "asserts", "code": code, "entry_point": entry_point, "preamble": preamble});
    // The program's process is there before the tests come in: it holds no copy of them.
    let reply =
        running.session.ask(&load, limits.patience()).and_then(|_| running.session.ask(&request, limits.patience()));
    let reply = match reply {
        Ok(reply) => reply,
        Err(broken) => return of_broken(&broken, None),
    };
    let said = &reply["verdict"];
    let line = said["line"].as_u64().filter(|line| *line > 0).map(|line| line as u32);
    let message = text(said, "message");
    match said["kind"].as_str() {
        Some("passed") => Outcome::new(CodeVerdict::Accepted, None, ""),
        Some("failed") => Outcome::new(CodeVerdict::WrongAnswer, line, message),
        Some("raised") => Outcome::new(CodeVerdict::RuntimeError, line, message),
        Some("tests") => Outcome::new(CodeVerdict::SandboxError, line, message),
        // The program's process ended, or its time.
        _ => {
            let (verdict, message) =
                of_end(&reply, limits).unwrap_or((CodeVerdict::RuntimeError, "the program ended before the tests did"));
            Outcome::new(verdict, line, message)
        }
    }
}

/// The verdict on how a process ended; `None` if it ended well.
fn of_end<'a>(reply: &'a Value, limits: &Limits) -> Option<(CodeVerdict, &'a str)> {
    let stderr = text(reply, "stderr");
    let number = |field: &str| reply[field].as_i64();
    let out_of_memory = number("code") == Some(OUT_OF_MEMORY) || stderr.contains("std::bad_alloc");
    let verdict = match reply["end"].as_str() {
        Some("time") => CodeVerdict::TimeLimit,
        Some("files") => return Some((CodeVerdict::RuntimeError, "it makes too many files")),
        Some("output") => return Some((CodeVerdict::WrongAnswer, "it writes far more than it should")),
        _ if reply["compiled"] == false && out_of_memory => CodeVerdict::MemoryLimit,
        _ if reply["compiled"] == false => CodeVerdict::CompileError,
        _ if number("signal") == Some(SIGXCPU) => CodeVerdict::TimeLimit,
        _ if reply["cpu"].as_f64().is_some_and(|cpu| cpu > limits.time_limit_seconds) => CodeVerdict::TimeLimit,
        _ if out_of_memory => CodeVerdict::MemoryLimit,
        _ if number("code") == Some(0) => return None,
        _ => CodeVerdict::RuntimeError,
    };
    Some((verdict, stderr))
}

fn of_broken(broken: &Broken, test: Option<u32>) -> Outcome {
    match broken {
        Broken::Memory => Outcome::new(CodeVerdict::MemoryLimit, test, "all processes together took too much memory"),
        Broken::Time => Outcome::new(CodeVerdict::SandboxError, test, "the sandbox did not answer in time"),
        Broken::Ended(said) => Outcome::new(CodeVerdict::SandboxError, test, said),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests;
