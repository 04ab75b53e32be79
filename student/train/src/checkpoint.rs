//! Training state on disk: what is trained (all weights, or the adapters alone) and its moments in f32 by name, and where
//! training is.
//!
//! A checkpoint is a folder `step-000123`, written under another name, synced, then renamed: a folder with that name is
//! complete. Resuming from it gives the same bits as never having stopped. The order of the data is a function of the
//! seed and the step, so the step is the whole data cursor and no generator state needs keeping; so is the learning rate
//! of the step and of all steps, so there is no schedule to keep either.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use model::Model;
use model::weights::{StoredDtype, TensorFile, write_tensors};
use records::artifact::{read_json, sync_folder, write_json};
use records::disk;
use serde::{Deserialize, Serialize};

use crate::Ends;
use crate::optimizer::AdamW;
use crate::{Error, Result};

/// What is kept beside the tensors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Progress {
    /// Finished optimizer steps.
    pub(crate) step: u32,
    /// All steps of this training.
    pub(crate) steps: u32,
    /// Supervised tokens seen.
    pub(crate) supervised_tokens: u64,
    /// All tokens seen.
    pub(crate) tokens: u64,
    /// Seconds trained, over all resumes.
    pub(crate) seconds: f64,
    /// The losses of the first steps and of the newest.
    pub(crate) ends: Ends,
    /// The lowest evaluation loss so far.
    pub(crate) best: Option<Best>,
}

/// The lowest evaluation loss of a training so far: what early stopping and the choice of a checkpoint go by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Best {
    /// The step it was measured after.
    pub(crate) step: u32,
    /// Mean over the supervised tokens of the held-out rows, nats.
    pub(crate) loss: f64,
    /// Evaluations since.
    pub(crate) since: u32,
    /// Whether the weights of that step are kept and are the training's result.
    pub(crate) kept: bool,
}

const STATE: &str = "state.json";

/// The newest complete checkpoint folder under `dir`.
pub(crate) fn latest(dir: &Path) -> Result<Option<PathBuf>> {
    Ok(all(dir)?.pop())
}

/// The checkpoint whose weights are the training's result: the one with the lowest evaluation loss where that is kept,
/// else the newest.
pub(crate) fn result(dir: &Path) -> Result<PathBuf> {
    let missing = |problem: String| Error::model(dir, problem, "remove the folder to train again");
    let newest = latest(dir)?.ok_or_else(|| missing("there is no checkpoint".to_owned()))?;
    let progress: Progress = read_json(&newest.join(STATE))?;
    let Some(best) = progress.best.filter(|best| best.kept) else { return Ok(newest) };
    let path = folder(dir, best.step);
    if disk::exists(&path)? {
        Ok(path)
    } else {
        Err(missing(format!(
            "the checkpoint of step {}, which has the lowest evaluation loss, is not there",
            best.step
        )))
    }
}

fn folder(dir: &Path, step: u32) -> PathBuf {
    dir.join(format!("step-{step:06}"))
}

/// All complete checkpoint folders, oldest first; none, if there is no folder yet.
fn all(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for path in disk::entries_if_there(dir)? {
        let is_step = path.file_name().unwrap_or_default().to_string_lossy().starts_with("step-");
        // A folder without its record was being removed when the process was killed.
        if is_step && disk::exists(&path.join(STATE))? {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// Removes a folder, if there is one.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(records::Error::io("remove", path, e).into()),
        _ => Ok(()),
    }
}

/// Writes a checkpoint and then removes all but the last `keep` and the best. Where it cannot be written (a full disk),
/// those before it are left as they are.
pub(crate) fn save(dir: &Path, model: &Model, optimizer: &AdamW, progress: &Progress, keep: usize) -> Result<()> {
    let path = folder(dir, progress.step);
    let aside = dir.join(".writing");
    remove(&aside)?;
    if let Err(error) = write(&aside, model, optimizer, progress) {
        // The error that matters is the first. What was written is of no use and may be what fills the disk.
        let _ = fs::remove_dir_all(&aside);
        return Err(error);
    }
    remove(&path)?;
    fs::rename(&aside, &path).map_err(|e| records::Error::io("publish", &path, e))?;
    sync_folder(dir)?;
    let best = progress.best.filter(|best| best.kept).map(|best| folder(dir, best.step));
    let folders = all(dir)?;
    let surplus = folders.len().saturating_sub(keep.max(1));
    for old in folders.into_iter().take(surplus).filter(|old| Some(old) != best.as_ref()) {
        remove(&old)?;
    }
    Ok(())
}

/// Writes and syncs all files of a checkpoint.
fn write(aside: &Path, model: &Model, optimizer: &AdamW, progress: &Progress) -> Result<()> {
    fs::create_dir_all(aside).map_err(|e| records::Error::io("create", aside, e))?;
    let weights = model.trainable().into_iter().map(|(name, t)| (name, plain(t))).collect();
    write_tensors(&aside.join("model.safetensors"), weights, StoredDtype::F32)?;
    for (file, first) in [("first_moment.safetensors", true), ("second_moment.safetensors", false)] {
        let mut moments: Vec<_> = optimizer
            .moments
            .iter()
            .map(|(name, (m, v))| (name.clone(), if first { m.clone() } else { v.clone() }))
            .collect();
        moments.sort_by(|a, b| a.0.cmp(&b.0));
        write_tensors(&aside.join(file), moments, StoredDtype::F32)?;
    }
    Ok(write_json(&aside.join(STATE), progress)?)
}

fn plain(tensor: Tensor<2>) -> Tensor<2> {
    if tensor.device().is_autodiff() { tensor.inner() } else { tensor }
}

/// Puts a checkpoint's weights into the model (untracked) and, if given, its moments into the optimizer.
pub(crate) fn load(path: &Path, model: &mut Model, optimizer: Option<&mut AdamW>) -> Result<Progress> {
    let device = model.device();
    let mut weights = TensorFile::open(&path.join("model.safetensors"))?;
    for (name, tensor) in model.trainable_mut() {
        *tensor = weights.read_like(&name, tensor.dims(), &device)?;
    }
    if let Some(optimizer) = optimizer {
        let mut first = TensorFile::open(&path.join("first_moment.safetensors"))?;
        let mut second = TensorFile::open(&path.join("second_moment.safetensors"))?;
        optimizer.moments.clear();
        for (name, tensor) in model.trainable_mut() {
            let moment = |file: &mut TensorFile| file.read_like(&name, tensor.dims(), &device);
            let moments = (moment(&mut first)?, moment(&mut second)?);
            optimizer.moments.insert(name, moments);
        }
    }
    Ok(read_json(&path.join(STATE))?)
}
