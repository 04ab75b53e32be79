//! `r1-distill init`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::console::say;
use crate::error::{Failure, Result};

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// File to write
    #[arg(default_value = "recipe.toml")]
    path: PathBuf,
    /// Which recipe to start from
    #[arg(long, value_enum, default_value_t = Start::Quickstart)]
    from: Start,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Start {
    /// The embedded teacher and a new small student: needs nothing
    Quickstart,
    /// A file of R1 traces and a base model folder
    R1Traces,
    /// How the embedded teacher itself was made
    EmbeddedTeacher,
}

pub(crate) fn init(args: &InitArgs) -> Result<()> {
    let text = match args.from {
        Start::Quickstart => include_str!("../../../recipes/quickstart.toml"),
        Start::R1Traces => include_str!("../../../recipes/r1-traces-smollm2.toml"),
        Start::EmbeddedTeacher => include_str!("../../../recipes/embedded-teacher.toml"),
    };
    // A link to nothing is something too.
    if args.path.is_symlink() || records::disk::exists(&args.path)? {
        return Err(Failure::usage(format!("{} is there already; name another file", args.path.display())));
    }
    records::artifact::write_bytes(&args.path, text.as_bytes())?;
    say(&format!("wrote {}; `r1-distill plan {}` shows what it would do", args.path.display(), args.path.display()));
    Ok(())
}
