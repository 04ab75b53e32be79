//! Quotas: how many traces of each domain, kind or source are kept of those that pass the policy.
//!
//! DeepSeek-R1's supervised set is a mixture of set sizes, half of it mathematics (arXiv 2501.12948v2, table 5). Where a
//! quota is smaller than what there is, prompts come before samples, since more prompts teach more than more samples of
//! each (AceReason-Nemotron 1.1, arXiv 2506.13284): the first sample of every prompt, then the second of every prompt that
//! has one, and so on. Which of them come first the recipe says in SQL; else, and among equals, a hash of the trace's id
//! decides, never the order of files. A quota that cannot be met is reported, and is no error.

use std::collections::{BTreeMap, HashMap, HashSet};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, UInt64Type};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::Column;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::prelude::lit;
use futures::StreamExt;
use records::{Error, Mistake, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sql::nearest;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::policy::clauses::{Sorted, check_order, sorted};
use crate::policy::columns;
use crate::policy::refused::{PREFER, refused};

/// Values that a message names at most.
const NAMED: usize = 20;

/// The recipe's section. Either `quotas` or `shares`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Balance {
    /// The column of the verdicts whose values have quotas: `domain`, `kind`, `source`, ...
    pub by: String,
    /// The most traces of each value.
    pub quotas: Option<BTreeMap<String, u64>>,
    /// The proportions of the values: 3 and 1 are three quarters and one quarter.
    pub shares: Option<BTreeMap<String, f64>>,
    /// With `shares`: traces of all those values together. Left out: as many as there are in these proportions.
    pub total: Option<u64>,
    /// What becomes of traces with a value that is not named.
    pub others: Others,
    /// Which are kept if there are more: SQL, as after ORDER BY, on the columns of the verdicts. NULL comes last unless it
    /// says otherwise.
    pub prefer: Option<String>,
    /// Seed of the hash that decides among equals.
    pub seed: u64,
}

/// What becomes of traces whose value has no quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Others {
    /// All are kept.
    All,
    /// None is kept.
    None,
}

/// What came of the quotas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balanced {
    /// The column.
    pub by: String,
    /// A line for each value that is named, the largest quota first, and one for all others if there are any.
    pub lines: Vec<BalanceLine>,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceLine {
    /// The value; `None` for all that are not named.
    pub value: Option<String>,
    /// Traces that pass the policy, within the limit of traces per prompt.
    pub had: u64,
    /// The quota; `None` where there is none.
    pub quota: Option<u64>,
    /// Traces that are kept.
    pub kept: u64,
    /// Prompts that those answer.
    pub prompts: u64,
}

impl BalanceLine {
    /// By how much the quota is missed.
    pub fn short(&self) -> u64 {
        self.quota.map_or(0, |quota| quota.saturating_sub(self.kept))
    }
}

impl Balance {
    /// Refuses what cannot be carried out.
    pub(crate) fn check(&self) -> std::result::Result<(), Box<Mistake>> {
        let refuse = |field: &str, problem: &str, remedy: &str| {
            Err(Box::new(Mistake::new(format!("curate.balance{field}"), problem, remedy)))
        };
        let columns = columns().unwrap_or_default();
        if !columns.contains(&self.by) {
            return Err(Box::new(Mistake {
                meant: nearest(&self.by, columns.iter().map(String::as_str)).map(str::to_owned),
                choices: Some(format!("the columns are: {}", columns.join(", "))),
                ..Mistake::new("curate.balance.by", format!("there is no column {:?}", self.by), "")
            }));
        }
        self.prefer.as_deref().map_or(Ok(()), check_order)?;
        match (&self.quotas, &self.shares) {
            (Some(quotas), None) if quotas.values().any(|quota| *quota > 0) => {}
            (None, Some(shares)) => {
                if let Some((value, share)) = shares.iter().find(|(_, share)| !share.is_finite() || **share < 0.0) {
                    return refuse(&format!(".shares.{value}"), &format!("it is {share}"), "set it to 0 or more");
                }
                if shares.values().all(|share| *share == 0.0) {
                    return refuse(".shares", "none is above 0", "say how large a part each value has");
                }
            }
            (Some(_), None) => {
                return refuse(".quotas", "none is above 0", "say how many traces of each value are kept");
            }
            (Some(_), Some(_)) => return refuse("", "it has both quotas and shares", "leave one of the two out"),
            (None, None) => return refuse("", "it has neither quotas nor shares", "write one of the two"),
        }
        if self.total == Some(0) {
            return refuse(".total", "it is 0", "leave it out for as many as there are");
        }
        if self.total.is_some() && self.shares.is_none() {
            return refuse(".total", "it goes with shares; quotas say the number of each value", "leave it out");
        }
        Ok(())
    }

    fn named(&self) -> Vec<&str> {
        let quotas = self.quotas.iter().flat_map(BTreeMap::keys);
        quotas.chain(self.shares.iter().flat_map(BTreeMap::keys)).map(String::as_str).collect()
    }

    /// The quota of each value that is named, given how many traces of it there are.
    fn sizes(&self, had: impl Fn(&str) -> u64) -> BTreeMap<&str, u64> {
        let Some(shares) = &self.shares else {
            return self.quotas.iter().flatten().map(|(value, quota)| (value.as_str(), *quota)).collect();
        };
        let sum: f64 = shares.values().sum();
        let Some(total) = self.total else {
            let named = || shares.iter().filter(|(_, share)| **share > 0.0);
            // Where the least is left, all of it is taken: no rounding may cost a trace of it.
            let scale = named().map(|(value, share)| had(value) as f64 / share).fold(f64::INFINITY, f64::min);
            let size = |share: f64| (scale * share * (1.0 + 1e-12)).floor() as u64;
            return shares.iter().map(|(value, share)| (value.as_str(), size(*share))).collect();
        };
        // Rounded down, and what is missing goes to the largest remainders.
        let exact = |share: f64| total as f64 * share / sum;
        let mut sizes: BTreeMap<&str, u64> =
            shares.iter().map(|(value, share)| (value.as_str(), exact(*share).floor() as u64)).collect();
        let missing = total.saturating_sub(sizes.values().sum()) as usize;
        let mut remainders: Vec<(f64, &str)> =
            shares.iter().map(|(value, share)| (exact(*share).fract(), value.as_str())).collect();
        remainders.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        for (_, value) in remainders.into_iter().take(missing) {
            *sizes.entry(value).or_default() += 1;
        }
        sizes
    }
}

/// What is kept.
pub(crate) struct Mixture {
    /// In order.
    pub(crate) rows: Vec<u32>,
    /// Traces that pass the policy, within the limit of traces per prompt.
    pub(crate) within_limit: usize,
    pub(crate) balanced: Balanced,
}

/// Keeps, of the rows of `verdicts` for which all terms hold, at most `most_of_prompt` of a prompt (`None`: all) and as many of
/// each value as the quotas say.
pub(crate) async fn keep(
    balance: &Balance,
    verdicts: DataFrame,
    terms: Vec<Expr>,
    most_of_prompt: Option<u32>,
) -> Result<Mixture> {
    let failed = |e: DataFusionError| {
        let problem = format!("the quotas cannot be applied: {}", e.strip_backtrace());
        Error::invalid("curate.balance", problem, "check `by` and `prefer`")
    };
    let order = match &balance.prefer {
        Some(prefer) => sorted(prefer, verdicts.schema()).map_err(|e| refused(&PREFER, prefer, &e, None))?,
        None => Vec::new(),
    };
    let mut candidates = Candidates::of(verdicts, &balance.by, balance.seed, terms, order).await.map_err(failed)?;
    candidates.refuse_unknown(balance)?;
    candidates.sort();
    if let Some(most_of_prompt) = most_of_prompt {
        let mut of_prompt: HashMap<u32, u32> = HashMap::new();
        candidates.all.retain(|one| {
            let count = of_prompt.entry(one.prompt).or_default();
            *count += 1;
            *count <= most_of_prompt
        });
    }
    Ok(candidates.take(balance))
}

/// A row that passes the policy; what is text in it is a number.
struct Candidate {
    row: u32,
    prompt: u32,
    value: u32,
    /// Bytes that sort as `prefer` says.
    order: Box<[u8]>,
    hash: u64,
}

#[derive(Default)]
struct Candidates {
    all: Vec<Candidate>,
    prompts: HashMap<String, u32>,
    values: HashMap<Option<String>, u32>,
    /// How many of all traces have each value.
    of_value: Vec<u64>,
}

impl Candidates {
    async fn of(
        verdicts: DataFrame,
        by: &str,
        seed: u64,
        terms: Vec<Expr>,
        order: Vec<Sorted>,
    ) -> std::result::Result<Self, DataFusionError> {
        let column = |name: &str| Expr::Column(Column::from_name(name));
        let policy = conjunction(terms).unwrap_or_else(|| lit(true));
        let mut wanted: Vec<Expr> = ["row", "trace_id", "prompt_cluster", by]
            .iter()
            .zip(0..)
            .map(|(c, i)| column(c).alias(format!("c{i}")))
            .collect();
        wanted.push(policy.alias("keep"));
        wanted.extend(order.iter().zip(0..).map(|(sorted, i)| sorted.expr.clone().alias(format!("o{i}"))));
        let mut found = Self::default();
        let mut batches = verdicts.select(wanted)?.execute_stream().await?;
        let fields = batches.schema().fields().clone();
        let keys = fields.iter().skip(5).zip(&order);
        let keys = keys.map(|(field, key)| SortField::new_with_options(field.data_type().clone(), key.options));
        let converter = RowConverter::new(keys.collect())?;
        while let Some(batch) = batches.next().await {
            found.add(&batch?, seed, &converter)?;
        }
        Ok(found)
    }

    fn add(
        &mut self,
        batch: &RecordBatch,
        seed: u64,
        converter: &RowConverter,
    ) -> std::result::Result<(), DataFusionError> {
        let text = |column: usize| cast(batch.column(column), &DataType::Utf8);
        let (ids, prompts, values) = (text(1)?, text(2)?, text(3)?);
        let (ids, prompts, values) = (ids.as_string::<i32>(), prompts.as_string::<i32>(), values.as_string::<i32>());
        let rows = batch.column(0).as_primitive::<UInt64Type>();
        let keep = batch.column(4).as_boolean();
        let orders = converter.convert_columns(&batch.columns()[5..])?;
        for i in 0..batch.num_rows() {
            let value = values.is_valid(i).then(|| values.value(i).to_owned());
            let value = number_of(&mut self.values, value);
            if value as usize == self.of_value.len() {
                self.of_value.push(0);
            }
            self.of_value[value as usize] += 1;
            if keep.is_valid(i) && keep.value(i) {
                self.all.push(Candidate {
                    row: rows.value(i) as u32,
                    prompt: number_of(&mut self.prompts, prompts.value(i).to_owned()),
                    value,
                    order: if orders.num_rows() == 0 { Box::default() } else { orders.row(i).as_ref().into() },
                    hash: xxh3_64_with_seed(ids.value(i).as_bytes(), seed),
                });
            }
        }
        Ok(())
    }

    /// A quota for what no trace has is a mistake in its name.
    fn refuse_unknown(&self, balance: &Balance) -> Result<()> {
        let known = |value: &str| self.values.contains_key(&Some(value.to_owned()));
        let Some(unknown) = balance.named().into_iter().find(|value| !known(value)) else { return Ok(()) };
        let mut there: Vec<(u64, &str)> = self
            .values
            .iter()
            .filter_map(|(value, number)| Some((self.of_value[*number as usize], value.as_deref()?)))
            .collect();
        there.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        let more = if there.len() > NAMED { ", ..." } else { "" };
        let there: Vec<String> = there.iter().take(NAMED).map(|(count, value)| format!("{value} ({count})")).collect();
        let section = if balance.shares.is_some() { "shares" } else { "quotas" };
        Err(Error::invalid(
            format!("curate.balance.{section}"),
            format!("no trace has the {} {unknown:?}", balance.by),
            format!("name what there is: {}{more}", there.join(", ")),
        ))
    }

    /// The preferred ones first.
    fn sort(&mut self) {
        self.all.sort_unstable_by(|a, b| (&a.order, a.hash, a.row).cmp(&(&b.order, b.hash, b.row)));
    }

    /// Goes round by round: every prompt's first, then every prompt's second, ...
    fn take(self, balance: &Balance) -> Mixture {
        let mut of_prompt: HashMap<(u32, u32), u32> = HashMap::new();
        let mut of_value: Vec<Vec<(u32, &Candidate)>> = vec![Vec::new(); self.of_value.len()];
        for one in &self.all {
            let round = of_prompt.entry((one.value, one.prompt)).or_default();
            of_value[one.value as usize].push((*round, one));
            *round += 1;
        }
        let number = |value: &str| self.values.get(&Some(value.to_owned())).map(|number| *number as usize);
        let had = |value: &str| number(value).map_or(0, |number| of_value[number].len() as u64);
        let sizes = balance.sizes(had);
        let mut rows = Vec::new();
        let mut lines = Vec::new();
        let mut line = |value: Option<&str>, quota: Option<u64>, mut those: Vec<(u32, &Candidate)>| {
            let had = those.len() as u64;
            // Stable: within a round the order stays.
            those.sort_by_key(|(round, _)| *round);
            those.truncate(quota.map_or(usize::MAX, |quota| usize::try_from(quota).unwrap_or(usize::MAX)));
            rows.extend(those.iter().map(|(_, one)| one.row));
            let prompts = those.iter().map(|(_, one)| one.prompt).collect::<HashSet<_>>().len() as u64;
            lines.push(BalanceLine { value: value.map(str::to_owned), had, quota, kept: those.len() as u64, prompts });
        };
        for (value, quota) in &sizes {
            let those = number(value).map_or_else(Vec::new, |number| std::mem::take(&mut of_value[number]));
            line(Some(value), Some(*quota), those);
        }
        let rest: Vec<(u32, &Candidate)> = of_value.into_iter().flatten().collect();
        if !rest.is_empty() {
            line(None, (balance.others == Others::None).then_some(0), rest);
        }
        // The largest quota first; what is not named comes last.
        lines.sort_by_key(|line| (line.value.is_none(), std::cmp::Reverse(line.quota)));
        rows.sort_unstable();
        Mixture { rows, within_limit: self.all.len(), balanced: Balanced { by: balance.by.clone(), lines } }
    }
}

/// The number of a text: the next one, if it is new.
fn number_of<T: std::hash::Hash + Eq>(numbers: &mut HashMap<T, u32>, text: T) -> u32 {
    let next = numbers.len() as u32;
    *numbers.entry(text).or_insert(next)
}

#[cfg(test)]
mod tests;
