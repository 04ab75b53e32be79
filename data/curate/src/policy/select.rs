//! The policy over the table of verdicts, and what each of its terms drops.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::common::plan_err;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, col};
use datafusion::prelude::ParquetReadOptions;
use futures::StreamExt;
use records::parquet_file::fields_of;
use records::record::{TraceId, Verdict};
use records::{Error, Result};
use serde::Serialize;

use crate::policy::clauses::{condition, context, names_column, policy_terms, quoted};
use crate::policy::quotas;
use crate::policy::refused::{CONDITION, POLICY, refused};
use crate::{CurateConfig, Curation, FunnelStep, VERDICTS};

/// Rules that most recipes have, for those that a policy leaves out.
const COMMON: [&str; 21] = [
    "well_formed",
    "finished",
    "ending = 'complete'",
    "thinking_ending = 'complete'",
    "correct",
    "code_verdict IS NULL OR code_verdict = 'AC'",
    "judge_verdict IS NULL OR judge_verdict = 'correct'",
    "NOT duplicate",
    "NOT near_duplicate",
    "loop_chars = 0",
    "most_repeated_20gram <= 5",
    "duplicate_sentences <= 0.25",
    "compression <= 5",
    "stray_letters = 0",
    "foreign_paragraphs = 0",
    "lost_characters = 0",
    "code_blocks = 0",
    "NOT identity",
    "NOT refusal",
    "NOT leak",
    "contaminated IS NULL",
];

/// The rows that are kept, and how that came about.
pub(crate) struct Selection {
    pub(crate) rows: Vec<u32>,
    pub(crate) summary: Curation,
}

/// Runs the policy over `verdicts` in `out`.
pub(crate) async fn selection(out: &Path, config: &CurateConfig) -> Result<Selection> {
    let policy = config.policy.as_str();
    let refused = |e: DataFusionError| Error::from(refused(&POLICY, policy, &e, None));
    let frame = table(out).await.map_err(refused)?;
    let parse = |sql: &str| condition(sql, frame.schema());
    let (written, terms): (Vec<String>, Vec<Expr>) =
        policy_terms(policy, frame.schema()).map_err(refused)?.into_iter().unzip();
    let known = |sql: &&str| parse(sql).is_ok_and(|expression| !terms.contains(&expression));
    let others: Vec<&str> = COMMON.into_iter().filter(known).collect();

    let mut columns = vec![col("row"), col("prompt_cluster")];
    let common = others.iter().map(|sql| parse(sql)).collect::<std::result::Result<Vec<_>, _>>().map_err(refused)?;
    // A name of its own each: two terms may be the same.
    let named =
        terms.iter().cloned().chain(common).enumerate().map(|(i, term): (usize, Expr)| term.alias(format!("c{i}")));
    columns.extend(named);
    // With quotas, which traces of a prompt come first is not decided by the order of files.
    let most_of_prompt = if config.balance.is_some() { None } else { config.traces_per_prompt };
    let mut tally = Tally::new(terms.len(), others.len(), most_of_prompt);
    let mut batches = frame.clone().select(columns).map_err(refused)?.execute_stream().await.map_err(refused)?;
    while let Some(batch) = batches.next().await {
        tally.add(&batch.map_err(refused)?).map_err(refused)?;
    }
    let selection = tally.finish(&written, &others);
    match &config.balance {
        Some(balance) if !selection.rows.is_empty() => {
            selection.balance(balance, frame, terms, config.traces_per_prompt).await
        }
        _ => Ok(selection),
    }
}

impl Curation {
    /// Why nothing was selected, where that is so: the verdicts are there and can be looked into, and nothing can be trained
    /// on.
    pub fn nothing_selected(&self, config: &CurateConfig) -> Option<Error> {
        if self.selected > 0 {
            return None;
        }
        if let Some(balanced) = &self.balanced {
            let lines = balanced.lines.iter().filter_map(|line| Some((line.value.as_ref()?, line.had)));
            let had: Vec<String> = lines.map(|(value, had)| format!("{value} {had}")).collect();
            let problem = format!("the quotas keep none of the traces that pass the policy ({})", had.join(", "));
            let remedy = "raise them, or loosen the policy for what they name";
            return Some(Error::invalid("curate.balance", problem, remedy));
        }
        let mut problem = format!("{} selects none of {} traces.", quoted(&config.policy), self.total);
        for FunnelStep { rule, dropped, .. } in &self.funnel {
            let _ = write!(problem, " On its own, {rule} drops {dropped}.");
        }
        Some(Error::invalid("curate.policy", problem, "loosen the policy or look into the verdicts table"))
    }
}

impl Selection {
    /// Keeps what the quotas say.
    async fn balance(
        mut self,
        balance: &quotas::Balance,
        frame: DataFrame,
        terms: Vec<Expr>,
        most_of_prompt: Option<u32>,
    ) -> Result<Self> {
        let kept = Box::pin(quotas::keep(balance, frame, terms, most_of_prompt)).await?;
        let summary = &mut self.summary;
        if let Some(most_of_prompt) = most_of_prompt {
            summary.funnel.push(limit(most_of_prompt, self.rows.len() - kept.within_limit, kept.within_limit));
        }
        summary.funnel.push(FunnelStep {
            rule: format!("quotas by {}", balance.by),
            dropped: kept.within_limit - kept.rows.len(),
            remaining: kept.rows.len(),
        });
        summary.selected = kept.rows.len();
        summary.balanced = Some(kept.balanced);
        Ok(Self { rows: kept.rows, ..self })
    }
}

fn limit(most_of_prompt: u32, dropped: usize, remaining: usize) -> FunnelStep {
    FunnelStep { rule: format!("at most {most_of_prompt} a prompt"), dropped, remaining }
}

/// A rule, and what it says of one trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleOutcome {
    /// In SQL.
    pub rule: String,
    /// Whether the trace passes; what is unknown does not.
    pub holds: bool,
    /// Whether what the rule goes by was looked into: without benchmarks no trace is known to be contaminated, and a program
    /// that was not run or an answer that no judge saw passes a rule that allows for it.
    pub checked: bool,
    /// Whether it is a term of the policy.
    pub of_policy: bool,
}

/// What each term of a policy says of one verdict, and what the common rules say that are not in the policy. `benchmarks`:
/// whether there were any to compare with.
pub async fn rule_outcomes(policy: &str, verdict: &Verdict, benchmarks: bool) -> Result<Vec<RuleOutcome>> {
    Box::pin(outcomes(policy, verdict, benchmarks))
        .await
        .map_err(|e| Error::invalid("curate.policy", e.strip_backtrace(), "run the curate stage again"))
}

async fn outcomes(
    policy: &str,
    verdict: &Verdict,
    benchmarks: bool,
) -> std::result::Result<Vec<RuleOutcome>, DataFusionError> {
    let unknown = [
        ("contaminated", !benchmarks),
        ("code_verdict", verdict.code_verdict.is_none()),
        ("judge_verdict", verdict.judge_verdict.is_none()),
    ];
    let checked = |rule: &str| !unknown.iter().any(|(column, unknown)| *unknown && names_column(rule, column));
    let external = |e: Box<dyn std::error::Error + Send + Sync>| DataFusionError::External(e);
    let fields = fields_of::<Verdict>().map_err(|e| external(Box::new(e)))?;
    let batch = serde_arrow::to_record_batch(&fields, &[verdict]).map_err(|e| external(Box::new(e)))?;
    let frame = context().read_batch(batch)?;
    let mut rules = policy_terms(policy, frame.schema())?;
    let of_policy = rules.len();
    for sql in COMMON {
        let rule = condition(sql, frame.schema())?;
        if rules.iter().all(|(_, known)| *known != rule) {
            rules.push((sql.to_owned(), rule));
        }
    }
    let named = rules.iter().enumerate().map(|(i, (_, rule))| rule.clone().alias(format!("c{i}")));
    let batches = frame.select(named.collect::<Vec<_>>())?.collect().await?;
    let Some(row) = batches.iter().find(|batch| batch.num_rows() == 1) else {
        return plan_err!("the rules gave no row");
    };
    let holds = |i: usize| row.column(i).as_boolean_opt().is_some_and(|value| value.is_valid(0) && value.value(0));
    let outcome = |(i, (rule, _)): (usize, (String, Expr))| {
        let checked = checked(&rule);
        RuleOutcome { rule, holds: holds(i), checked, of_policy: i < of_policy }
    };
    Ok(rules.into_iter().enumerate().map(outcome).collect())
}

/// The traces that a condition on the verdicts under `out` selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matching {
    /// How many.
    pub count: usize,
    /// The ids of the first of them.
    pub first: Vec<TraceId>,
}

/// Finds the traces that a SQL condition on the columns of the verdicts under `out` selects; names the first `most`.
pub async fn matching(out: &Path, sql: &str, most: usize) -> Result<Matching> {
    Box::pin(matched(out, sql, most)).await.map_err(|e| refused(&CONDITION, sql, &e, None).into())
}

async fn matched(out: &Path, sql: &str, most: usize) -> std::result::Result<Matching, DataFusionError> {
    let frame = table(out).await?;
    let terms = policy_terms(sql, frame.schema())?.into_iter().map(|(_, term)| term);
    let Some(condition) = terms.reduce(Expr::and) else { return plan_err!("it is empty") };
    let mut found = Matching { count: 0, first: Vec::new() };
    let mut batches = frame.filter(condition)?.select_columns(&["trace_id"])?.execute_stream().await?;
    while let Some(batch) = batches.next().await {
        let ids = datafusion::arrow::compute::cast(batch?.column(0), &datafusion::arrow::datatypes::DataType::Utf8)?;
        let ids = ids.as_string::<i32>();
        found.count += ids.len();
        let room = most - found.first.len();
        found.first.extend(ids.iter().flatten().take(room).map(TraceId::from_stored));
    }
    Ok(found)
}

pub(crate) async fn table(out: &Path) -> std::result::Result<DataFrame, DataFusionError> {
    let folder = sql::location(&out.join(VERDICTS)).map_err(|e| DataFusionError::External(Box::new(e)))?;
    context().read_parquet(folder, ParquetReadOptions::default()).await
}

/// Counts as the verdicts come by.
struct Tally {
    terms: usize,
    most_of_prompt: Option<u32>,
    total: usize,
    /// How many fail each term, the policy's and the others.
    fail: Vec<usize>,
    /// How many pass each of the policy's terms and those before it.
    pass: Vec<usize>,
    /// Traces selected so far of each prompt.
    of_prompt: HashMap<String, u32>,
    rows: Vec<u32>,
    selected: usize,
}

impl Tally {
    fn new(terms: usize, others: usize, most_of_prompt: Option<u32>) -> Self {
        Self {
            terms,
            most_of_prompt,
            total: 0,
            fail: vec![0; terms + others],
            pass: vec![0; terms],
            of_prompt: HashMap::new(),
            rows: Vec::new(),
            selected: 0,
        }
    }

    fn add(&mut self, batch: &RecordBatch) -> std::result::Result<(), DataFusionError> {
        let rows = batch.column(0).as_primitive::<UInt64Type>();
        let prompts = datafusion::arrow::compute::cast(batch.column(1), &datafusion::arrow::datatypes::DataType::Utf8)?;
        let prompts = prompts.as_string::<i32>();
        let holds = |term: usize, row: usize| -> std::result::Result<bool, DataFusionError> {
            let column = batch.column(2 + term);
            let values = column.as_boolean_opt().ok_or_else(|| {
                DataFusionError::Plan(format!("each term must be true or false; one is a {}", column.data_type()))
            })?;
            // What is unknown is not true.
            Ok(values.is_valid(row) && values.value(row))
        };
        for row in 0..batch.num_rows() {
            self.total += 1;
            let mut passing = true;
            for term in 0..self.fail.len() {
                let holds = holds(term, row)?;
                self.fail[term] += usize::from(!holds);
                if term < self.terms {
                    passing &= holds;
                    self.pass[term] += usize::from(passing);
                }
            }
            if !passing {
                continue;
            }
            self.selected += 1;
            if let Some(most) = self.most_of_prompt {
                let kept = self.of_prompt.entry(prompts.value(row).to_owned()).or_default();
                *kept += 1;
                if *kept > most {
                    continue;
                }
            }
            self.rows.push(rows.value(row) as u32);
        }
        Ok(())
    }

    fn finish(mut self, names: &[String], others: &[&str]) -> Selection {
        let (own, common) = self.fail.split_at(self.terms);
        let mut funnel: Vec<FunnelStep> = names
            .iter()
            .zip(own.iter().zip(&self.pass))
            .map(|(name, (dropped, remaining))| FunnelStep {
                rule: name.clone(),
                dropped: *dropped,
                remaining: *remaining,
            })
            .collect();
        if let Some(most) = self.most_of_prompt.filter(|_| self.selected > 0) {
            funnel.push(limit(most, self.selected - self.rows.len(), self.rows.len()));
        }
        let others = others.iter().zip(common).map(|(rule, dropped)| FunnelStep {
            rule: (*rule).to_owned(),
            dropped: *dropped,
            remaining: self.total - dropped,
        });
        let others = others.collect();
        // Rows come in order from one partition; nothing that follows depends on it silently.
        self.rows.sort_unstable();
        let selected = self.rows.len();
        Selection { rows: self.rows, summary: Curation { total: self.total, selected, funnel, others, balanced: None } }
    }
}
