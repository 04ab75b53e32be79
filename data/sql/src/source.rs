//! What can be a table: Parquet, JSON Lines (plain, gzip or zstd) and CSV, as a file, a folder or a glob, here or on the Hub.

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

use super::{BATCH_ROWS, Fetch};
use hub::{Address, FileKind};
use records::{BoxError, Error, Result};
use sources::files::Files;

const READABLE: &str =
    "give .parquet, .jsonl, .jsonl.gz, .jsonl.zst, .csv or .tsv: a file, a folder or a glob such as 'DIR/*.parquet'";

/// Opens what is at a path. The plan reads it when it is asked.
pub(super) async fn open(
    context: &SessionContext,
    fetch: Option<&Fetch>,
    path: &Path,
) -> Result<Arc<dyn TableProvider>> {
    let files = files(path, fetch).await?;
    refuse_left_out(&files)?;
    let (config, options) = (context.copied_config(), context.copied_table_options());
    let listing = match one_kind(path, &files)? {
        FileKind::JsonLines => return json_lines(&files),
        FileKind::Parquet => ParquetReadOptions::default().to_listing_options(&config, options),
        FileKind::JsonArray => return Err(not_read(path)),
        FileKind::Csv => {
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

/// The files of a table; those on the Hub are brought into the cache before.
async fn files(path: &Path, fetch: Option<&Fetch>) -> Result<Vec<PathBuf>> {
    let fetched = match (Address::of(path), fetch) {
        (Some(address), Some(fetch)) => Some(fetch(address?).await?.to_string()),
        _ => None,
    };
    Ok(Files::find_table(fetched.as_deref().map_or(path, Path::new))?.paths)
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

/// Refuses files that DataFusion would leave out without a word: links that lead nowhere, and empty files, which no Parquet
/// file is.
fn refuse_left_out(files: &[PathBuf]) -> Result<()> {
    for file in files {
        let about = std::fs::metadata(file).map_err(|e| Error::io("open", file, e))?;
        if about.len() == 0 && FileKind::of(file) == Some(FileKind::Parquet) {
            let problem = "it is empty, which no Parquet file is";
            return Err(Error::malformed(file, problem, "was it cut short while being copied?"));
        }
    }
    Ok(())
}

/// How all files of a table are written.
fn one_kind(path: &Path, files: &[PathBuf]) -> Result<FileKind> {
    let mut kinds = files.iter().map(|file| FileKind::of(file));
    let first = kinds.next().flatten().ok_or_else(|| not_read(path))?;
    // `.csv` and `.tsv` are one kind with two separators, and one table has one separator.
    let has_tabs = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "tsv");
    let is_mixed = files.iter().any(has_tabs) && !files.iter().all(has_tabs);
    if is_mixed || kinds.any(|kind| kind != Some(first)) {
        return Err(Error::malformed(
            path,
            "there are files of different kinds",
            "name one kind, as in 'DIR/*.parquet'",
        ));
    }
    Ok(first)
}

fn not_read(path: &Path) -> Error {
    Error::malformed(path, "this kind of file is not read here, going by its name", READABLE)
}

/// JSON Lines by Arrow's reader: all lines decide the columns, and a column of numbers and texts is one of texts.
///
/// Every file is read once for its columns. DataFusion by itself takes them from the first 1,000 lines and then leaves out,
/// without an error, the fields that first appear later, so that a count of such a field would be wrong.
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
    let failed = |e: BoxError| Error::engine("joining the columns of JSON Lines files", e);
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
pub(super) struct NamedFiles {
    /// Reads them.
    pub(super) context: SessionContext,
    /// Brings those that are on the Hub.
    pub(super) fetch: Option<Fetch>,
}

impl std::fmt::Debug for NamedFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NamedFiles")
    }
}

#[async_trait]
impl UrlTableFactory for NamedFiles {
    async fn try_new(&self, name: &str) -> std::result::Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let path = Path::new(name);
        let on_the_hub = Address::of(path).is_some();
        if name.contains("://") && !on_the_hub {
            let problem = "only files on this machine and on the Hugging Face Hub (hf://) are read";
            let problem = Error::invalid(name, problem, "download it and name the file");
            return Err(DataFusionError::External(Box::new(problem)));
        }
        // A plain word that is no table is a mistake in a name, not a file.
        if FileKind::of(path).is_none() && !name.contains('/') {
            return Ok(None);
        }
        open(&self.context, self.fetch.as_ref(), path)
            .await
            .map(Some)
            .map_err(|e| DataFusionError::External(Box::new(e)))
    }
}
