//! Stage 2: traces, sampled from a teacher, imported from a file, or written by the problem generator.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use data::artifact::Artifact;
use data::dataset::{Rejected, Seen};
use data::import::Imported;
use data::parquet_file::{read_folder, write_records};
use data::problems::Problem;
use data::record::{FinishReason, Prompt, Trace, short_hash};
use serde_json::{Value, json};

use super::prompts::{Prompts, prompts};
use super::{number, preflight, realize, summary, teacher_access};
use crate::console::Progress;
use crate::error::{Failure, Result};
use crate::recipe::{self, ProblemSource, TraceSource};
use crate::run::{Halt, Run};

/// Marker: `traces/*.parquet`, and the ledger beside them where a teacher was asked.
#[derive(Debug)]
pub(crate) struct Traces;

/// Collects the traces.
pub(crate) fn stage(run: &Run, input: &Artifact<Prompts>) -> std::result::Result<Artifact<Traces>, Halt> {
    let describe = |s: &Value| format!("{} traces, {}", number(s, "traces"), source(s));
    realize(run, &run.plan.collect, describe, |dir| {
        let prompts = prompts(&input.dir)?;
        let folder = dir.join("traces");
        match &run.recipe.collect {
            TraceSource::Teacher(teacher) => {
                preflight::programs(run, input)?;
                ask(run, teacher, &prompts, &folder, &earlier(run, dir, "traces"))
            }
            TraceSource::Import(file) => {
                let imported = import(run, file, &prompts, dir)?;
                summary(&imported)
            }
            TraceSource::Worked(_) => worked(run, &prompts, &folder),
        }
    })
}

/// The folders in which earlier runs of this recipe kept what a stage bought: a trace's id is its request, whatever else
/// has changed since.
pub(crate) fn earlier(run: &Run, dir: &Path, folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(&run.store.root) else { return Vec::new() };
    let others = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut folders: Vec<PathBuf> = others.map(|entry| entry.path()).filter(|path| path != dir).collect();
    folders.sort();
    folders.into_iter().map(|path| path.join(folder)).filter(|path| path.is_dir()).collect()
}

/// Asks a teacher for every problem, except for what `earlier` folders hold; also used to measure it.
pub(crate) fn ask(
    run: &Run,
    teacher: &recipe::Teacher,
    prompts: &[Prompt],
    folder: &Path,
    earlier: &[PathBuf],
) -> Result<Value> {
    let who = format!("teacher {}", teacher.model);
    let access = teacher_access::reach(run, teacher).map_err(|failure| failure.about(&who))?;
    let request = teacher::Request {
        teacher: access.name.clone(),
        instruction: teacher.instruction.clone(),
        samples: teacher.samples,
        sampling: teacher.sampling,
        seed: teacher.seed,
    };
    std::fs::create_dir_all(folder).map_err(|e| data::Error::io("create", folder, e))?;
    for other in earlier {
        teacher::adopt(prompts, &request, other, folder)?;
    }
    let bar = Progress::new("teacher", (prompts.len() * teacher.samples as usize) as u64);
    let progress = |p: teacher::Progress| {
        let message = format!("{} tokens, {} failed", p.completion_tokens, p.failed);
        bar.set(p.done as u64, p.total as u64, &message);
    };
    let stop = run.stop.watch();
    let collecting = teacher::collect(prompts, &request, &access.endpoint, folder, &stop, &progress);
    let collected = run.runtime.block_on(collecting).map_err(|error| Failure::from(error).about(&who))?;
    let mut result = summary(&collected)?;
    result["source"] = json!(format!("{} new from {}", collected.new, access.name));
    Ok(result)
}

/// Where the traces of a summary came from.
fn source(summary: &Value) -> String {
    if let Some(source) = summary["source"].as_str() {
        return source.to_owned();
    }
    let mut parts = vec![format!("imported from {} rows", number(summary, "rows"))];
    let mut note = |field: &str, what: &str| {
        if number(summary, field) > 0 {
            parts.push(format!("{} {what}", number(summary, field)));
        }
    };
    note("elsewhere", "answer other problems");
    note("rejected", "could not be used (rejected.jsonl)");
    parts.join(", ")
}

/// Keeps the traces whose prompt is among those to learn from.
fn import(run: &Run, file: &recipe::TraceFile, prompts: &[Prompt], dir: &Path) -> Result<Imported> {
    let files = run.options.files(&file.input)?;
    let mut rejected = Rejected::new(dir)?;
    let bar = Progress::new("files", files.paths.len() as u64);
    let go_on = |seen: Seen| {
        bar.set(seen.files as u64, seen.of as u64, &format!("files, {} rows", seen.rows));
        !run.stop.asked()
    };
    let path = dir.join("traces/traces-00000.parquet");
    let imported = data::import::import(&files, &file.format, &file.teacher, prompts, &path, &mut rejected, &go_on)?;
    if imported.traces == 0 {
        return Err(Failure::usage(format!(
            "none of the {} imported traces answers a problem of [prompts]; do both sections name the same format, or the \
             same question column?",
            imported.elsewhere
        )));
    }
    Ok(imported)
}

/// The generator's own solutions.
fn worked(run: &Run, prompts: &[Prompt], folder: &Path) -> Result<Value> {
    let ProblemSource::Procedural(spec) = &run.recipe.prompts else {
        return Err(Failure::usage("collect.kind \"worked\" needs prompts.kind \"procedural\""));
    };
    let problems = data::problems::generate(spec)?;
    let solutions: HashMap<&str, &Problem> = problems.iter().map(|p| (p.prompt.id.as_str(), p)).collect();
    let traces: Vec<Trace> = prompts
        .iter()
        .filter_map(|prompt| solutions.get(prompt.id.as_str()))
        .map(|problem| Trace {
            id: short_hash(format!("worked\u{1f}{}", problem.prompt.id).as_bytes()),
            prompt_id: problem.prompt.id.clone(),
            sample: 0,
            thinking: Some(problem.thinking.clone()),
            answer: problem.answer.clone(),
            finish_reason: FinishReason::Stop,
            prompt_tokens: None,
            completion_tokens: None,
            teacher: "worked".into(),
            temperature: None,
            top_p: None,
            max_tokens: None,
            seed: None,
        })
        .collect();
    write_records(&folder.join("traces-00000.parquet"), &traces)?;
    Ok(json!({"traces": traces.len(), "source": "written by the problem generator"}))
}

/// All traces of a collection.
pub(crate) fn traces(dir: &Path) -> Result<Vec<Trace>> {
    Ok(read_folder(&dir.join("traces"))?)
}
