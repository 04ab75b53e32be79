//! Problem files: rows of a format with a name, or of any column names, become [`Prompt`]s, one for each different
//! question.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::dataset::{Columns, Example, Format, Rejected, Seen, Taken, examples};
use crate::files::Files;
use crate::parquet_file::RecordWriter;
use crate::record::{Prompt, TestSpec};
use crate::rows::{Flaw, Row};

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
}

/// What programs must pass: kept on disk as text, since it may be far larger than the problems.
pub struct Tests {
    path: PathBuf,
    writer: Option<RecordWriter<TestSpec>>,
    seen: HashSet<String>,
}

impl Tests {
    /// None yet; the first one begins a Parquet file.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), writer: None, seen: HashSet::new() }
    }

    fn add(&mut self, prompt_id: &str, tests: String) -> Result<()> {
        if !self.seen.insert(prompt_id.to_owned()) {
            return Ok(());
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(RecordWriter::create(&self.path)?),
        };
        writer.write(&[TestSpec { prompt_id: prompt_id.to_owned(), tests }])
    }

    /// Completes the file, if there is one; returns how many there are.
    pub fn finish(self) -> Result<usize> {
        if let Some(writer) = self.writer {
            writer.finish()?;
        }
        Ok(self.seen.len())
    }
}

/// Reads problems. Questions that come up again collapse into one prompt; a row that asks the same but has another answer
/// is kept aside. Rows that do not say it have `domain`, and come from the files' name.
pub fn load(
    files: &Files,
    format: &Format<FileMapping>,
    domain: &str,
    rejected: &mut Rejected,
    tests: &mut Tests,
    go_on: &dyn Fn(Seen) -> bool,
) -> Result<Vec<Prompt>> {
    let mut prompts: Vec<Prompt> = Vec::new();
    // For each id: its place, and the row that had its answer.
    let mut places: HashMap<String, (usize, usize)> = HashMap::new();
    examples(files, format, rejected, go_on, |place, example, rejected| {
        let prompt = Prompt::new(
            example.domain.as_deref().unwrap_or(domain),
            example.kind.as_deref().unwrap_or_default(),
            example.question.trim(),
            example.answer,
            example.source.as_deref().unwrap_or(&files.name),
        );
        match places.entry(prompt.id.clone()) {
            Entry::Vacant(entry) => {
                entry.insert((prompts.len(), place.raw.number));
                prompts.push(prompt.clone());
            }
            Entry::Occupied(mut entry) => {
                let (index, row) = *entry.get();
                let kept = &mut prompts[index];
                match (&kept.answer, prompt.answer) {
                    (None, Some(answer)) => {
                        kept.answer = Some(answer);
                        entry.insert((index, place.raw.number));
                    }
                    (Some(gold), Some(other)) if *gold != other && !crate::verify::verify(gold, &other).correct => {
                        let reason =
                            format!("it asks what row {row} asks, but has another answer, {other:?} and not {gold:?}");
                        rejected.add(place, &reason)?;
                        return Ok(Taken::No);
                    }
                    _ => {}
                }
            }
        }
        if let Some(text) = example.tests {
            tests.add(&prompt.id, text)?;
        }
        Ok(Taken::Yes)
    })?;
    Ok(prompts)
}

impl Columns for FileMapping {
    fn example(&self, row: &Row) -> std::result::Result<Example, Flaw> {
        let text = |column: &Option<String>| column.as_ref().map_or(Ok(None), |column| row.text(column));
        Ok(Example {
            answer: text(&self.answer)?.and_then(|answer| gold_answer(&answer)),
            domain: text(&self.domain)?,
            kind: text(&self.kind)?,
            ..Example::new(row.required_text(&self.question)?)
        })
    }

    fn names(&self) -> Vec<&str> {
        std::iter::once(self.question.as_str()).chain(self.optional()).collect()
    }

    fn optional(&self) -> Vec<&str> {
        [&self.answer, &self.domain, &self.kind].into_iter().filter_map(Option::as_deref).collect()
    }
}

/// GSM8K ends its worked solutions with `#### 18`: what follows the last mark is the answer. Blank answers are none.
fn gold_answer(answer: &str) -> Option<String> {
    let answer = answer.rsplit_once("####").map_or(answer, |(_, last)| last).trim();
    (!answer.is_empty()).then(|| answer.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(question: &str, answer: Option<&str>) -> FileMapping {
        FileMapping { question: question.into(), answer: answer.map(Into::into), domain: None, kind: None }
    }

    fn load(content: &str, mapping: &FileMapping) -> Result<Vec<Prompt>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set.jsonl");
        std::fs::write(&path, content).unwrap();
        load_path(&path, mapping).map(|(prompts, _)| prompts)
    }

    /// The prompts, and how many rows were kept aside.
    fn load_path(path: &Path, mapping: &FileMapping) -> Result<(Vec<Prompt>, u64)> {
        let dir = tempfile::tempdir().unwrap();
        let mut rejected = Rejected::new(dir.path())?;
        let mut tests = Tests::new(&dir.path().join("tests.parquet"));
        let format = Format::Columns(mapping.clone());
        let prompts = super::load(&Files::find(path)?, &format, "maths", &mut rejected, &mut tests, &|_| true)?;
        Ok((prompts, rejected.count()))
    }

    #[test]
    fn columns_are_mapped_and_defaults_fill_in() {
        let mapping = FileMapping {
            question: "meta.ask".into(),
            answer: Some("gold".into()),
            domain: Some("area".into()),
            kind: Some("sort".into()),
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
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set.jsonl");
        std::fs::write(&path, "{\"q\":\"How many?\",\"a\":1}\n\n{\"q\":\"How many?\",\"a\":2}").unwrap();
        let (prompts, rejected) = load_path(&path, &mapping("q", Some("a"))).unwrap();
        assert_eq!((prompts.len(), prompts[0].answer.as_deref(), rejected), (1, Some("1"), 1));
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
            let (prompts, rejected) = load_path(&folder.join(name), &mapping).unwrap();
            eprintln!("{name}: {} prompts, {rejected} rows kept aside", prompts.len());
            assert!(prompts.len() <= rows && prompts.len() * 100 >= rows * 98, "{name}: {}", prompts.len());
            assert!(prompts.iter().all(|p| p.answer.is_some()), "{name}");
        }
    }
}
