//! Questions in SQL: a run's Parquet folders and metric files, and files of any other origin, as tables, for reading only.
//!
//! The dialect is DuckDB's, which is the one in which DataFusion parses the functions on lists:
//! `array_filter(messages, m -> m['role'] = 'assistant')`.

mod arguments;
#[cfg(test)]
#[path = "../../../tests/checked.rs"]
mod checked;
mod describe;
mod explain;
mod format;
mod functions;
mod near;
mod source;

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::catalog::{DynamicFileCatalog, UrlTableFactory};
use datafusion::common::TableReference;
use datafusion::common::config::Dialect;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::sqlparser::dialect::DuckDbDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer as Scanner};
use futures::StreamExt;
use futures::future::BoxFuture;
use hub::Address;
use records::artifact::Aside;
use records::panics::catch_panic_async;
use records::{Error, Result, disk};
use tokens::tokenizer::Tokenizer;
use url::Url;

pub use self::arguments::FunctionHelp;
pub use self::explain::nearest;
pub use self::format::{Format, QueryResult};
use self::format::{RowWriter, parquet_writer};
pub use self::functions::functions;

/// Sorting and grouping may use this much memory before they spill to disk.
const MEMORY_BYTES: usize = 2 << 30;
/// Rows in flight: small, because a row of trace text is some 20 KB.
const BATCH_ROWS: usize = 512;

/// Operators in one query.
const MOST_OPERATORS: usize = 2000;

/// Tables that can be asked.
pub struct Session {
    context: SessionContext,
    tables: Vec<Table>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Where its files are.
    pub path: PathBuf,
    /// Its columns and their types, by their names in SQL.
    pub columns: Vec<(String, String)>,
}

/// What of an answer is shown or written.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// In which form.
    pub format: Format,
    /// The most rows; `None`: all.
    pub max_rows: Option<usize>,
    /// The most characters of a cell, in formats for reading.
    pub cell_chars: usize,
}

/// How many rows were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: usize,
    /// Whether there are more rows than were asked for.
    pub truncated: bool,
}

/// Brings what an address names into the cache, and says at which commit it is there.
pub type Fetch = Arc<dyn Fn(Address) -> BoxFuture<'static, Result<Address>> + Send + Sync>;

/// Opens tables by name. A path is a Parquet, JSON Lines or CSV file, a folder of such files, a glob, or the address of
/// any of them on the Hub, for which `fetch` is asked; without it the cache is all there is. `tokenizer` is what the
/// function `tokens` counts with.
pub async fn session(
    tables: &[(String, PathBuf)],
    tokenizer: Option<Tokenizer>,
    fetch: Option<Fetch>,
) -> Result<Session> {
    let mut config = SessionConfig::new().with_information_schema(true).with_batch_size(BATCH_ROWS);
    config.options_mut().sql_parser.dialect = Dialect::DuckDB;
    // Narrow columns are filtered on before wide ones are read.
    config.options_mut().execution.parquet.pushdown_filters = true;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(MEMORY_BYTES, 1.0)
        .build_arc()
        .map_err(|e| Error::engine("starting the SQL engine", e))?;
    let reading = SessionContext::new_with_config_rt(config.clone(), Arc::clone(&runtime));
    let in_order = SessionContext::new_with_config_rt(config.clone().with_target_partitions(1), Arc::clone(&runtime));
    let context = SessionContext::new_with_config_rt(config, runtime);
    let files: Arc<dyn UrlTableFactory> =
        Arc::new(source::NamedFiles { context: reading.clone(), fetch: fetch.clone() });
    let catalogs = Arc::clone(context.state_ref().read().catalog_list());
    let context = SessionContext::from(
        context.into_state_builder().with_catalog_list(Arc::new(DynamicFileCatalog::new(catalogs, files))).build(),
    );
    let tokenizer = tokenizer.map(Arc::new);
    for function in functions::scalar_functions(tokenizer.as_ref()) {
        in_order.register_udf(function.clone());
        context.register_udf(function);
    }
    let mut known = Vec::new();
    let mut opened = HashMap::new();
    for (name, path) in tables {
        let table =
            catch_panic_async(Box::pin(source::open(&reading, fetch.as_ref(), path))).await.map_err(|said| {
                Error::malformed(path, format!("it cannot be read: {said}"), "was it damaged while being copied?")
            })??;
        let columns = columns(&table.schema());
        opened.insert(name.clone(), Arc::clone(&table));
        context
            .register_table(TableReference::bare(name.as_str()), table)
            .map_err(|e| Error::engine(format!("opening table {name} from {}", path.display()), e))?;
        known.push(Table { name: name.clone(), path: path.clone(), columns });
    }
    context.register_udtf(near::NAME, Arc::new(near::NearDuplicates { tables: opened, context: in_order, fetch }));
    Ok(Session { context, tables: known })
}

fn columns(schema: &SchemaRef) -> Vec<(String, String)> {
    schema.fields().iter().map(|field| (field.name().clone(), describe::type_name(field.data_type()))).collect()
}

/// The path as a URL, so that no character in it is taken for a pattern.
pub fn location(path: &Path) -> Result<String> {
    let absolute = std::path::absolute(path).map_err(|e| Error::io("find", path, e))?;
    let url = if disk::is_dir(path)? { Url::from_directory_path(&absolute) } else { Url::from_file_path(&absolute) };
    let refused = |()| Error::malformed(path, "its path cannot be written as a URL", "move it to another folder");
    // What DataFusion would take for a pattern is encoded.
    Ok(url.map_err(refused)?.as_str().replace('*', "%2A").replace('[', "%5B").replace(']', "%5D"))
}

/// A name that is taken as it is.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Refuses a query of too many operators: plans are walked by recursion, and in time that grows with the square of their
/// depth. A list of any length within IN (...) is one operator.
pub fn refuse_deep(sql: &str) -> std::result::Result<(), DataFusionError> {
    // What cannot be scanned cannot be parsed, which says so better.
    let Ok(tokens) = Scanner::new(&DuckDbDialect {}, sql).tokenize() else { return Ok(()) };
    let mut count = 0;
    // After these a sign is a number's.
    let mut begins = true;
    for token in tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))) {
        let separates = matches!(token, Token::LParen | Token::Comma | Token::SemiColon);
        count += usize::from(match token {
            Token::Word(word) => matches!(
                word.keyword,
                Keyword::AND
                    | Keyword::OR
                    | Keyword::NOT
                    | Keyword::UNION
                    | Keyword::INTERSECT
                    | Keyword::EXCEPT
                    | Keyword::JOIN
            ),
            Token::Number(..) | Token::SingleQuotedString(_) | Token::Period | Token::RParen | Token::RBracket => false,
            _ => !begins && !separates,
        });
        begins = separates;
    }
    if count > MOST_OPERATORS {
        let problem = format!("it joins {count} things by operators, and more than {MOST_OPERATORS} are not planned");
        let remedy = "put values into IN (...), or into a file and join that";
        return Err(DataFusionError::External(Box::new(Error::invalid("the query", problem, remedy))));
    }
    Ok(())
}

/// What is said where the engine panicked, as it does on some damaged files.
fn broken(said: String) -> DataFusionError {
    let problem = format!("the engine broke off: {said}");
    DataFusionError::External(Box::new(Error::invalid("the query", problem, "was a file damaged while being copied?")))
}

/// The answer to a query, not computed yet.
struct Answer {
    stream: SendableRecordBatchStream,
    left: usize,
    truncated: bool,
}

impl Answer {
    /// The next rows, no more than are wanted in all.
    async fn next(&mut self) -> Option<std::result::Result<RecordBatch, DataFusionError>> {
        let batch = match catch_panic_async(self.stream.next()).await.map_err(broken).transpose()? {
            Ok(Ok(batch)) => batch,
            Ok(Err(error)) | Err(error) => return Some(Err(error)),
        };
        self.truncated |= batch.num_rows() > self.left;
        let kept = batch.slice(0, batch.num_rows().min(self.left));
        self.left -= kept.num_rows();
        Some(Ok(kept))
    }
}

impl Session {
    /// The tables, in the order in which they were given.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Names of all functions, SQL's own included, sorted.
    pub fn function_names(&self) -> Vec<String> {
        let state = self.context.state_ref();
        let state = state.read();
        let (scalar, aggregate) = (state.scalar_functions().keys(), state.aggregate_functions().keys());
        let mut names: Vec<String> = scalar.chain(aggregate).chain(state.table_functions().keys()).cloned().collect();
        names.sort();
        names.dedup();
        names
    }

    /// A table of the session or one that a file is, by the name that a query would have for it.
    pub async fn describe(&self, name: &str) -> Result<Table> {
        let name = name.trim().trim_end_matches(';').trim_matches(['\'', '"']);
        if let Some(table) = self.tables.iter().find(|table| table.name.eq_ignore_ascii_case(name)) {
            return Ok(table.clone());
        }
        let answer = self.answer(&format!("SELECT * FROM {}", quoted(name)), Some(0)).await?;
        Ok(Table { name: name.to_owned(), path: PathBuf::from(name), columns: columns(&answer.stream.schema()) })
    }

    /// How many rows a table has that [`Session::describe`] found.
    pub async fn row_count(&self, table: &Table) -> Result<usize> {
        let result = self.query(&format!("SELECT count(*) FROM {}", quoted(&table.name)), 1).await?;
        let counts = result.batches.iter().find(|batch| batch.num_rows() > 0);
        let count =
            counts.and_then(|batch| batch.column(0).as_primitive_opt::<Int64Type>().map(|column| column.value(0)));
        count
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| Error::engine("counting rows", "no count came back"))
    }

    /// Answers one SELECT, EXPLAIN, SHOW or DESCRIBE with at most `max_rows` rows.
    pub async fn query(&self, sql: &str, max_rows: usize) -> Result<QueryResult> {
        let answer = self.answer(sql, Some(max_rows)).await?;
        self.collect(answer).await
    }

    /// Writes an answer as it is computed; only the formats for reading hold their rows in memory.
    pub async fn write(&self, sql: &str, shown: Shown, out: &mut (dyn Write + Send)) -> Result<Written> {
        if shown.format == Format::Parquet {
            return Err(Error::invalid("format parquet", "it is for files", "name one with --output FILE or \\o FILE"));
        }
        let answer = self.answer(sql, shown.max_rows).await?;
        self.write_rows(answer, shown, out).await
    }

    /// Writes an answer to a file: aside, synced, renamed. A file that a table is read from is refused.
    pub async fn save(&self, sql: &str, shown: Shown, path: &Path) -> Result<Written> {
        self.refuse_own(path)?;
        // Planned before there is a file: a query that is wrong leaves nothing behind.
        let answer = self.answer(sql, shown.max_rows).await?;
        let mut aside = Aside::create(path)?;
        let written = if shown.format == Format::Parquet {
            self.write_parquet(answer, path, aside.file()).await?
        } else {
            self.write_rows(answer, shown, &mut std::io::BufWriter::with_capacity(1 << 17, aside.file())).await?
        };
        aside.publish()?;
        Ok(written)
    }

    async fn collect(&self, mut answer: Answer) -> Result<QueryResult> {
        let mut batches = Vec::new();
        while let Some(batch) = answer.next().await {
            batches.push(batch.map_err(|e| self.explain(&e))?);
        }
        Ok(QueryResult { schema: answer.stream.schema(), batches, truncated: answer.truncated })
    }

    async fn write_rows(&self, mut answer: Answer, shown: Shown, out: &mut (dyn Write + Send)) -> Result<Written> {
        let failed = |e: std::io::Error| Error::engine("writing the answer", e);
        if shown.format.is_for_reading() {
            let result = self.collect(answer).await?;
            let text = result.text(shown.format, shown.cell_chars)?;
            writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).map_err(failed)?;
            return Ok(Written { rows: result.rows(), truncated: result.truncated });
        }
        let mut writer = RowWriter::new(shown.format, &answer.stream.schema(), out)?;
        let mut rows = 0;
        while let Some(batch) = answer.next().await {
            let batch = batch.map_err(|e| self.explain(&e))?;
            rows += batch.num_rows();
            writer.write(&batch)?;
        }
        writer.finish()?;
        Ok(Written { rows, truncated: answer.truncated })
    }

    async fn write_parquet(&self, mut answer: Answer, path: &Path, file: &mut File) -> Result<Written> {
        let failed = |e: records::BoxError| Error::engine(format!("writing {}", path.display()), e);
        let mut writer = parquet_writer(file, &answer.stream.schema())?;
        let mut rows = 0;
        while let Some(batch) = answer.next().await {
            let batch = batch.map_err(|e| self.explain(&e))?;
            rows += batch.num_rows();
            writer.write(&batch).map_err(|e| failed(e.into()))?;
        }
        writer.close().map_err(|e| failed(e.into()))?;
        Ok(Written { rows, truncated: answer.truncated })
    }

    fn refuse_own(&self, path: &Path) -> Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A folder that is not there yet holds no table.
        let Some(folder) = disk::canonical(folder)? else { return Ok(()) };
        let place = folder.join(path.file_name().unwrap_or_default());
        for table in &self.tables {
            // A pattern or an address has no place of its own.
            if disk::canonical(&table.path)?.is_some_and(|own| place.starts_with(own)) {
                let problem = format!("table {} is read from there", table.name);
                return Err(Error::invalid(path.display().to_string(), problem, "write to another file"));
            }
        }
        Ok(())
    }

    /// Plans a query; what is wrong with it is said here.
    async fn answer(&self, sql: &str, max_rows: Option<usize>) -> Result<Answer> {
        let started = catch_panic_async(Box::pin(self.start(sql, max_rows))).await;
        started.unwrap_or_else(|said| Err(broken(said))).map_err(|e| self.explain(&e))
    }

    async fn start(&self, sql: &str, max_rows: Option<usize>) -> std::result::Result<Answer, DataFusionError> {
        refuse_deep(sql)?;
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let frame = self.context.sql_with_options(sql, read_only).await?;
        // One row more than asked for tells whether there are more. These plans must stay on top and are short anyway.
        let on_top = matches!(
            frame.logical_plan(),
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_)
        );
        let left = max_rows.unwrap_or(usize::MAX);
        let frame = if on_top || max_rows.is_none() { frame } else { frame.limit(0, Some(left.saturating_add(1)))? };
        Ok(Answer { stream: frame.execute_stream().await?, left, truncated: false })
    }
}

#[cfg(test)]
mod tests;
