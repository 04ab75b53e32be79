//! `r1-distill sql`: one query, or a prompt for many.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use data::sql::Session;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::commands::{print, runtime};
use crate::console::say;
use crate::error::{Failure, Result};
use crate::store::Store;

#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// The query; without one, queries are read from a prompt or from stdin
    query: Option<String>,
    /// Folder of the run; default: the one in `runs` that was used last
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Most rows printed
    #[arg(long, default_value_t = 100, value_name = "N")]
    max_rows: usize,
    /// Most characters of a cell in a table
    #[arg(long, default_value_t = 60, value_name = "N")]
    width: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
}

/// Tables, the stage that makes each, and where it is in the stage's folder.
const TABLES: [(&str, &str, &str); 8] = [
    ("prompts", "prompts", "prompts"),
    ("problems", "prompts", "problems"),
    ("traces", "collect", "traces"),
    ("verdicts", "curate", "verdicts"),
    ("curated", "curate", "curated"),
    ("metrics", "train", "student/metrics.jsonl"),
    ("control_metrics", "train", "control/metrics.jsonl"),
    ("samples", "evaluate", "samples"),
];

pub(crate) fn sql(args: &SqlArgs) -> Result<()> {
    let root = match &args.run {
        Some(dir) => dir.clone(),
        None => last_used(Path::new("runs"))?,
    };
    let store = Store::open(&root, "");
    let tables: Vec<(String, PathBuf)> = TABLES
        .iter()
        .filter_map(|(table, stage, place)| {
            let path = store.latest(stage)?.join(place);
            path.exists().then(|| ((*table).to_owned(), path))
        })
        .collect();
    if tables.is_empty() {
        return Err(Failure::usage(format!(
            "{} holds no results; run a recipe first, or name a run folder with --run DIR",
            root.display()
        )));
    }
    let runtime = runtime()?;
    let session = runtime.block_on(data::sql::session(&tables))?;
    let answer = |query: &str| -> Result<()> { answer(&runtime, &session, query, args) };
    match &args.query {
        Some(query) => answer(query),
        None if std::io::stdin().is_terminal() => prompt(&root, &session, &answer),
        None => {
            let text = std::io::read_to_string(std::io::stdin())
                .map_err(|e| Failure::usage(format!("cannot read queries from stdin: {e}")))?;
            text.split(';').filter(|query| !query.trim().is_empty()).try_for_each(answer)
        }
    }
}

fn answer(runtime: &tokio::runtime::Runtime, session: &Session, query: &str, args: &SqlArgs) -> Result<()> {
    let result = runtime.block_on(session.query(query, args.max_rows))?;
    let text = match args.format {
        Format::Table => result.table(args.width)?,
        Format::Csv => result.csv()?,
        Format::Json => result.json_lines()?,
    };
    print(text.trim_end())?;
    if result.truncated {
        say(&format!("only the first {} rows; --max-rows shows more", args.max_rows));
    }
    Ok(())
}

fn prompt(root: &Path, session: &Session, answer: &dyn Fn(&str) -> Result<()>) -> Result<()> {
    let failed = |e: ReadlineError| Failure::failed(format!("cannot read from the terminal: {e}"));
    let mut editor = DefaultEditor::new().map_err(failed)?;
    let history = root.join(".sql-history");
    // A missing or read-only history is no reason not to answer.
    let _ = editor.load_history(&history);
    say(&format!("{}: tables {}; Ctrl-D leaves", root.display(), session.tables().join(", ")));
    loop {
        match editor.readline("sql> ") {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                let _ = editor.add_history_entry(line.trim());
                if let Err(failure) = answer(line.trim().trim_end_matches(';')) {
                    say(&format!("error: {failure}"));
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(e) => return Err(failed(e)),
        }
    }
    let _ = editor.save_history(&history);
    Ok(())
}

/// The run folder whose lock is newest.
fn last_used(runs: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let used = entries.filter_map(|entry| {
        let lock = entry.path().join(".lock").metadata().and_then(|m| m.modified()).ok()?;
        Some((lock, entry.path()))
    });
    used.max().map(|(_, path)| path).ok_or_else(|| {
        Failure::usage("there is no run in the folder `runs`; run a recipe first, or name a run folder with --run DIR")
    })
}
