//! How rows are shown and written.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{LineDelimited, WriterBuilder};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::arrow::util::pretty::pretty_format_batches_with_schema;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use records::parquet_file::ROW_GROUP_ROWS;
use records::{BoxError, Error, Result};

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An aligned table; long cells are cut.
    Table,
    /// Comma-separated values with a header; lists and structs as text.
    Csv,
    /// One JSON object a line.
    Json,
    /// A table in Markdown; long cells are cut.
    Markdown,
    /// A Parquet file, in the types of the query.
    Parquet,
}

impl Format {
    /// Names and formats.
    pub const ALL: [(&'static str, Self); 5] = [
        ("table", Self::Table),
        ("csv", Self::Csv),
        ("json", Self::Json),
        ("parquet", Self::Parquet),
        ("markdown", Self::Markdown),
    ];

    /// The format that a file's name ends in.
    pub fn of_file(path: &Path) -> Option<Self> {
        Some(match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Self::Csv,
            "json" | "jsonl" | "ndjson" => Self::Json,
            "md" | "markdown" => Self::Markdown,
            "parquet" => Self::Parquet,
            "txt" => Self::Table,
            _ => return None,
        })
    }

    /// Whether it is for reading, which long answers and long cells are not.
    pub fn is_for_reading(self) -> bool {
        matches!(self, Self::Table | Self::Markdown)
    }
}

/// The rows of an answer.
#[derive(Debug)]
pub struct QueryResult {
    pub(super) schema: SchemaRef,
    pub(super) batches: Vec<RecordBatch>,
    /// Whether there are more rows than were asked for.
    pub truncated: bool,
}

impl QueryResult {
    /// The number of rows here.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The rows as text. In formats for reading, cells longer than `cell_chars` are cut with an ellipsis, and line breaks
    /// are shown as `↵`.
    pub fn text(&self, format: Format, cell_chars: usize) -> Result<String> {
        match format {
            Format::Table => self.table(cell_chars),
            Format::Markdown => self.markdown(cell_chars),
            Format::Csv | Format::Json => {
                let mut bytes = Vec::new();
                let mut writer = RowWriter::new(format, &self.schema, &mut bytes)?;
                for batch in &self.batches {
                    writer.write(batch)?;
                }
                writer.finish()?;
                String::from_utf8(bytes).map_err(|e| Error::engine("printing the answer", e))
            }
            Format::Parquet => Err(Error::invalid("format parquet", "it is no text", "name a file to write it to")),
        }
    }

    fn table(&self, cell_chars: usize) -> Result<String> {
        let show = || {
            let shown = as_text(&self.schema, &self.batches, |text| one_line(&text, cell_chars))?;
            Ok(pretty_format_batches_with_schema(shown.0, &shown.1)?.to_string())
        };
        show().map_err(|e: ArrowError| Error::engine("printing the answer as a table", e))
    }

    fn markdown(&self, cell_chars: usize) -> Result<String> {
        let cell = |text: &str| one_line(text, cell_chars).replace('|', "\\|");
        let (_, batches) = as_text(&self.schema, &self.batches, |text| cell(&text))
            .map_err(|e| Error::engine("printing the answer as Markdown", e))?;
        let fields = self.schema.fields();
        let row = |cells: &mut dyn Iterator<Item = String>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
        let mut text = row(&mut fields.iter().map(|field| cell(field.name())));
        let side = |field: &Arc<Field>| if field.data_type().is_numeric() { "---:" } else { "---" };
        text += &row(&mut fields.iter().map(|field| side(field).to_owned()));
        for batch in &batches {
            let columns: Vec<&StringArray> =
                batch.columns().iter().filter_map(|column| column.as_any().downcast_ref()).collect();
            for at in 0..batch.num_rows() {
                // A null is an empty cell.
                text += &row(&mut columns.iter().map(|column| column.value(at).to_owned()));
            }
        }
        Ok(text)
    }
}

/// One line for the eye: cut, without line breaks, and without what a terminal would take for a command.
fn one_line(text: &str, chars: usize) -> String {
    let shown = |c: char| match c {
        '\n' | '\r' => '↵',
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    // One more than is shown tells whether there are more.
    let mut line = String::new();
    let mut rest = text.chars().peekable();
    let mut count = 0;
    while let Some(c) = rest.next() {
        if c == '\r' && rest.peek() == Some(&'\n') {
            continue;
        }
        if count + 1 >= chars && rest.peek().is_some() {
            line.push('…');
            break;
        }
        line.push(shown(c));
        count += 1;
    }
    line
}

/// All columns as text; nulls stay nulls.
fn as_text(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    shape: impl Fn(String) -> String,
) -> std::result::Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let fields: Vec<Field> = schema.fields().iter().map(|f| Field::new(f.name(), DataType::Utf8, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let options = FormatOptions::default();
    let text_column = |column: &ArrayRef| -> std::result::Result<ArrayRef, ArrowError> {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        let cells = (0..column.len())
            .map(|row| column.is_valid(row).then(|| formatter.value(row).try_to_string().map(&shape)).transpose())
            .collect::<std::result::Result<StringArray, ArrowError>>()?;
        Ok(Arc::new(cells))
    };
    let batches = batches
        .iter()
        .map(|batch| {
            let columns = batch.columns().iter().map(text_column).collect::<std::result::Result<_, _>>()?;
            RecordBatch::try_new(Arc::clone(&schema), columns)
        })
        .collect::<std::result::Result<_, _>>()?;
    Ok((schema, batches))
}

/// Writes batch after batch as lines.
pub(super) enum RowWriter<W: Write> {
    Csv(Box<csv::Writer<W>>, SchemaRef),
    Json(datafusion::arrow::json::Writer<W, LineDelimited>),
}

impl<W: Write> RowWriter<W> {
    pub(super) fn new(format: Format, schema: &SchemaRef, out: W) -> Result<Self> {
        let mut writer = if format == Format::Csv {
            Self::Csv(Box::new(csv::WriterBuilder::new().with_header(true).build(out)), Arc::clone(schema))
        } else {
            Self::Json(WriterBuilder::new().with_explicit_nulls(true).build(out))
        };
        // The header, also of no rows.
        writer.write(&RecordBatch::new_empty(Arc::clone(schema)))?;
        Ok(writer)
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let failed = |e: ArrowError| Error::engine("writing the answer", e);
        match self {
            Self::Csv(writer, schema) => {
                let (_, batches) = as_text(schema, std::slice::from_ref(batch), |text| text).map_err(failed)?;
                batches.iter().try_for_each(|batch| writer.write(batch)).map_err(failed)
            }
            Self::Json(writer) => writer.write(batch).map_err(failed),
        }
    }

    pub(super) fn finish(self) -> Result<()> {
        let failed = |e: BoxError| Error::engine("writing the answer", e);
        match self {
            Self::Csv(writer, _) => writer.into_inner().flush().map_err(|e| failed(e.into())),
            Self::Json(mut writer) => {
                writer.finish().map_err(|e| failed(e.into()))?;
                writer.into_inner().flush().map_err(|e| failed(e.into()))
            }
        }
    }
}

/// A writer of Parquet. Arrow's own schema is left out of the file: texts are texts there, not views, for every reader.
pub(super) fn parquet_writer<'a>(file: &'a mut File, schema: &SchemaRef) -> Result<ArrowWriter<&'a mut File>> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(file, Arc::clone(schema), options)
        .map_err(|e| Error::engine("writing the answer as Parquet", e))
}
