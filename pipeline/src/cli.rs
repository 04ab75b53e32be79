//! The command line.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use model::device::DeviceName;
use sql::nearest;

use crate::commands::{self, written};
use crate::console::say;
use crate::error::{Exit, Failure};
use crate::options::RunOptions;
use crate::plan::STAGES;
use crate::recipe::Recipe;
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

/// Options of `run`, `plan`, `seeds` and `tokens`.
#[derive(Debug, Args)]
#[expect(rustdoc::broken_intra_doc_links, reason = "what is documented here is the text of the help")]
pub(crate) struct RunArgs {
    /// The recipe
    pub recipe: PathBuf,
    /// Where an input of the recipe is, once for each: a file or folder; data also as a pattern with *; or on the Hub, as
    /// hf://datasets/OWNER/NAME[@REVISION]/PATH or hf://OWNER/NAME, from where what the cache lacks is downloaded
    #[arg(long = "input", value_name = "NAME=PATH", value_parser = name_and_path)]
    inputs: Vec<(String, PathBuf)>,
    /// Folder for run folders. Replies of teachers and judges that any recipe has bought there are not bought again
    #[arg(long, default_value = "runs", value_name = "DIR")]
    runs: PathBuf,
    /// cpu, cuda:N, vulkan:N or metal:N; several, as in cuda:0,cuda:1, share the passes of a training step
    #[arg(long, default_value = "cpu", value_name = "DEVICE", value_delimiter = ',')]
    device: Vec<DeviceName>,
    /// Base URL of the teacher, as in http://localhost:8000/v1
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Environment variable that holds the teacher's API key
    #[arg(long, default_value = "R1_DISTILL_API_KEY", value_name = "NAME")]
    api_key_env: String,
    /// Base URL of the judge of [curate.judge]
    #[arg(long, value_name = "URL")]
    judge_endpoint: Option<String>,
    /// Environment variable that holds the judge's API key
    #[arg(long, default_value = "R1_DISTILL_JUDGE_API_KEY", value_name = "NAME")]
    judge_api_key_env: String,
    /// Requests to the teacher or the judge in flight
    #[arg(long, default_value_t = 64, value_name = "N")]
    concurrency: usize,
    /// Seconds one request may take
    #[arg(long, default_value_t = 1800, value_name = "SECONDS")]
    timeout: u64,
    /// How often a request is tried
    #[arg(long, default_value_t = 8, value_name = "N")]
    max_attempts: u32,
    /// Programs of [curate.code] that are run at a time; default: as many as there are processors
    #[arg(long, value_name = "N")]
    sandboxes: Option<usize>,
    /// A checkpoint is written at least this often
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    checkpoint_seconds: f64,
    /// Newest checkpoints to keep, beside the one with the lowest evaluation loss where the recipe keeps that
    #[arg(long, default_value_t = 2, value_name = "N")]
    keep_checkpoints: usize,
    /// Most memory of the key-value cache that the evaluation and the embedded teacher sample with, in MiB (2^20 bytes)
    #[arg(long, default_value_t = commands::CACHE_MIB, value_name = "MIB")]
    cache_mib: u64,
    /// Train with less memory: blocks are computed again in the backward pass instead of being kept (same numbers, about
    /// a third more time)
    #[arg(long)]
    recompute: bool,
    /// Train this many steps at most. Decides the result, as train.max_steps in the recipe does, which it replaces
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_steps: Option<u32>,
}

pub(crate) fn name_and_path(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), PathBuf::from(path))),
        _ => Err("write it as NAME=PATH".into()),
    }
}

/// A key in the environment, if there is one.
fn key(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(key) => Ok(Some(key).filter(|key| !key.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        // Nothing of what it holds is said: it is a secret.
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::usage(format!("the key in {name} is no UTF-8 text"))),
    }
}

impl RunArgs {
    /// Those that decide the result, as they are written on a command line. Where inputs are is left out.
    pub(crate) fn decisive(&self) -> String {
        let inputs = self.inputs.iter().map(|(name, _)| format!(" --input {name}=PATH"));
        let steps = self.max_steps.map(|steps| format!(" --max-steps {steps}"));
        inputs.chain(steps).collect()
    }

    /// What trainings run on.
    pub(crate) fn device_names(&self) -> String {
        self.device.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The options, the key read from the environment.
    pub(crate) fn options(&self) -> Result<RunOptions, Failure> {
        Ok(RunOptions {
            device: self.device.first().copied().unwrap_or(DeviceName::Cpu),
            further_devices: self.device.iter().skip(1).copied().collect(),
            runs: self.runs.clone(),
            inputs: self.inputs.iter().cloned().collect::<BTreeMap<_, _>>(),
            endpoint: self.endpoint.clone(),
            api_key: key(&self.api_key_env)?,
            judge_endpoint: self.judge_endpoint.clone(),
            judge_api_key: key(&self.judge_api_key_env)?,
            concurrency: self.concurrency.max(1),
            timeout: Duration::from_secs(self.timeout.max(1)),
            max_attempts: self.max_attempts.max(1),
            sandboxes: self
                .sandboxes
                .or_else(|| Some(std::thread::available_parallelism().ok()?.get()))
                .unwrap_or(1)
                .max(1),
            checkpoint_seconds: self.checkpoint_seconds,
            keep_checkpoints: self.keep_checkpoints.max(1),
            recompute: self.recompute,
            cache_bytes: commands::cache_bytes(self.cache_mib),
        })
    }

    /// Refuses inputs that the recipe does not have, and those that are given twice.
    fn check_inputs(&self, recipe: &Recipe) -> Result<(), Failure> {
        let known: Vec<&str> = recipe.data_inputs().into_iter().chain(recipe.base_input()).collect();
        for (place, (name, path)) in self.inputs.iter().enumerate() {
            if let Some((_, first)) = self.inputs[..place].iter().find(|(earlier, _)| earlier == name) {
                let (first, path) = (first.display(), path.display());
                return Err(Failure::usage(format!(
                    "--input {name} is given twice, as {first} and as {path}; leave one out"
                )));
            }
            if known.contains(&name.as_str()) {
                continue;
            }
            let meant = nearest(name, known.iter().copied());
            let meant = meant.map_or_else(String::new, |meant| format!("did you mean {meant}? "));
            let there =
                if known.is_empty() { "it has none".to_owned() } else { format!("it has: {}", known.join(", ")) };
            return Err(Failure::usage(format!(
                "--input {name}: the recipe {} has no input of this name; {meant}{there}",
                self.recipe.display()
            )));
        }
        Ok(())
    }

    /// The recipe with its text, what the command line replaces in it replaced.
    pub(crate) fn recipe(&self) -> Result<(Recipe, String), Failure> {
        let (mut recipe, mut text) = Recipe::load(&self.recipe)?;
        self.check_inputs(&recipe)?;
        if let Some(steps) = self.max_steps {
            recipe.train.max_steps = steps;
            text = format!("# run with --max-steps {steps}, which replaces train.max_steps\n{text}");
        }
        Ok((recipe, text))
    }
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
