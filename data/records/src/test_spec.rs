//! What the program in an answer must pass: the tests of a prompt, in the form that every dataset's tests are brought into.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A language that programs are run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// The system's Python 3.
    #[default]
    Python,
    /// C++17, by `g++` or `clang++`.
    Cpp,
}

impl Language {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Cpp => "cpp",
        }
    }
}

/// The tests of a problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestSpec {
    /// The language that the answer's program must be in.
    pub language: Language,
    /// What is tested.
    pub tests: CodeTests,
    /// Overrides the recipe's limit.
    pub time_limit_seconds: Option<f64>,
    /// Overrides the recipe's limit.
    pub memory_mb: Option<u32>,
}

/// How a program is tested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CodeTests {
    /// It reads standard input and writes standard output.
    Stdio {
        /// One run each. The time limit is for each.
        cases: Vec<Case>,
    },
    /// Python code calls the program's functions. The time limit is for all of it.
    Asserts {
        /// Code that passes if it comes to its end.
        code: String,
        /// The function under test, where it is known: this name is the program's even if it is a builtin's.
        entry_point: Option<String>,
        /// Python code that comes before the program: imports, classes, a stub that the program replaces. What it
        /// defines is there for the tests too, as it stands here.
        preamble: String,
    },
}

/// Input and expected output of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Standard input.
    pub input: String,
    /// Expected standard output.
    pub output: String,
}
