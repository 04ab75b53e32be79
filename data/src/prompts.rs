//! Problem files: rows of any column names become [`Prompt`]s, one for each different question.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::code::{Cells, TestColumns, TestSpec};
use crate::record::Prompt;
use crate::rows::{Row, read_rows};
use crate::{Error, Result};

/// Which columns of a file hold what. Dots lead into nested columns: `meta.answers.0`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// Reads a `.jsonl`, `.json` or `.parquet` file. Questions that come up again collapse into one prompt; rows without a
/// domain get `default_domain`. The prompts' source is the file's name without its extension.
pub fn load_file(path: &Path, mapping: &FileMapping, default_domain: &str) -> Result<Vec<Prompt>> {
    let source = path.file_stem().unwrap_or_default().to_string_lossy();
    let single = [&mapping.answer, &mapping.domain, &mapping.kind].into_iter().filter_map(Option::as_deref);
    let mut optional = OptionalColumns::new(single.chain(mapping.tests.iter().flat_map(TestColumns::names)));
    let mut prompts: Vec<Prompt> = Vec::new();
    let mut places: HashMap<String, (usize, usize)> = HashMap::new();
    for row in read_rows(path)? {
        let row = row?;
        optional.note(&row);
        let text = |column: &Option<String>| column.as_ref().map_or(Ok(None), |c| row.text(c, path));
        let question = row.required_text(&mapping.question, path)?;
        let answer = text(&mapping.answer)?.and_then(|answer| gold_answer(&answer));
        let domain = text(&mapping.domain)?.unwrap_or_else(|| default_domain.to_owned());
        let kind = text(&mapping.kind)?.unwrap_or_default();
        let mut prompt = Prompt::new(&domain, &kind, question.trim(), answer, &source);
        prompt.tests = mapping.tests.as_ref().map_or(Ok(None), |columns| tests(&row, columns, path))?;
        match places.entry(prompt.id.clone()) {
            Entry::Vacant(entry) => {
                entry.insert((prompts.len(), row.number));
                prompts.push(prompt);
            }
            Entry::Occupied(entry) => {
                let (index, first_row) = *entry.get();
                let kept = &mut prompts[index];
                match (&kept.tests, prompt.tests) {
                    (None, tests) => kept.tests = tests,
                    (Some(first), Some(other)) if *first != other => {
                        return Err(Error::malformed(
                            path,
                            format!(
                                "rows {first_row} and {} ask the same question but have different tests",
                                row.number
                            ),
                            "remove one of them, or map a question column that tells them apart",
                        ));
                    }
                    (Some(_), _) => {}
                }
                match (&kept.answer, prompt.answer) {
                    (None, answer) => kept.answer = answer,
                    (Some(gold), Some(other)) if !crate::verify::verify(gold, &other).correct() && *gold != other => {
                        return Err(Error::malformed(
                            path,
                            format!(
                                "rows {first_row} and {} ask the same question but give different answers, {gold:?} \
                                 and {other:?}",
                                row.number
                            ),
                            "remove one of them, or map a question column that tells them apart",
                        ));
                    }
                    (Some(_), _) => {}
                }
            }
        }
    }
    optional.check(path)?;
    Ok(prompts)
}

/// The tests of a row, as JSON; `None` if it has none.
fn tests(row: &Row, columns: &TestColumns, path: &Path) -> Result<Option<String>> {
    let Some(value) = row.get(&columns.tests).filter(|value| !value.is_null() && value.as_str() != Some("")) else {
        return Ok(None);
    };
    let text = |column: &Option<String>| column.as_ref().map_or(Ok(None), |c| row.text(c, path));
    let cells = Cells {
        tests: value,
        setup: text(&columns.setup)?,
        preamble: text(&columns.preamble)?,
        entry_point: text(&columns.entry_point)?,
    };
    let remedy = "correct the row, or map another column as the tests";
    let malformed = |problem: String| Error::malformed(path, format!("row {}: {problem}", row.number), remedy);
    let spec = TestSpec::of_cells(&cells, columns).map_err(malformed)?;
    serde_json::to_string(&spec).map(Some).map_err(|e| malformed(e.to_string()))
}

/// GSM8K ends its worked solutions with `#### 18`: what follows the last mark is the answer. Blank answers are none.
fn gold_answer(answer: &str) -> Option<String> {
    let answer = answer.rsplit_once("####").map_or(answer, |(_, last)| last).trim();
    (!answer.is_empty()).then(|| answer.to_owned())
}

/// Mapped columns that single rows may lack, but not all of them: such a column is a misspelt one.
pub(crate) struct OptionalColumns<'a> {
    unseen: Vec<&'a str>,
    first: Option<Row>,
}

impl<'a> OptionalColumns<'a> {
    pub(crate) fn new(columns: impl IntoIterator<Item = &'a str>) -> Self {
        Self { unseen: columns.into_iter().collect(), first: None }
    }

    pub(crate) fn note(&mut self, row: &Row) {
        self.unseen.retain(|column| row.get(column).is_none());
        if !self.unseen.is_empty() && self.first.is_none() {
            self.first = Some(row.clone());
        }
    }

    pub(crate) fn check(self, path: &Path) -> Result<()> {
        match (self.unseen.first(), self.first) {
            (Some(column), Some(row)) => Err(row.no_column(column, path)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(question: &str, answer: Option<&str>) -> FileMapping {
        FileMapping { question: question.into(), answer: answer.map(Into::into), domain: None, kind: None, tests: None }
    }

    fn load(content: &str, mapping: &FileMapping) -> Result<Vec<Prompt>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set.jsonl");
        std::fs::write(&path, content).unwrap();
        load_file(&path, mapping, "maths")
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
                Prompt::new("maths", "", "Who?", None, "set"),
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
        assert_eq!(prompts, [Prompt::new("maths", "", "How many?", Some("1/2".into()), "set")]);
        let content = "{\"q\":\"How many?\",\"a\":1}\n\n{\"q\":\"How many?\",\"a\":2}";
        let message = load(content, &mapping("q", Some("a"))).unwrap_err().to_string();
        assert!(message.contains("rows 1 and 3") && message.contains("\"2\""), "{message}");
    }

    #[test]
    fn a_column_that_is_not_there_is_named_with_those_that_are() {
        let content = "{\"q\":\"1\",\"a\":1}\n{\"q\":\"2\"}";
        assert_eq!(load(content, &mapping("q", Some("a"))).unwrap().len(), 2);
        for wrong in [mapping("Q", Some("a")), mapping("q", Some("A"))] {
            let message = load(content, &wrong).unwrap_err().to_string();
            assert!(message.contains("no column") && message.contains("it has: q, a"), "{message}");
        }
        let message = load("{\"q\":\"1\"}\n{\"q\":\" \"}", &mapping("q", None)).unwrap_err().to_string();
        assert!(message.contains("row 2 is empty"), "{message}");
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
        let prompts = load(&content, &mapping).unwrap();
        let spec: TestSpec = serde_json::from_str(prompts[0].tests.as_ref().unwrap()).unwrap();
        let expected = "x = 1\nassert add(1, x) == 2";
        assert!(matches!(&spec.tests, crate::code::CodeTests::Asserts { code, .. } if code == expected), "{spec:?}");
        assert_eq!(prompts[1].tests, None);
        for (second, says) in [("[\"assert add(1, 1) == 2\"]", "different tests"), ("[]", "row 2: there are no cases")]
        {
            let content = row("add", "[\"assert add(1, x) == 2\"]") + &row("add", second);
            let message = load(&content, &mapping).unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
        }
    }

    #[test]
    fn an_unknown_mapping_field_is_refused() {
        let wrong = serde_json::json!({"question": "q", "anwser": "a"});
        assert!(serde_json::from_value::<FileMapping>(wrong).unwrap_err().to_string().contains("anwser"));
    }

    #[test]
    fn published_problem_sets_load() {
        let Ok(shared) = std::env::var("R1D_SHARED") else {
            eprintln!("skipped: set R1D_SHARED to a folder with data/prompts to load published problem sets");
            return;
        };
        let folder = Path::new(&shared).join("data/prompts");
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
            let prompts = load_file(&folder.join(name), &mapping, "maths").unwrap();
            assert!(prompts.len() <= rows && prompts.len() * 100 >= rows * 98, "{name}: {}", prompts.len());
            assert!(prompts.iter().all(|p| p.answer.is_some()), "{name}");
        }
    }
}
