//! Stage 2: traces, sampled from a teacher, imported from a file, or written by the problem generator.

use std::collections::HashMap;
use std::path::Path;

use records::artifact::Artifact;
use records::content::content_hash;
use records::parquet_file::{parquet_files, read_folder, write_records};
use records::record::{FinishReason, Prompt, PromptId, Trace, TraceId, short_hash};
use serde::{Deserialize, Serialize};
use sources::formats::{Rejected, Seen};
use sources::import::Imported;
use sources::problems::Problem;
use teacher::CollectSummary;

use super::preflight;
use super::prompts::{Prompts, prompts};
use super::replies::{adopted, ask};
use crate::console::Progress;
use crate::error::{Failure, Result};
use crate::layout;
use crate::recipe::{self, ProblemSource, TraceSource};
use crate::run::endpoints;
use crate::run::{Halt, Run, realize};

/// The summary of a folder with `traces/*.parquet`, and the ledger beside them where a teacher was asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Traces {
    /// Where they came from.
    #[serde(flatten)]
    pub source: Source,
    /// A hash of their files. A teacher that is asked again may write other texts, under equal ids.
    content: String,
}

/// Where traces came from, and how many.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub(crate) enum Source {
    /// A teacher's replies.
    Teacher(CollectSummary),
    /// A file of traces.
    Import(Imported),
    /// The problem generator.
    Worked { traces: u64 },
}

impl Source {
    /// All traces.
    pub(crate) fn traces(&self) -> u64 {
        match self {
            Self::Teacher(collected) => collected.traces as u64,
            Self::Import(imported) => imported.traces,
            Self::Worked { traces } => *traces,
        }
    }

    fn in_words(&self, recipe: &TraceSource) -> String {
        match (self, recipe) {
            (Self::Teacher(collected), TraceSource::Teacher(teacher)) => {
                let adopted = adopted(&collected.adopted_from);
                let adopted = if adopted.is_empty() { adopted } else { format!(", {adopted}") };
                format!("{} new from {}{adopted}", collected.new, endpoints::name(teacher))
            }
            (Self::Teacher(collected), _) => format!("{} new", collected.new),
            (Self::Import(imported), _) => {
                let mut parts = vec![format!("imported from {} rows", imported.rows)];
                for (count, what) in [
                    (imported.elsewhere, "answer other problems"),
                    (imported.rejected, "could not be used (rejected.jsonl)"),
                ] {
                    if count > 0 {
                        parts.push(format!("{count} {what}"));
                    }
                }
                parts.join(", ")
            }
            (Self::Worked { .. }, _) => "written by the problem generator".to_owned(),
        }
    }
}

/// Collects the traces.
pub(crate) fn stage(run: &Run, input: &Artifact<Prompts>) -> std::result::Result<Artifact<Traces>, Halt> {
    let describe =
        |made: &Traces| format!("{} traces, {}", made.source.traces(), made.source.in_words(&run.recipe.collect));
    realize(run, &run.plan.collect, describe, |dir| {
        let prompts = prompts(&input.dir)?;
        let folder = dir.join(layout::TRACES);
        let source = match &run.recipe.collect {
            TraceSource::Teacher(teacher) => {
                preflight::programs(run, input)?;
                Source::Teacher(ask(run, teacher, &prompts, &folder)?)
            }
            TraceSource::Import(file) => Source::Import(import(run, file, &prompts, dir)?),
            TraceSource::Worked(_) => Source::Worked { traces: worked(run, &prompts, &folder)? },
        };
        Ok(Traces { source, content: content(&folder)? })
    })
}

fn content(folder: &Path) -> Result<String> {
    let hashes = parquet_files(folder)?.iter().map(|path| content_hash(path)).collect::<records::Result<Vec<_>>>()?;
    Ok(short_hash(hashes.join(" ").as_bytes()))
}

/// A name for the content of these traces: verdicts on them are found again by it.
pub(super) fn name(traces: &Artifact<Traces>) -> String {
    format!("{} {}", traces.fingerprint, traces.summary.content)
}

/// Keeps the traces whose prompt is among those to learn from.
fn import(run: &Run, file: &recipe::TraceFile, prompts: &[Prompt], dir: &Path) -> Result<Imported> {
    let files = run.options.files(&file.input)?;
    let mut rejected = Rejected::new(dir)?;
    let bar = Progress::new("files", files.paths.len() as u64);
    let go_on = |seen: Seen| {
        bar.set(seen.files as u64, seen.of as u64, &format!("files, {} rows", seen.rows));
        !run.stop.requested()
    };
    let path = dir.join(layout::TRACES).join("traces-00000.parquet");
    let imported = sources::import::import(&files, &file.format, &file.teacher, prompts, &path, &mut rejected, &go_on)?;
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
fn worked(run: &Run, prompts: &[Prompt], folder: &Path) -> Result<u64> {
    let ProblemSource::Procedural(spec) = &run.recipe.prompts else {
        return Err(Failure::usage("collect.kind \"worked\" needs prompts.kind \"procedural\""));
    };
    let problems = sources::problems::generate(spec)?;
    let solutions: HashMap<&PromptId, &Problem> = problems.iter().map(|p| (&p.prompt.id, p)).collect();
    let trace = |prompt: &Prompt| {
        let problem = solutions.get(&prompt.id).copied().ok_or_else(|| {
            Failure::failed(format!("the generator gives no solution to its problem {}; this is a bug", prompt.id))
        })?;
        let id = TraceId::of_worked_solution(&problem.prompt.id);
        Ok(Trace::new(id, problem.prompt.id.clone(), "worked", 0).with_text(
            Some(problem.thinking.clone()),
            problem.answer.clone(),
            FinishReason::Stop,
        ))
    };
    let traces = prompts.iter().map(trace).collect::<Result<Vec<_>>>()?;
    write_records(&folder.join("traces-00000.parquet"), &traces)?;
    Ok(traces.len() as u64)
}

/// All traces of a collection.
pub(crate) fn traces(dir: &Path) -> Result<Vec<Trace>> {
    Ok(read_folder(&dir.join(layout::TRACES))?)
}
