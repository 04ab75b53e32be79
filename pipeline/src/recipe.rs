//! A recipe: everything that decides the result, each value written out, and nothing that does not.
//!
//! Devices, endpoints, paths, keys and concurrency are run options; see [`crate::options`]. Input files and folders are
//! named here and given on the command line; what counts is their content.

use std::path::Path;

use data::curate::{Benchmark, CurateConfig};
use data::dataset::Format;
use data::import::TraceMapping;
use data::pack::TooLong;
use data::problems::ProblemSpec;
use data::prompts::FileMapping;
use data::record::Sampling;
use serde::{Deserialize, Serialize};
use student::base::Base;
use student::evaluate::Protocol;
use student::train::TrainConfig;

use crate::error::Failure;
use crate::seeds::Seeds;

/// The whole recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    /// Name of the run folder.
    pub name: String,
    /// What it is for; printed, decides nothing.
    pub description: String,
    /// The table of several seeds that report and card lead with; decides no student.
    pub seeds: Option<Seeds>,
    /// The problems to learn from.
    pub prompts: ProblemSource,
    /// Where their traces come from.
    pub collect: TraceSource,
    /// Which traces to keep.
    pub curate: CurateConfig,
    /// What the student starts from.
    pub student: Student,
    /// How traces become token rows.
    pub pack: Pack,
    /// How the student is trained.
    pub train: TrainConfig,
    /// How students are measured.
    pub evaluate: Evaluate,
    /// How the student is published.
    pub export: Export,
}

/// Problems, made up or read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum ProblemSource {
    /// Arithmetic word problems, generated.
    Procedural(ProblemSpec),
    /// A file or several.
    File(Box<ProblemFile>),
}

/// Files of problems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProblemFile {
    /// The input's name; `--input NAME=PATH` says where it is.
    pub input: String,
    /// Domain of problems whose rows do not say it.
    pub domain: String,
    /// What its rows are.
    pub format: Format<FileMapping>,
}

/// Where traces come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum TraceSource {
    /// A teacher behind an OpenAI-compatible endpoint.
    Teacher(Teacher),
    /// A file of existing traces, or several.
    Import(TraceFile),
    /// The solutions that come with generated problems.
    Worked(Worked),
}

/// A teacher and how it is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Teacher {
    /// The model's name at its endpoint (`--endpoint URL`), or `embedded` for the one in this binary.
    pub model: String,
    /// Samples a problem.
    pub samples: u32,
    /// Appended to every question; empty for none.
    pub instruction: String,
    /// Temperature, nucleus and token limit.
    pub sampling: Sampling,
    /// Seed of the requests.
    pub seed: u64,
}

/// Files of traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TraceFile {
    /// The input's name; `--input NAME=PATH` says where it is.
    pub input: String,
    /// The teacher's name, where rows do not say it.
    pub teacher: String,
    /// What its rows are.
    pub format: Format<TraceMapping>,
}

/// No settings: the solutions are decided by the problems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Worked {}

/// What the student starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Student {
    /// A model folder, or random weights.
    pub base: Base,
}

/// How traces become token rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pack {
    /// Tokens of a row.
    pub sequence_length: usize,
    /// What becomes of longer traces: `drop` or `split`. Either is counted.
    pub too_long: TooLong,
    /// Curated traces kept out of training to measure the loss on.
    pub held_out: usize,
    /// Seed of the row order and of which traces are held out.
    pub seed: u64,
}

/// How students are measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evaluate {
    /// Unseen problems to sample on; leave out to measure only the held-out loss.
    pub accuracy: Option<Accuracy>,
}

/// Measuring by sampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accuracy {
    /// The problems. Those that are also in `[prompts]` are taken out there.
    pub problems: ProblemSource,
    /// Samples a problem, sampling and seed.
    pub protocol: Protocol,
    /// Ask the teacher too (a teacher that is paid for is paid for this too).
    pub teacher: bool,
    /// Train a control on the bare answers, with the same number of steps, and measure it.
    pub control: bool,
}

/// How the student is published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Export {
    /// Name in the model card.
    pub model_name: String,
    /// Licence in the model card, as the Hub spells it.
    pub licence: String,
    /// Weight files are cut at this size, in gigabytes.
    pub shard_gigabytes: f64,
}

impl Recipe {
    /// Reads a recipe file; returns it with its text.
    pub(crate) fn load(path: &Path) -> Result<(Self, String), Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Failure::usage(format!(
                "cannot read the recipe {}: {e}; `r1-distill init` writes one to start from",
                path.display()
            ))
        })?;
        let text = with_policy_inside(path, text)?;
        let mut recipe: Self = toml::from_str(&text)
            .map_err(|e| Failure::usage(format!("{}: {}", path.display(), e.to_string().trim_end())))?;
        recipe.check().map_err(|problem| Failure::usage(format!("{}: {problem}", path.display())))?;
        if let Some(seeds) = &mut recipe.seeds {
            seeds.read(path).map_err(|failure| failure.about(&path.display().to_string()))?;
        }
        Ok((recipe, text))
    }

    /// Refuses values that no stage could carry out.
    fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || !self.name.chars().all(plain) || self.name.starts_with('.') {
            return Err(format!("name {:?} becomes a folder: use letters, digits, '-' and '_'", self.name));
        }
        if matches!(self.collect, TraceSource::Worked(_)) && !matches!(self.prompts, ProblemSource::Procedural(_)) {
            return Err("collect.kind \"worked\" needs prompts.kind \"procedural\"".into());
        }
        if let TraceSource::Teacher(teacher) = &self.collect {
            sampling("collect.sampling", teacher.sampling)?;
            positive("collect.samples", teacher.samples as usize)?;
        }
        if let Some(accuracy) = &self.evaluate.accuracy {
            sampling("evaluate.accuracy.protocol.sampling", accuracy.protocol.sampling)?;
            positive("evaluate.accuracy.protocol.samples", accuracy.protocol.samples as usize)?;
            if accuracy.teacher && !matches!(self.collect, TraceSource::Teacher(_)) {
                return Err("evaluate.accuracy.teacher is true, but [collect] names no teacher".into());
            }
        }
        self.curate.check()?;
        self.curate.judge.as_ref().map_or(Ok(()), |judge| sampling("curate.judge.sampling", judge.sampling))?;
        if matches!(self.student.base, Base::Random { .. }) && self.curate.names("student_tokens") {
            return Err("[curate] asks for student_tokens, but student.base has random weights, and its tokenizer is made \
                        from the traces that are selected: ask for thinking_chars or tokens, or name a base with a folder"
                .into());
        }
        positive("pack.sequence_length", self.pack.sequence_length)?;
        self.train.check(self.pack.held_out).map_err(|error| error.to_string())?;
        if self.train.lora.is_some() && !matches!(self.student.base, Base::Folder { .. }) {
            return Err("train.lora is set, but student.base has random weights: adapters need a trained base; \
                        name a folder, or leave train.lora out"
                .into());
        }
        let optimizer = &self.train.optimizer;
        for (name, value) in [
            ("learning_rate", optimizer.learning_rate),
            ("max_grad_norm", optimizer.max_grad_norm),
            ("epsilon", optimizer.epsilon),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(format!("train.optimizer.{name} is {value}; it must be above 0"));
            }
        }
        for (name, value) in [("beta1", optimizer.beta1), ("beta2", optimizer.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return Err(format!("train.optimizer.{name} is {value}; it must be in [0, 1)"));
            }
        }
        if self.export.shard_gigabytes.is_nan() || self.export.shard_gigabytes <= 0.0 {
            return Err("export.shard_gigabytes must be above 0".into());
        }
        Ok(())
    }

    /// The benchmarks that must not be trained on.
    pub(crate) fn benchmarks(&self) -> impl Iterator<Item = &Benchmark> {
        self.curate.contamination.iter().flat_map(|contamination| &contamination.benchmarks)
    }

    /// Names of the inputs that are problems, traces or benchmarks.
    pub(crate) fn data_inputs(&self) -> Vec<&str> {
        let mut names = Vec::new();
        let accuracy = self.evaluate.accuracy.as_ref().map(|a| &a.problems);
        for source in [Some(&self.prompts), accuracy].into_iter().flatten() {
            if let ProblemSource::File(file) = source {
                names.push(file.input.as_str());
            }
        }
        if let TraceSource::Import(file) = &self.collect {
            names.push(&file.input);
        }
        names.extend(self.benchmarks().map(|benchmark| benchmark.input.as_str()));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Name of the input that is the base's folder.
    pub(crate) fn base_input(&self) -> Option<&str> {
        match &self.student.base {
            Base::Folder { input, .. } => Some(input),
            Base::Random { .. } => None,
        }
    }
}

/// Puts the text of a policy's file where the recipe names it, `policy = { file = "policy.sql" }`. So what counts is what
/// the file holds, not where it is, and the recipe that a run keeps is complete. The lines of the recipe stay where they are.
fn with_policy_inside(path: &Path, text: String) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Outline {
        curate: Section,
    }
    #[derive(Deserialize)]
    struct Section {
        policy: toml::Spanned<toml::Value>,
    }
    // Whatever else is wrong is told when the whole recipe is read.
    let Ok(Outline { curate: Section { policy } }) = toml::from_str(&text) else { return Ok(text) };
    let span = policy.span();
    let toml::Value::Table(table) = policy.into_inner() else { return Ok(text) };
    let refused = |problem: String| Failure::usage(format!("{}: curate.policy: {problem}", path.display()));
    let written = text.get(span.clone()).unwrap_or_default();
    let file = match table.get("file") {
        Some(toml::Value::String(file)) if table.len() == 1 && written.starts_with('{') => file,
        _ => {
            return Err(refused(
                "write a condition in SQL, or { file = \"policy.sql\" } for one beside the recipe".into(),
            ));
        }
    };
    let file = path.parent().unwrap_or(Path::new("")).join(file);
    let policy = std::fs::read_to_string(&file).map_err(|e| refused(format!("cannot read {}: {e}", file.display())))?;
    // JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
    let quoted = serde_json::Value::String(policy).to_string().replace('\u{7f}', "\\u007f");
    Ok(format!("{}{quoted}{}", &text[..span.start], &text[span.end..]))
}

fn positive(field: &str, value: usize) -> Result<(), String> {
    if value == 0 { Err(format!("{field} is 0; it must be 1 or more")) } else { Ok(()) }
}

fn sampling(field: &str, sampling: Sampling) -> Result<(), String> {
    let Sampling { temperature, top_p, max_tokens } = sampling;
    if !(0.0..=10.0).contains(&temperature) {
        return Err(format!("{field}.temperature is {temperature}; it must be from 0 to 10"));
    }
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(format!("{field}.top_p is {top_p}; it must be above 0 and at most 1"));
    }
    positive(&format!("{field}.max_tokens"), max_tokens as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = include_str!("../../recipes/quickstart.toml");
    const POLICY: &str = "policy = \"well_formed AND finished AND correct AND NOT duplicate\"";

    fn load(policy: &str, sql: Option<&str>) -> Result<(Recipe, String), String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.toml");
        assert!(RECIPE.contains(POLICY));
        std::fs::write(&path, RECIPE.replace(POLICY, policy)).unwrap();
        if let Some(sql) = sql {
            std::fs::create_dir(dir.path().join("policies")).unwrap();
            std::fs::write(dir.path().join("policies/mine.sql"), sql).unwrap();
        }
        Recipe::load(&path).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_policy_in_a_file_is_its_text() {
        let sql = "-- \"readable\" \\ and right\r\nwell_formed AND\tcorrect -- é \u{7f} \u{1}\n";
        let (recipe, text) = load("policy = { file = \"policies/mine.sql\" }", Some(sql)).unwrap();
        assert_eq!(recipe.curate.policy, sql);
        // The recipe that a run keeps needs no file, and its lines are where they were.
        assert_eq!(toml::from_str::<Recipe>(&text).unwrap(), recipe);
        assert_eq!(text.lines().count(), RECIPE.lines().count());
    }

    #[test]
    fn a_policy_of_many_lines_is_taken_as_it_is() {
        let sql = "-- right\nwell_formed\n  AND correct -- and that is all\n";
        let (recipe, _) = load(&format!("policy = \"\"\"\n{sql}\"\"\""), None).unwrap();
        assert_eq!(recipe.curate.policy, sql);
        let (same, _) = load("policy = { file = 'policies/mine.sql' }", Some(sql)).unwrap();
        assert_eq!(recipe, same, "what counts is the text, wherever it stands");
    }

    #[test]
    fn a_policy_that_is_not_there_is_named() {
        let message = load("policy = { file = \"absent.sql\" }", None).unwrap_err();
        assert!(message.contains("curate.policy") && message.contains("absent.sql"), "{message}");
        for policy in ["policy = { path = \"a.sql\" }", "policy = { file = \"a.sql\", more = 1 }", "policy = {}"] {
            let message = load(policy, None).unwrap_err();
            assert!(message.contains("policy.sql"), "{policy}: {message}");
        }
        assert!(load("policy = 3", None).unwrap_err().contains("policy"));
    }
}
