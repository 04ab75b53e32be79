//! What can be a table: Parquet, JSON Lines (plain, gzip or zstd) and CSV, as a file, a folder or a pattern, here or on
//! the Hub. Which files those are is found as for an import (`sources::files`).

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::json::reader::infer_json_schema;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{TableProvider, UrlTableFactory};
use datafusion::datasource::file_format::options::ReadOptions;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{CsvReadOptions, ParquetReadOptions, SessionContext};
use hub::Address;
use records::{Error, Result, disk};
use sources::files::Files as Found;

use super::{BATCH_ROWS, Fetch};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Parquet,
    JsonLines,
    Csv,
}

/// What of a folder is read, by the end of a file's name: what imports read, and tables of other programs.
const EXTENSIONS: [&str; 9] =
    [".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".ndjson.gz", ".ndjson.zst", ".csv", ".tsv"];

const READABLE: &str =
    "give .parquet, .jsonl, .jsonl.gz, .jsonl.zst, .csv or .tsv: a file, a folder or a pattern such as 'DIR/*.parquet'";

/// Opens what is at a path. The plan reads it when it is asked.
pub(super) async fn open(
    context: &SessionContext,
    fetch: Option<&Fetch>,
    path: &Path,
) -> Result<Arc<dyn TableProvider>> {
    let files = match (Address::of(path), fetch) {
        // Downloaded where it is missing, and from then on at one commit.
        (Some(address), Some(fetch)) => Found::find(Path::new(&fetch(address?).await?.to_string()))?,
        _ => Found::find_of_kinds(path, &EXTENSIONS)?,
    };
    let files = files.paths;
    refuse_empty(&files)?;
    let (config, options) = (context.copied_config(), context.copied_table_options());
    let listing = match one_kind(path, &files)? {
        Kind::JsonLines => return json_lines(&files),
        Kind::Parquet => ParquetReadOptions::default().to_listing_options(&config, options),
        Kind::Csv => {
            let tabs = files.iter().any(|file| file.extension().is_some_and(|e| e == "tsv"));
            CsvReadOptions::default()
                .delimiter(if tabs { b'\t' } else { b',' })
                .file_extension(if tabs { ".tsv" } else { ".csv" })
                .schema_infer_max_records(usize::MAX)
                .newlines_in_values(true)
                .to_listing_options(&config, options)
        }
    };
    let failed = |e: DataFusionError| {
        Error::malformed(path, format!("cannot be read as a table: {}", e.strip_backtrace()), READABLE)
    };
    Box::pin(listed(context, &files, listing)).await.map_err(failed)
}

/// A table of files whose columns are those of any of them.
async fn listed(
    context: &SessionContext,
    files: &[PathBuf],
    listing: ListingOptions,
) -> std::result::Result<Arc<dyn TableProvider>, DataFusionError> {
    let mut urls = Vec::new();
    let mut schemas = Vec::new();
    for file in files {
        let url = super::location(file).map_err(|e| DataFusionError::External(Box::new(e)))?;
        let url = ListingTableUrl::parse(url)?;
        let schema = listing.infer_schema(&context.state(), &url).await?;
        schemas.push(Arc::unwrap_or_clone(schema));
        urls.push(url);
    }
    let config = ListingTableConfig::new_with_multi_paths(urls)
        .with_listing_options(listing)
        .with_schema(Arc::new(Schema::try_merge(schemas)?));
    Ok(Arc::new(ListingTable::try_new(config)?))
}

fn kind_of(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_string_lossy();
    let extension = EXTENSIONS.iter().find(|extension| name.ends_with(**extension))?;
    Some(match *extension {
        ".parquet" => Kind::Parquet,
        ".csv" | ".tsv" => Kind::Csv,
        _ => Kind::JsonLines,
    })
}

/// DataFusion passes over an empty file without a word, and no Parquet file is empty.
fn refuse_empty(files: &[PathBuf]) -> Result<()> {
    for file in files.iter().filter(|file| kind_of(file) == Some(Kind::Parquet)) {
        if disk::metadata(file)?.is_some_and(|about| about.len() == 0) {
            let problem = "it is empty, which no Parquet file is";
            return Err(Error::malformed(file, problem, "was it cut short while being copied?"));
        }
    }
    Ok(())
}

fn one_kind(path: &Path, files: &[PathBuf]) -> Result<Kind> {
    let mut first = None;
    for file in files {
        let kind = kind_of(file)
            .ok_or_else(|| Error::malformed(file, "this kind of file is not read here, going by its name", READABLE))?;
        if *first.get_or_insert(kind) != kind {
            let remedy = "name one kind, as in 'DIR/*.parquet'";
            return Err(Error::malformed(path, "there are files of different kinds", remedy));
        }
    }
    first.ok_or_else(|| Error::malformed(path, "there are no files", READABLE))
}

/// JSON Lines by Arrow's reader: all lines decide the columns, and a column of numbers and texts is one of texts.
fn json_lines(files: &[PathBuf]) -> Result<Arc<dyn TableProvider>> {
    let mut schemas = Vec::new();
    for path in files {
        let broken = |e: &dyn std::fmt::Display| {
            Error::malformed(path, format!("not JSON Lines: {e}"), "each line must hold one complete JSON object")
        };
        let (schema, rows) = infer_json_schema(lines(path)?, None).map_err(|e| broken(&e))?;
        if rows > 0 {
            schemas.push(schema);
        }
    }
    if schemas.is_empty() {
        let first = files.first().map_or(Path::new(""), PathBuf::as_path);
        return Err(Error::malformed(first, "the file has no rows", "give a file with at least one row"));
    }
    let failed = |e: records::BoxError| Error::engine("joining the columns of JSON Lines files", e);
    let schema: SchemaRef = Arc::new(Schema::try_merge(schemas).map_err(|e| failed(e.into()))?);
    let partitions = files
        .iter()
        .map(|path| Arc::new(JsonLines { path: path.clone(), schema: Arc::clone(&schema) }) as Arc<dyn PartitionStream>)
        .collect();
    Ok(Arc::new(StreamingTable::try_new(schema, partitions).map_err(|e| failed(e.into()))?))
}

/// One file.
#[derive(Debug)]
struct JsonLines {
    path: PathBuf,
    schema: SchemaRef,
}

impl PartitionStream for JsonLines {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let path = self.path.clone();
        let failed = move |e: &dyn std::fmt::Display| DataFusionError::Execution(format!("{}: {e}", path.display()));
        let reader = lines(&self.path).map_err(|e| failed(&e)).and_then(|lines| {
            let builder =
                ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(BATCH_ROWS).with_coerce_primitive(true);
            builder.build(lines).map_err(|e| failed(&e))
        });
        let batches: Box<dyn Iterator<Item = _> + Send> = match reader {
            Ok(reader) => Box::new(reader.map(move |batch| batch.map_err(|e| failed(&e)))),
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches)))
    }
}

/// The bytes of a file, decompressed by the ending of its name, without a byte-order mark. Arrow's reader holds each line
/// whole: one that is too long is an error.
fn lines(path: &Path) -> Result<impl BufRead + Send + use<>> {
    let mut reader = sources::rows::open(path)?;
    let start = reader.fill_buf().map_err(|e| Error::io("read", path, e))?;
    if start.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
    }
    Ok(sources::rows::BoundedLines::new(reader))
}

/// Opens the files that a query names: `SELECT * FROM 'traces.parquet'`.
pub(super) struct Files {
    /// Reads them.
    pub(super) context: SessionContext,
    /// Brings those that are on the Hub.
    pub(super) fetch: Option<Fetch>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Files")
    }
}

#[async_trait]
impl UrlTableFactory for Files {
    async fn try_new(&self, name: &str) -> std::result::Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let path = Path::new(name);
        let on_the_hub = Address::of(path).is_some();
        if name.contains("://") && !on_the_hub {
            let problem = "only files on this machine and on the Hugging Face Hub (hf://) are read";
            let problem = Error::invalid(name, problem, "download it and name the file");
            return Err(DataFusionError::External(Box::new(problem)));
        }
        // A plain word that is no table is a mistake in a name, not a file.
        if kind_of(path).is_none() && !name.contains('/') {
            return Ok(None);
        }
        open(&self.context, self.fetch.as_ref(), path)
            .await
            .map(Some)
            .map_err(|e| DataFusionError::External(Box::new(e)))
    }
}
