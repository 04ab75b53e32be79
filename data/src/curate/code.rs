//! Running the programs in answers, where the recipe asks for it.

use std::collections::HashMap;
use std::sync::OnceLock;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::kept::{Case, Group};
use crate::code::{TestSpec, judge_answer};
use crate::record::Prompt;
use crate::sandbox::{Language, Limits, Sandbox};
use crate::{Error, Result};

/// The tests of all prompts, and where programs are run on them.
pub(super) struct CodeJudge<'a> {
    specs: HashMap<&'a str, TestSpec>,
    limits: Limits,
    parallel: usize,
    /// Made for the first program: what was judged before needs none.
    sandbox: OnceLock<Sandbox>,
}

impl<'a> CodeJudge<'a> {
    /// Reads the tests.
    pub(super) fn new(prompts: &'a [Prompt], limits: Limits, parallel: usize) -> Result<Self> {
        let mut specs = HashMap::new();
        for prompt in prompts {
            let Some(tests) = &prompt.tests else { continue };
            let spec = serde_json::from_str(tests).map_err(|e| {
                let problem = format!("the tests of prompt {} cannot be read: {e}", prompt.id);
                Error::invalid("the prompts", problem, "make the prompts again")
            })?;
            specs.insert(prompt.id.as_str(), spec);
        }
        if specs.is_empty() {
            return Err(Error::invalid(
                "curate.code",
                "no prompt has tests that programs could be run on",
                "map the file's column of tests in prompts.format.columns.tests, or leave [curate.code] out",
            ));
        }
        Ok(Self { specs, limits, parallel, sandbox: OnceLock::new() })
    }

    /// Makes sure that programs can be run, in all languages that the tests name.
    fn open(&self) -> Result<&Sandbox> {
        if let Some(sandbox) = self.sandbox.get() {
            return Ok(sandbox);
        }
        let sandbox = Sandbox::open(self.parallel)?;
        if self.specs.values().any(|spec| spec.language == Language::Cpp) && !sandbox.has(Language::Cpp) {
            return Err(Error::invalid(
                "curate.code",
                "some tests are for programs in C++, but there is no compiler under /usr",
                "install g++ or clang++",
            ));
        }
        Ok(self.sandbox.get_or_init(|| sandbox))
    }
}

impl Group for CodeJudge<'_> {
    const NAME: &'static str = "code";
    const VERSION: u32 = 1;
    /// A program may take minutes.
    const CHUNK: usize = 256;
    /// The verdict on an answer; `None` where its prompt has no tests.
    type Row = Option<String>;

    fn settings(&self) -> Value {
        json!(self.limits)
    }

    fn of_prompt<'p>(&self, prompt: &'p Prompt) -> Option<&'p str> {
        prompt.tests.as_deref()
    }

    fn judge(&self, cases: &[Case<'_>]) -> Result<Vec<Option<String>>> {
        let spec = |case: &Case<'_>| self.specs.get(case.prompt.id.as_str());
        if !cases.iter().any(|case| spec(case).is_some()) {
            return Ok(vec![None; cases.len()]);
        }
        let sandbox = self.open()?;
        let verdict = |case: &Case<'_>| {
            let outcome = judge_answer(sandbox, &case.trace.answer, spec(case)?, &self.limits);
            Some(outcome.verdict.code().to_owned())
        };
        Ok(cases.par_iter().map(verdict).collect())
    }
}
