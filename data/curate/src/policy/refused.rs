//! What is said of SQL in a recipe that cannot be used: what is wrong, in which part of it, and what may be named there.

use std::ops::Range;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::dialect::DuckDbDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, Tokenizer as Scanner};
use records::{Error, Mistake};
use sql::nearest;

use crate::policy::columns;

/// A field of the recipe that is SQL.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// What is to be written there.
    remedy: &'static str,
    /// Columns that have no values yet when it is asked.
    pub(crate) hidden: &'static [&'static str],
}

pub(crate) const POLICY: Field =
    Field { name: "curate.policy", remedy: "write one SQL condition on the columns of the verdicts", hidden: &[] };
/// That of `show --where`.
pub(crate) const CONDITION: Field =
    Field { name: "the condition", remedy: "write one SQL condition on the columns of the verdicts", hidden: &[] };
pub(crate) const WHERE: Field = Field {
    name: "curate.judge.where",
    remedy: "write one SQL condition on the columns of the verdicts, without those that the judge fills",
    hidden: &["judge_verdict", "judge_analysis"],
};
pub(crate) const PREFER: Field = Field {
    name: "curate.balance.prefer",
    remedy: "write what may follow ORDER BY on the columns of the verdicts, as in \"pass_rate ASC, tokens DESC\"",
    hidden: &[],
};

/// A mistake whose place is known.
#[derive(Debug)]
pub(crate) struct Placed {
    span: Span,
    problem: String,
}

impl Placed {
    pub(crate) fn error(span: Span, problem: String) -> DataFusionError {
        DataFusionError::External(Box::new(Self { span, problem }))
    }
}

impl std::fmt::Display for Placed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.problem)
    }
}

impl std::error::Error for Placed {}

/// Says what is wrong with a clause. `within` is the part of it that the error is about, if only one is.
pub(crate) fn refused(field: &Field, sql: &str, error: &DataFusionError, within: Option<Range<usize>>) -> Mistake {
    let Field { name: field, remedy, hidden } = *field;
    let mut columns = columns().unwrap_or_default();
    columns.retain(|column| !hidden.contains(&column.as_str()));
    let choices = Some(format!("the columns are: {}", columns.join(", ")));
    let root = error.find_root();
    if let DataFusionError::SchemaError(schema_error, _) = root
        && let SchemaError::FieldNotFound { field: column, .. } = schema_error.as_ref()
    {
        let name = &column.name;
        let part = word(sql, name, within.as_ref()).or(within);
        if hidden.contains(&name.as_str()) {
            return Mistake { choices, part, ..Mistake::new(field, format!("{name} is not known yet"), remedy) };
        }
        return Mistake {
            meant: nearest(name, columns.iter().map(String::as_str)).map(str::to_owned),
            choices,
            part,
            ..Mistake::new(field, format!("there is no column {name:?}"), "")
        };
    }
    if let DataFusionError::External(inner) = root
        && let Some(Placed { span, problem }) = inner.downcast_ref()
    {
        return Mistake { part: bytes_of(sql, *span), choices, ..Mistake::new(field, problem, remedy) };
    }
    // It is too deep.
    if let DataFusionError::External(inner) = root
        && let Some(Error::Invalid { problem, remedy, .. }) = inner.downcast_ref()
    {
        return Mistake::new(field, problem, remedy);
    }
    let said = root.strip_backtrace().replace('\n', " ");
    let said = said.strip_prefix("Error during planning: ").unwrap_or(&said);
    // The parser's own words stand in its error as Rust would print them.
    let said = said.strip_prefix("SQL error: ParserError(\"").and_then(|rest| rest.strip_suffix("\")")).unwrap_or(said);
    let said = said.replace("\\\"", "\"");
    let (problem, part) = match said.rsplit_once(" at Line: ") {
        Some((problem, place)) => (problem, location(place).and_then(|place| token_at(sql, place))),
        // The parser gives no place for the end.
        None if said.ends_with("found: EOF") => {
            let end = sql.trim_end().len();
            (said.as_str(), Some(end..end))
        }
        None => (said.as_str(), None),
    };
    let function = problem.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next());
    let part = part.or_else(|| word(sql, function?, within.as_ref())).or(within);
    let problem = problem.replace("found: EOF", "found its end");
    Mistake { choices, part, ..Mistake::new(field, format!("it cannot be used: {problem}"), remedy) }
}

/// "1, Column: 5"
fn location(place: &str) -> Option<Location> {
    let (line, column) = place.split_once(", Column: ")?;
    Some(Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?))
}

/// The bytes of a place in SQL, whose lines and columns are counted from 1, the columns in characters.
fn byte_of(sql: &str, at: Location) -> Option<usize> {
    let line = usize::try_from(at.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(at.column).ok()?.checked_sub(1)?;
    let start: usize = sql.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = sql.get(start..)?;
    let offset = rest.char_indices().map(|(at, _)| at).nth(column).unwrap_or(rest.len());
    Some(start + offset)
}

pub(crate) fn bytes_of(sql: &str, span: Span) -> Option<Range<usize>> {
    let (start, end) = (byte_of(sql, span.start)?, byte_of(sql, span.end)?);
    (start <= end).then_some(start..end)
}

/// The token that begins at a place, or the place alone.
fn token_at(sql: &str, place: Location) -> Option<Range<usize>> {
    let start = byte_of(sql, place)?;
    let tokens = Scanner::new(&DuckDbDialect {}, sql).tokenize_with_location().unwrap_or_default();
    let token = tokens.into_iter().find(|token| token.span.start == place);
    Some(token.and_then(|token| bytes_of(sql, token.span)).unwrap_or(start..start))
}

/// Where a name stands.
fn word(sql: &str, name: &str, within: Option<&Range<usize>>) -> Option<Range<usize>> {
    let tokens = Scanner::new(&DuckDbDialect {}, sql).tokenize_with_location().ok()?;
    let is_it = |token: &Token| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case(name));
    let places = tokens.iter().filter(|token| is_it(&token.token)).filter_map(|token| bytes_of(sql, token.span));
    let mut places = places.filter(|part| within.is_none_or(|all| all.start <= part.start && part.end <= all.end));
    places.next()
}
