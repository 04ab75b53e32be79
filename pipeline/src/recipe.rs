//! A recipe: everything that decides the result, each value written out, and nothing that does not.
//!
//! Devices, endpoints, paths, keys and concurrency are run options; see [`crate::run::options`]. Input files and folders are
//! named here and given on the command line; what counts is their content.

mod diagnostic;
mod fit;
mod places;
pub(crate) mod seed_table;
mod shape;
mod text;
mod values;

use std::path::Path;

use annotate_snippets::Renderer;
use curate::{Benchmark, CurateConfig};
use folder::base::Base;
use generate::evaluate::Protocol;
use records::record::Sampling;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use sources::formats::Format;
use sources::import::TraceMapping;
use sources::problems::ProblemSpec;
use sources::prompts::FileMapping;
use tokens::pack::TooLong;
use train::TrainConfig;

use self::diagnostic::{Diagnostic, Diagnostics};
use self::places::Places;
use self::seed_table::Seeds;
use self::text::PolicyFile;
use crate::console::colour;
use crate::error::Failure;

/// The whole recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum ProblemSource {
    /// Arithmetic word problems, generated.
    Procedural(ProblemSpec),
    /// A file or several.
    File(Box<ProblemFile>),
}

/// Files of problems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Worked {}

/// What the student starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Student {
    /// A model folder, or random weights.
    pub base: Base,
}

/// How traces become token rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evaluate {
    /// Unseen problems to sample on; leave out to measure only the held-out loss.
    pub accuracy: Option<Accuracy>,
}

/// Measuring by sampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Export {
    /// Name in the model card.
    pub model_name: String,
    /// Licence in the model card, as the Hub spells it.
    pub license: String,
    /// Weight files are cut at this size, in gigabytes.
    pub shard_gigabytes: f64,
}

impl Recipe {
    /// Reads a recipe file; returns it with its text.
    pub(crate) fn load(path: &Path) -> Result<(Self, String), Failure> {
        let text = text::read(path).map_err(|problem| {
            let path = path.display();
            Failure::usage(format!(
                "cannot read the recipe {path}: {problem}; `r1-distill init` writes one to start from"
            ))
        })?;
        let (mut recipe, text) = Self::parse(path, text).map_err(|found| {
            let renderer = if colour(&std::io::stderr()) { Renderer::styled() } else { Renderer::plain() };
            Failure::shown(found.render(&renderer))
        })?;
        if let Some(seeds) = &mut recipe.seeds {
            seeds.read(path).map_err(|failure| failure.about(&path.display().to_string()))?;
        }
        Ok((recipe, text))
    }

    /// Makes a recipe of a text. Returns it with the text, and a policy's file in it: so what a run keeps is complete.
    fn parse(path: &Path, text: String) -> Result<(Self, String), Diagnostics> {
        let mut policy = None;
        match Self::of(path, &text, &mut policy) {
            Ok(recipe) => Ok((recipe, with_policy(text, policy.as_ref()))),
            Err(all) => Err(Diagnostics { name: path.display().to_string(), text, all }),
        }
    }

    fn of(path: &Path, text: &str, policy: &mut Option<PolicyFile>) -> Result<Self, Vec<Diagnostic>> {
        let mut root = text::parse(text).map_err(|one| vec![*one])?;
        let mut found = Vec::new();
        match text::policy_inside(path, text, root.get_mut()) {
            Ok(file) => *policy = file,
            Err(one) => found.push(*one),
        }
        let schema = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let schema = schema.into_generator().into_root_schema_for::<Self>();
        found.extend(fit::mistakes(text, root.get_ref(), schema.as_value()));
        if !found.is_empty() {
            return Err(found);
        }
        let fields = root.clone();
        let recipe = Self::deserialize(toml::Deserializer::from(root))
            .map_err(|e| vec![Diagnostic::at(e.span().unwrap_or(0..0), e.message(), "")])?;
        let places = Places { text, root: fields.get_ref(), policy: policy.as_ref() };
        let found: Vec<Diagnostic> = recipe.check().into_iter().map(|mistake| places.shown(mistake)).collect();
        if found.is_empty() { Ok(recipe) } else { Err(found) }
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

/// Puts the text of a policy's file where the recipe names it. The lines of the recipe stay where they are.
fn with_policy(text: String, policy: Option<&PolicyFile>) -> String {
    let Some(PolicyFile { text: sql, named, .. }) = policy else { return text };
    // JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
    let quoted = serde_json::Value::from(sql.as_str()).to_string().replace('\u{7f}', "\\u007f");
    format!("{}{quoted}{}", &text[..named.start], &text[named.end..])
}

#[cfg(test)]
mod tests;
