//! The policy: conditions in SQL on what the rules found, quotas of what passes them, and what is refused.

pub(crate) mod clauses;
pub(crate) mod quotas;
pub(crate) mod refused;
pub(crate) mod select;

use records::Result;
use records::parquet_file::fields_of;
use records::record::Verdict;

/// The columns that clauses may name.
pub(crate) fn columns() -> Result<Vec<String>> {
    Ok(fields_of::<Verdict>()?.iter().map(|field| field.name().clone()).collect())
}
