//! Records to and from Parquet. One row group holds at most [`ROW_GROUP_ROWS`] rows, so that wide rows (20 KB of text)
//! never make a reader buffer a whole file.

use std::fs::File;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelector};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_arrow::schema::{SchemaLike, TracingOptions};

use crate::artifact::Aside;
use crate::{BoxError, Error, Result, disk};

/// Rows per row group.
pub const ROW_GROUP_ROWS: usize = 2048;

/// The Arrow fields of a record type.
pub fn fields_of<T: DeserializeOwned>() -> Result<Vec<FieldRef>> {
    fields::<T>(TracingOptions::default())
}

/// The Arrow fields of a record type, lists with offsets of 32 bits: what readers outside of Arrow's world expect.
pub fn plain_fields_of<T: DeserializeOwned>() -> Result<Vec<FieldRef>> {
    fields::<T>(TracingOptions::default().sequence_as_large_list(false))
}

fn fields<T: DeserializeOwned>(options: TracingOptions) -> Result<Vec<FieldRef>> {
    let options = options.enums_without_data_as_strings(true).strings_as_large_utf8(false);
    Vec::<FieldRef>::from_type::<T>(options).map_err(|e| Error::engine("deriving an Arrow schema", e))
}

/// A Parquet file that is being written, a few records at a time; it has its name only once it is finished.
pub struct RecordWriter<T> {
    writer: ArrowWriter<Aside>,
    fields: Vec<FieldRef>,
    path: PathBuf,
    records: PhantomData<fn(T)>,
}

impl<T: Serialize + DeserializeOwned> RecordWriter<T> {
    /// Begins a file.
    pub fn create(path: &Path) -> Result<Self> {
        Self::with_fields(path, fields_of::<T>()?)
    }

    /// Begins a file with these Arrow fields.
    pub fn with_fields(path: &Path, fields: Vec<FieldRef>) -> Result<Self> {
        let schema = Schema::new(fields.iter().map(|f| Field::clone(f)).collect::<Vec<_>>());
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let writer = ArrowWriter::try_new(Aside::create(path)?, schema.into(), Some(properties))
            .map_err(|e| writing(path, e.into()))?;
        Ok(Self { writer, fields, path: path.to_owned(), records: PhantomData })
    }

    /// Adds records.
    pub fn write(&mut self, records: &[T]) -> Result<()> {
        for rows in records.chunks(ROW_GROUP_ROWS) {
            let batch = serde_arrow::to_record_batch(&self.fields, &rows).map_err(|e| writing(&self.path, e.into()))?;
            self.writer.write(&batch).map_err(|e| writing(&self.path, e.into()))?;
        }
        Ok(())
    }

    /// Completes the file and gives it its name.
    pub fn finish(self) -> Result<()> {
        self.writer.into_inner().map_err(|e| writing(&self.path, e.into()))?.publish()
    }
}

fn writing(path: &Path, error: BoxError) -> Error {
    Error::engine(format!("writing {}", path.display()), error)
}

/// Writes the records as one Parquet file: aside, synced, renamed.
pub fn write_records<T: Serialize + DeserializeOwned>(path: &Path, records: &[T]) -> Result<()> {
    let mut writer = RecordWriter::create(path)?;
    writer.write(records)?;
    writer.finish()
}

/// Reads all records of one Parquet file.
pub fn read_records<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    records(path, read_batches(path)?)
}

/// Reads some columns of all records of one Parquet file: those that `T` names.
pub fn read_columns<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let fields = fields_of::<T>()?;
    let reader = reader(path)?;
    let mask = ProjectionMask::columns(reader.parquet_schema(), fields.iter().map(|field| field.name().as_str()));
    let failed = |e: BoxError| Error::engine(format!("reading {}", path.display()), e);
    let batches = reader.with_projection(mask).with_batch_size(1 << 14).build().map_err(|e| failed(e.into()))?;
    records(path, batches.map(|batch| batch.map_err(|e| failed(e.into()))))
}

fn records<T: DeserializeOwned>(path: &Path, batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<Vec<T>> {
    let mut records = Vec::new();
    for batch in batches {
        let rows: Vec<T> = serde_arrow::from_record_batch(&batch?).map_err(|e| {
            Error::malformed(path, format!("rows do not have the expected columns: {e}"), "is this file of this stage?")
        })?;
        records.extend(rows);
    }
    Ok(records)
}

/// Streams the records of one Parquet file, some at a time.
pub fn stream_records<T: DeserializeOwned>(path: &Path) -> Result<impl Iterator<Item = Result<Vec<T>>>> {
    Ok(read_batches(path)?.map(move |batch| records(path, std::iter::once(batch))))
}

/// The number of rows of a Parquet file, from its footer.
pub fn row_count(path: &Path) -> Result<usize> {
    rows_in(path, reader(path)?.metadata().file_metadata().num_rows())
}

/// A number of rows as a footer gives it.
fn rows_in(path: &Path, count: i64) -> Result<usize> {
    usize::try_from(count).map_err(|_| {
        Error::malformed(path, format!("its footer counts {count} rows"), "was it damaged while being copied?")
    })
}

/// Calls `found` with the row number and the value of each text in one column; no other column is read.
pub fn for_each_text(path: &Path, column: &str, mut found: impl FnMut(usize, &str)) -> Result<()> {
    let failed = |e: BoxError| Error::engine(format!("reading {}", path.display()), e);
    let reader = reader(path)?;
    if reader.schema().column_with_name(column).is_none() {
        let remedy = "is this file of this stage?";
        return Err(Error::malformed(path, format!("there is no column {column:?}"), remedy));
    }
    let mask = ProjectionMask::columns(reader.parquet_schema(), [column]);
    let batches = reader.with_projection(mask).with_batch_size(1 << 14).build().map_err(|e| failed(e.into()))?;
    let mut row = 0;
    for batch in batches {
        let batch = batch.map_err(|e| failed(e.into()))?;
        let texts = cast(batch.column(0), &DataType::Utf8).map_err(|e| failed(e.into()))?;
        for text in texts.as_string::<i32>() {
            if let Some(text) = text {
                found(row, text);
            }
            row += 1;
        }
    }
    Ok(())
}

/// Reads some rows of a Parquet file, whose numbers ascend. Row groups without any of them are not read, and pages without
/// any are not decoded.
pub fn read_rows_at<T: DeserializeOwned>(path: &Path, rows: &[usize]) -> Result<Vec<T>> {
    let reader = reader(path)?;
    let mut groups = Vec::new();
    let mut selectors: Vec<RowSelector> = Vec::new();
    let (mut start, mut rest) = (0, rows);
    for (number, group) in reader.metadata().row_groups().iter().enumerate() {
        let end = start + rows_in(path, group.num_rows())?;
        let (here, after) = rest.split_at(rest.partition_point(|row| *row < end));
        rest = after;
        if !here.is_empty() {
            groups.push(number);
            let mut next = start;
            for run in here.chunk_by(|a, b| a + 1 == *b) {
                let first = run.first().copied().unwrap_or(next);
                selectors.push(RowSelector::skip(first - next));
                selectors.push(RowSelector::select(run.len()));
                next = first + run.len();
            }
            selectors.push(RowSelector::skip(end - next));
        }
        start = end;
    }
    if let Some(row) = rest.first() {
        let problem = format!("row {row} is asked for, and there are {start} rows");
        return Err(Error::malformed(path, problem, "was it changed just now?"));
    }
    let batches = reader
        .with_row_groups(groups)
        .with_batch_size(ROW_GROUP_ROWS)
        .with_row_selection(selectors.into())
        .build()
        .map_err(|e| Error::engine(format!("reading {}", path.display()), e))?;
    records(path, batches.map(|batch| batch.map_err(|e| Error::engine(format!("reading {}", path.display()), e))))
}

fn reader(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| {
        Error::malformed(path, format!("not a readable Parquet file: {e}"), "was it cut short while being copied?")
    })
}

/// Reads all records of the Parquet files in a folder, in the order of their names.
pub fn read_folder<T: DeserializeOwned>(folder: &Path) -> Result<Vec<T>> {
    let mut records = Vec::new();
    for path in parquet_files(folder)? {
        records.extend(read_records::<T>(&path)?);
    }
    Ok(records)
}

/// The Parquet files of a folder, sorted by name.
pub fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(only_parquet(disk::entries(folder)?))
}

/// The same; none, if there is no such folder.
pub fn parquet_files_if_there(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(only_parquet(disk::entries_if_there(folder)?))
}

fn only_parquet(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    paths
}

/// Streams the record batches of a Parquet file.
pub fn read_batches(path: &Path) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
    let failed = |e: BoxError, path: &Path| Error::engine(format!("reading {}", path.display()), e);
    let reader = reader(path)?.with_batch_size(ROW_GROUP_ROWS).build().map_err(|e| failed(e.into(), path))?;
    let path = path.to_owned();
    Ok(reader.map(move |batch| batch.map_err(|e| failed(e.into(), &path))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{CuratedTrace, FinishReason, Message, PromptId, Sampling, Trace, TraceId};

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Narrow {
        sample: u32,
    }

    fn trace(n: u32) -> Trace {
        let thinking = n.is_multiple_of(2).then(|| "β ≤ 3 \u{0} \"x\"\n".repeat(n as usize % 7));
        let ended = [FinishReason::Stop, FinishReason::Length, FinishReason::Unknown][n as usize % 3];
        let mut trace = Trace::new(TraceId::from_stored(format!("{n:016x}")), PromptId::from_stored("p"), "t", n)
            .with_text(thinking, "\\boxed{7}", ended)
            .with_tokens(Some(3), None)
            .with_sampling(Sampling { temperature: 0.6, top_p: 1.0, max_tokens: 8 }, Some(u64::MAX - u64::from(n)));
        trace.top_p = None;
        trace
    }

    #[test]
    fn records_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let traces: Vec<Trace> = (0..5000).map(trace).collect();
        write_records(&dir.path().join("a.parquet"), &traces[..3000]).unwrap();
        write_records(&dir.path().join("b.parquet"), &traces[3000..]).unwrap();
        let some = [0, 1, 2, 700, 2047, 2048, 2999];
        let found: Vec<Trace> = read_rows_at(&dir.path().join("a.parquet"), &some).unwrap();
        assert_eq!(found, some.map(|row| traces[row].clone()));
        assert_eq!(read_rows_at::<Trace>(&dir.path().join("a.parquet"), &[]).unwrap(), []);
        let message = read_rows_at::<Trace>(&dir.path().join("a.parquet"), &[2999, 3000]).unwrap_err().to_string();
        assert!(message.contains("a.parquet") && message.contains("row 3000"), "{message}");
        assert_eq!(row_count(&dir.path().join("a.parquet")).unwrap(), 3000);
        let samples: Vec<Narrow> = read_columns(&dir.path().join("a.parquet")).unwrap();
        assert_eq!(samples, traces[..3000].iter().map(|trace| Narrow { sample: trace.sample }).collect::<Vec<_>>());
        assert_eq!(read_folder::<Trace>(dir.path()).unwrap(), traces);

        let curated = vec![CuratedTrace {
            trace_id: TraceId::from_stored("t"),
            prompt_id: PromptId::from_stored("p"),
            domain: "math".into(),
            kind: String::new(),
            source: "s".into(),
            gold: None,
            messages: vec![Message::user("q"), Message::assistant("a")],
            num_tokens: Some(9),
        }];
        let path = dir.path().join("c.parquet");
        write_records(&path, &curated).unwrap();
        assert_eq!(read_records::<CuratedTrace>(&path).unwrap(), curated);
        write_records::<Trace>(&path, &[]).unwrap();
        assert_eq!(read_records::<Trace>(&path).unwrap(), vec![]);
    }

    #[test]
    fn a_truncated_file_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cut.parquet");
        write_records(&path, &[trace(1)]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for keep in [0, 4, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..keep]).unwrap();
            let message = read_records::<Trace>(&path).unwrap_err().to_string();
            assert!(message.contains("cut.parquet"), "{message}");
        }
    }

    /// What was judged before columns were enums is read as them; a name that none of them has is an error.
    #[test]
    fn texts_are_read_as_the_enums_they_name() {
        use crate::record::CodeVerdict;
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Text {
            verdict: Option<String>,
        }
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        struct Named {
            verdict: Option<CodeVerdict>,
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let texts = |names: [Option<&str>; 2]| names.map(|name| Text { verdict: name.map(str::to_owned) });
        write_records(&path, &texts([Some("AC"), None])).unwrap();
        let read: Vec<Named> = read_records(&path).unwrap();
        assert_eq!(read, [Named { verdict: Some(CodeVerdict::Accepted) }, Named { verdict: None }]);
        write_records(&path, &texts([Some("AC"), Some("OK")])).unwrap();
        let message = read_records::<Named>(&path).unwrap_err().to_string();
        assert!(message.contains("a.parquet") && message.contains("OK"), "{message}");
    }
}
