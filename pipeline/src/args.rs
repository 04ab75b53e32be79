//! Options that several commands have.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use model::device::DeviceName;
use sql::nearest;

use crate::error::Failure;
use crate::recipe::Recipe;
use crate::run::options::RunOptions;

/// Memory of the key-value cache unless told otherwise, in MiB.
pub(crate) const CACHE_MIB: u64 = 1024;

pub(crate) fn cache_bytes(mib: u64) -> u64 {
    mib.saturating_mul(1 << 20)
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
    #[arg(long, default_value_t = CACHE_MIB, value_name = "MIB")]
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
            cache_bytes: cache_bytes(self.cache_mib),
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
            recipe.train.max_steps = Some(steps);
            text = format!("# run with --max-steps {steps}, which replaces train.max_steps\n{text}");
        }
        Ok((recipe, text))
    }
}
