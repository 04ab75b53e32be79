//! What is said when a query cannot be answered: the engine's message, what was probably meant, and what there is.

use std::io::ErrorKind;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use rapidfuzz::distance::osa;

use super::{Session, functions};
use records::Error;

/// The name among `known` that is nearest to a mistaken one, if it is near enough to be meant.
pub fn nearest<'a>(mistaken: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mistaken = mistaken.to_lowercase();
    let far = |name: &str| osa::distance(mistaken.chars(), name.to_lowercase().chars());
    let (distance, name) = known.into_iter().map(|name| (far(name), name)).min_by_key(|(distance, _)| *distance)?;
    (distance <= mistaken.chars().count().div_ceil(3)).then_some(name)
}

fn meant<'a>(mistaken: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(mistaken, known).map_or_else(String::new, |name| format!("did you mean {name}? "))
}

impl Session {
    /// Says what there is, when a query names what there is not.
    pub(super) fn explain(&self, error: &DataFusionError) -> Error {
        let root = error.find_root();
        if let Some(ours) = of_ours(root) {
            return ours;
        }
        let message = root.strip_backtrace().replace('\n', " ").replace("datafusion.public.", "");
        let message = message.strip_prefix("Error during planning: ").unwrap_or(&message);
        if let DataFusionError::SchemaError(schema_error, _) = root
            && let SchemaError::FieldNotFound { field, valid_fields } = schema_error.as_ref()
        {
            let mut columns: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
            columns.dedup();
            if columns.is_empty() {
                let problem = format!("there is no table to take {:?} from", field.name);
                return Error::invalid("the query", problem, "add FROM and a table, or put a text into quotes");
            }
            let problem = format!("there is no column {:?} here", field.name);
            let meant = meant(&field.name, columns.iter().copied());
            return Error::invalid("the query", problem, format!("{meant}the columns are: {}", columns.join(", ")));
        }
        let remedy = self.remedy(root, message);
        Error::invalid("the query", message.trim_end_matches(['.', ' ']), remedy)
    }

    fn remedy(&self, root: &DataFusionError, message: &str) -> String {
        let tables = || {
            let names: Vec<&str> = self.tables.iter().map(|table| table.name.as_str()).collect();
            match names.as_slice() {
                [] => "there are no tables: run a recipe first, name a file as in FROM 'traces.parquet', or give --table NAME=PATH"
                    .to_owned(),
                names => format!("the tables are: {}; a file is a table too: FROM 'traces.parquet'", names.join(", ")),
            }
        };
        match root {
            DataFusionError::ResourcesExhausted(_) => {
                return "leave the columns of text out of sorts, groups and joins, or add a LIMIT".to_owned();
            }
            // DataFusion has no kind of error for these two and the one below: its words are all that tells them.
            DataFusionError::Plan(_) if message.contains("not supported") => {
                return "tables are read with SELECT, EXPLAIN, SHOW TABLES and DESCRIBE; --output FILE writes an answer"
                    .to_owned();
            }
            DataFusionError::SQL(..) => return "correct the query where it says so".to_owned(),
            _ => {}
        }
        // Said as a plain `Plan` error, as are tables that are not there.
        if message.contains("Invalid function") {
            let names: Vec<&str> = functions().iter().map(|function| function.name).collect();
            return format!("beside SQL's own there are: {}", names.join(", "));
        }
        if let Some(name) = message.strip_prefix("table '").and_then(|rest| rest.split('\'').next()) {
            return meant(name, self.tables.iter().map(|table| table.name.as_str())) + &tables();
        }
        tables()
    }
}

/// An error that a file, not the query, gave rise to.
fn of_ours(root: &DataFusionError) -> Option<Error> {
    let DataFusionError::External(inner) = root else { return None };
    match inner.downcast_ref::<Error>()? {
        Error::Malformed { path, problem, remedy } => Some(Error::malformed(path, problem, remedy)),
        Error::Invalid { what, problem, remedy } => Some(Error::invalid(what, problem, remedy)),
        Error::Unreachable { what, message } => {
            Some(Error::Unreachable { what: what.clone(), message: message.clone() })
        }
        // A full disk is not the query's fault.
        Error::Io { action, path, source } if source.kind() == ErrorKind::StorageFull => {
            Some(Error::io(action, path, std::io::Error::new(source.kind(), source.to_string())))
        }
        other => Some(Error::invalid("the query", other.to_string(), "check the path")),
    }
}
