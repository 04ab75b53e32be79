//! Questions to a run in SQL: its Parquet folders and metric files as tables, for reading only.
//!
//! The dialect is DuckDB's, which is the one in which DataFusion parses the functions on lists:
//! `array_filter(messages, m -> m['role'] = 'assistant')`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{LineDelimited, WriterBuilder};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::arrow::util::pretty::pretty_format_batches_with_schema;
use datafusion::common::config::Dialect;
use datafusion::common::{SchemaError, TableReference};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{JsonReadOptions, ParquetReadOptions, SessionConfig, SessionContext};

use crate::parquet_file::parquet_files;
use crate::{Error, Result};

/// Sorting and grouping may use this much memory before they spill to disk.
const MEMORY_BYTES: usize = 2 << 30;
/// Rows in flight: small, because a row of trace text is some 20 KB.
const BATCH_ROWS: usize = 512;

/// Tables that can be asked.
pub struct Session {
    context: SessionContext,
    tables: Vec<String>,
}

/// The rows of an answer.
pub struct QueryResult {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    /// Whether there are more rows than were asked for.
    pub truncated: bool,
}

/// Opens tables by name: a folder of Parquet files, a `.parquet` file, or a `.jsonl` file.
pub async fn session(tables: &[(String, PathBuf)]) -> Result<Session> {
    let mut config = SessionConfig::new().with_information_schema(true).with_batch_size(BATCH_ROWS);
    config.options_mut().sql_parser.dialect = Dialect::DuckDB;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(MEMORY_BYTES, 1.0)
        .build_arc()
        .map_err(|e| Error::engine("starting the SQL engine", e))?;
    let context = SessionContext::new_with_config_rt(config, runtime);
    for (name, path) in tables {
        Box::pin(register(&context, name, path)).await?;
    }
    Ok(Session { context, tables: tables.iter().map(|(name, _)| name.clone()).collect() })
}

async fn register(context: &SessionContext, name: &str, path: &Path) -> Result<()> {
    let failed = |e| Error::engine(format!("opening table {name} from {}", path.display()), e);
    std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
    let table = TableReference::bare(name);
    if path.extension().is_some_and(|e| e == "jsonl") {
        // All lines: a column may hold nothing but null in the first thousand (the evaluation loss of a long training).
        let options = JsonReadOptions::default().file_extension(".jsonl").schema_infer_max_records(usize::MAX);
        return context.register_json(table, location(path)?, options).await.map_err(failed);
    }
    if path.is_dir() && parquet_files(path)?.is_empty() {
        return Err(Error::malformed(path, "no Parquet files in this folder", "run the stage that writes it"));
    }
    context.register_parquet(table, location(path)?, ParquetReadOptions::default()).await.map_err(failed)
}

/// The path as a URL, so that no character in it is taken for a pattern.
pub(crate) fn location(path: &Path) -> Result<String> {
    let absolute = std::path::absolute(path).map_err(|e| Error::io("find", path, e))?;
    let mut url = "file://".to_owned();
    for byte in absolute.to_string_lossy().bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => url.push(char::from(byte)),
            _ => url.extend(format!("%{byte:02X}").chars()),
        }
    }
    if path.is_dir() {
        url.push('/');
    }
    Ok(url)
}

impl Session {
    /// The tables' names.
    pub fn tables(&self) -> &[String] {
        &self.tables
    }

    /// Answers one SELECT, EXPLAIN, SHOW or DESCRIBE with at most `max_rows` rows.
    pub async fn query(&self, sql: &str, max_rows: usize) -> Result<QueryResult> {
        Box::pin(self.run(sql, max_rows)).await.map_err(|e| self.explain(&e))
    }

    async fn run(&self, sql: &str, max_rows: usize) -> std::result::Result<QueryResult, DataFusionError> {
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let frame = self.context.sql_with_options(sql, read_only).await?;
        // One row more than asked for tells whether there are more. These plans must stay on top and are short anyway.
        let on_top = matches!(
            frame.logical_plan(),
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_)
        );
        let frame = if on_top { frame } else { frame.limit(0, Some(max_rows.saturating_add(1)))? };
        let schema = Arc::clone(frame.schema().inner());
        let (mut batches, mut left, mut truncated) = (Vec::new(), max_rows, false);
        for batch in frame.collect().await? {
            truncated |= batch.num_rows() > left;
            let kept = batch.slice(0, batch.num_rows().min(left));
            left -= kept.num_rows();
            batches.push(kept);
        }
        Ok(QueryResult { schema, batches, truncated })
    }

    /// Says what there is, when a query names what there is not.
    fn explain(&self, error: &DataFusionError) -> Error {
        let root = error.find_root();
        let message = root.strip_backtrace();
        if let DataFusionError::SchemaError(schema_error, _) = root
            && let SchemaError::FieldNotFound { field, valid_fields } = schema_error.as_ref()
        {
            let mut columns: Vec<&str> = valid_fields.iter().map(|c| c.name.as_str()).collect();
            columns.dedup();
            let problem = format!("there is no column {:?} here", field.name);
            return Error::invalid("the query", problem, format!("the columns are: {}", columns.join(", ")));
        }
        let remedy = match root {
            DataFusionError::ResourcesExhausted(_) => {
                "leave the columns of text out of sorts, groups and joins, or add a LIMIT".to_owned()
            }
            DataFusionError::Plan(_) if message.contains("not supported") => {
                "a run's tables are read with SELECT, EXPLAIN, SHOW TABLES and DESCRIBE".to_owned()
            }
            _ => format!("the tables are: {}", self.tables.join(", ")),
        };
        Error::invalid("the query", message, remedy)
    }
}

impl QueryResult {
    /// The number of rows here.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// An aligned table. Cells longer than `cell_chars` are cut with an ellipsis, line breaks are shown as `↵`.
    pub fn table(&self, cell_chars: usize) -> Result<String> {
        let cut = |text: String| {
            let line = text.replace("\r\n", "↵").replace(['\n', '\r'], "↵");
            match line.char_indices().nth(cell_chars) {
                Some(_) => line.chars().take(cell_chars.saturating_sub(1)).chain(['…']).collect(),
                None => line,
            }
        };
        let show = || {
            let (schema, batches) = self.as_text(cut)?;
            Ok(pretty_format_batches_with_schema(schema, &batches)?.to_string())
        };
        show().map_err(|e: ArrowError| Error::engine("printing the answer as a table", e))
    }

    /// Comma-separated values with a header. Lists and structs are written as text.
    pub fn csv(&self) -> Result<String> {
        let show = || {
            let (schema, batches) = self.as_text(|text| text)?;
            let mut writer = csv::WriterBuilder::new().with_header(true).build(Vec::new());
            for batch in &batches {
                writer.write(batch)?;
            }
            if batches.is_empty() {
                writer.write(&RecordBatch::new_empty(schema))?;
            }
            Ok(writer.into_inner())
        };
        show().map_err(|e: ArrowError| Error::engine("printing the answer as CSV", e)).and_then(text_of)
    }

    /// One JSON object a line.
    pub fn json_lines(&self) -> Result<String> {
        let show = || {
            let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
            for batch in &self.batches {
                writer.write(batch)?;
            }
            writer.finish()?;
            Ok(writer.into_inner())
        };
        show().map_err(|e: ArrowError| Error::engine("printing the answer as JSON", e)).and_then(text_of)
    }

    /// All columns as text; nulls stay nulls.
    fn as_text(
        &self,
        shape: impl Fn(String) -> String,
    ) -> std::result::Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
        let fields: Vec<Field> =
            self.schema.fields().iter().map(|f| Field::new(f.name(), DataType::Utf8, true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let options = FormatOptions::default();
        let text_column = |column: &ArrayRef| -> std::result::Result<ArrayRef, ArrowError> {
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
            let cells = (0..column.len())
                .map(|row| column.is_valid(row).then(|| formatter.value(row).try_to_string().map(&shape)).transpose())
                .collect::<std::result::Result<StringArray, ArrowError>>()?;
            Ok(Arc::new(cells))
        };
        let batches = self
            .batches
            .iter()
            .map(|batch| {
                let columns = batch.columns().iter().map(text_column).collect::<std::result::Result<_, _>>()?;
                RecordBatch::try_new(Arc::clone(&schema), columns)
            })
            .collect::<std::result::Result<_, _>>()?;
        Ok((schema, batches))
    }
}

fn text_of(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| Error::engine("printing the answer", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet_file::write_records;
    use crate::record::{CuratedTrace, Message};

    fn curated(n: i64) -> CuratedTrace {
        CuratedTrace {
            trace_id: format!("t{n}"),
            prompt_id: "p".into(),
            domain: "maths".into(),
            kind: String::new(),
            source: "s".into(),
            gold: (n % 2 == 0).then(|| n.to_string()),
            messages: vec![
                Message::user(format!("q{n}")),
                Message::assistant(format!("long, \"{}\"\nend", "x".repeat(50))),
            ],
            num_tokens: Some(n),
        }
    }

    async fn run() -> (tempfile::TempDir, Session) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a run [1] *?%20é/curated");
        let records: Vec<CuratedTrace> = (0..20).map(curated).collect();
        write_records(&folder.join("part-00000.parquet"), &records[..10]).unwrap();
        write_records(&folder.join("part-00001.parquet"), &records[10..]).unwrap();
        std::fs::write(folder.join(".part-00002.parquet.1.partial"), "half").unwrap();
        let metrics = dir.path().join("metrics.jsonl");
        std::fs::write(&metrics, "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":1.25}\n").unwrap();
        let one = folder.join("part-00000.parquet");
        let tables = [("curated".to_owned(), folder), ("metrics".to_owned(), metrics), ("one".to_owned(), one)];
        let session = session(&tables).await.unwrap();
        (dir, session)
    }

    #[tokio::test]
    async fn folders_files_and_metrics_are_tables() {
        let (_dir, session) = run().await;
        let csv = async |sql: &str| session.query(sql, 100).await.unwrap().csv().unwrap();
        assert_eq!(csv("SELECT count(*) AS n, sum(num_tokens) AS t FROM curated").await, "n,t\n20,190\n");
        assert_eq!(csv("SELECT count(*) AS n FROM one").await, "n\n10\n");
        assert_eq!(csv("SELECT step, loss FROM metrics ORDER BY loss").await, "step,loss\n2,1.25\n1,2.5\n");
        assert_eq!(
            csv("SELECT array_filter(messages, m -> m['role'] = 'user')[1]['content'] AS q FROM curated \
                 WHERE num_tokens = 12")
            .await,
            "q\nq12\n"
        );
        assert_eq!(csv("SELECT messages[-1]['role'] AS r FROM curated LIMIT 1").await, "r\nassistant\n");
        assert_eq!(session.tables(), ["curated", "metrics", "one"]);
    }

    #[tokio::test]
    async fn tables_and_columns_can_be_listed() {
        let (_dir, session) = run().await;
        let shown = session.query("SHOW TABLES", 100).await.unwrap().table(80).unwrap();
        assert!(shown.contains("curated") && shown.contains("metrics"), "{shown}");
        let shown = session.query("DESCRIBE metrics", 100).await.unwrap().table(80).unwrap();
        assert!(shown.contains("loss") && shown.contains("Float64"), "{shown}");
        let shown = session.query("EXPLAIN SELECT loss FROM metrics", 100).await.unwrap();
        assert!(shown.rows() > 0);
        let cut = session.query("EXPLAIN SELECT loss FROM metrics", 1).await.unwrap();
        assert_eq!((cut.rows(), cut.truncated), (1, true));
    }

    #[tokio::test]
    async fn long_cells_are_cut_in_tables_only() {
        let (_dir, session) = run().await;
        let sql = "SELECT trace_id, gold, messages[2]['content'] AS reply FROM curated ORDER BY num_tokens LIMIT 2";
        let result = session.query(sql, 10).await.unwrap();
        let expected = "\
+----------+------+----------+
| trace_id | gold | reply    |
+----------+------+----------+
| t0       | 0    | long, \"… |
| t1       |      | long, \"… |
+----------+------+----------+";
        assert_eq!(result.table(8).unwrap(), expected);
        assert!(result.table(100).unwrap().contains("xx\"↵end"));
        let long = format!("\"long, \"\"{}\"\"\nend\"", "x".repeat(50));
        assert_eq!(result.csv().unwrap(), format!("trace_id,gold,reply\nt0,0,{long}\nt1,,{long}\n"));
        let lines = result.json_lines().unwrap();
        let second: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
        assert_eq!(second["gold"], serde_json::Value::Null);
        assert_eq!(second["reply"].as_str().unwrap().len(), 62);
        let nested = session.query("SELECT messages FROM curated LIMIT 1", 1).await.unwrap();
        let line: serde_json::Value = serde_json::from_str(&nested.json_lines().unwrap()).unwrap();
        assert_eq!(line["messages"][0]["role"], "user");
        assert!(nested.csv().unwrap().contains("role: user"));
    }

    #[tokio::test]
    async fn rows_stop_at_the_limit_and_say_so() {
        let (_dir, session) = run().await;
        let all = session.query("SELECT trace_id FROM curated", 20).await.unwrap();
        assert_eq!((all.rows(), all.truncated), (20, false));
        let some = session.query("SELECT trace_id FROM curated", 19).await.unwrap();
        assert_eq!((some.rows(), some.truncated), (19, true));
        let none = session.query("SELECT trace_id FROM curated WHERE false", 19).await.unwrap();
        assert_eq!((none.rows(), none.truncated), (0, false));
        assert_eq!(none.csv().unwrap(), "trace_id\n");
        assert_eq!(none.json_lines().unwrap(), "");
        assert!(none.table(9).unwrap().contains("trace_id"));
    }

    #[tokio::test]
    async fn nothing_can_be_changed() {
        let (dir, session) = run().await;
        let out = dir.path().join("out.parquet");
        for sql in [
            format!("COPY curated TO '{}'", out.display()),
            "CREATE TABLE t AS SELECT 1".to_owned(),
            "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/'".to_owned(),
            "DROP TABLE curated".to_owned(),
            "INSERT INTO one SELECT * FROM curated".to_owned(),
            "SET datafusion.execution.batch_size = 1".to_owned(),
            format!("EXPLAIN ANALYZE COPY curated TO '{}'", out.display()),
        ] {
            let message = session.query(&sql, 1).await.err().unwrap_or_else(|| panic!("{sql} was run")).to_string();
            assert!(message.contains("not supported"), "{sql}: {message}");
        }
        assert!(!out.exists());
        assert_eq!(session.query("SELECT * FROM one", 100).await.unwrap().rows(), 10);
    }

    #[tokio::test]
    async fn what_is_not_there_is_answered_with_what_is() {
        let (_dir, session) = run().await;
        let error = async |sql: &str| session.query(sql, 1).await.err().unwrap().to_string();
        let message = error("SELECT * FROM trace").await;
        assert!(message.contains("trace") && message.contains("curated, metrics, one"), "{message}");
        let message = error("SELECT los FROM metrics").await;
        assert!(message.contains("\"los\"") && message.contains("step, loss"), "{message}");
        let message = error("SELEC 1").await;
        assert!(message.contains("SELEC"), "{message}");
        error("SELECT 1; SELECT 2").await;
    }

    #[tokio::test]
    async fn tables_that_cannot_be_opened_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let open = async |path: &Path| session(&[("t".to_owned(), path.to_owned())]).await.err().unwrap().to_string();
        assert!(open(dir.path()).await.contains("no Parquet files"));
        assert!(open(&dir.path().join("absent")).await.contains("cannot open"));
        let broken = dir.path().join("b.parquet");
        std::fs::write(&broken, "no").unwrap();
        assert!(open(&broken).await.contains("b.parquet"));
    }
}
