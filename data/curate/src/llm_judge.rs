//! Asking a model where rules cannot tell: a science question, a short text, a proof.
//!
//! R1's rejection sampling had DeepSeek-V3 compare such answers with the ground truth and reply in JSON, an analysis and
//! then `correct` or `incorrect` (arXiv 2501.12948, B.3.3 and Listing 4). Here the recipe says which traces are judged, a
//! condition in SQL on their verdicts, and in which words. Nothing is asked here: this module makes the requests of some
//! traces at a time, reads the replies, and completes the verdicts; whoever has a connection asks in between.
//!
//! The judge sees the question, the gold answer and the final answer, never the thinking. Each stands between two lines
//! that bear a hash of all three, so that no text can end its own place and speak as the recipe.

mod reply;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use records::parquet_file::{parquet_files, read_records, read_rows_at, row_count, write_records};
pub use records::record::JudgeVerdict;
use records::record::{Prompt, PromptId, Sampling, Trace, Verdict, short_hash};
use records::{Mistake, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::reply::Opinion;
use super::{Part, Prompts, VERDICTS, by_part, parts};
use crate::policy::clauses::{check_condition, policy_terms};
use crate::policy::refused::{WHERE, refused};
use crate::policy::select::table;

/// Traces judged at a time, unless one file of verdicts has more.
const BATCH_ROWS: usize = 4096;

/// What a prompt's template may name.
const PLACES: [&str; 3] = ["{question}", "{gold}", "{answer}"];

/// Appended to a request that is made again because its reply could not be read.
pub const REMINDER: &str = "Reply with that JSON object alone, with the keys \"analysis\" and \"correctness\": no other \
                            text, every quote and backslash within strings escaped.";

/// The recipe's section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JudgeConfig {
    /// The model's name at its endpoint (`--judge-endpoint URL`).
    pub model: String,
    /// Which traces are judged: a SQL condition on the columns of the verdicts.
    #[serde(rename = "where")]
    pub condition: String,
    /// What the judge is asked, with `{question}`, `{answer}` and, unless it judges without a reference, `{gold}`.
    pub prompt: String,
    /// Temperature, nucleus and token limit.
    pub sampling: Sampling,
}

impl JudgeConfig {
    /// What cannot be carried out.
    pub(super) fn check(&self) -> Vec<Mistake> {
        let mut found = check_condition(&WHERE, &self.condition);
        let mut refuse = |field: &str, problem: String, remedy: &str| {
            found.push(Mistake::new(format!("curate.judge.{field}"), problem, remedy));
        };
        if self.model.trim().is_empty() {
            refuse("model", "it is empty".into(), "name the judge as its endpoint does");
        }
        for place in ["{question}", "{answer}"] {
            if !self.prompt.contains(place) {
                refuse("prompt", format!("it does not say where {place} goes"), "write it where the text is to stand");
            }
        }
        for piece in pieces(&self.prompt).filter(|piece| is_place(piece) && !PLACES.contains(piece)) {
            refuse("prompt", format!("it names {piece}"), &format!("it may name {}", PLACES.join(", ")));
        }
        found
    }

    /// The request to judge an answer.
    fn request(&self, question: &str, gold: &str, answer: &str) -> Prompt {
        let mark = short_hash([question, gold, answer].join("\u{1f}").as_bytes());
        let delimited = |name: &str, text: &str| {
            // Servers take the tokens that part turns for such in texts too.
            let text = text.trim().replace("<|", "< |").replace("<｜", "< ｜");
            format!("--- {name} {mark} begins ---\n{text}\n--- {name} {mark} ends ---")
        };
        let text: String = pieces(self.prompt.trim())
            .map(|piece| match piece {
                "{question}" => delimited("question", question),
                "{gold}" => delimited("reference answer", gold),
                "{answer}" => delimited("answer", answer),
                other => other.to_owned(),
            })
            .collect();
        Prompt { id: PromptId::of_exact(&text), ..Prompt::new("", "", &text, None, "") }
    }
}

/// A template's placeholders, and what is between them.
fn pieces(template: &str) -> impl Iterator<Item = &str> {
    let mut rest = template;
    std::iter::from_fn(move || {
        let starts = rest.match_indices('{').map(|(at, _)| at);
        let place =
            starts.filter_map(|at| Some(at..at + rest[at..].find('}')? + 1)).find(|p| is_place(&rest[p.clone()]));
        let end = match place {
            Some(Range { start: 0, end }) => end,
            Some(Range { start, .. }) => start,
            None => rest.len(),
        };
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// A name in braces.
fn is_place(piece: &str) -> bool {
    let name = piece.strip_prefix('{').and_then(|piece| piece.strip_suffix('}'));
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

/// The question, after what came before it.
fn conversation(prompt: &Prompt) -> String {
    let before = prompt.context.iter().map(|message| format!("{}: {}\n\n", message.role, message.content));
    before.chain([prompt.question.clone()]).collect()
}

/// What of a trace is judged; `None` if it never came to an answer.
fn final_answer(trace: &Trace) -> Option<&str> {
    let answer = trace.answer.rsplit_once("</think>").map_or(trace.answer.as_str(), |(_, after)| after).trim();
    (!answer.is_empty() && !answer.contains("<think>")).then_some(answer)
}

/// A file of verdicts.
struct VerdictFile {
    path: PathBuf,
    /// Its rows among those of all traces.
    rows: Range<usize>,
}

/// The judging of a folder's traces, some at a time.
pub struct Judging<'a> {
    config: &'a JudgeConfig,
    prompts: Prompts<'a>,
    parts: Vec<Part>,
    files: Vec<VerdictFile>,
    /// The traces that the condition selects, in order.
    rows: Vec<u32>,
}

/// What is judged together.
#[derive(Debug)]
pub struct Batch {
    /// The files of verdicts.
    files: Range<usize>,
    /// The requests, each of them once: the same answer to the same question is judged once.
    pub requests: Vec<Prompt>,
    /// For each trace that is judged, in order, its row and which of the requests it is.
    rows: Vec<(u32, usize)>,
}

impl<'a> Judging<'a> {
    /// Finds out which traces of the folder `traces` are judged, by the verdicts that are under `out`.
    pub async fn new(config: &'a JudgeConfig, prompts: &'a [Prompt], traces: &Path, out: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let mut first = 0;
        for path in parquet_files(&out.join(VERDICTS))? {
            let end = first + row_count(&path)?;
            files.push(VerdictFile { path, rows: first..end });
            first = end;
        }
        let rows = rows_to_judge(out, &config.condition).await?;
        Ok(Self { config, prompts: Prompts::new(prompts), parts: parts(traces)?, files, rows })
    }

    /// How many traces the condition selects.
    pub fn selected(&self) -> usize {
        self.rows.len()
    }

    /// The batches, one after the other.
    pub fn batches(&self) -> impl Iterator<Item = Result<Batch>> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let (from, mut count) = (next, 0);
            while next < self.files.len() && count < BATCH_ROWS {
                count += self.rows_of(next..next + 1).len();
                next += 1;
            }
            (count > 0).then(|| self.batch(from..next))
        })
    }

    fn rows_of(&self, files: Range<usize>) -> &[u32] {
        let of = &self.files[files];
        let bounds = of.first().zip(of.last()).map_or(0..0, |(first, last)| first.rows.start..last.rows.end);
        let at = |row: usize| self.rows.partition_point(|selected| (*selected as usize) < row);
        &self.rows[at(bounds.start)..at(bounds.end)]
    }

    fn batch(&self, files: Range<usize>) -> Result<Batch> {
        let mut batch = Batch { files: files.clone(), requests: Vec::new(), rows: Vec::new() };
        let mut known = HashMap::new();
        let mut rows = self.rows_of(files).iter();
        for (part, wanted) in by_part(&self.parts, rows.as_slice()) {
            let traces: Vec<Trace> = read_rows_at(&part.path, &wanted)?;
            for (trace, row) in traces.iter().zip(rows.by_ref()) {
                let Some(request) = self.request(trace)? else { continue };
                let number = *known.entry(request.id.clone()).or_insert_with(|| {
                    batch.requests.push(request);
                    batch.requests.len() - 1
                });
                batch.rows.push((*row, number));
            }
        }
        Ok(batch)
    }

    /// A trace without a final answer is not judged, nor one without a gold answer by a prompt that names it.
    fn request(&self, trace: &Trace) -> Result<Option<Prompt>> {
        let prompt = self.prompts.of(trace)?;
        let Some(answer) = final_answer(trace) else { return Ok(None) };
        let gold = match prompt.answer.as_deref() {
            Some(gold) => gold,
            None if self.config.prompt.contains("{gold}") => return Ok(None),
            None => "",
        };
        Ok(Some(self.config.request(&conversation(prompt), gold, answer)))
    }

    /// Writes the opinions on a batch's requests into the verdicts on its traces. Returns what each trace got.
    pub fn record(&self, batch: &Batch, opinions: &[Opinion]) -> Result<Vec<JudgeVerdict>> {
        let mut rest = batch.rows.as_slice();
        for file in &self.files[batch.files.clone()] {
            let (here, after) = rest.split_at(rest.partition_point(|(row, _)| (*row as usize) < file.rows.end));
            rest = after;
            if here.is_empty() {
                continue;
            }
            let mut verdicts: Vec<Verdict> = read_records(&file.path)?;
            for (row, request) in here {
                let (verdict, opinion) = (&mut verdicts[*row as usize - file.rows.start], &opinions[*request]);
                verdict.judge_verdict = Some(opinion.verdict);
                verdict.judge_analysis = Some(opinion.analysis.clone());
            }
            write_records(&file.path, &verdicts)?;
        }
        Ok(batch.rows.iter().map(|(_, request)| opinions[*request].verdict).collect())
    }
}

/// The rows of the traces that a judge's condition selects of the verdicts under `out`.
pub async fn rows_to_judge(out: &Path, condition: &str) -> Result<Vec<u32>> {
    Box::pin(selected(out, condition)).await.map_err(|e| refused(&WHERE, condition, &e, None).into())
}

async fn selected(out: &Path, condition: &str) -> std::result::Result<Vec<u32>, DataFusionError> {
    let frame = table(out).await?.drop_columns(WHERE.hidden)?;
    let terms = policy_terms(condition, frame.schema())?.into_iter().map(|(_, term)| term);
    let frame = match terms.reduce(Expr::and) {
        Some(condition) => frame.filter(condition)?,
        None => frame,
    };
    let mut rows = Vec::new();
    for batch in frame.select_columns(&["row"])?.collect().await? {
        rows.extend(batch.column(0).as_primitive::<UInt64Type>().values().iter().map(|row| *row as u32));
    }
    rows.sort_unstable();
    Ok(rows)
}

#[cfg(test)]
mod tests;
