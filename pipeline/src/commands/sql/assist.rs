//! What the shell's line editor knows: names to complete, and where a statement ends.

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};
use sql::{Format, Session, functions};

use super::statement::{COMMANDS, is_complete};

/// SQL's words, those that a question needs.
const KEYWORDS: &[&str] = &[
    "ALL",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CROSS",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FILTER",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER",
    "INTERSECT",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OVER",
    "PARTITION",
    "SELECT",
    "SHOW",
    "TABLES",
    "THEN",
    "TRUE",
    "UNION",
    "WHEN",
    "WHERE",
    "WITH",
];

/// The editor's helper.
pub(super) struct Assistant {
    tables: Vec<(String, Vec<String>)>,
    functions: Vec<String>,
    files: FilenameCompleter,
}

impl Assistant {
    pub(super) fn new(session: &Session) -> Self {
        let columns = |table: &sql::Table| table.columns.iter().map(|(name, _)| name.clone()).collect();
        Self {
            tables: session.tables().iter().map(|table| (table.name.clone(), columns(table))).collect(),
            functions: session.function_names(),
            files: FilenameCompleter::new(),
        }
    }

    fn is_table(&self, name: &str) -> bool {
        self.tables.iter().any(|(table, _)| table == name)
    }

    /// What may stand where `before` ends, and where the word begins that it replaces.
    fn candidates(&self, before: &str) -> (usize, Vec<String>) {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let begin =
            before.rfind(|c| !is_word(c)).map_or(0, |at| at + before[at..].chars().next().map_or(0, char::len_utf8));
        let word = &before[begin..];
        let fits = |name: &&str| name.len() > word.len() && starts_with_ignoring_case(name, word);
        let tables = || self.tables.iter().map(|(name, _)| name.as_str());
        if let Some(command) = before.trim_start().strip_prefix('\\') {
            let found: Vec<String> = match command.split_once(' ') {
                None => COMMANDS.iter().map(|(name, ..)| *name).filter(fits).map(str::to_owned).collect(),
                Some(("d", _)) => tables().filter(fits).map(str::to_owned).collect(),
                Some(("format", _)) => {
                    Format::ALL.iter().map(|(name, _)| *name).filter(fits).map(str::to_owned).collect()
                }
                Some(_) => Vec::new(),
            };
            return (begin, found);
        }
        if let Some(owner) = before[..begin].strip_suffix('.') {
            let owner = owner.rsplit(|c| !is_word(c)).next().unwrap_or(owner);
            if let Some((_, columns)) = self.tables.iter().find(|(name, _)| name.eq_ignore_ascii_case(owner)) {
                return (begin, columns.iter().map(String::as_str).filter(fits).map(str::to_owned).collect());
            }
        }
        if word.is_empty() {
            return (begin, Vec::new());
        }
        let small = word.chars().any(char::is_lowercase);
        let keywords =
            KEYWORDS.iter().copied().filter(fits).map(|k| if small { k.to_lowercase() } else { k.to_owned() });
        let columns = self.tables.iter().flat_map(|(_, columns)| columns).map(String::as_str);
        let functions = self.functions.iter().map(String::as_str).filter(fits).map(|name| format!("{name}("));
        let mut found: Vec<String> = tables().chain(columns).filter(fits).map(str::to_owned).collect();
        found.extend(functions);
        found.extend(keywords);
        found.sort_by_key(|name| name.to_lowercase());
        found.dedup();
        (begin, found)
    }
}

fn starts_with_ignoring_case(name: &str, word: &str) -> bool {
    name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// Whether the cursor is in a file's name: after `\o`, or in the text that follows FROM, JOIN or `near_duplicates(`.
fn names_a_file(before: &str) -> bool {
    if let Some(command) = before.trim_start().strip_prefix('\\') {
        return command.starts_with("o ");
    }
    let mut parts = before.rsplitn(2, '\'');
    let (_, Some(head)) = (parts.next(), parts.next()) else { return false };
    // An even number of quotes before this one: it opens.
    let opens = head.matches('\'').count() % 2 == 0;
    let word = head.trim_end().rsplit(char::is_whitespace).next().unwrap_or_default();
    let takes_a_file = ["from", "join"].iter().any(|keyword| word.eq_ignore_ascii_case(keyword));
    opens && (takes_a_file || word.to_lowercase().ends_with("near_duplicates("))
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..at).unwrap_or(line);
        let (begin, found) = self.candidates(before);
        if names_a_file(before) {
            let (at, mut names) = self.files.complete(line, at, context)?;
            // Within quotes a table's name may stand, and a column's or function's may not.
            let tables = found.into_iter().filter(|name| at == begin && self.is_table(name));
            names.extend(tables.map(|name| Pair { display: name.clone(), replacement: name }));
            return Ok((at, names));
        }
        Ok((begin, found.into_iter().map(|name| Pair { display: name.clone(), replacement: name }).collect()))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult, ReadlineError> {
        let text = context.input();
        Ok(if is_complete(text) { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Hinter for Assistant {
    type Hint = String;

    /// The signature of the function whose bracket was just opened.
    fn hint(&self, line: &str, at: usize, _: &Context<'_>) -> Option<String> {
        if at < line.len() {
            return None;
        }
        let call = line.strip_suffix('(')?;
        let name = call.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        let function = functions().into_iter().find(|function| function.name.eq_ignore_ascii_case(name))?;
        Some(format!("   {}", function.signature))
    }
}

impl Highlighter for Assistant {
    fn highlight_hint<'h>(&self, hint: &'h str) -> std::borrow::Cow<'h, str> {
        format!("\x1b[2m{hint}\x1b[0m").into()
    }
}

impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use super::*;

    fn assistant() -> Assistant {
        Assistant {
            tables: vec![
                ("traces".into(), vec!["id".into(), "thinking".into()]),
                ("verdicts".into(), vec!["trace_id".into(), "correct".into()]),
            ],
            functions: vec!["think".into(), "trim".into()],
            files: FilenameCompleter::new(),
        }
    }

    #[test]
    fn names_are_completed_where_they_belong() {
        let found = |before: &str| assistant().candidates(before).1;
        assert_eq!(found("SELECT th"), ["then", "think(", "thinking"]);
        assert_eq!(found("SELECT tr"), ["trace_id", "traces", "trim(", "true"]);
        assert_eq!(found("SELECT TRU"), ["TRUE"]);
        assert_eq!(found("SELECT verdicts.c"), ["correct"]);
        assert_eq!(found("SELECT verdicts."), ["trace_id", "correct"]);
        assert_eq!(found("\\d v"), ["verdicts"]);
        assert_eq!(found("\\format ma"), ["markdown"]);
        assert_eq!(found("\\ti"), ["timing"]);
        assert_eq!(found("SELECT "), Vec::<String>::new());
        assert_eq!(assistant().candidates("SELECT é, cor").0, "SELECT é, ".len());
    }

    #[test]
    fn files_are_completed_after_from_and_o() {
        assert!(names_a_file("SELECT * FROM 'tra"));
        assert!(names_a_file("SELECT 'a' FROM x JOIN 'b/"));
        assert!(names_a_file("\\o out.p"));
        assert!(names_a_file("SELECT * FROM near_duplicates('"));
        assert!(!names_a_file("SELECT * FROM near_duplicates('t', 'i"));
        assert!(!names_a_file("SELECT 'tra"));
        assert!(!names_a_file("SELECT * FROM 'a' WHERE x"));
        assert!(!names_a_file("\\d t"));
    }
}
