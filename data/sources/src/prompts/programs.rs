//! What programs must pass, written beside the prompts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use records::Result;
use records::parquet_file::RecordWriter;
use records::record::{PromptId, PromptTests, short_hash};
use records::test_spec::Language;

use crate::formats::RowTests;

/// Longer tests are kept, but not run.
const LONGEST_TESTS: usize = 8 << 20;

/// What programs must pass: on disk as it is read, since it may be far larger than the problems.
pub struct Tests {
    path: PathBuf,
    writer: Option<RecordWriter<PromptTests>>,
    /// The prompts that have tests, and whether those can be run.
    seen: HashMap<PromptId, bool>,
}

/// How many prompts have tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestCount {
    /// Tests that programs can be run on.
    pub runnable: usize,
    /// Tests that are kept as their source has them, with what is wrong with them.
    pub other: usize,
}

impl Tests {
    /// None yet; the first one begins a Parquet file.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), writer: None, seen: HashMap::new() }
    }

    /// Adds the tests of a prompt, if it has none yet, or none that can be run.
    pub(super) fn add(&mut self, prompt_id: &PromptId, tests: TestRow) -> Result<()> {
        let runnable = matches!(tests, TestRow::Spec { .. });
        match self.seen.get(prompt_id) {
            Some(known) if *known || !runnable => return Ok(()),
            _ => self.seen.insert(prompt_id.clone(), runnable),
        };
        let none =
            PromptTests { prompt_id: prompt_id.clone(), language: None, spec: None, problem: None, source: None };
        let row = match tests {
            TestRow::Spec { language, json } => PromptTests { language: Some(language), spec: Some(json), ..none },
            TestRow::Other { source, problem } => PromptTests { problem: Some(problem), source: Some(source), ..none },
        };
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(RecordWriter::create(&self.path)?),
        };
        writer.write(&[row])
    }

    /// Completes the file, if there is one; returns how many there are.
    pub fn finish(self) -> Result<TestCount> {
        if let Some(writer) = self.writer {
            writer.finish()?;
        }
        let runnable = self.seen.values().filter(|runnable| **runnable).count();
        Ok(TestCount { runnable, other: self.seen.len() - runnable })
    }
}

/// A row's tests as they are written.
pub(super) enum TestRow {
    Spec { language: Language, json: String },
    Other { source: String, problem: String },
}

impl TestRow {
    pub(super) fn of(tests: RowTests) -> Self {
        let spec = match tests {
            RowTests::Runnable(spec) => spec,
            RowTests::Other { source, problem } => return Self::Other { source, problem },
        };
        match serde_json::to_string(&spec) {
            Ok(json) if json.len() <= LONGEST_TESTS => Self::Spec { language: spec.language, json },
            Ok(source) => {
                let problem = format!("the tests are longer than {} MiB", LONGEST_TESTS >> 20);
                Self::Other { source, problem }
            }
            Err(e) => Self::Other { source: String::new(), problem: e.to_string() },
        }
    }

    /// The same for the same tests; `None` for those that cannot be run, which may be the same in other words.
    pub(super) fn hash(&self) -> Option<String> {
        match self {
            Self::Spec { json, .. } => Some(short_hash(json.as_bytes())),
            Self::Other { .. } => None,
        }
    }
}
