//! Running the programs in answers, where the recipe asks for it.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::OnceLock;

use rayon::prelude::*;
use records::parquet_file::{for_each_text, read_rows_at};
use records::record::{CodeVerdict, Prompt, PromptId, PromptTests};
use records::test_spec::Language;
use records::test_spec::TestSpec;
use records::{Error, Result};
use sandbox::judge::judge_answer;
use sandbox::{Limits, Sandbox};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::rules::cache::{Case, Group};

/// Where the tests of prompts are, and where programs are run on them.
pub(crate) struct CodeJudge<'a> {
    path: &'a Path,
    /// By prompt.
    tests: HashMap<PromptId, Place>,
    needs_cpp: bool,
    limits: Limits,
    parallel: usize,
    /// Made for the first program: what was judged before needs none.
    sandbox: OnceLock<Sandbox>,
}

/// The tests of a prompt.
struct Place {
    /// In the file.
    row: usize,
    /// Of what they are.
    hash: u64,
}

impl<'a> CodeJudge<'a> {
    /// Finds the tests.
    pub(crate) fn new(path: Option<&'a Path>, limits: Limits, parallel: usize) -> Result<Self> {
        let none = |problem: &str| {
            let remedy = "map the file's column of tests in prompts.format.columns.tests, or leave [curate.code] out";
            Err(Error::invalid("curate.code", problem, remedy))
        };
        let Some(path) = path else { return none("no prompt has tests that programs could be run on") };
        let mut needs_cpp = false;
        for_each_text(path, "language", |_, language| needs_cpp |= language == Language::Cpp.name())?;
        let mut hashes: HashMap<usize, u64> = HashMap::new();
        for_each_text(path, "spec", |row, spec| {
            hashes.insert(row, xxh3_64(spec.as_bytes()));
        })?;
        let mut tests = HashMap::new();
        for_each_text(path, "prompt_id", |row, id| {
            if let Some(hash) = hashes.get(&row) {
                tests.insert(PromptId::from_stored(id), Place { row, hash: *hash });
            }
        })?;
        if tests.is_empty() {
            let mut first = None;
            for_each_text(path, "problem", |_, problem| {
                first.get_or_insert_with(|| problem.to_owned());
            })?;
            return none(&format!("no tests can be run; the first: {}", first.unwrap_or_default()));
        }
        Ok(Self { path, tests, needs_cpp, limits, parallel, sandbox: OnceLock::new() })
    }

    /// Makes sure that programs can be run, in all languages that the tests name.
    fn open(&self) -> Result<&Sandbox> {
        if let Some(sandbox) = self.sandbox.get() {
            return Ok(sandbox);
        }
        let sandbox = Sandbox::open(self.parallel)?;
        if self.needs_cpp && !sandbox.has(Language::Cpp) {
            return Err(Error::invalid(
                "curate.code",
                "some tests are for programs in C++, but there is no compiler under /usr",
                "install g++ or clang++",
            ));
        }
        Ok(self.sandbox.get_or_init(|| sandbox))
    }

    /// The tests of the prompts that these traces answer.
    fn specs(&self, cases: &[Case<'_>]) -> Result<HashMap<PromptId, TestSpec>> {
        // A prompt without tests is no mistake: the verdict on its answers is null.
        let wanted: BTreeSet<usize> =
            cases.iter().filter_map(|case| self.tests.get(&case.prompt.id)).map(|t| t.row).collect();
        let tests: Vec<PromptTests> = read_rows_at(self.path, &wanted.into_iter().collect::<Vec<_>>())?;
        let spec = |tests: PromptTests| {
            let spec = serde_json::from_str(tests.spec.as_deref().unwrap_or_default()).map_err(|e| {
                let problem = format!("the tests of prompt {} cannot be read: {e}", tests.prompt_id);
                Error::malformed(self.path, problem, "make the prompts again")
            })?;
            Ok((tests.prompt_id, spec))
        };
        tests.into_iter().map(spec).collect()
    }
}

impl Group for CodeJudge<'_> {
    const NAME: &'static str = "code";
    const VERSION: u32 = 1;
    /// A program may take minutes, and all tests of a chunk are in memory at once.
    const CHUNK: usize = 128;
    /// The verdict on an answer; `None` where its prompt has no tests.
    type Row = Option<CodeVerdict>;

    fn settings(&self) -> Value {
        json!(self.limits)
    }

    fn of_prompt(&self, prompt: &Prompt) -> u64 {
        self.tests.get(&prompt.id).map_or(0, |tests| tests.hash)
    }

    fn judge(&self, cases: &[Case<'_>]) -> Result<Vec<Option<CodeVerdict>>> {
        let specs = self.specs(cases)?;
        if specs.is_empty() {
            return Ok(vec![None; cases.len()]);
        }
        let sandbox = self.open()?;
        let verdict = |case: &Case<'_>| {
            let outcome = judge_answer(sandbox, &case.trace.answer, specs.get(&case.prompt.id)?, &self.limits);
            Some(outcome.verdict)
        };
        Ok(cases.par_iter().map(verdict).collect())
    }
}
