//! SQL in a recipe: a condition, and what stands after ORDER BY. Both are expressions on the columns of the verdicts.

use std::collections::HashMap;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::config::Dialect;
use datafusion::common::{DFSchema, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::DuckDbDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer as Scanner};

use crate::parquet_file::fields_of;
use crate::record::Verdict;
use crate::sql::refuse_deep;
use crate::{Error, Result};

type Planned<T> = std::result::Result<T, DataFusionError>;

pub(super) fn context() -> SessionContext {
    // One partition: rows come in order.
    let mut config = SessionConfig::new().with_target_partitions(1);
    config.options_mut().sql_parser.dialect = Dialect::DuckDB;
    SessionContext::new_with_config(config)
}

/// The columns that clauses may name.
pub(super) fn columns() -> Result<Vec<String>> {
    Ok(fields_of::<Verdict>()?.iter().map(|field| field.name().clone()).collect())
}

fn named_columns() -> String {
    columns().map(|columns| columns.join(", ")).unwrap_or_default()
}

/// Whether clauses can be used is known without any verdicts.
fn schema() -> Planned<DFSchema> {
    let fields = fields_of::<Verdict>().map_err(|e| DataFusionError::External(Box::new(e)))?;
    let schema = Schema::new(fields.iter().map(|field| Field::clone(field)).collect::<Vec<_>>());
    DFSchema::from_unqualified_fields(schema.fields, HashMap::new())
}

/// The terms that a policy joins by AND, as they are written and as they are planned.
pub(super) fn policy_terms(policy: &str, schema: &DFSchema) -> Planned<Vec<(String, Expr)>> {
    refuse_deep(policy)?;
    let state = context().state();
    let parsed = state.sql_to_expr_with_alias(policy, &Dialect::DuckDB)?;
    // Two terms without AND between them are one with an alias: the second would be lost.
    if let Some(alias) = parsed.alias {
        return plan_err!("before {alias} an AND or OR is missing");
    }
    let mut terms = Vec::new();
    let mut pending = vec![parsed.expr];
    while let Some(expr) = pending.pop() {
        match expr {
            ast::Expr::BinaryOp { left, op: ast::BinaryOperator::And, right } => pending.extend([*right, *left]),
            ast::Expr::Nested(inner) => pending.push(*inner),
            expr => {
                let text = expr.to_string();
                let expr = ast::ExprWithAlias { expr, alias: None };
                terms.push((text, state.create_logical_expr_from_sql_expr(expr, schema)?));
            }
        }
    }
    for (text, term) in &terms {
        if term.is_volatile() {
            return plan_err!("{text} is another each time, and what is selected must not be");
        }
    }
    Ok(terms)
}

pub(super) fn condition(sql: &str, schema: &DFSchema) -> Planned<Expr> {
    context().parse_sql_expr(sql, schema)
}

/// What rows are sorted by.
pub(super) struct Sorted {
    pub(super) expr: Expr,
    pub(super) options: SortOptions,
}

/// Reads what would stand after ORDER BY. NULL comes last unless it says otherwise.
pub(super) fn sorted(sql: &str, schema: &DFSchema) -> Planned<Vec<Sorted>> {
    refuse_deep(sql)?;
    let mut parser = Parser::new(&DuckDbDialect {}).try_with_sql(sql)?;
    let parsed = parser.parse_comma_separated(Parser::parse_order_by_expr)?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        return plan_err!("before {next} a comma is missing");
    }
    let state = context().state();
    let mut keys = Vec::new();
    for key in parsed {
        let (text, options) = (key.expr.to_string(), key.options);
        let expr = ast::ExprWithAlias { expr: key.expr, alias: None };
        let expr = state.create_logical_expr_from_sql_expr(expr, schema)?;
        if expr.is_volatile() {
            return plan_err!("{text} is another each time, and what is selected must not be");
        }
        if matches!(expr, Expr::Literal(..)) {
            return plan_err!("{text} is the same for every trace");
        }
        let nulls_first = options.nulls_first.unwrap_or(false);
        keys.push(Sorted { expr, options: SortOptions { descending: options.asc == Some(false), nulls_first } });
    }
    Ok(keys)
}

/// A policy that cannot be used.
pub(super) fn refused_policy(policy: &str, e: &DataFusionError) -> Error {
    refused_condition("curate.policy", policy, e)
}

/// A condition that cannot be used; `what` is where it stands.
pub(super) fn refused_condition(what: &str, sql: &str, e: &DataFusionError) -> Error {
    Error::invalid(
        what,
        format!("{} cannot be used: {}", quoted(sql), e.strip_backtrace()),
        format!("write one SQL condition on these columns: {}", named_columns()),
    )
}

/// An order that cannot be used.
pub(super) fn refused_order(prefer: &str, e: &DataFusionError) -> Error {
    Error::invalid(
        "curate.balance.prefer",
        format!("{} cannot be used: {}", quoted(prefer), e.strip_backtrace()),
        format!(
            "write what may follow ORDER BY, as in \"pass_rate ASC, tokens DESC\", on these columns: {}",
            named_columns()
        ),
    )
}

/// Refuses a policy before there are verdicts.
pub(super) fn check_policy(policy: &str) -> Result<()> {
    let planned = || {
        let schema = schema()?;
        for (text, term) in policy_terms(policy, &schema)? {
            let physical = context().create_physical_expr(term, &schema)?;
            let kind = physical.data_type(schema.as_arrow())?;
            if kind != DataType::Boolean {
                return plan_err!("{text} must be true or false; it is a {kind}");
            }
        }
        Ok(())
    };
    planned().map_err(|e| refused_policy(policy, &e))
}

/// Whether a clause names a column. What is no SQL names none.
pub(super) fn names(clause: &str, column: &str) -> bool {
    let is_it = |token: &Token| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case(column));
    Scanner::new(&DuckDbDialect {}, clause).tokenize().is_ok_and(|tokens| tokens.iter().any(is_it))
}

/// Refuses an order before there are verdicts.
pub(super) fn check_order(prefer: &str) -> Result<()> {
    let planned = || {
        let schema = schema()?;
        for key in sorted(prefer, &schema)? {
            context().create_physical_expr(key.expr, &schema)?;
        }
        Ok(())
    };
    planned().map_err(|e| refused_order(prefer, &e))
}

/// A clause as it was written: of one line in quotes, of several lines as they are.
pub(super) fn quoted(clause: &str) -> String {
    let clause = clause.trim();
    if clause.contains('\n') { format!("\n{clause}\n") } else { format!("{clause:?}") }
}
