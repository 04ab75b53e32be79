//! The command line.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::args::RunArgs;
use crate::commands::{self, written};
use crate::console::say;
use crate::error::{Exit, Failure};
use crate::run::plan::STAGES;
use crate::signals;

const AFTER: &str = "\
Start here:
  r1-distill init my.toml              write a complete recipe
  r1-distill plan my.toml              see what it would do
  r1-distill run my.toml               do it; Ctrl-C stops, running again goes on
  r1-distill sql \"SELECT ...\"         ask the data of the last run; without a query, in a shell
  r1-distill show                      read a trace: the first, that of an ID, or one --where \"NOT correct\"

Exit codes:
  0    done
  1    a stage failed; or a disk is full, or another run holds the ledger or the run folder
  2    the command line, recipe or an input cannot be used
  3    the teacher or the judge cannot be reached, refuses, or did not answer everything; or the Hub cannot be reached
  130  stopped by Ctrl-C, SIGTERM or SIGHUP, and what was done is kept; a second one stops at once. `serve` ends with 0 if all
       that was in progress has been answered
Whoever closes stdout (as `head` does) is no failure; a disk that is full is one.";

/// Distil a reasoning teacher into a small student, from traces to published weights.
#[derive(Debug, Parser)]
#[command(name = "r1-distill", version, after_help = AFTER)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a recipe: prompts, collect, curate, pack, train, evaluate, export, report
    Run {
        #[command(flatten)]
        options: RunArgs,
        /// Stop after this stage
        #[arg(long, value_name = "STAGE", value_parser = STAGES)]
        to: Option<String>,
    },
    /// Show what is done, what would run, which field of the recipe changed, and how many replies would be asked for
    Plan {
        #[command(flatten)]
        options: RunArgs,
    },
    /// Train and measure a recipe with several seeds, and write the table that its report and card lead with
    Seeds(commands::seeds::SeedsArgs),
    /// Show conversations as the trainer sees them: ids, text and what the loss counts, and every check on them
    Tokens(commands::tokens::TokensArgs),
    /// Write a run's curated traces as a dataset for other tools
    Dataset(commands::dataset::DatasetArgs),
    /// Ask a run's tables (prompts, problems, traces, verdicts, curated, metrics, samples) and files in SQL
    Sql(commands::sql::SqlArgs),
    /// Read one trace, by its id, by a condition, or the first: prompt, thinking, answer, and what the rules say
    Show(commands::show::ShowArgs),
    /// Serve a model folder as an OpenAI-compatible API
    Serve(commands::serve::ServeArgs),
    /// Let a model folder answer one prompt
    Generate(commands::generate::GenerateArgs),
    /// Write the logits a model folder gives for token ids, to compare with other implementations
    #[command(hide = true)]
    Logits(commands::generate::LogitsArgs),
    /// Write a complete recipe to start from
    Init(commands::init::InitArgs),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let done = match Cli::try_parse() {
        Ok(cli) => signals::listen().and_then(|()| dispatch(cli)),
        Err(answer) if answer.use_stderr() => {
            // Nobody is there to be told that it cannot be told.
            let _ = answer.print();
            return ExitCode::from(Exit::Usage as u8);
        }
        Err(help) => written(help.print().and_then(|()| std::io::stdout().flush())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure.in_full());
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Run { options, to } => commands::run::run(&options, to),
        Command::Plan { options } => commands::plan::plan(&options),
        Command::Seeds(args) => commands::seeds::seeds(&args),
        Command::Tokens(args) => commands::tokens::tokens(&args),
        Command::Dataset(args) => commands::dataset::dataset(&args),
        Command::Sql(args) => commands::sql::sql(&args),
        Command::Show(args) => commands::show::show(&args),
        Command::Serve(args) => commands::serve::serve(&args),
        Command::Generate(args) => commands::generate::generate(&args),
        Command::Logits(args) => commands::generate::logits(&args),
        Command::Init(args) => commands::init::init(&args),
        Command::Completions { shell } => {
            let (mut command, mut script) = (<Cli as clap::CommandFactory>::command(), Vec::new());
            // Into memory: what it cannot write, it panics about.
            clap_complete::generate(shell, &mut command, "r1-distill", &mut script);
            commands::print(String::from_utf8_lossy(&script).trim_end())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
