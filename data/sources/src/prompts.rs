//! Problem files: rows of a format with a name, or of any column names, become [`Prompt`]s, one for each different
//! question.

mod programs;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use records::Result;
use records::record::{Prompt, PromptId};
use records::test_spec::TestSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::programs::TestRow;
pub use self::programs::{TestCount, Tests};
use crate::files::Files;
use crate::formats::{Columns, Example, Format, Rejected, RowTests, Seen, Taken, examples};
use crate::rows::{Flaw, Row};
use crate::test_columns::{Cells, TestColumns, spec_of_cells};

/// Which columns of a file hold what. Dots lead into nested columns: `meta.answers.0`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileMapping {
    /// The column of the question.
    pub question: String,
    /// The column of the gold answer, where there is one.
    pub answer: Option<String>,
    /// The column of the domain.
    pub domain: Option<String>,
    /// The column of the kind of problem.
    pub kind: Option<String>,
    /// The columns of the tests of programs.
    pub tests: Option<TestColumns>,
}

/// Reads problems. Questions that come up again collapse into one prompt; a row that asks the same but has another answer
/// or other tests is kept aside. Rows that do not say it have `domain`, and come from the files' name.
pub fn load(
    files: &Files,
    format: &Format<FileMapping>,
    domain: &str,
    rejected: &mut Rejected,
    tests: &mut Tests,
    go_on: &dyn Fn(Seen) -> bool,
) -> Result<Vec<Prompt>> {
    let mut prompts: Vec<Prompt> = Vec::new();
    let mut origins: HashMap<PromptId, Origin> = HashMap::new();
    examples(files, format, rejected, go_on, |place, example, rejected| {
        let prompt = Prompt::new(
            example.domain.as_deref().unwrap_or(domain),
            example.kind.as_deref().unwrap_or_default(),
            example.question.trim(),
            example.answer,
            example.source.as_deref().unwrap_or(&files.name),
        )
        .with_context(example.context);
        let row_tests = example.tests.map(TestRow::of);
        let hash = row_tests.as_ref().and_then(TestRow::hash);
        let id = prompt.id.clone();
        let row = place.raw.number;
        match origins.entry(id.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(Origin { index: prompts.len(), answer: row, tests: hash.map(|hash| (hash, row)) });
                prompts.push(prompt);
            }
            Entry::Occupied(mut entry) => {
                let origin = entry.get_mut();
                if let Err(reason) = origin.merge(&mut prompts[origin.index], prompt, hash, row) {
                    rejected.add(place, &reason)?;
                    return Ok(Taken::No);
                }
            }
        }
        if let Some(row_tests) = row_tests {
            tests.add(&id, row_tests)?;
        }
        Ok(Taken::Yes)
    })?;
    Ok(prompts)
}

/// A prompt's index, the row that had its answer, and the hash and row of its tests.
struct Origin {
    index: usize,
    answer: usize,
    tests: Option<(String, usize)>,
}

impl Origin {
    /// Adds what another row knows of the same question; if the two contradict each other, nothing, and says how.
    fn merge(
        &mut self,
        kept: &mut Prompt,
        other: Prompt,
        tests: Option<String>,
        row: usize,
    ) -> std::result::Result<(), String> {
        if let (Some(gold), Some(answer)) = (&kept.answer, &other.answer)
            && gold != answer
            && !verify::verify(gold, answer).correct()
        {
            let first = self.answer;
            return Err(format!("it asks what row {first} asks, but has another answer, {answer:?} and not {gold:?}"));
        }
        if let (Some((first, first_row)), Some(second)) = (&self.tests, &tests)
            && first != second
        {
            return Err(format!("it asks what row {first_row} asks, but has different tests"));
        }
        if kept.answer.is_none() && other.answer.is_some() {
            kept.answer = other.answer;
            self.answer = row;
        }
        if self.tests.is_none() {
            self.tests = tests.map(|hash| (hash, row));
        }
        Ok(())
    }
}

impl Columns for FileMapping {
    fn example(&self, row: &Row) -> std::result::Result<Example, Flaw> {
        let text = |column: &Option<String>| column.as_ref().map_or(Ok(None), |column| row.text(column));
        Ok(Example {
            answer: text(&self.answer)?.and_then(|answer| gold_answer(&answer)),
            domain: text(&self.domain)?,
            kind: text(&self.kind)?,
            tests: self.tests.as_ref().map_or(Ok(None), |columns| spec(row, columns))?.map(RowTests::Runnable),
            ..Example::new(row.required_text(&self.question)?)
        })
    }

    fn names(&self) -> Vec<&str> {
        std::iter::once(self.question.as_str()).chain(self.optional()).collect()
    }

    fn optional(&self) -> Vec<&str> {
        let single = [&self.answer, &self.domain, &self.kind].into_iter().filter_map(Option::as_deref);
        single.chain(self.tests.iter().flat_map(TestColumns::names)).collect()
    }
}

/// The tests of a row; `None` if it has none.
fn spec(row: &Row, columns: &TestColumns) -> std::result::Result<Option<TestSpec>, Flaw> {
    let Some(value) = row.get(&columns.tests).filter(|value| !value.is_null() && value.as_str() != Some("")) else {
        return Ok(None);
    };
    let text = |column: &Option<String>| column.as_ref().map_or(Ok(None), |column| row.text(column));
    let cells = Cells {
        tests: value,
        setup: text(&columns.setup)?,
        preamble: text(&columns.preamble)?,
        entry_point: text(&columns.entry_point)?,
    };
    spec_of_cells(&cells, Some(columns.environment), columns.language).map(Some).map_err(Flaw::other)
}

/// GSM8K ends its worked solutions with `#### 18`: what follows the last mark is the answer. Blank answers are none.
fn gold_answer(answer: &str) -> Option<String> {
    let answer = answer.rsplit_once("####").map_or(answer, |(_, last)| last).trim();
    (!answer.is_empty()).then(|| answer.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use records::parquet_file::read_records;
    use records::record::PromptTests;

    fn mapping(question: &str, answer: Option<&str>) -> FileMapping {
        FileMapping { question: question.into(), answer: answer.map(Into::into), domain: None, kind: None, tests: None }
    }

    fn load(content: &str, mapping: &FileMapping) -> Result<Vec<Prompt>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set.jsonl");
        std::fs::write(&path, content).unwrap();
        load_path(&path, mapping).map(|(prompts, ..)| prompts)
    }

    /// The prompts, the rows that were kept aside, and the tests.
    fn load_path(path: &Path, mapping: &FileMapping) -> Result<(Vec<Prompt>, Vec<Value>, Vec<PromptTests>)> {
        let dir = tempfile::tempdir().unwrap();
        let mut rejected = Rejected::new(dir.path())?;
        let mut tests = Tests::new(&dir.path().join("tests.parquet"));
        let format = Format::Columns(mapping.clone());
        let prompts = super::load(&Files::find(path)?, &format, "math", &mut rejected, &mut tests, &|_| true)?;
        rejected.finish()?;
        let TestCount { runnable, other } = tests.finish()?;
        let tests = if runnable + other > 0 { read_records(&dir.path().join("tests.parquet"))? } else { Vec::new() };
        let lines = std::fs::read_to_string(dir.path().join("rejected.jsonl")).unwrap_or_default();
        Ok((prompts, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), tests))
    }

    #[test]
    fn columns_are_mapped_and_defaults_fill_in() {
        let mapping = FileMapping {
            question: "meta.ask".into(),
            answer: Some("gold".into()),
            domain: Some("area".into()),
            kind: Some("sort".into()),
            tests: None,
        };
        let content = r#"{"meta":{"ask":" What? "},"gold":18.0,"area":"physics","sort":3}
            {"meta":{"ask":"Who?"},"gold":null}"#;
        let prompts = load(content, &mapping).unwrap();
        assert_eq!(
            prompts,
            [
                Prompt::new("physics", "3", "What?", Some("18".into()), "set"),
                Prompt::new("math", "", "Who?", None, "set"),
            ]
        );
    }

    #[test]
    fn gsm8k_answers_keep_what_follows_the_mark() {
        let content = "{\"question\":\"q\",\"answer\":\"She has 9 * 2 = <<9*2=18>>18.\\n#### 1,800\"}";
        let prompts = load(content, &mapping("question", Some("answer"))).unwrap();
        assert_eq!(prompts[0].answer.as_deref(), Some("1,800"));
        assert_eq!(gold_answer("#### "), None);
    }

    #[test]
    fn the_same_question_is_one_prompt() {
        let content = "{\"q\":\"How many?\"}\n{\"q\":\"how  many?\",\"a\":\"1/2\"}\n{\"q\":\"How many?\",\"a\":0.5}";
        let prompts = load(content, &mapping("q", Some("a"))).unwrap();
        assert_eq!(prompts, [Prompt::new("math", "", "How many?", Some("1/2".into()), "set")]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set.jsonl");
        std::fs::write(&path, "{\"q\":\"How many?\",\"a\":1}\n\n{\"q\":\"How many?\",\"a\":2}").unwrap();
        let (prompts, rejected, _) = load_path(&path, &mapping("q", Some("a"))).unwrap();
        assert_eq!((prompts.len(), prompts[0].answer.as_deref(), rejected.len()), (1, Some("1"), 1));
    }

    #[test]
    fn a_column_that_is_not_there_is_named_with_those_that_are() {
        let content = "{\"q\":\"1\",\"a\":1}\n{\"q\":\"2\"}";
        assert_eq!(load(content, &mapping("q", Some("a"))).unwrap().len(), 2);
        for wrong in [mapping("Q", Some("a")), mapping("q", Some("A"))] {
            let message = load(content, &wrong).unwrap_err().to_string();
            assert!(message.contains("column") && message.contains("q, a"), "{message}");
        }
        let message = load("{\"q\":\" \"}", &mapping("q", None)).unwrap_err().to_string();
        assert!(message.contains("row 1: column \"q\" is empty"), "{message}");
    }

    #[test]
    fn tests_are_read_with_their_prompts() {
        let tests = serde_json::json!({
            "tests": "test_list", "setup": "setup", "preamble": null, "entry_point": null,
            "environment": "plain", "language": "python",
        });
        let mapping = FileMapping { tests: Some(serde_json::from_value(tests).unwrap()), ..mapping("q", None) };
        let row = |q: &str, tests: &str| format!("{{\"q\":\"{q}\",\"setup\":\"x = 1\",\"test_list\":{tests}}}\n");
        let content = row("add", "[\"assert add(1, x) == 2\"]") + &row("none", "null") + &row("none", "\"\"");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set.jsonl");
        std::fs::write(&path, content).unwrap();
        let (prompts, _, tests) = load_path(&path, &mapping).unwrap();
        assert_eq!((tests.len(), &tests[0].prompt_id), (1, &prompts[0].id));
        let spec: TestSpec = serde_json::from_str(tests[0].spec.as_ref().unwrap()).unwrap();
        assert_eq!(tests[0].language, Some(spec.language));
        let expected = "x = 1\nassert add(1, x) == 2";
        assert!(
            matches!(&spec.tests, records::test_spec::CodeTests::Asserts { code, .. } if code == expected),
            "{spec:?}"
        );
        for (second, says) in [("[\"assert add(1, 1) == 2\"]", "different tests"), ("[]", "there are no cases")] {
            let content = row("add", "[\"assert add(1, x) == 2\"]") + &row("add", second);
            std::fs::write(&path, content).unwrap();
            let (kept, rejected, kept_tests) = load_path(&path, &mapping).unwrap();
            assert_eq!((kept.as_slice(), &kept_tests), (&prompts[..1], &tests));
            assert_eq!((rejected.len(), &rejected[0]["row"]), (1, &Value::from(2)));
            assert!(rejected[0]["reason"].as_str().unwrap().contains(says), "{rejected:?}");
        }
    }

    #[test]
    fn an_unknown_mapping_field_is_refused() {
        let wrong = serde_json::json!({"question": "q", "anwser": "a"});
        assert!(serde_json::from_value::<FileMapping>(wrong).unwrap_err().to_string().contains("anwser"));
    }

    #[test]
    fn published_problem_sets_load() {
        let Some(folder) = fixtures::shared("data/prompts") else { return };
        let sets = [
            ("gsm8k_test.jsonl", mapping("question", Some("answer")), 1319),
            ("gsm8k_train.jsonl", mapping("question", Some("answer")), 7473),
            ("math500.jsonl", mapping("problem", Some("answer")), 500),
            ("aime24.jsonl", mapping("problem", Some("answer")), 30),
            ("aime25.jsonl", mapping("problem", Some("answer")), 30),
            ("amc23.jsonl", mapping("question", Some("answer")), 40),
            ("olympiadbench.jsonl", mapping("question", Some("final_answer.0")), 675),
        ];
        for (name, mapping, rows) in sets {
            let (prompts, rejected, _) = load_path(&folder.join(name), &mapping).unwrap();
            eprintln!("{name}: {} prompts, {} rows kept aside", prompts.len(), rejected.len());
            assert!(prompts.len() <= rows && prompts.len() * 100 >= rows * 98, "{name}: {}", prompts.len());
            assert!(prompts.iter().all(|p| p.answer.is_some()), "{name}");
        }
    }
}
