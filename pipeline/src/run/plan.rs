//! The stages of a recipe with their fingerprints, and what running it would do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use folder::base::Base;
use records::content::KnownHashes;
use records::disk;
use serde::Serialize;
use serde_json::{Value, json};

use crate::console::say;
use crate::error::{Failure, Result};
use crate::layout::TOKENIZER;
use crate::recipe::{ProblemSource, Recipe, TraceSource};
use crate::run::options::RunOptions;
use crate::run::seeds::OtherSeeds;
use crate::run::store::{Stage, Store};

/// The names of the stages, in order.
pub(crate) const STAGES: [&str; 8] = ["prompts", "collect", "curate", "pack", "train", "evaluate", "export", "report"];

/// Begins the name of an input of which only the tokenizer counts.
pub(crate) const OF_TOKENIZER: &str = "tokenizer of ";

/// A recipe's stages.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Problems to learn from and to measure on.
    pub prompts: Stage,
    /// Traces.
    pub collect: Stage,
    /// Verdicts and the selection.
    pub curate: Stage,
    /// Token rows, and the base's folder if it is a new one.
    pub pack: Stage,
    /// Student and control.
    pub train: Stage,
    /// Accuracy and held-out loss.
    pub evaluate: Stage,
    /// The Hugging Face folder.
    pub export: Stage,
    /// The report.
    pub report: Stage,
    /// What is known of the recipe's other seeds: in card and report, and in no student.
    pub seeds: OtherSeeds,
}

/// What running a stage would do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StageState {
    /// Its result is there.
    Cached,
    /// It would run: why.
    Runs(String),
}

fn json_of<T: Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|e| Failure::failed(format!("encoding the recipe: {e}")))
}

impl Plan {
    /// Works out all fingerprints. The contents of inputs are read where their hashes are not known. The fingerprint of a stage
    /// that depends on an input in `absent`, which is still to be downloaded, means nothing.
    pub(crate) fn new(recipe: &Recipe, options: &RunOptions, absent: &[&str]) -> Result<Self> {
        let mut number = 0;
        let mut stage = |name: &'static str, version: u32, spec: Value, inputs: Vec<(String, String)>| {
            number += 1;
            debug_assert_eq!(STAGES[number - 1], name);
            let source = |(input, _): &(String, String)| Some((input.clone(), location(options, input)?));
            let sources = inputs.iter().filter_map(source).collect();
            Stage { number, name, version, spec, inputs: inputs.into_iter().collect(), sources }
        };
        let (contents, tokenizer) = contents(recipe, options, absent)?;
        // Of what is absent there is no content, and a fingerprint with it means nothing: see above.
        let content = |name: &str| (format!("input {name}"), contents.get(name).cloned().unwrap_or_default());
        let from = |stage: &Stage| (stage.name.to_owned(), stage.fingerprint());

        let accuracy = recipe.evaluate.accuracy.as_ref();
        let problems = accuracy.map(|a| &a.problems);
        let files = [Some(&recipe.prompts), problems].into_iter().flatten().filter_map(|source| match source {
            ProblemSource::File(file) => Some(content(&file.input)),
            ProblemSource::Procedural(_) => None,
        });
        let prompts = stage(
            "prompts",
            3,
            json!({"prompts": json_of(&recipe.prompts)?, "problems": json_of(&problems)?}),
            files.collect(),
        );

        let mut inputs = vec![from(&prompts)];
        match &recipe.collect {
            TraceSource::Import(file) => inputs.push(content(&file.input)),
            TraceSource::Teacher(teacher) if teacher.model == teacher::embedded::NAME => {
                inputs.push(("embedded teacher".to_owned(), teacher::embedded::fingerprint()));
            }
            TraceSource::Teacher(_) | TraceSource::Worked(_) => {}
        }
        let collect = stage("collect", 2, json_of(&recipe.collect)?, inputs);
        let mut inputs = vec![from(&prompts), from(&collect)];
        inputs.extend(recipe.benchmarks().map(|benchmark| content(&benchmark.input)));
        // Verdicts count its tokens, and depend on nothing else of the base.
        if let Some(name) = recipe.base_input() {
            inputs.push((format!("{OF_TOKENIZER}input {name}"), tokenizer.unwrap_or_default()));
        }
        let mut curation = json_of(&recipe.curate)?;
        curation["rules"] = curate::rule_versions();
        let curate = stage("curate", 4, curation, inputs);

        let mut inputs = vec![from(&curate)];
        if let Base::Folder { input, .. } = &recipe.student.base {
            inputs.push(content(input));
        }
        let control = accuracy.is_some_and(|a| a.control);
        let pack_spec =
            json!({"pack": json_of(&recipe.pack)?, "base": json_of(&recipe.student.base)?, "control": control});
        let pack = stage("pack", 2, pack_spec, inputs);
        let train = stage("train", 4, json_of(&recipe.train)?, vec![from(&pack)]);
        let mut evaluation = json!({"accuracy": Value::Null, "held_out": recipe.pack.held_out});
        if let Some(accuracy) = accuracy {
            evaluation["accuracy"] = json!({"protocol": json_of(&accuracy.protocol)?, "teacher": accuracy.teacher});
        }
        let evaluate = stage("evaluate", 2, evaluation, vec![from(&prompts), from(&collect), from(&train)]);
        let seeds = OtherSeeds::of(recipe, &[&prompts, &collect, &curate, &pack])?;
        let table = json_of(&seeds)?;
        let spec = json!({"export": json_of(&recipe.export)?, "seeds": &table});
        let export = stage("export", 3, spec, vec![from(&train), from(&evaluate)]);
        let spec = json!({"recipe": json_of(recipe)?, "seeds": table});
        let report = stage("report", 2, spec, vec![from(&export)]);
        Ok(Self { prompts, collect, curate, pack, train, evaluate, export, report, seeds })
    }

    /// All stages, in order.
    pub(crate) fn stages(&self) -> [&Stage; 8] {
        [
            &self.prompts,
            &self.collect,
            &self.curate,
            &self.pack,
            &self.train,
            &self.evaluate,
            &self.export,
            &self.report,
        ]
    }
}

/// The hashes of all inputs, by name, but of those that are `absent`; and that of the base's tokenizer, if it has one.
fn contents<'a>(
    recipe: &'a Recipe,
    options: &RunOptions,
    absent: &[&str],
) -> Result<(BTreeMap<&'a str, String>, Option<String>)> {
    let (mut hashes, error) = KnownHashes::open(&hashes_file(options));
    if let Some(error) = error {
        say(&format!("hashes of inputs that were read before are not known: {error}"));
    }
    let mut contents = BTreeMap::new();
    let mut tokenizer = None;
    for name in recipe.data_inputs().into_iter().filter(|name| !absent.contains(name)) {
        contents.insert(name, options.files(name)?.content_hash(|path| hashes.content_hash(path))?);
    }
    if let Some(name) = recipe.base_input().filter(|name| !absent.contains(name)) {
        let folder = options.folder(name)?;
        contents.insert(name, hashes.content_hash(&folder)?);
        // The pack stage refuses a base without one.
        tokenizer = disk::if_there(folder.join(TOKENIZER))?.map(|file| hashes.content_hash(&file)).transpose()?;
    }
    if let Err(error) = hashes.save() {
        say(&format!("the inputs will be read again next time: {error}"));
    }
    Ok((contents, tokenizer))
}

/// Where hashes of inputs are remembered, for all runs of this user.
fn hashes_file(options: &RunOptions) -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(|| options.runs.join(".cache")).join("r1-distill/hashes.json")
}

/// What running a stage would do, given what is in the store.
pub(crate) fn state(store: &Store, stage: &Stage) -> Result<StageState> {
    if store.is_complete(stage)? {
        return Ok(StageState::Cached);
    }
    if disk::exists(&store.dir(stage))? {
        return Ok(StageState::Runs("goes on where it was stopped".into()));
    }
    // Compared with the result that differs in the fewest places.
    let closest = store.records(stage.name)?.into_iter().map(|old| changes(&old, stage)).min_by_key(Vec::len);
    Ok(StageState::Runs(match closest {
        Some(changes) => changes.join("; "),
        None => "has not run yet".into(),
    }))
}

/// Which input that is, or is a part of.
fn input_name(input: &str) -> Option<&str> {
    input.strip_prefix(OF_TOKENIZER).unwrap_or(input).strip_prefix("input ")
}

/// Where it is.
fn location(options: &RunOptions, input: &str) -> Option<String> {
    Some(options.inputs.get(input_name(input)?)?.display().to_string())
}

/// Every place in which a stage differs from a recorded one.
fn changes(old: &records::artifact::ArtifactRecord, new: &Stage) -> Vec<String> {
    let mut found = Vec::new();
    if old.version != new.version {
        found.push(format!("the stage itself changed (version {} → {})", old.version, new.version));
    }
    differences("", &old.spec, &new.spec, &mut found);
    let names: std::collections::BTreeSet<&String> = old.inputs.keys().chain(new.inputs.keys()).collect();
    for name in names {
        if old.inputs.get(name) != new.inputs.get(name) {
            let what = match (old.inputs.contains_key(name), new.inputs.contains_key(name)) {
                (false, _) => "is new",
                (_, false) => "is gone",
                _ if input_name(name).is_some() => "has other content",
                _ => "changes",
            };
            found.push(format!("{name} {what}"));
        }
    }
    found
}

/// Fields in which two JSON values differ, by path.
fn differences(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    if let (Value::Object(a), Value::Object(b)) = (old, new) {
        let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let none = Value::Null;
            differences(&path, a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none), found);
        }
    } else if old != new {
        found.push(format!("{path}: {old} → {new}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_come_and_go_are_told_from_those_that_change() {
        let inputs = |names: &[(&str, &str)]| names.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let stage = |inputs| Stage {
            number: 3,
            name: "curate",
            version: 3,
            spec: json!({"policy": "true"}),
            inputs,
            sources: BTreeMap::new(),
        };
        let old = stage(inputs(&[("collect", "1"), ("input aime24", "1"), ("input amc", "1")]));
        let record = records::artifact::ArtifactRecord {
            stage: old.name.to_owned(),
            version: 3,
            fingerprint: old.fingerprint(),
            spec: old.spec,
            inputs: old.inputs,
            sources: BTreeMap::new(),
            summary: Value::Null,
            seconds: 0.0,
        };
        let new = stage(inputs(&[("collect", "2"), ("input aime24", "2"), ("input math500", "1")]));
        assert_eq!(
            changes(&record, &new),
            ["collect changes", "input aime24 has other content", "input amc is gone", "input math500 is new"]
        );
    }

    #[test]
    fn differences_name_the_field_and_both_values() {
        let mut found = Vec::new();
        let old = json!({"optimizer": {"learning_rate": 0.001, "beta1": 0.9}, "epochs": 2});
        let new = json!({"optimizer": {"learning_rate": 0.002, "beta1": 0.9}, "epochs": 2, "seed": 1});
        differences("", &old, &new, &mut found);
        assert_eq!(found, ["optimizer.learning_rate: 0.001 → 0.002", "seed: null → 1"]);
    }
}
