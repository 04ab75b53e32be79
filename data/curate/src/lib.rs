//! Curation: rules annotate every trace, a policy in SQL selects.
//!
//! R1 was distilled from samples that passed rejection: right answer, readable, complete (arXiv 2501.12948, section
//! 2.3.3). Here a rule never drops a trace. It writes its verdict into a column, and the recipe's policy, a condition on
//! those columns, decides. So a choice can be revisited with one query, and an ablation is a change of one line.
//!
//! What rules cannot tell, a model may be asked (see [`Judging`]); its verdict is a column too.
//!
//! Traces are read a part at a time; what is kept of each is narrow (see [`Verdict`](records::record::Verdict)), and text
//! never enters DataFusion: the policy runs over the verdicts and yields row numbers. What a group of rules found of a part
//! is kept on disk, under the name of all that it depends on (`rules::cache`): a run that was killed, or whose recipe or traces
//! changed in part, judges only the rest.

#[cfg(test)]
#[path = "../../../tests/checked.rs"]
mod checked;
pub mod inspect;
mod llm_judge;
mod policy;
mod rules;
mod verdicts;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use records::parquet_file::{parquet_files, parquet_files_if_there, read_rows_at, row_count, write_records};
use records::record::{CuratedTrace, Message, Prompt, PromptId, Trace, TraceId};
use records::{Error, Mistake, Result};
use sandbox::Limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sources::rows::Flaw;
use text::contamination::{Item, Preset};
use text::duplicates::Near;
use tokens::tokenizer::Tokenizer;

pub use self::llm_judge::{Batch, JudgeConfig, JudgeVerdict, Judging, Opinion, REMINDER, rows_to_judge};
use self::verdicts::write_verdicts;
use crate::policy::clauses::check_condition;
pub use crate::policy::quotas::{Balance, BalanceLine, Balanced, Others};
use crate::policy::refused::{POLICY, PREFER, WHERE};
pub use crate::policy::select::{Matching, RuleOutcome, matching, rule_outcomes};
pub use crate::rules::cache::Reuse;
use crate::rules::cache::{Folders, Group, Reader, RuleCache};
use crate::rules::duplicates::find_duplicates;
use crate::rules::groups::{Answers, Benchmarks, Form, Length, Similarity};
use crate::rules::programs::CodeJudge;

/// In a curation's folder: the verdicts on all traces, a folder of Parquet.
pub const VERDICTS: &str = "verdicts";
/// In a curation's folder: the traces that were selected, a folder of Parquet.
pub const CURATED: &str = "curated";
/// In a curation's folder: what each group of rules found, kept for later runs.
pub const RULES: &str = "rules";

/// Traces in memory at once.
const PART_ROWS: usize = 8192;

/// The recipe's section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurateConfig {
    /// A SQL condition on the columns of the verdicts; the terms joined by AND are the lines of the funnel.
    pub policy: String,
    /// The most traces of one prompt (or of prompts that are duplicates) that are kept: the first ones, or those that
    /// `balance` prefers. Left out: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_per_prompt: Option<u32>,
    /// How many of each domain are kept, or of each value of another column.
    pub balance: Option<Balance>,
    /// When prompts count as one.
    pub near_prompts: Near,
    /// When traces of one prompt count as one.
    pub near_traces: Near,
    /// Benchmarks that must not be trained on.
    pub contamination: Option<Contamination>,
    /// Programs in answers are run on the tests of their prompts, in sandboxes, with these limits. Without this, nothing
    /// that a model wrote is ever run.
    pub code: Option<Limits>,
    /// A model that judges answers which rules cannot verify.
    pub judge: Option<JudgeConfig>,
}

impl CurateConfig {
    /// What cannot be carried out.
    pub fn check(&self) -> Vec<Mistake> {
        let mut found = check_condition(&POLICY, &self.policy);
        if self.traces_per_prompt == Some(0) {
            found.push(Mistake::new(
                "curate.traces_per_prompt",
                "it is 0",
                "leave it out to keep all, or set it to 1 or more",
            ));
        }
        for (name, near) in [("near_prompts", self.near_prompts), ("near_traces", self.near_traces)] {
            found.extend(near.check().into_iter().map(|mistake| mistake.within(name).within("curate")));
        }
        found.extend(self.balance.as_ref().and_then(|balance| balance.check().err()).map(|mistake| *mistake));
        found.extend(self.judge.iter().flat_map(JudgeConfig::check));
        let limits = self.code.iter().flat_map(Limits::check);
        found.extend(limits.map(|mistake| mistake.within("curate.code")));
        found
    }

    /// The first field that depends on a column of the verdicts.
    pub fn naming(&self, column: &str) -> Option<&'static str> {
        let balance = self.balance.as_ref();
        let clauses = [
            (POLICY.name, Some(&self.policy)),
            ("curate.balance.by", balance.map(|balance| &balance.by)),
            (PREFER.name, balance.and_then(|balance| balance.prefer.as_ref())),
            (WHERE.name, self.judge.as_ref().map(|judge| &judge.condition)),
        ];
        clauses
            .into_iter()
            .find(|(_, clause)| clause.is_some_and(|clause| policy::clauses::names_column(clause, column)))
            .map(|(f, _)| f)
    }
}

/// Benchmarks that must not be trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contamination {
    /// Whose rule.
    pub preset: Preset,
    /// Their files.
    pub benchmarks: Vec<Benchmark>,
}

/// A benchmark's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// Its name in the verdicts.
    pub name: String,
    /// The input's name; `--input NAME=PATH` says where it is.
    pub input: String,
    /// The column of the question.
    pub question: String,
    /// The column of the reference solution.
    pub solution: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curation {
    /// All traces.
    pub total: usize,
    /// The traces that were selected.
    pub selected: usize,
    /// The terms of the policy in order, then the limit of traces per prompt and the quotas, where there are any.
    pub funnel: Vec<FunnelStep>,
    /// What came of the quotas.
    pub balanced: Option<Balanced>,
    /// Common rules that are not in the policy, and what each would drop of all traces.
    pub others: Vec<FunnelStep>,
}

/// One line of the funnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelStep {
    /// The rule, in SQL.
    pub rule: String,
    /// How many of all traces fail this rule alone.
    pub dropped: usize,
    /// How many pass this rule and those before it.
    pub remaining: usize,
}

/// Reads the items of a benchmark's file.
pub fn benchmark_items(benchmark: &Benchmark, path: &Path) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for row in sources::rows::read_rows(path)? {
        let row = row?;
        let flawed = |flaw: Flaw| flaw.at(path, row.number);
        let solution = benchmark.solution.as_ref().map_or(Ok(None), |column| row.text(column)).map_err(flawed)?;
        items.push(Item {
            benchmark: benchmark.name.clone(),
            id: row.number.to_string(),
            question: row.required_text(&benchmark.question).map_err(flawed)?,
            solution,
        });
    }
    Ok(items)
}

/// What is judged, and where what was judged before may be found.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The prompts.
    pub prompts: &'a [Prompt],
    /// The folder of traces.
    pub traces: &'a Path,
    /// Names these prompts and traces: others have another name.
    pub name: &'a str,
    /// The file of what programs must pass, if any prompt has tests.
    pub tests: Option<&'a Path>,
    /// The tokenizer of what will be trained, if it is known already.
    pub tokenizer: Option<Tokenizer>,
    /// The items of the benchmarks.
    pub items: Vec<Item>,
    /// The folders `rules` of other runs.
    pub earlier: &'a [PathBuf],
    /// The most programs that are run at a time.
    pub sandboxes: usize,
}

/// The groups of rules and their versions: part of what decides the verdicts.
pub fn rule_versions() -> serde_json::Value {
    fn version<G: Group>() -> (&'static str, u32) {
        (G::NAME, G::VERSION)
    }
    let versions = [
        version::<Form>(),
        version::<Length>(),
        version::<Answers>(),
        version::<Similarity>(),
        version::<Benchmarks>(),
        version::<CodeJudge<'static>>(),
    ];
    versions.into_iter().map(|(name, version)| (name.to_owned(), json!(version))).collect()
}

/// Judges all traces of a folder by the rules and writes `verdicts/part-*.parquet` under `out`. `rules/` holds what is
/// known of single traces, for runs that change something else. Returns what was known and what was judged.
pub fn annotate(inputs: Inputs<'_>, config: &CurateConfig, out: &Path) -> Result<Vec<Reuse>> {
    let Inputs { prompts, traces, name, tests, tokenizer, items, earlier, sandboxes } = inputs;
    let parts = parts(traces)?;
    if parts.is_empty() {
        return Err(Error::malformed(traces, "there are no traces to curate", "run the stage that collects them"));
    }
    let folders = Folders::new(&out.join(RULES), earlier);
    let prompts = Prompts::new(prompts);
    let mut rules = Rules {
        form: RuleCache::new(Form, &folders, name),
        length: tokenizer.map(|tokenizer| RuleCache::new(Length(tokenizer), &folders, name)),
        answers: RuleCache::new(Answers, &folders, name),
        likeness: RuleCache::new(Similarity(config.near_traces), &folders, name),
        contamination: config
            .contamination
            .as_ref()
            .map(|c| RuleCache::new(Benchmarks::new(c.preset, items), &folders, name)),
        code: match config.code {
            Some(limits) => Some(RuleCache::new(CodeJudge::new(tests, limits, sandboxes)?, &folders, name)),
            None => None,
        },
    };
    for (number, part) in parts.iter().enumerate() {
        rules.complete(number, &mut Reader::new(part, &prompts))?;
    }
    rules.code.as_ref().map_or(Ok(()), RuleCache::finish)?;
    let duplicates = find_duplicates(&prompts, &parts, &rules, config, &folders, name)?;
    clear(&out.join(VERDICTS))?;
    write_verdicts(&prompts, &parts, &rules, &duplicates, out)?;
    Ok(rules.reuse())
}

/// Selects by the verdicts under `out`, and writes `curated/part-*.parquet` there. That nothing is selected is a result too
/// (see [`Curation::nothing_selected`]): the verdicts stay readable, and so does the table without rows.
pub async fn select(prompts: &[Prompt], traces: &Path, config: &CurateConfig, out: &Path) -> Result<Curation> {
    clear(&out.join(CURATED))?;
    let parts = parts(traces)?;
    let selection = Box::pin(policy::select::selection(out, config)).await?;
    let (judged, all) = (selection.summary.total, parts.last().map_or(0, Part::end));
    if judged != all {
        // DataFusion passes over an empty file without a word.
        let problem = format!("there are {judged} verdicts on {all} traces");
        return Err(Error::malformed(&out.join(VERDICTS), problem, "remove the stage's folder to make them again"));
    }
    write_curated(&Prompts::new(prompts), &parts, &selection.rows, out)?;
    Ok(selection.summary)
}

/// The prompts by their ids.
struct Prompts<'a> {
    all: &'a [Prompt],
    places: HashMap<&'a PromptId, usize>,
}

impl<'a> Prompts<'a> {
    fn new(all: &'a [Prompt]) -> Self {
        Self { all, places: all.iter().zip(0..).map(|(prompt, place)| (&prompt.id, place)).collect() }
    }

    /// Where the prompt is that a trace answers.
    fn place(&self, prompt_id: &PromptId, trace_id: &TraceId) -> Result<usize> {
        self.places.get(prompt_id).copied().ok_or_else(|| {
            Error::invalid(
                format!("trace {trace_id}"),
                format!("it answers prompt {prompt_id}, which is not among the prompts"),
                "curate traces together with the prompts they were collected for",
            )
        })
    }

    fn of(&self, trace: &Trace) -> Result<&'a Prompt> {
        Ok(&self.all[self.place(&trace.prompt_id, &trace.id)?])
    }
}

/// All that judges single traces.
struct Rules<'a> {
    form: RuleCache<'a, Form>,
    length: Option<RuleCache<'a, Length>>,
    answers: RuleCache<'a, Answers>,
    likeness: RuleCache<'a, Similarity>,
    contamination: Option<RuleCache<'a, Benchmarks>>,
    code: Option<RuleCache<'a, CodeJudge<'a>>>,
}

impl Rules<'_> {
    /// Judges what is not known of a part.
    fn complete(&mut self, number: usize, reader: &mut Reader<'_>) -> Result<()> {
        self.form.complete(number, reader)?;
        self.length.as_mut().map_or(Ok(()), |kept| kept.complete(number, reader))?;
        self.answers.complete(number, reader)?;
        self.likeness.complete(number, reader)?;
        self.contamination.as_mut().map_or(Ok(()), |kept| kept.complete(number, reader))?;
        self.code.as_mut().map_or(Ok(()), |kept| kept.complete(number, reader))
    }

    fn reuse(&self) -> Vec<Reuse> {
        let always = [self.form.reuse(), self.answers.reuse(), self.likeness.reuse()];
        let length = self.length.as_ref().map(RuleCache::reuse);
        let contamination = self.contamination.as_ref().map(RuleCache::reuse);
        always.into_iter().chain(length).chain(contamination).chain(self.code.as_ref().map(RuleCache::reuse)).collect()
    }
}

/// Some rows of a file of traces.
struct Part {
    path: PathBuf,
    /// The first row in the file.
    from: usize,
    rows: usize,
    /// The first row among all traces.
    first: usize,
}

fn parts(folder: &Path) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut first = 0;
    for path in parquet_files(folder)? {
        let count = row_count(&path)?;
        for from in (0..count).step_by(PART_ROWS) {
            let rows = PART_ROWS.min(count - from);
            parts.push(Part { path: path.clone(), from, rows, first });
            first += rows;
        }
    }
    Ok(parts)
}

impl Part {
    fn all(&self) -> Vec<usize> {
        (self.from..self.from + self.rows).collect()
    }

    fn end(&self) -> usize {
        self.first + self.rows
    }
}

/// Removes the parts that a run before this one wrote: there may have been more.
fn clear(folder: &Path) -> Result<()> {
    for path in parquet_files_if_there(folder)? {
        std::fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
    }
    Ok(())
}

fn part_path(out: &Path, folder: &str, number: usize) -> PathBuf {
    out.join(folder).join(format!("part-{number:05}.parquet"))
}

/// Rows of all traces, in order, as rows of the files they are in.
fn by_part<'a>(parts: &'a [Part], mut rows: &[u32]) -> Vec<(&'a Part, Vec<usize>)> {
    let mut found = Vec::new();
    for part in parts {
        let count = rows.partition_point(|row| (*row as usize) < part.end());
        let (here, after) = rows.split_at(count);
        rows = after;
        if !here.is_empty() {
            found.push((part, here.iter().map(|row| *row as usize - part.first + part.from).collect()));
        }
    }
    found
}

/// Writes the selected traces in the Hub's chat schema.
fn write_curated(prompts: &Prompts<'_>, parts: &[Part], rows: &[u32], out: &Path) -> Result<()> {
    for (number, (part, wanted)) in by_part(parts, rows).into_iter().enumerate() {
        let traces: Vec<Trace> = read_rows_at(&part.path, &wanted)?;
        let curated = traces.iter().map(|trace| Ok(curated_trace(prompts.of(trace)?, trace)));
        let curated: Vec<CuratedTrace> = curated.collect::<Result<_>>()?;
        write_records(&part_path(out, CURATED, number), &curated)?;
    }
    if rows.is_empty() {
        write_records::<CuratedTrace>(&part_path(out, CURATED, 0), &[])?;
    }
    Ok(())
}

fn curated_trace(prompt: &Prompt, trace: &Trace) -> CuratedTrace {
    CuratedTrace {
        trace_id: trace.id.clone(),
        prompt_id: trace.prompt_id.clone(),
        domain: prompt.domain.clone(),
        kind: prompt.kind.clone(),
        source: prompt.source.clone(),
        gold: prompt.answer.clone(),
        messages: prompt.messages("").into_iter().chain([Message::assistant(trace.text())]).collect(),
        num_tokens: trace.completion_tokens.map(i64::from),
    }
}

#[cfg(test)]
mod tests;
