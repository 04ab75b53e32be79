//! Stage 1: the problems to learn from, and the problems to measure on.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use records::artifact::Artifact;
use records::disk;
use records::parquet_file::{read_records, write_records};
use records::record::{Prompt, PromptId};
use serde::{Deserialize, Serialize};
use sources::formats::{Rejected, Seen};
use sources::prompts::Tests;

use crate::console::Progress;
use crate::error::{Failure, Result};
use crate::layout::{PROBLEMS, PROMPTS, TESTS, only_file};
use crate::recipe::ProblemSource;
use crate::run::{Halt, Run, realize};

/// The summary of a folder with `prompts/prompts.parquet` and `problems/problems.parquet`; `tests/tests.parquet` where
/// programs are asked for, and `rejected.jsonl` where rows could not be used.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the stage is named after one of the two sets it makes")]
pub(crate) struct Prompts {
    /// Problems to learn from.
    prompts: usize,
    /// Problems to measure on.
    problems: usize,
    /// Problems to learn from that were taken out, since they are measured on.
    taken_out: usize,
    /// Prompts with tests of programs that can be run.
    pub tests: usize,
    /// Prompts with tests that cannot.
    other_tests: usize,
    /// Rows that could not be used.
    rejected: u64,
}

impl Prompts {
    fn in_words(&self) -> String {
        let Self { prompts, problems, .. } = self;
        let tests = match (self.tests, self.other_tests) {
            (0, 0) => String::new(),
            (tests, 0) => format!(", {tests} with tests of programs"),
            (tests, other) => {
                format!(", {tests} with tests of programs, {other} with tests that cannot be run (tests/)")
            }
        };
        let note = match self.taken_out {
            0 => String::new(),
            count => format!(", {count} taken out because they are measured on"),
        };
        let rejected = match self.rejected {
            0 => String::new(),
            count => format!(", {count} rows could not be used (rejected.jsonl)"),
        };
        format!("{prompts} to learn from, {problems} to measure on{tests}{note}{rejected}")
    }
}

/// Makes or reads both sets. A problem that is measured on is never learned from.
pub(crate) fn stage(run: &Run) -> std::result::Result<Artifact<Prompts>, Halt> {
    realize(run, &run.plan.prompts, Prompts::in_words, |dir| {
        let mut rejected = Rejected::new(dir)?;
        let mut tests = Tests::new(&only_file(dir, TESTS));
        let mut load = |source: &ProblemSource| load(run, source, &mut rejected, &mut tests);
        let problems = match &run.recipe.evaluate.accuracy {
            Some(accuracy) => load(&accuracy.problems)?,
            None => Vec::new(),
        };
        refuse_without_gold(&problems)?;
        // Whatever comes before it: a question that is measured is not learned, not even as an earlier turn.
        let measured: HashSet<PromptId> = problems.iter().map(|p| PromptId::of(&[], &p.question)).collect();
        let is_measured = |p: &Prompt| p.user_turns().any(|turn| measured.contains(&PromptId::of(&[], turn)));
        let all = load(&run.recipe.prompts)?;
        let count = all.len();
        let prompts: Vec<Prompt> = all.into_iter().filter(|p| !is_measured(p)).collect();
        if prompts.is_empty() {
            return Err(Failure::usage("[prompts] gives no problem to learn from that is not also measured on"));
        }
        write_records(&only_file(dir, PROMPTS), &prompts)?;
        write_records(&only_file(dir, PROBLEMS), &problems)?;
        rejected.finish()?;
        let tests = tests.finish()?;
        Ok(Prompts {
            prompts: prompts.len(),
            problems: problems.len(),
            taken_out: count - prompts.len(),
            tests: tests.runnable,
            other_tests: tests.other,
            rejected: rejected.count(),
        })
    })
}

fn load(run: &Run, source: &ProblemSource, rejected: &mut Rejected, tests: &mut Tests) -> Result<Vec<Prompt>> {
    match source {
        ProblemSource::Procedural(spec) => {
            Ok(sources::problems::generate(spec)?.into_iter().map(|problem| problem.prompt).collect())
        }
        ProblemSource::File(file) => {
            let files = run.options.files(&file.input)?;
            let bar = Progress::new("files", files.paths.len() as u64);
            let go_on = |seen: Seen| {
                bar.set(seen.files as u64, seen.of as u64, &format!("files, {} rows", seen.rows));
                !run.stop.requested()
            };
            Ok(sources::prompts::load(&files, &file.format, &file.domain, rejected, tests, &go_on)?)
        }
    }
}

/// What has no answer cannot be measured on, which would be told only after the training.
fn refuse_without_gold(problems: &[Prompt]) -> Result<()> {
    let without = problems.iter().filter(|problem| problem.answer.is_none()).count();
    let Some(first) = problems.iter().find(|problem| problem.answer.is_none()) else { return Ok(()) };
    let question: String = first.question.chars().take(80).collect();
    Err(Failure::usage(format!(
        "evaluate.accuracy.problems: {without} of {} problems have no gold answer, the first: {question:?}; name the column \
         of the answer in evaluate.accuracy.problems.format, or take these rows out",
        problems.len()
    )))
}

/// The file of what programs must pass, if any prompt has tests.
pub(crate) fn tests(dir: &Path) -> Result<Option<PathBuf>> {
    Ok(disk::if_there(only_file(dir, TESTS))?)
}

/// The problems to learn from.
pub(crate) fn prompts(dir: &Path) -> Result<Vec<Prompt>> {
    Ok(read_records(&only_file(dir, PROMPTS))?)
}

/// The problems to measure on.
pub(crate) fn problems(dir: &Path) -> Result<Vec<Prompt>> {
    Ok(read_records(&only_file(dir, PROBLEMS))?)
}
