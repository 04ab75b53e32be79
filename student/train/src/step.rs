//! One optimizer step, and the loss alone.

use burn::tensor::{Device, Tensor};
use model::Model;
use model::lora::Noise;
use records::record::TraceId;
use tokens::pack::PackedRow;

use crate::TrainConfig;
use crate::batch::{Pass, supervised};
use crate::gradients::add_gradients;
use crate::optimizer::{Accumulated, AdamW};
use crate::{Error, Result};

/// One optimizer step; returns loss per supervised token and gradient norm. `models` are one on each device, all with the
/// same weights; the first is the one that is trained.
pub(crate) fn one_step(
    models: &mut [Model],
    optimizer: &mut AdamW,
    batch: &[&PackedRow],
    config: &TrainConfig,
    step: u32,
    steps: u32,
) -> Result<(f64, f64)> {
    let total = supervised(batch);
    let noise = Noise { seed: config.seed, step, ..Noise::default() };
    let not_finite = |model: Option<&Model>, what: String, value: f64, rows: &[&PackedRow]| {
        let weights = model.and_then(Model::not_finite);
        Error::NotFinite { step, what, value, traces: traces(rows), weights }
    };
    let (loss, gradients) = gradients_of(models, batch, config.rows_per_pass, total, noise, &mut optimizer.spare)
        .map_err(|pass| not_finite(models.first(), pass.name, pass.loss, &pass.rows))?;
    let Some((model, replicas)) = models.split_first_mut() else { return Ok((loss, 0.0)) };
    let norm = gradients.norm(model);
    if !norm.is_finite() {
        return Err(not_finite(Some(model), "the gradient norm".to_owned(), norm, batch));
    }
    optimizer.step(model, gradients, norm, step, steps);
    for replica in replicas {
        *replica = replica_on(model, &replica.device().inner());
    }
    Ok((loss, norm))
}

/// The same weights on another device, tracked.
pub(crate) fn replica_on(model: &Model, device: &Device) -> Model {
    let mut replica = model.clone().tracked(false);
    for (_, tensor) in replica.parameters_mut() {
        *tensor = tensor.clone().to_device(device);
    }
    for (_, tensor) in replica.adapters_mut() {
        *tensor = tensor.clone().to_device(device);
    }
    replica.tracked(true)
}

/// A pass whose loss is not finite.
#[derive(Debug)]
pub(crate) struct BadPass<'a> {
    name: String,
    loss: f64,
    rows: Vec<&'a PackedRow>,
}

/// The ids of the traces of rows.
fn traces(rows: &[&PackedRow]) -> String {
    let ids: Vec<&str> = rows.iter().flat_map(|row| &row.trace_ids).map(TraceId::as_str).collect();
    ids.join(" ")
}

/// Mean loss over `total` supervised tokens and its gradients, in passes of `rows_per_pass` rows. Stops at the first pass
/// whose loss is not finite. `spare` is memory for the gradient of the output projection, before and after.
///
/// Passes are dealt out to the models, one at a time to each, and their gradients added up in the order of the passes:
/// the sum has the same bits on any number of equal devices.
pub(crate) fn gradients_of<'a>(
    models: &mut [Model],
    batch: &[&'a PackedRow],
    rows_per_pass: usize,
    total: u64,
    noise: Noise,
    spare: &mut Option<Tensor<2>>,
) -> std::result::Result<(f64, Accumulated), BadPass<'a>> {
    let mut gradients = Accumulated::default();
    let mut sum = 0.0;
    let passes: Vec<&[&PackedRow]> = batch.chunks(rows_per_pass).collect();
    for (round, dealt) in passes.chunks(models.len().max(1)).enumerate() {
        let first = (round * models.len() + 1) as u32;
        for (i, (loss, found)) in
            each_on_its_own(models, dealt, total, Noise { pass: first, ..noise }, spare).into_iter().enumerate()
        {
            if !loss.is_finite() {
                let name = format!("the loss of pass {} of {}", first as usize + i, passes.len());
                return Err(BadPass { name, loss, rows: dealt[i].to_vec() });
            }
            sum += loss;
            gradients.add(&models[0], found, spare);
        }
    }
    Ok((sum, gradients))
}

/// One pass on each model, at the same time where there are several.
fn each_on_its_own(
    models: &mut [Model],
    passes: &[&[&PackedRow]],
    total: u64,
    first: Noise,
    spare: &mut Option<Tensor<2>>,
) -> Vec<(f64, Accumulated)> {
    let noises = (first.pass..).map(|pass| Noise { pass, ..first });
    if let [model] = models {
        return passes.iter().zip(noises).map(|(rows, noise)| one_pass(model, rows, total, noise, spare)).collect();
    }
    std::thread::scope(|scope| {
        let started: Vec<_> = models
            .iter_mut()
            .zip(passes)
            .zip(noises)
            .map(|((model, rows), noise)| scope.spawn(move || one_pass(model, rows, total, noise, &mut None)))
            .collect();
        let ended = started.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

fn one_pass(
    model: &mut Model,
    rows: &[&PackedRow],
    total: u64,
    noise: Noise,
    spare: &mut Option<Tensor<2>>,
) -> (f64, Accumulated) {
    let pass = Pass::new(rows, model, total, noise);
    if pass.targets.rows.is_empty() {
        return (0.0, Accumulated::default());
    }
    let mut gradients = Accumulated::default();
    let loss = add_gradients(model, &pass, &mut gradients, spare);
    (loss, gradients)
}

/// Mean loss per supervised token over rows, without training. `progress` is called with the rows done; it returns
/// `false` to stop. A loss that is not finite is an error.
pub fn mean_loss(
    model: &Model,
    rows: &[PackedRow],
    rows_per_pass: usize,
    progress: &dyn Fn(usize) -> bool,
) -> Result<f64> {
    let all: Vec<&PackedRow> = rows.iter().collect();
    let total = supervised(&all);
    let (mut loss, mut done) = (0.0, 0);
    for rows in all.chunks(rows_per_pass.max(1)) {
        let pass = Pass::new(rows, model, total, Noise::default());
        let of_pass = f64::from(model.loss(&pass.ids, &pass.layout, &pass.targets).into_scalar::<f32>());
        if !of_pass.is_finite() {
            return Err(Error::HeldOutNotFinite { value: of_pass, traces: traces(rows), weights: model.not_finite() });
        }
        loss += of_pass;
        done += rows.len();
        if !progress(done) {
            return Err(Error::Stopped { after: format!("after {done} held-out rows") });
        }
    }
    Ok(loss)
}
