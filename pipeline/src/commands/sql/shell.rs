//! The shell: statements end with a semicolon, its own commands begin with a backslash.

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustyline::error::ReadlineError;
use rustyline::{CompletionType, Config, Editor};
use sql::{Format, Shown, Table, functions, nearest};

use super::assist::Assistant;
use super::statement::{COMMANDS, is_blank, is_command, take_complete};
use super::{Asker, SCREEN_ROWS, SqlArgs, count, is_stopped, pager, say_truncated};
use crate::commands::print;
use crate::console::say;
use crate::error::{Failure, Result};

/// What is left of the recipes that need more than one function.
const HINTS: &str = "\
A statement ends with ; and may have many lines. Tab completes. A file is a table: SELECT count(*) FROM 'traces.parquet';
The assistant's text of a conversation: array_filter(messages, m -> m['role'] = 'assistant')[1]['content']
Near duplicates in a run:      SELECT cluster, count(*) FROM verdicts GROUP BY cluster HAVING count(*) > 1;
Near duplicates in any table:  SELECT * FROM near_duplicates('traces.parquet', 'id', 'text');
All but those:                 SELECT * FROM t WHERE id NOT IN (SELECT id FROM near_duplicates('t', 'id', 'text'));";

/// What a person sets while asking.
pub(super) struct Shell<'a> {
    asker: &'a Asker,
    format: Option<Format>,
    /// Where the next rows go, if not to the screen.
    output: Option<(PathBuf, Format)>,
    max_rows: Option<usize>,
    width: usize,
    timing: bool,
    /// Whether somebody reads along: then rows are counted.
    attended: bool,
}

/// Whether the shell goes on.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    Leave,
}

impl<'a> Shell<'a> {
    pub(super) fn new(asker: &'a Asker, args: &SqlArgs) -> Result<Self> {
        let format = args.format.map(|name| name.0);
        // What is said on the command line is said for this file, whatever its name.
        let said =
            |path: &PathBuf| file_format(path, [format, Format::of_file(path)]).map(|format| (path.clone(), format));
        let output = args.output.as_ref().map(said).transpose()?;
        Ok(Self { asker, format, output, max_rows: args.max_rows, width: args.width, timing: false, attended: false })
    }

    /// Answers one query where it is to be answered.
    pub(super) fn answer(&mut self, query: &str) -> Result<()> {
        let begun = Instant::now();
        let rows = match self.output.take() {
            Some((path, format)) => Some(self.to_file(query, &path, format)?),
            None => self.to_screen(query)?,
        };
        let took = begun.elapsed().as_secs_f64();
        let took = if took < 1.0 { format!("{:.0} ms", took * 1000.0) } else { format!("{took:.2} s") };
        match (rows, self.attended, self.timing) {
            (Some(rows), _, true) => say(&format!("{} in {took}", count(rows))),
            (Some(rows), true, false) => say(&count(rows)),
            _ => {}
        }
        Ok(())
    }

    fn to_file(&self, query: &str, path: &Path, format: Format) -> Result<usize> {
        let shown = Shown { format, max_rows: self.max_rows, cell_chars: self.width };
        let written = self.asker.save(query, shown, path)?;
        say(&format!("{}: {}", path.display(), count(written.rows)));
        if written.truncated {
            say_truncated(written.rows);
        }
        Ok(written.rows)
    }

    fn to_screen(&self, query: &str) -> Result<Option<usize>> {
        let format = self.format.unwrap_or(Format::Table);
        if format == Format::Parquet {
            let what = "the format is parquet, which needs a file: --output FILE (in the shell: \\o FILE)";
            return Err(Failure::usage(what));
        }
        let on_screen = std::io::stdout().is_terminal();
        let most = self.max_rows.unwrap_or(SCREEN_ROWS);
        if !on_screen && !format.is_for_reading() {
            let shown = Shown { format, max_rows: self.max_rows, cell_chars: self.width };
            let Some(written) = self.asker.stream(query, shown)? else { return Ok(None) };
            if written.truncated {
                say_truncated(written.rows);
            }
            return Ok(Some(written.rows));
        }
        let result = self.asker.query(query, most)?;
        let text = result.text(format, self.width)?;
        let text = text.trim_end();
        if self.attended {
            pager::show(text)?;
        } else {
            print(text)?;
        }
        if result.truncated {
            say_truncated(result.rows());
        }
        Ok(Some(result.rows()))
    }

    /// Reads statements and commands from stdin; the first that fails ends it.
    pub(super) fn script(&mut self) -> Result<()> {
        let mut pending = String::new();
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|e| Failure::usage(format!("cannot read queries from stdin: {e}")))?;
            if self.take(&line, &mut pending)? == Next::Leave {
                return Ok(());
            }
        }
        if is_blank(&pending) { Ok(()) } else { self.answer(&pending) }
    }

    /// Does what a line completes.
    fn take(&mut self, line: &str, pending: &mut String) -> Result<Next> {
        if is_blank(pending) && is_command(line) {
            pending.clear();
            return self.command(line.trim());
        }
        pending.push_str(line);
        pending.push('\n');
        for statement in take_complete(pending) {
            self.answer(&statement)?;
        }
        Ok(Next::GoOn)
    }

    /// Talks with a person. The history is kept in the run folder.
    pub(super) fn interactive(&mut self, run: Option<&Path>) -> Result<()> {
        let failed = |e: ReadlineError| Failure::failed(format!("cannot read from the terminal: {e}"));
        self.attended = true;
        let config = Config::builder().completion_type(CompletionType::List).max_history_size(5000).map_err(failed)?;
        let mut editor: Editor<Assistant, _> = Editor::with_config(config.build()).map_err(failed)?;
        editor.set_helper(Some(Assistant::new(&self.asker.session)));
        let history = run.map(|run| run.join(".sql-history"));
        // One that cannot be read is said and no reason not to answer.
        match history.as_ref().map(|history| editor.load_history(history)) {
            Some(Err(ReadlineError::Io(e))) if e.kind() == std::io::ErrorKind::NotFound => {}
            Some(Err(e)) => say(&format!("the history of this run cannot be read: {e}")),
            Some(Ok(())) | None => {}
        }
        self.greet(run);
        loop {
            match editor.readline("sql> ") {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => {
                    let _ = editor.add_history_entry(text.trim());
                    // A folder that cannot be written to is no reason not to answer. At once: a second Ctrl-C, or a closed window, ends the shell without a farewell.
                    let _ = history.as_ref().map(|history| editor.append_history(history));
                    if self.take_all(&text) == Next::Leave {
                        break;
                    }
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => break,
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(())
    }

    /// What was typed at once; a failure is told, and the shell goes on.
    fn take_all(&mut self, text: &str) -> Next {
        let mut pending = String::new();
        for line in text.lines() {
            match self.take(line, &mut pending) {
                Ok(Next::GoOn) => {}
                Ok(Next::Leave) => return Next::Leave,
                Err(failure) => {
                    say(&if is_stopped(&failure) { failure.to_string() } else { format!("error: {failure}") });
                    // What was typed after it was meant for a state that did not come about.
                    return Next::GoOn;
                }
            }
        }
        Next::GoOn
    }

    fn greet(&self, run: Option<&Path>) {
        let names: Vec<&str> = self.asker.session.tables().iter().map(|table| table.name.as_str()).collect();
        let place = run.map_or_else(String::new, |run| format!("{}: ", run.display()));
        say(&match names.as_slice() {
            [] => "no tables; name files, as in SELECT * FROM 'traces.parquet';".to_owned(),
            names => format!("{place}{}", names.join(", ")),
        });
        say("\\d shows columns, \\help helps, \\q leaves");
    }

    fn command(&mut self, line: &str) -> Result<Next> {
        let line = line.trim_end_matches(';').trim_end();
        let (name, argument) =
            line.split_once(char::is_whitespace).map_or((line, ""), |(name, rest)| (name, rest.trim()));
        match (name.strip_prefix('\\').unwrap_or(name), argument) {
            ("q" | "quit" | "exit", _) => return Ok(Next::Leave),
            ("help" | "h" | "?", _) => self.show(&help())?,
            ("d" | "dt", "") => self.show(&tables(self.asker.session.tables()))?,
            ("d", table) => self.describe(table)?,
            ("functions" | "df", name) => self.show(&explained(name)?)?,
            ("timing", argument) => {
                self.timing = switch(self.timing, argument)?;
                say(if self.timing { "timing is on" } else { "timing is off" });
            }
            ("format", "") => say(&format!("the format is {}", name_of(self.format.unwrap_or(Format::Table)))),
            ("format", wanted) => self.format = Some(format_named(wanted)?),
            ("o", "") => {
                self.output = None;
                say("rows go to the screen");
            }
            ("o", path) => {
                let path = PathBuf::from(path.trim_matches(['\'', '"']));
                // The format was chosen for the screen; the file's name says more.
                let format = file_format(&path, [Format::of_file(&path), self.format])?;
                self.output = Some((path, format));
            }
            ("rows", "") => say(&format!("at most {} are shown", self.max_rows.map_or("100 rows".into(), count))),
            ("rows", "all") => self.max_rows = Some(usize::MAX),
            ("rows", n) => {
                let rows = n.parse().map_err(|_| Failure::usage(format!("\\rows {n}: give a number, or `all`")))?;
                self.max_rows = Some(rows);
            }
            (unknown, _) => {
                let meant = nearest(unknown, COMMANDS.iter().map(|(name, ..)| *name));
                let meant = meant.map_or_else(String::new, |name| format!("did you mean \\{name}? "));
                return Err(Failure::usage(format!("there is no command \\{unknown}; {meant}\\help shows them all")));
            }
        }
        Ok(Next::GoOn)
    }

    fn show(&self, text: &str) -> Result<()> {
        if self.attended { pager::show(text.trim_end()) } else { print(text.trim_end()) }
    }

    fn describe(&self, name: &str) -> Result<()> {
        let (Table { name, columns, path }, rows) = self.asker.describe(name)?;
        let mut text = format!("{name}: {} in {}\n", count(rows), path.display());
        let width = columns.iter().map(|(column, _)| column.chars().count()).max().unwrap_or(0);
        for (column, kind) in columns {
            let _ = writeln!(text, "  {column:<width$}  {kind}");
        }
        self.show(&text)
    }
}

/// The first of these that is said.
fn file_format(path: &Path, said: [Option<Format>; 2]) -> Result<Format> {
    said.into_iter().flatten().next().ok_or_else(|| {
        Failure::usage(format!(
            "{}: the name does not say the format; end it in .csv, .jsonl, .md, .parquet or .txt, or choose one with \
             --format (in the shell: \\format)",
            path.display()
        ))
    })
}

fn switch(is_on: bool, argument: &str) -> Result<bool> {
    match argument {
        "" => Ok(!is_on),
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(Failure::usage(format!("\\timing {other}: write on or off"))),
    }
}

fn name_of(format: Format) -> &'static str {
    Format::ALL.iter().find(|(_, known)| *known == format).map_or("table", |(name, _)| *name)
}

fn format_named(name: &str) -> Result<Format> {
    let known = Format::ALL.iter().find(|(known, _)| *known == name.to_lowercase());
    known.map(|(_, format)| *format).ok_or_else(|| {
        let names: Vec<&str> = Format::ALL.iter().map(|(name, _)| *name).collect();
        Failure::usage(format!("\\format {name}: the formats are {}", names.join(", ")))
    })
}

fn tables(tables: &[Table]) -> String {
    if tables.is_empty() {
        return "no tables; name files, as in SELECT * FROM 'traces.parquet'".to_owned();
    }
    let width = tables.iter().map(|table| table.name.len()).max().unwrap_or(0);
    let line = |table: &Table| {
        format!("{:<width$}  {:>2} columns  {}\n", table.name, table.columns.len(), table.path.display())
    };
    tables.iter().map(line).collect()
}

fn help() -> String {
    let shown = |(name, argument, _): &(&str, &str, &str)| format!("\\{name} {argument}");
    let width = COMMANDS.iter().map(|command| shown(command).len()).max().unwrap_or(0);
    let line = |command: &(&str, &str, &str)| format!("{:<width$}  {}\n", shown(command), command.2);
    COMMANDS.iter().map(line).collect::<String>() + "\n" + HINTS
}

/// All functions, or one.
fn explained(name: &str) -> Result<String> {
    let name = name.trim_end_matches("()");
    let mut text = String::new();
    for function in
        functions().into_iter().filter(|function| name.is_empty() || function.name.eq_ignore_ascii_case(name))
    {
        let result = if function.result.is_empty() { String::new() } else { format!("  →  {}", function.result) };
        let _ = writeln!(text, "{}\n    {}\n    {}{result}\n", function.signature, function.summary, function.example);
    }
    if text.is_empty() {
        let names: Vec<&str> = functions().iter().map(|function| function.name).collect();
        let meant =
            nearest(name, names.iter().copied()).map_or_else(String::new, |name| format!("did you mean {name}? "));
        return Err(Failure::usage(format!("no function {name} here; {meant}there are: {}", names.join(", "))));
    }
    Ok(text)
}
