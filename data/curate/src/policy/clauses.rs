//! SQL in a recipe: a condition, and what stands after ORDER BY. Both are expressions on the columns of the verdicts.

use std::collections::HashMap;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field as Column, Schema};
use datafusion::common::config::Dialect;
use datafusion::common::{DFSchema, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::sqlparser::ast::{self, Spanned};
use datafusion::sql::sqlparser::dialect::DuckDbDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer as Scanner};
use records::Mistake;
use records::parquet_file::fields_of;
use records::record::Verdict;
use sql::refuse_deep;

use crate::policy::refused::{Field, PREFER, Placed, bytes_of, refused};

type Planned<T> = Result<T, DataFusionError>;

pub(crate) fn context() -> SessionContext {
    // One partition: rows come in order.
    let mut config = SessionConfig::new().with_target_partitions(1);
    config.options_mut().sql_parser.dialect = Dialect::DuckDB;
    SessionContext::new_with_config(config)
}

/// Whether clauses can be used is known without any verdicts.
fn schema(field: &Field) -> Planned<DFSchema> {
    let columns = fields_of::<Verdict>().map_err(|e| DataFusionError::External(Box::new(e)))?;
    let columns = columns.iter().filter(|column| !field.hidden.contains(&column.name().as_str()));
    let schema = Schema::new(columns.map(|column| Column::clone(column)).collect::<Vec<_>>());
    DFSchema::from_unqualified_fields(schema.fields, HashMap::new())
}

/// The terms that a policy joins by AND.
fn parsed_terms(policy: &str) -> Planned<Vec<ast::Expr>> {
    refuse_deep(policy)?;
    let parsed = context().state().sql_to_expr_with_alias(policy, &Dialect::DuckDB)?;
    // Two terms without AND between them are one with an alias: the second would be lost.
    if let Some(alias) = parsed.alias {
        return Err(Placed::error(alias.span, format!("before {alias} an AND or OR is missing")));
    }
    let mut terms = Vec::new();
    let mut pending = vec![parsed.expr];
    while let Some(expr) = pending.pop() {
        match expr {
            ast::Expr::BinaryOp { left, op: ast::BinaryOperator::And, right } => pending.extend([*right, *left]),
            ast::Expr::Nested(inner) => pending.push(*inner),
            expr => terms.push(expr),
        }
    }
    Ok(terms)
}

/// A term as it is written and as it is planned.
fn planned_term(expr: ast::Expr, schema: &DFSchema) -> Planned<(String, Expr)> {
    let text = expr.to_string();
    let expr = ast::ExprWithAlias { expr, alias: None };
    let term = context().state().create_logical_expr_from_sql_expr(expr, schema)?;
    if term.is_volatile() {
        return plan_err!("{text} is another each time, and what is selected must not be");
    }
    Ok((text, term))
}

/// The terms that a policy joins by AND, as they are written and as they are planned.
pub(crate) fn policy_terms(policy: &str, schema: &DFSchema) -> Planned<Vec<(String, Expr)>> {
    parsed_terms(policy)?.into_iter().map(|term| planned_term(term, schema)).collect()
}

pub(crate) fn condition(sql: &str, schema: &DFSchema) -> Planned<Expr> {
    context().parse_sql_expr(sql, schema)
}

/// What rows are sorted by.
pub(crate) struct Sorted {
    pub(crate) expr: Expr,
    pub(crate) options: SortOptions,
}

/// Reads what would stand after ORDER BY. NULL comes last unless it says otherwise.
pub(crate) fn sorted(sql: &str, schema: &DFSchema) -> Planned<Vec<Sorted>> {
    refuse_deep(sql)?;
    let mut parser = Parser::new(&DuckDbDialect {}).try_with_sql(sql)?;
    let parsed = parser.parse_comma_separated(Parser::parse_order_by_expr)?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        return Err(Placed::error(next.span, format!("before {next} a comma is missing")));
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

/// What is wrong with a condition, before there are verdicts.
pub(crate) fn check_condition(field: &Field, sql: &str) -> Vec<Mistake> {
    let parsed = || Ok((schema(field)?, parsed_terms(sql)?));
    let (schema, terms) = match parsed() {
        Ok(parsed) => parsed,
        Err(e) => return vec![refused(field, sql, &e, None)],
    };
    let check = |term: ast::Expr| {
        let (text, term) = planned_term(term, &schema)?;
        let physical = context().create_physical_expr(term, &schema)?;
        let kind = physical.data_type(schema.as_arrow())?;
        if kind == DataType::Boolean { Ok(()) } else { plan_err!("{text} must be true or false; it is a {kind}") }
    };
    let mistake = |term: ast::Expr| {
        let part = bytes_of(sql, term.span());
        check(term).err().map(|e| refused(field, sql, &e, part))
    };
    terms.into_iter().filter_map(mistake).collect()
}

/// Whether a clause names a column. What is no SQL names none.
pub(crate) fn names_column(clause: &str, column: &str) -> bool {
    let is_it = |token: &Token| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case(column));
    Scanner::new(&DuckDbDialect {}, clause).tokenize().is_ok_and(|tokens| tokens.iter().any(is_it))
}

/// Refuses an order before there are verdicts.
pub(crate) fn check_order(prefer: &str) -> Result<(), Box<Mistake>> {
    let planned = || {
        let schema = schema(&PREFER)?;
        for key in sorted(prefer, &schema)? {
            context().create_physical_expr(key.expr, &schema)?;
        }
        Ok(())
    };
    planned().map_err(|e| Box::new(refused(&PREFER, prefer, &e, None)))
}

/// A clause as it was written: of one line in quotes, of several lines as they are.
pub(crate) fn quoted(clause: &str) -> String {
    let clause = clause.trim();
    if clause.contains('\n') { format!("\n{clause}\n") } else { format!("{clause:?}") }
}
