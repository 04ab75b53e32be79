//! What functions take: how it is described, and how a wrong argument is refused.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::error::DataFusionError;
use records::Error;

type Result<T> = std::result::Result<T, DataFusionError>;

/// What a function is for.
#[derive(Debug, PartialEq, Eq)]
pub struct FunctionHelp {
    /// Its name.
    pub name: &'static str,
    /// Its arguments and result.
    pub signature: &'static str,
    /// One line.
    pub summary: &'static str,
    /// An expression that uses it; of a function that gives a table, a query.
    pub example: &'static str,
    /// What the example gives; empty where it depends on the tokenizer or on tables.
    pub result: &'static str,
}

/// An error that is told as it is, not as the engine's.
pub(super) fn refused(name: &str, problem: &str, remedy: &str) -> DataFusionError {
    DataFusionError::External(Box::new(Error::invalid(format!("the function {name}"), problem, remedy)))
}

/// What can be cast to text without a choice of how.
pub(super) fn is_plain(given: &DataType) -> bool {
    match given {
        DataType::Dictionary(_, values) => values.is_string() || is_plain(values),
        other => other.is_numeric() || matches!(other, DataType::Boolean | DataType::Null),
    }
}

/// The texts of a column of any kind of text.
pub(super) fn texts(array: &ArrayRef) -> Result<Vec<Option<&str>>> {
    Ok(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().collect(),
        DataType::Utf8View => array.as_string_view().iter().collect(),
        DataType::Null => vec![None; array.len()],
        other => return exec_err!("text was expected, not {other}"),
    })
}
