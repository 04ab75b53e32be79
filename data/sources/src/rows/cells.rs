//! Parquet rows as JSON objects. Only the columns that are asked for are decoded, a few megabytes at a time.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use records::panics::catch_panic;
use records::{Error, Result};
use serde_json::{Map, Number, Value};

use super::{BATCH_BYTES, BATCH_ROWS, Flaw, Raw, RawRow};

/// Streams the rows of a Parquet file.
pub(super) fn batches(
    path: &Path,
    columns: Option<&[String]>,
) -> Result<impl Iterator<Item = Result<Vec<RawRow>>> + use<>> {
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    // Without the Arrow schema that its writer may have put in, text is Utf8 and a list is a List, whatever they were
    // in the writer's memory (large, views, dictionaries).
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let unreadable = |e: &dyn std::fmt::Display| {
        Error::malformed(path, format!("not a readable Parquet file: {e}"), "was it cut short while being copied?")
    };
    let builder = catch_panic(|| ParquetRecordBatchReaderBuilder::try_new_with_options(file, options))
        .map_err(|said| unreadable(&said))?
        .map_err(|e| unreadable(&e))?;
    let all: Arc<[String]> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mask = match columns {
        Some(wanted) => {
            let roots = (0..all.len()).filter(|root| wanted.contains(&all[*root]));
            ProjectionMask::roots(builder.parquet_schema(), roots)
        }
        None => ProjectionMask::all(),
    };
    let rows = batch_rows(builder.metadata(), &mask);
    let failed = |e: &dyn std::fmt::Display, path: &Path| {
        Error::malformed(path, format!("its rows cannot be read: {e}"), "was it damaged while being copied?")
    };
    let reader = catch_panic(|| builder.with_projection(mask).with_batch_size(rows).build());
    let mut reader = Some(reader.map_err(|said| failed(&said, path))?.map_err(|e| failed(&e, path))?);
    let path = path.to_owned();
    let mut number = 0;
    Ok(std::iter::from_fn(move || {
        let batch = match catch_panic(|| reader.as_mut().and_then(Iterator::next)) {
            Ok(batch) => batch?.map_err(|e| failed(&e, &path)),
            Err(said) => Err(failed(&said, &path)),
        };
        let batch = match batch {
            Ok(batch) => Arc::new(batch),
            Err(error) => {
                reader = None;
                return Some(Err(error));
            }
        };
        let rows = (0..batch.num_rows()).map(|index| {
            number += 1;
            RawRow { number, raw: Raw::Cells { batch: Arc::clone(&batch), index, all: Arc::clone(&all) } }
        });
        Some(Ok(rows.collect()))
    }))
}

/// Rows of a batch, so that on average it holds no more than [`BATCH_BYTES`].
fn batch_rows(metadata: &parquet::file::metadata::ParquetMetaData, mask: &ProjectionMask) -> usize {
    let mut bytes = 0_i64;
    for group in metadata.row_groups() {
        let columns = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
        // A damaged file may say anything.
        bytes = columns.fold(bytes, |all, (_, column)| all.saturating_add(column.uncompressed_size().max(0)));
    }
    let rows = metadata.file_metadata().num_rows().max(1);
    let of_a_row = usize::try_from(bytes / rows).unwrap_or(1).max(1);
    (BATCH_BYTES / of_a_row).clamp(1, BATCH_ROWS)
}

/// The columns of one row.
pub(super) fn columns(batch: &RecordBatch, row: usize) -> std::result::Result<Map<String, Value>, Flaw> {
    let mut columns = Map::with_capacity(batch.num_columns());
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let value = value(array.as_ref(), row)
            .map_err(|what| Flaw::other(format!("column {:?} cannot be read: {what}", field.name())))?;
        columns.insert(field.name().clone(), value);
    }
    Ok(columns)
}

macro_rules! number {
    ($array:expr, $row:expr, $kind:ty) => {
        Value::from($array.as_primitive::<$kind>().value($row))
    };
}

/// One cell. Dates, decimals and the like become the text that Arrow shows for them.
fn value(array: &dyn Array, row: usize) -> std::result::Result<Value, String> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    let float = |number: f64| Number::from_f64(number).map_or(Value::Null, Value::Number);
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Utf8 => Value::from(array.as_string::<i32>().value(row)),
        DataType::Binary => {
            // Some writers do not say that their text is text.
            let bytes = array.as_binary::<i32>().value(row);
            Value::from(std::str::from_utf8(bytes).map_err(|_| "it holds bytes that are not UTF-8 text")?)
        }
        DataType::Boolean => Value::from(array.as_boolean().value(row)),
        DataType::Int8 => number!(array, row, Int8Type),
        DataType::Int16 => number!(array, row, Int16Type),
        DataType::Int32 => number!(array, row, Int32Type),
        DataType::Int64 => number!(array, row, Int64Type),
        DataType::UInt8 => number!(array, row, UInt8Type),
        DataType::UInt16 => number!(array, row, UInt16Type),
        DataType::UInt32 => number!(array, row, UInt32Type),
        DataType::UInt64 => number!(array, row, UInt64Type),
        DataType::Float32 => float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::Array(
                (0..items.len()).map(|item| value(items.as_ref(), item)).collect::<std::result::Result<_, _>>()?,
            )
        }
        DataType::Struct(fields) => {
            let mut object = Map::with_capacity(fields.len());
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                object.insert(field.name().clone(), value(column.as_ref(), row)?);
            }
            Value::Object(object)
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let [keys, values] = entries.columns() else { return Err("it holds a map without keys and values".into()) };
            let mut object = Map::with_capacity(entries.len());
            for entry in 0..entries.len() {
                let key = match value(keys.as_ref(), entry)? {
                    Value::String(key) => key,
                    other => other.to_string(),
                };
                object.insert(key, value(values.as_ref(), entry)?);
            }
            Value::Object(object)
        }
        _ => {
            let formatter = ArrayFormatter::try_new(array, &FormatOptions::default()).map_err(|e| e.to_string())?;
            Value::String(formatter.value(row).try_to_string().map_err(|e| e.to_string())?)
        }
    })
}
