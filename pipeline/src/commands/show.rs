//! `r1-distill show`: one trace, to be read.

mod page;
mod wrap;

use records::record::TraceId;
use std::path::{Path, PathBuf};

use clap::Args;
use curate::inspect::{Judged, Places, first_id, inspect};
use curate::{Matching, matching};
use records::artifact::read_record;

use self::page::{Look, page};
use crate::commands::print;
use crate::console::{colour, say};
use crate::error::{Failure, Result};
use crate::layout;
use crate::run::runtime;
use crate::run::store::Store;
use crate::run::store::last_used;

/// Columns of a page where there is no screen to ask.
const WIDTH: usize = 100;

/// Other traces that are named beside the one that is shown.
const NAMED: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The trace's id, or as much of its beginning as no other has; without one, the first trace of the run
    #[arg(value_name = "TRACE_ID")]
    id: Option<String>,
    /// The first trace for which this SQL condition on the columns of the table `verdicts` holds, as in "NOT correct"
    #[arg(long = "where", value_name = "SQL", conflicts_with = "id")]
    condition: Option<String>,
    /// Folder of the run; default: the one in `runs` that was used last
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Show all of a long text
    #[arg(long)]
    full: bool,
    /// Print everything that is known as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn show(args: &ShowArgs) -> Result<()> {
    let root = match &args.run {
        Some(dir) => Some(dir.clone()),
        None => last_used(Path::new("runs"))?,
    };
    let root = root.ok_or_else(|| {
        Failure::usage("there is no run in the folder `runs`; run a recipe first, or name a run folder with --run DIR")
    })?;
    let (runtime, places) = (runtime()?, places(&root)?);
    let id = match (&args.id, &args.condition) {
        (Some(id), _) => id.clone(),
        (None, Some(condition)) => {
            let judged = places.judged.as_ref().ok_or_else(|| {
                Failure::usage(format!("{} holds no verdicts yet; run its recipe to curate first", root.display()))
            })?;
            let found = runtime.block_on(matching(&judged.folder, condition, NAMED + 1))?;
            first_of(&found, condition)?
        }
        (None, None) => first_id(&places)?.ok_or_else(|| no_traces(&root))?.to_string(),
    };
    let found = runtime.block_on(inspect(&places, &id))?;
    if args.json {
        let text =
            serde_json::to_string_pretty(&found).map_err(|e| Failure::failed(format!("encoding the trace: {e}")))?;
        return print(&text);
    }
    let colour = colour(&std::io::stdout());
    let width = terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0).clamp(20, 120));
    print(page(&found, &Look { colour, width, full: args.full }).trim_end())
}

/// The first of the traces that were looked for; says how many there are, and names some more.
fn first_of(found: &Matching, condition: &str) -> Result<String> {
    let Some((id, others)) = found.first.split_first() else {
        return Err(Failure::usage(format!(
            "no trace is one of which {condition:?} holds; what there is: r1-distill sql \"SELECT * FROM verdicts\""
        )));
    };
    let names: Vec<&str> = others.iter().map(TraceId::as_str).collect();
    let more = if others.is_empty() { String::new() } else { format!("; others: {}", names.join(" ")) };
    say(&format!("the first of {} where {condition}{more}", found.count));
    Ok(id.to_string())
}

fn no_traces(root: &Path) -> Failure {
    let root = root.display();
    Failure::usage(format!("{root} holds no traces; run a recipe first, or name a run folder with --run DIR"))
}

/// Where the run has what.
fn places(root: &Path) -> Result<Places> {
    let store = Store::open(root, "");
    let traces = store.latest_part("collect", layout::TRACES)?.ok_or_else(|| no_traces(root))?;
    let judged = match store.latest("curate")? {
        Some(folder) => {
            let spec = read_record(&folder)?.map(|record| record.spec).unwrap_or_default();
            let policy = spec["policy"].as_str().ok_or_else(|| {
                Failure::failed(format!("{} does not say its policy; run the recipe again", folder.display()))
            })?;
            let benchmarks = !spec["contamination"].is_null();
            Some(Judged { policy: policy.to_owned(), benchmarks, folder })
        }
        None => None,
    };
    let prompts = store.latest_part("prompts", layout::PROMPTS)?;
    Ok(Places { traces, prompts, judged, curated: store.latest_part("curate", layout::CURATED)? })
}
