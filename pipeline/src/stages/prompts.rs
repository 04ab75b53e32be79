//! Stage 1: the problems to learn from, and the problems to measure on.

use std::collections::HashSet;
use std::path::Path;

use data::artifact::Artifact;
use data::parquet_file::{read_records, write_records};
use data::record::Prompt;
use serde_json::json;

use super::{number, realize};
use crate::error::{Failure, Result};
use crate::recipe::ProblemSource;
use crate::run::{Halt, Run};

/// Marker: `prompts/prompts.parquet` and `problems/problems.parquet`.
#[derive(Debug)]
pub(crate) struct Prompts;

/// Makes or reads both sets. A problem that is measured on is never learned from.
pub(crate) fn stage(run: &Run) -> std::result::Result<Artifact<Prompts>, Halt> {
    let describe = |s: &serde_json::Value| {
        let held = number(s, "taken_out");
        let note = if held > 0 { format!(", {held} taken out because they are measured on") } else { String::new() };
        format!("{} to learn from, {} to measure on{note}", number(s, "prompts"), number(s, "problems"))
    };
    realize(run, &run.plan.prompts, describe, |dir| {
        let problems = match &run.recipe.evaluate.accuracy {
            Some(accuracy) => load(run, &accuracy.problems)?,
            None => Vec::new(),
        };
        let measured: HashSet<&str> = problems.iter().map(|p| p.id.as_str()).collect();
        let all = load(run, &run.recipe.prompts)?;
        let count = all.len();
        let prompts: Vec<Prompt> = all.into_iter().filter(|p| !measured.contains(p.id.as_str())).collect();
        if prompts.is_empty() {
            return Err(Failure::usage("[prompts] gives no problem to learn from that is not also measured on"));
        }
        write_records(&dir.join("prompts/prompts.parquet"), &prompts)?;
        write_records(&dir.join("problems/problems.parquet"), &problems)?;
        let taken_out = count - prompts.len();
        Ok(json!({"prompts": prompts.len(), "problems": problems.len(), "taken_out": taken_out}))
    })
}

fn load(run: &Run, source: &ProblemSource) -> Result<Vec<Prompt>> {
    match source {
        ProblemSource::Procedural(spec) => {
            Ok(data::problems::generate(spec)?.into_iter().map(|problem| problem.prompt).collect())
        }
        ProblemSource::File(file) => {
            Ok(data::prompts::load_file(run.options.input(&file.input)?, &file.columns, &file.domain)?)
        }
    }
}

/// The problems to learn from.
pub(crate) fn prompts(dir: &Path) -> Result<Vec<Prompt>> {
    Ok(read_records(&dir.join("prompts/prompts.parquet"))?)
}

/// The problems to measure on.
pub(crate) fn problems(dir: &Path) -> Result<Vec<Prompt>> {
    Ok(read_records(&dir.join("problems/problems.parquet"))?)
}
