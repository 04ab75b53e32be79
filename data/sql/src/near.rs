//! `near_duplicates('table', 'id', 'text' [, threshold])`: which rows nearly repeat an earlier one.
//!
//! A row of the answer is a duplicate and the first row of its cluster, so that the answer grows with the duplicates and
//! not with their pairs, and what is to be dropped is what it names. They are found as curation finds them (see
//! [`duplicates`](text::duplicates)): bands of hashes give candidates, and the similarity of those is computed. The table
//! is read in order, once for the hashes, then again for the candidates, as often as their sets of shingles fit into
//! memory, and once more for the answer. No text enters an operator that keeps it; what is kept of a row are its hashes.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, Float64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider, UrlTableFactory};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{ScalarValue, exec_datafusion_err, plan_datafusion_err};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, cast};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{SessionContext, ident};
use futures::StreamExt;
use rayon::prelude::*;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;

use super::Fetch;
use super::functions::{FunctionHelp, is_plain, refused, texts};
use super::refuse_deep;
use super::source::NamedFiles;
use records::panics::catch_panic_async;
use records::{Error, Result};
use text::duplicates::{Clusters, Near, Sketcher, Sketches, clusters, jaccard};

pub(super) const NAME: &str = "near_duplicates";
/// Below this the bands miss most pairs: they find 61 % of those at 0.6, 92 % at 0.7 and 99.8 % at 0.8.
const LEAST_THRESHOLD: f64 = 0.6;
/// Sets of shingles in memory at once, in bytes.
const SHINGLE_BYTES: usize = 1 << 30;

pub(super) static HELP: FunctionHelp = FunctionHelp {
    name: NAME,
    signature: "near_duplicates('table', 'id', 'text' [, threshold]) -> table(id, duplicate_of, jaccard)",
    summary: "A table: each row that nearly repeats an earlier one, the first row like it, and how similar the two are. \
              The first three are names in quotes: a table or file, the column that names its rows, the column of text \
              (or an expression). Rows are alike from a Jaccard similarity of 0.8 on, or of the threshold (0.6 to 1), \
              directly or over others: then the similarity to the first may be less",
    example: "SELECT * FROM t WHERE id NOT IN (SELECT id FROM near_duplicates('t', 'id', 'text'))",
    result: "",
};

/// The function.
pub(super) struct NearDuplicates {
    /// The tables of the session, by name.
    pub(super) tables: HashMap<String, Arc<dyn TableProvider>>,
    /// Reads them, in one partition so that rows come in order.
    pub(super) context: SessionContext,
    /// Brings those that are on the Hub.
    pub(super) fetch: Option<Fetch>,
}

impl std::fmt::Debug for NearDuplicates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NearDuplicates")
    }
}

impl TableFunctionImpl for NearDuplicates {
    fn call_with_args(&self, args: TableFunctionArgs) -> std::result::Result<Arc<dyn TableProvider>, DataFusionError> {
        let given = args.exprs();
        let wrong = |problem: &str| refused(NAME, problem, &format!("it is {}", HELP.signature));
        let ([table, id, text] | [table, id, text, _]) = given else {
            return Err(wrong(&format!("it was given {} arguments", given.len())));
        };
        let name = |expr| name_in(expr).ok_or_else(|| wrong("its first three arguments are names in quotes"));
        let threshold = given.get(3).map_or(Some(Near::OURS.threshold), number_in);
        let threshold = threshold
            .filter(|threshold| (LEAST_THRESHOLD..=1.0).contains(threshold))
            .ok_or_else(|| wrong(&format!("its threshold must be a number from {LEAST_THRESHOLD} to 1")))?;
        let rows = self.rows(name(table)?, name(id)?, name(text)?)?;
        let id = rows.schema().field(0).data_type().clone();
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", id.clone(), true),
            Field::new("duplicate_of", id, true),
            Field::new("jaccard", DataType::Float64, true),
        ]));
        let search = Search { rows, near: Near { threshold, ..Near::OURS }, schema: Arc::clone(&schema) };
        Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(search)])?))
    }
}

fn name_in(expr: &Expr) -> Option<&str> {
    let Expr::Literal(value, _) = expr else { return None };
    value.try_as_str().flatten()
}

fn number_in(expr: &Expr) -> Option<f64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value.cast_to(&DataType::Float64) {
        Ok(ScalarValue::Float64(number)) => number,
        _ => None,
    }
}

impl NearDuplicates {
    /// The two columns, as a question that can be asked again.
    fn rows(&self, table: &str, id: &str, text: &str) -> std::result::Result<DataFrame, DataFusionError> {
        let frame = self.context.read_table(self.table(table)?)?;
        // A name as it is comes before an expression: it may have spaces and signs in it.
        let column = |name: &str| {
            if frame.schema().has_column_with_unqualified_name(name) {
                return Ok(ident(name));
            }
            refuse_deep(name)?;
            let expr = frame.parse_sql_expr(name)?;
            let of_many = |part: &Expr| Ok(matches!(part, Expr::AggregateFunction(_) | Expr::WindowFunction(_)));
            if expr.exists(of_many)? {
                return Err(refused(
                    NAME,
                    &format!("{name} is computed from many rows"),
                    "name a column, or a part of one",
                ));
            }
            Ok(expr)
        };
        let (id, text) = (column(id)?.alias("id"), column(text)?.alias("text"));
        let rows = frame.clone().select(vec![id, text])?;
        let kind = rows.schema().field(1).data_type().clone();
        if kind.is_string() {
            Ok(rows)
        } else if is_plain(&kind) {
            rows.select(vec![ident("id"), cast(ident("text"), DataType::Utf8).alias("text")])
        } else {
            let problem = format!("it compares text, not {}", super::describe::type_name(&kind));
            Err(refused(NAME, &problem, "name a part of it, as in 'messages[2][''content'']'"))
        }
    }

    fn table(&self, name: &str) -> std::result::Result<Arc<dyn TableProvider>, DataFusionError> {
        if let Some(table) = self.tables.get(name).or_else(|| self.tables.get(&name.to_lowercase())) {
            return Ok(Arc::clone(table));
        }
        let (files, runtime) =
            (NamedFiles { context: self.context.clone(), fetch: self.fetch.clone() }, Handle::current());
        // A function is planned without waiting, but a file's columns must be read: on a thread where waiting is allowed.
        let opened = std::thread::scope(|scope| scope.spawn(|| runtime.block_on(files.try_new(name))).join());
        let opened = opened.map_err(|_| exec_datafusion_err!("the thread that opens {name} ended"))?;
        opened?.ok_or_else(|| plan_datafusion_err!("table '{name}' not found"))
    }
}

/// One use of the function.
#[derive(Debug, Clone)]
struct Search {
    /// Id and text of all rows.
    rows: DataFrame,
    near: Near,
    /// Of the answer.
    schema: SchemaRef,
}

impl PartitionStream for Search {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), 2);
        let (search, runtime) = (self.clone(), Handle::current());
        let answer = Answer { runtime, sender: builder.tx() };
        builder.spawn_blocking(move || search.run(&answer).map_err(|error| DataFusionError::External(Box::new(error))));
        builder.build()
    }
}

/// Where the answer goes, and whether anybody still waits for it.
struct Answer {
    runtime: Handle,
    sender: Sender<std::result::Result<RecordBatch, DataFusionError>>,
}

/// A row that is in a cluster of several.
struct Member {
    row: u32,
    id: ScalarValue,
    shingles: Vec<u32>,
}

impl Search {
    fn run(&self, answer: &Answer) -> Result<()> {
        let sketches = self.sketches(answer)?;
        let load = |rows: &[u32]| {
            let mut sets = Vec::with_capacity(rows.len());
            self.members(answer, rows, |members| {
                sets.extend(members.into_iter().map(|member| member.shingles));
                Ok(())
            })?;
            Ok(sets)
        };
        let found = clusters(&sketches, SHINGLE_BYTES, load)?;
        for firsts in groups(&sketches, &found) {
            self.tell(answer, &found, &firsts)?;
        }
        Ok(())
    }

    /// Reads all rows in order; `each` is given a part of them and the number of its first row.
    fn read(&self, answer: &Answer, mut each: impl FnMut(usize, &RecordBatch) -> Result<()>) -> Result<()> {
        let failed = |e: DataFusionError| {
            let problem = format!("its table cannot be read: {}", e.strip_backtrace());
            Error::invalid(format!("the function {NAME}"), problem, "ask the table itself, as in SELECT count(*)")
        };
        let broken = |said: String| failed(DataFusionError::Execution(said));
        let partitions = catch_panic_async(Box::pin(self.rows.clone().execute_stream_partitioned()));
        let partitions = answer.runtime.block_on(partitions).map_err(broken)?.map_err(failed)?;
        let mut first = 0;
        for mut partition in partitions {
            while let Some(batch) = answer.runtime.block_on(catch_panic_async(partition.next())).map_err(broken)? {
                if answer.sender.is_closed() {
                    return Err(Error::Stopped);
                }
                let batch = batch.map_err(failed)?;
                each(first, &batch)?;
                first += batch.num_rows();
            }
        }
        Ok(())
    }

    /// The first reading: the hashes of all texts.
    fn sketches(&self, answer: &Answer) -> Result<Sketches> {
        let mut sketches = Sketches::new(self.near);
        self.read(answer, |first, batch| {
            u32::try_from(first + batch.num_rows()).map_err(|_| {
                let remedy = "ask about a part of them: write it to a file with --output first";
                Error::invalid(format!("the function {NAME}"), "more than 4,294,967,295 rows are not compared", remedy)
            })?;
            let (ids, texts) = (batch.column(0), column_texts(batch)?);
            let sketch = |sketcher: &mut Sketcher, text: Option<&str>| {
                let mut bands = Vec::with_capacity(self.near.bands);
                let (digest, shingles) = sketcher.sketch(text.unwrap_or_default(), &mut bands);
                (digest, bands, shingles)
            };
            let found: Vec<_> = texts.into_par_iter().map_init(|| Sketcher::new(self.near), sketch).collect();
            for (i, (digest, bands, shingles)) in found.into_iter().enumerate() {
                // What has no name or no words is alone in a group: it is not compared.
                let alone = ids.is_null(i) || shingles == 0;
                sketches.push(digest, &bands, shingles, if alone { 1 + (first + i) as u32 } else { 0 });
            }
            Ok(())
        })?;
        Ok(sketches)
    }

    /// Reads again some rows, which ascend; `each` is given them part by part.
    fn members(
        &self,
        answer: &Answer,
        mut rows: &[u32],
        mut each: impl FnMut(Vec<Member>) -> Result<()>,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.read(answer, |first, batch| {
            let count = rows.partition_point(|row| (*row as usize) < first + batch.num_rows());
            let (here, after) = rows.split_at(count);
            rows = after;
            let texts = column_texts(batch)?;
            let member = |sketcher: &mut Sketcher, row: &u32| {
                let place = *row as usize - first;
                let id = ScalarValue::try_from_array(batch.column(0), place).map_err(|e| Error::engine(NAME, e))?;
                Ok(Member { row: *row, id, shingles: sketcher.shingle_set(texts[place].unwrap_or_default()) })
            };
            let members = here.par_iter().map_init(|| Sketcher::new(self.near), member).collect::<Result<_>>()?;
            each(members)
        })
    }

    /// Says which rows are duplicates of these.
    fn tell(&self, answer: &Answer, found: &Clusters, firsts: &[u32]) -> Result<()> {
        let is_member = |row: &u32| firsts.binary_search(&found.first[*row as usize]).is_ok();
        let rows: Vec<u32> = (0..found.first.len() as u32).filter(is_member).collect();
        let mut known: HashMap<u32, Member> = HashMap::with_capacity(firsts.len());
        self.members(answer, &rows, |members| {
            let (mut ids, mut originals, mut similarities) = (Vec::new(), Vec::new(), Vec::new());
            for member in members {
                let first = found.first[member.row as usize];
                if first == member.row {
                    known.insert(first, member);
                } else if let Some(original) = known.get(&first) {
                    similarities.push(jaccard(&original.shingles, &member.shingles));
                    originals.push(original.id.clone());
                    ids.push(member.id);
                }
            }
            if ids.is_empty() {
                return Ok(());
            }
            let batch = self.batch(ids, originals, similarities).map_err(|e| Error::engine(NAME, e))?;
            answer.sender.blocking_send(Ok(batch)).map_err(|_| Error::Stopped)
        })
    }

    fn batch(
        &self,
        ids: Vec<ScalarValue>,
        originals: Vec<ScalarValue>,
        similarities: Vec<f64>,
    ) -> std::result::Result<RecordBatch, DataFusionError> {
        let columns: Vec<ArrayRef> = vec![
            ScalarValue::iter_to_array(ids)?,
            ScalarValue::iter_to_array(originals)?,
            Arc::new(Float64Array::from(similarities)),
        ];
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// The first rows of clusters of several, as many at a time as fit into memory.
fn groups(sketches: &Sketches, found: &Clusters) -> Vec<Vec<u32>> {
    let mut firsts: Vec<u32> =
        (0..).zip(&found.first).filter(|(row, first)| row != *first).map(|(_, first)| *first).collect();
    firsts.sort_unstable();
    firsts.dedup();
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut bytes = 0;
    for first in firsts {
        let own = 4 * sketches.shingles(first);
        match groups.last_mut() {
            Some(group) if bytes + own <= SHINGLE_BYTES => group.push(first),
            _ => {
                groups.push(vec![first]);
                bytes = 0;
            }
        }
        bytes += own;
    }
    groups
}

fn column_texts(batch: &RecordBatch) -> Result<Vec<Option<&str>>> {
    texts(batch.column(1)).map_err(|e| Error::engine(NAME, e))
}
