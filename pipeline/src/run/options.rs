//! What decides how a recipe is run and nothing about its result: none of this enters a fingerprint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hub::{Address, Cache};
use model::device::DeviceName;
use records::disk;
use sources::files::Files;

use crate::error::{Failure, Result};

/// Options of one run.
#[derive(Debug, Clone)]
pub(crate) struct RunOptions {
    /// Where to compute.
    pub device: DeviceName,
    /// Further devices that the passes of a training step are shared with.
    pub further_devices: Vec<DeviceName>,
    /// Folder that run folders are made in.
    pub runs: PathBuf,
    /// Where the recipe's inputs are, by name.
    pub inputs: BTreeMap<String, PathBuf>,
    /// Base URL of the teacher.
    pub endpoint: Option<String>,
    /// Key for the teacher, from the environment.
    pub api_key: Option<String>,
    /// Base URL of the judge.
    pub judge_endpoint: Option<String>,
    /// Key for the judge, from the environment.
    pub judge_api_key: Option<String>,
    /// Requests in flight.
    pub concurrency: usize,
    /// The most one request may take.
    pub timeout: Duration,
    /// How often a request is tried.
    pub max_attempts: u32,
    /// Programs that are run at a time, each in a sandbox.
    pub sandboxes: usize,
    /// A checkpoint is written at least this often.
    pub checkpoint_seconds: f64,
    /// So many of the newest checkpoints are kept, beside the best one.
    pub keep_checkpoints: usize,
    /// Training computes blocks again in the backward pass: less memory, more time, the same numbers.
    pub recompute: bool,
    /// Most memory of the key-value cache, bytes.
    pub cache_bytes: u64,
}

impl RunOptions {
    /// All devices, the first one first.
    pub(crate) fn devices(&self) -> impl Iterator<Item = DeviceName> {
        std::iter::once(self.device).chain(self.further_devices.iter().copied())
    }

    /// Where an input is said to be.
    pub(crate) fn given(&self, name: &str) -> Result<&Path> {
        self.inputs.get(name).map(PathBuf::as_path).ok_or_else(|| {
            Failure::usage(format!("the recipe needs the input {name:?}; give it as --input {name}=PATH"))
        })
    }

    /// Takes an input from this commit from now on.
    pub(crate) fn pin(&mut self, name: &str, address: &Address) {
        self.inputs.insert(name.to_owned(), PathBuf::from(address.to_string()));
    }

    /// The files of an input that is data.
    pub(crate) fn files(&self, name: &str) -> Result<Files> {
        let given = self.given(name)?;
        Files::find(given).map_err(|error| Failure::usage(format!("input {name}: {error}")))
    }

    /// The file of an input that is data in one file.
    pub(crate) fn file(&self, name: &str) -> Result<PathBuf> {
        let files = self.files(name)?;
        match files.paths.as_slice() {
            [path] => Ok(path.clone()),
            several => Err(Failure::usage(format!("input {name}: it is {} files where one is read", several.len()))),
        }
    }

    /// The folder of an input that is a model.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let given = self.given(name)?;
        let refused = |error: records::Error| Failure::usage(format!("input {name}: {error}"));
        if let Some(address) = Address::of(given) {
            return Cache::from_env().and_then(|cache| cache.model(&address?)).map_err(refused);
        }
        if !disk::exists(given).map_err(refused)? {
            return Err(Failure::usage(format!("input {name}: {} does not exist", given.display())));
        }
        Ok(given.to_owned())
    }
}
