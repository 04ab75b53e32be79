//! Running the programs in answers, where the recipe asks for it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::OnceLock;

use crate::code::{TestSpec, judge_answer};
use crate::parquet_file::{for_each_text, read_rows_at};
use crate::record::{PromptTests, Trace};
use crate::sandbox::{Language, Limits, Sandbox};
use crate::{Error, Result};

/// Where the tests of prompts are, and where programs are run on them.
pub(super) struct CodeJudge<'a> {
    path: &'a Path,
    /// The row of each prompt's tests.
    rows: HashMap<String, usize>,
    needs_cpp: bool,
    limits: Limits,
    parallel: usize,
    /// Made for the first program: what was judged before needs none.
    sandbox: OnceLock<Sandbox>,
}

impl<'a> CodeJudge<'a> {
    /// Finds the tests.
    pub(super) fn new(path: Option<&'a Path>, limits: Limits, parallel: usize) -> Result<Self> {
        let none = |problem: &str| {
            let remedy = "map the file's column of tests in prompts.format.columns.tests, or leave [curate.code] out";
            Err(Error::invalid("curate.code", problem, remedy))
        };
        let Some(path) = path else { return none("no prompt has tests that programs could be run on") };
        let mut languages: HashMap<usize, bool> = HashMap::new();
        for_each_text(path, "language", |row, language| {
            languages.insert(row, language == Language::Cpp.name());
        })?;
        let mut rows = HashMap::new();
        for_each_text(path, "prompt_id", |row, id| {
            if languages.contains_key(&row) {
                rows.insert(id.to_owned(), row);
            }
        })?;
        if rows.is_empty() {
            let mut first = None;
            for_each_text(path, "problem", |_, problem| {
                first.get_or_insert_with(|| problem.to_owned());
            })?;
            return none(&format!("no tests can be run; the first: {}", first.unwrap_or_default()));
        }
        let needs_cpp = languages.into_values().any(|is_cpp| is_cpp);
        Ok(Self { path, rows, needs_cpp, limits, parallel, sandbox: OnceLock::new() })
    }

    /// Makes sure that programs can be run, in all languages that the tests name.
    pub(super) fn open(&self) -> Result<()> {
        if self.sandbox.get().is_some() {
            return Ok(());
        }
        let sandbox = Sandbox::open(self.parallel)?;
        if self.needs_cpp && !sandbox.has(Language::Cpp) {
            return Err(Error::invalid(
                "curate.code",
                "some tests are for programs in C++, but there is no compiler under /usr",
                "install g++ or clang++",
            ));
        }
        // Whoever came first: they are alike.
        let _ = self.sandbox.set(sandbox);
        Ok(())
    }

    /// The tests of the prompts that these traces answer.
    pub(super) fn specs(&self, traces: &[Trace]) -> Result<HashMap<String, TestSpec>> {
        let wanted: HashSet<usize> =
            traces.iter().filter_map(|trace| self.rows.get(&trace.prompt_id).copied()).collect();
        let mut wanted: Vec<usize> = wanted.into_iter().collect();
        wanted.sort_unstable();
        let tests: Vec<PromptTests> = read_rows_at(self.path, &wanted)?;
        let spec = |tests: PromptTests| {
            let spec = serde_json::from_str(tests.spec.as_deref().unwrap_or_default()).map_err(|e| {
                let problem = format!("the tests of prompt {} cannot be read: {e}", tests.prompt_id);
                Error::malformed(self.path, problem, "make the prompts again")
            })?;
            Ok((tests.prompt_id, spec))
        };
        tests.into_iter().map(spec).collect()
    }

    /// The verdict on an answer.
    pub(super) fn verdict(&self, spec: &TestSpec, answer: &str) -> Option<String> {
        Some(judge_answer(self.sandbox.get()?, answer, spec, &self.limits).verdict.code().to_owned())
    }
}
