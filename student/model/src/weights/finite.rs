//! Weights that are NaN or infinite, found where they are read: a model that holds one answers nothing and learns
//! nothing, and once a training runs its loss no longer tells where that came from.

use std::path::Path;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{Shards, numbers};
use crate::decoder::Model;
use crate::{Error, Result};

/// What is wrong with the numbers of a tensor, in words; `None` if all are finite.
pub fn not_finite(name: &str, values: &[f32]) -> Option<String> {
    let first = values.par_iter().position_first(|value| !value.is_finite())?;
    let bad = values.par_iter().filter(|value| !value.is_finite()).count();
    Some(format!(
        "{name} is not finite in {bad} of its {} numbers (the first is number {first}, {})",
        values.len(),
        values[first]
    ))
}

impl Model {
    /// What is wrong with the first parameter, adapters among them, that is not finite.
    pub fn not_finite(&self) -> Option<String> {
        let mut model = self.clone();
        let check = |(name, tensor): (String, &mut Tensor<2>)| not_finite(&name, &numbers(tensor.clone()));
        let bad = model.parameters_mut().into_iter().find_map(check);
        bad.or_else(|| model.adapters_mut().into_iter().find_map(check))
    }
}

/// Refuses a model folder with a weight that is NaN or infinite. One tensor is held at a time, so that this can be asked
/// before anything is spent on what the weights are for.
pub fn check_finite(dir: &Path) -> Result<()> {
    let mut shards = Shards::open(dir)?;
    for file in &mut shards.files {
        let mut names = file.names();
        names.sort();
        for name in names {
            let (values, _) = file.read(&name)?;
            refuse(&file.path, &name, &values)?;
        }
    }
    Ok(())
}

/// Refuses numbers of a model's file that are not finite.
pub(super) fn refuse(path: &Path, name: &str, values: &[f32]) -> Result<()> {
    match not_finite(name, values) {
        None => Ok(()),
        Some(problem) => Err(Error::model(
            path,
            problem,
            "the file is damaged or was saved from a broken training: download it again, or take another model",
        )),
    }
}
