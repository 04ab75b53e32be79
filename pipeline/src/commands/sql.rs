//! `r1-distill sql`: one query, a script, or a shell, over a run and over files.

mod assist;
mod pager;
mod shell;
mod statement;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use records::disk;
use sql::{Format, QueryResult, Session, Shown, Table, Written};
use tokens::tokenizer::Tokenizer;

use self::shell::Shell;
use crate::args::name_and_path;
use crate::console::say;
use crate::error::{Exit, Failure, Result};
use crate::layout;
use crate::run::inputs;
use crate::run::store::Store;
use crate::run::store::last_used;
use crate::signals::Stop;
use crate::signals::{self, Signal};

/// Rows that are read on a screen.
const SCREEN_ROWS: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// The query; without one, queries are read from a shell or from stdin
    query: Option<String>,
    /// Folder of the run; default: the one in `runs` that was used last, unless there are tables
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// A table of one's own: a Parquet, JSONL (.gz, .zst) or CSV file, a folder of such files, a glob, or any of these on
    /// the Hub as hf://datasets/OWNER/NAME/PATH; once for each. A file needs no table: SELECT ... FROM 'traces.parquet'
    #[arg(long = "table", value_name = "NAME=PATH", value_parser = name_and_path)]
    tables: Vec<(String, PathBuf)>,
    /// What the function `tokens` counts with: a tokenizer.json, the folder that holds one, or hf://OWNER/NAME
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// How rows are shown; default: as the name of --output says, else table
    #[arg(long, value_enum)]
    format: Option<FormatName>,
    /// Write the rows to this file, all of them; parquet needs one
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Most rows; default: 100 on a screen and in tables, else all
    #[arg(long, value_name = "N")]
    max_rows: Option<usize>,
    /// Most characters of a cell in a table
    #[arg(long, default_value_t = 60, value_name = "N")]
    width: usize,
}

/// A format by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FormatName(Format);

impl ValueEnum for FormatName {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: [FormatName; 5] = [
            FormatName(Format::ALL[0].1),
            FormatName(Format::ALL[1].1),
            FormatName(Format::ALL[2].1),
            FormatName(Format::ALL[3].1),
            FormatName(Format::ALL[4].1),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Format::ALL.iter().find(|(_, format)| *format == self.0).map(|(name, _)| PossibleValue::new(*name))
    }
}

/// Tables, the stage that makes each, and where it is in the stage's folder.
const TABLES: [(&str, &str, &[&str]); 9] = [
    ("prompts", "prompts", &[layout::PROMPTS]),
    ("problems", "prompts", &[layout::PROBLEMS]),
    ("tests", "prompts", &[layout::TESTS]),
    ("traces", "collect", &[layout::TRACES]),
    ("verdicts", "curate", &[layout::VERDICTS]),
    ("curated", "curate", &[layout::CURATED]),
    ("metrics", "train", &[layout::STUDENT, layout::METRICS_FILE]),
    ("control_metrics", "train", &[layout::CONTROL, layout::METRICS_FILE]),
    ("samples", "evaluate", &[layout::SAMPLES]),
];

/// Stack of the threads that plan and compute: plans are walked by recursion. Memory is taken as it is used.
const STACK_BYTES: usize = 256 << 20;

pub(crate) fn sql(args: &SqlArgs) -> Result<()> {
    if args.format == Some(FormatName(Format::Parquet)) && args.output.is_none() && args.query.is_some() {
        return Err(Failure::usage("--format parquet needs a file: --output FILE"));
    }
    let run = match &args.run {
        Some(dir) => Some(dir.clone()),
        None if args.tables.is_empty() => last_used(Path::new("runs"))?,
        None => None,
    };
    let mut tables = run.as_deref().map(of_run).transpose()?.unwrap_or_default();
    for (name, path) in &args.tables {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') || !name.chars().all(plain) {
            let problem = "a table's name is made of small letters, digits and _";
            return Err(Failure::usage(format!("--table {name}=...: {problem}, and does not begin with a digit")));
        }
        if tables.iter().any(|(known, _)| known == name) {
            return Err(Failure::usage(format!("--table {name}=...: there is a table of that name; choose another")));
        }
        tables.push((name.clone(), path.clone()));
    }
    let tokenizer = args.tokenizer.as_deref().map(read_tokenizer).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // A join may keep all cores busy without a pause; somebody must still see that it is to be stopped.
        .worker_threads(std::thread::available_parallelism().map_or(2, usize::from) + 2)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("cannot start the runtime: {e}")))?;
    // Tables are named on the command line: whatever else is wrong with them is wrong there.
    let session =
        runtime.block_on(sql::session(&tables, tokenizer, Some(inputs::for_queries()))).map_err(|e| match e {
            records::Error::Unreachable { .. } | records::Error::Stopped => Failure::from(e),
            records::Error::Io { ref source, .. } => Failure::of_place(source, e.to_string()),
            records::Error::Malformed { .. } | records::Error::Invalid { .. } | records::Error::Engine { .. } => {
                Failure::usage(e.to_string())
            }
        })?;
    let interactive = args.query.is_none() && std::io::stdin().is_terminal();
    let asker = Asker::new(runtime, session, interactive);
    let answered = Shell::new(&asker, args).and_then(|mut shell| match &args.query {
        Some(query) => shell.answer(query),
        None if interactive => shell.interactive(run.as_deref()),
        None => shell.script(),
    });
    // What was stopped may not have noticed yet; nobody waits for it.
    asker.runtime.shutdown_background();
    answered
}

/// The tables of a run folder.
fn of_run(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let store = Store::open(root, "");
    let mut tables = Vec::new();
    for (table, stage, place) in TABLES {
        // A stage that has not run, or makes no such table for this recipe, has none.
        tables
            .extend(store.latest_part(stage, place.iter().collect::<PathBuf>())?.map(|path| (table.to_owned(), path)));
    }
    if tables.is_empty() {
        return Err(Failure::usage(format!(
            "{} holds no results; run a recipe first, or name a run folder with --run DIR",
            root.display()
        )));
    }
    Ok(tables)
}

fn read_tokenizer(path: &Path) -> Result<Tokenizer> {
    let on_the_hub = inputs::origin(path).is_some() && path.extension().is_none_or(|extension| extension != "json");
    let file = if disk::is_dir(path)? || on_the_hub { path.join("tokenizer.json") } else { path.to_owned() };
    let file = inputs::model_path(&file)?;
    Ok(Tokenizer::from_file(&file)?)
}

/// A question on its way.
type Asking<'a, T> = Pin<Box<dyn Future<Output = records::Result<T>> + 'a>>;

/// Asks, and stops asking at Ctrl-C. Each question has a thread of its own: a join that is computed without a pause does
/// not notice that it was stopped, and is left behind.
struct Asker {
    runtime: tokio::runtime::Runtime,
    session: Arc<Session>,
    /// The question that is being answered.
    current: Arc<Mutex<Option<Stop>>>,
    /// Somebody types the questions.
    interactive: bool,
}

impl Asker {
    fn new(runtime: tokio::runtime::Runtime, session: Session, interactive: bool) -> Self {
        let current: Arc<Mutex<Option<Stop>>> = Arc::default();
        let watched = Arc::clone(&current);
        signals::handle(move |heard| interrupt(&watched, interactive, heard));
        Self { runtime, session: Arc::new(session), current, interactive }
    }

    /// Waits for an answer or for Ctrl-C, whichever comes first.
    fn wait<T: Send + 'static>(&self, question: impl FnOnce(&Session) -> Asking<'_, T> + Send + 'static) -> Result<T> {
        let stop = Stop::new();
        self.set_current(Some(stop.clone()));
        let (sender, receiver) = mpsc::channel();
        let (session, handle, mut requested) = (Arc::clone(&self.session), self.runtime.handle().clone(), stop.watch());
        let answering = move || {
            let answer = handle.block_on(async {
                tokio::select! {
                    answer = question(&session) => answer.map_err(Failure::from),
                    _ = requested.wait_for(|stop| *stop) => Err(stopped()),
                }
            });
            // Nobody waits any more after Ctrl-C.
            let _ = sender.send(answer);
        };
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(answering)
            .map_err(|e| Failure::failed(format!("cannot start a thread: {e}")))?;
        let answer = loop {
            match receiver.recv_timeout(Duration::from_millis(100)) {
                Ok(answer) => break answer,
                Err(RecvTimeoutError::Timeout) if stop.requested() => break Err(stopped()),
                Err(RecvTimeoutError::Timeout) => {}
                // What the panic said is on the screen already.
                Err(RecvTimeoutError::Disconnected) => break Err(Failure::failed("the query broke the engine")),
            }
        };
        self.set_current(None);
        // A signal that came with the end of one question ends a script all the same.
        if stop.requested() && !self.interactive { Err(stopped()) } else { answer }
    }

    fn set_current(&self, stop: Option<Stop>) {
        if let Ok(mut current) = self.current.lock() {
            *current = stop;
        }
    }

    /// The first rows.
    fn query(&self, query: &str, max_rows: usize) -> Result<QueryResult> {
        let query = query.to_owned();
        self.wait(move |session| Box::pin(async move { session.query(&query, max_rows).await }))
    }

    /// A table, and how many rows it has.
    fn describe(&self, name: &str) -> Result<(Table, usize)> {
        let name = name.to_owned();
        self.wait(move |session| {
            Box::pin(async move {
                let table = session.describe(&name).await?;
                let rows = session.row_count(&table).await?;
                Ok((table, rows))
            })
        })
    }

    /// Writes the rows to a file, all of them unless told otherwise.
    fn save(&self, query: &str, shown: Shown, path: &Path) -> Result<Written> {
        let (query, path) = (query.to_owned(), path.to_owned());
        self.wait(move |session| Box::pin(async move { session.save(&query, shown, &path).await }))
    }

    /// Writes rows to stdout as they come. A reader that went away (as `head` does) is no failure.
    fn stream(&self, query: &str, shown: Shown) -> Result<Option<Written>> {
        let query = query.to_owned();
        self.wait(move |session| {
            Box::pin(async move {
                let mut out = Stdout { gone: false };
                let written = session.write(&query, shown, &mut out).await;
                if out.gone { Ok(None) } else { written.map(Some) }
            })
        })
    }
}

fn stopped() -> Failure {
    Failure::interrupted("the query was stopped")
}

/// What a signal does.
fn interrupt(current: &Mutex<Option<Stop>>, interactive: bool, heard: Signal) {
    let Ok(current) = current.lock() else { return };
    // A person stops a query and asks another; whoever else stops it wants the program to end.
    let stays = interactive && heard == Signal::Interrupt;
    match current.as_ref() {
        Some(stop) if !stop.requested() && (stays || !interactive) => {
            stop.request();
            signals::tell(&format!("stopping the query ({heard}; again leaves at once)"));
        }
        // It was meant for the pager.
        None if stays => {}
        _ => signals::end(&format!("stopped by {heard}")),
    }
}

/// Stdout that remembers whether anybody reads it.
struct Stdout {
    gone: bool,
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = std::io::stdout().write(bytes);
        self.gone |= written.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe);
        written
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = std::io::stdout().flush();
        self.gone |= flushed.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe);
        flushed
    }
}

fn count(rows: usize) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}

/// Says that there is more than is shown.
fn say_truncated(rows: usize) {
    say(&format!("only the first {}; --max-rows (in the shell: \\rows N) shows more", count(rows)));
}

fn is_stopped(failure: &Failure) -> bool {
    failure.exit == Exit::Interrupted
}
