//! `r1-distill dataset`: a run's curated traces as a file that other tools train on.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use records::disk;
use sources::formats::export::{Schema, export};

use crate::console::say;
use crate::error::{Failure, Result};
use crate::layout;
use crate::run::store::Store;

#[derive(Debug, Args)]
pub(crate) struct DatasetArgs {
    /// Folder of the run, as in runs/quickstart
    run: PathBuf,
    /// The schema
    #[arg(long, value_enum)]
    format: Format,
    /// File to write; .parquet, .jsonl or .jsonl.zst says how
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// messages of {content, role}, num_tokens, source
    MixtureOfThoughts,
    /// difficulty, source, domain, conversations of {from, value}
    #[value(name = "open-thoughts3")]
    OpenThoughts3,
    /// conversations of {from, value}
    Sharegpt,
    /// messages of {role, content}
    Messages,
}

pub(crate) fn dataset(args: &DatasetArgs) -> Result<()> {
    let curated = Store::open(&args.run, "").latest_part("curate", layout::CURATED)?.ok_or_else(|| {
        Failure::usage(format!(
            "{} holds no curated traces; name the folder of a run that came as far as curate, as in runs/quickstart",
            args.run.display()
        ))
    })?;
    let output = &args.output;
    if disk::exists(output)? {
        return Err(Failure::usage(format!("{} is there already; name another file", output.display())));
    }
    let schema = match args.format {
        Format::MixtureOfThoughts => Schema::MixtureOfThoughts,
        Format::OpenThoughts3 => Schema::OpenThoughts3,
        Format::Sharegpt => Schema::Sharegpt,
        Format::Messages => Schema::Messages,
    };
    let count = export(&curated, schema, output)?;
    if count == 0 {
        std::fs::remove_file(output).map_err(|e| records::Error::io("remove", output, e))?;
        return Err(Failure::usage(format!(
            "nothing was selected in {}; loosen curate.policy and run it again",
            args.run.display()
        )));
    }
    say(&format!("wrote {count} traces to {}", output.display()));
    Ok(())
}
