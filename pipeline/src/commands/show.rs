//! `r1-distill show`: one trace, to be read.

mod page;
mod wrap;

use std::path::{Path, PathBuf};

use clap::Args;
use data::artifact::read_record;
use data::inspect::{Places, inspect};

use self::page::{Look, page};
use crate::commands::sql::last_used;
use crate::commands::{print, runtime};
use crate::console::colour;
use crate::error::{Failure, Result};
use crate::store::Store;

/// Columns of a page where there is no screen to ask.
const WIDTH: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The trace's id, or as much of its beginning as no other has
    #[arg(value_name = "TRACE_ID")]
    id: String,
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
    let root = args.run.clone().or_else(|| last_used(Path::new("runs"))).ok_or_else(|| {
        Failure::usage("there is no run in the folder `runs`; run a recipe first, or name a run folder with --run DIR")
    })?;
    let found = runtime()?.block_on(inspect(&places(&root)?, &args.id))?;
    if args.json {
        let text =
            serde_json::to_string_pretty(&found).map_err(|e| Failure::failed(format!("encoding the trace: {e}")))?;
        return print(&text);
    }
    let colour = colour(&std::io::stdout());
    let width = terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0).clamp(20, 120));
    print(page(&found, &Look { colour, width, full: args.full }).trim_end())
}

/// Where the run has what.
fn places(root: &Path) -> Result<Places> {
    let store = Store::open(root, "");
    let inside = |stage: &str, place: &str| store.latest(stage).map(|dir| dir.join(place)).filter(|path| path.is_dir());
    let traces = inside("collect", "traces").ok_or_else(|| {
        let root = root.display();
        Failure::usage(format!("{root} holds no traces; run a recipe first, or name a run folder with --run DIR"))
    })?;
    let verdicts = match inside("curate", "verdicts") {
        Some(folder) => {
            let record = store.latest("curate").map(|dir| read_record(&dir)).transpose()?.flatten();
            let policy = record.and_then(|record| Some(record.spec.get("policy")?.as_str()?.to_owned()));
            // A policy that is not on record drops nothing.
            Some((folder, policy.unwrap_or_else(|| "true".to_owned())))
        }
        None => None,
    };
    Ok(Places { traces, prompts: inside("prompts", "prompts"), verdicts, curated: inside("curate", "curated") })
}
