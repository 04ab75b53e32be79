//! Running the programs in answers, where the recipe asks for it.

use std::collections::HashMap;
use std::sync::OnceLock;

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
    pub(super) fn open(&self) -> Result<()> {
        if self.sandbox.get().is_some() {
            return Ok(());
        }
        let sandbox = Sandbox::open(self.parallel)?;
        if self.specs.values().any(|spec| spec.language == Language::Cpp) && !sandbox.has(Language::Cpp) {
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

    /// The verdict on an answer; `None` where its prompt has no tests.
    pub(super) fn verdict(&self, prompt_id: &str, answer: &str) -> Option<String> {
        let spec = self.specs.get(prompt_id)?;
        Some(judge_answer(self.sandbox.get()?, answer, spec, &self.limits).verdict.code().to_owned())
    }
}
