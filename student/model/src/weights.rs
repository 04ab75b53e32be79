//! Weights from and to safetensors: one file or shards with an index, f32, bf16 or f16, every key used exactly once.

mod finite;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use half::{bf16, f16};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use records::artifact::{publish_made, read_json, write_json};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, View};
use serde_json::{Value, json};

pub use self::finite::{check_finite, not_finite};
use crate::config::ModelConfig;
use crate::decoder::Model;
use crate::{Error, Result};

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
/// The longest header that is believed; the format's own limit.
const HEADER_LIMIT: u64 = 100_000_000;

/// A safetensors file whose tensors are read one at a time.
pub struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Where tensor data begins.
    base: u64,
}

impl TensorFile {
    /// Opens a file and reads its header; one that is cut short is refused.
    pub fn open(path: &Path) -> Result<Self> {
        let broken = |problem: String| Error::model(path, problem, "download the file again");
        let mut file = File::open(path).map_err(|e| records::Error::io("open", path, e))?;
        let length = file.metadata().map_err(|e| records::Error::io("read", path, e))?.len();
        let mut size = [0u8; 8];
        file.read_exact(&mut size).map_err(|_| broken(format!("{length} bytes are too few for a safetensors file")))?;
        let header = u64::from_le_bytes(size);
        if header > HEADER_LIMIT || header + 8 > length {
            return Err(broken(format!(
                "its header claims {header} bytes of a file of {length}: cut short or not safetensors"
            )));
        }
        let mut bytes = vec![0; header as usize];
        file.read_exact(&mut bytes).map_err(|e| records::Error::io("read", path, e))?;
        let metadata: Metadata =
            serde_json::from_slice(&bytes).map_err(|e| broken(format!("its header cannot be read: {e}")))?;
        let end = metadata.tensors().values().map(|info| info.data_offsets.1 as u64).max().unwrap_or(0);
        if 8 + header + end != length {
            return Err(broken(format!("it should have {} bytes and has {length}", 8 + header + end)));
        }
        Ok(Self { path: path.to_owned(), file, metadata, base: 8 + header })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.metadata.tensors().into_keys().collect()
    }

    /// The numbers of one tensor as f32, with its shape.
    pub(crate) fn read(&mut self, name: &str) -> Result<(Vec<f32>, Vec<usize>)> {
        let Some(info) = self.metadata.info(name).cloned() else {
            return Err(Error::model(&self.path, format!("{name} is missing"), "download the model again"));
        };
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        self.file
            .seek(SeekFrom::Start(self.base + info.data_offsets.0 as u64))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(|e| records::Error::io("read", &self.path, e))?;
        let values: Vec<f32> = match info.dtype {
            Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::BF16 => bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::F16 => bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            other => {
                let problem = format!("{name} has type {other:?}; only F32, BF16 and F16 weights can be loaded");
                return Err(Error::model(&self.path, problem, "convert the model to bf16"));
            }
        };
        if values.len() != info.shape.iter().product::<usize>() {
            let problem = format!("{name} has {} numbers and shape {:?}", values.len(), info.shape);
            return Err(Error::model(&self.path, problem, "download the file again"));
        }
        Ok((values, info.shape))
    }

    /// A tensor that a training wrote, `shape` of it; a missing, misshapen or not finite one is an error.
    pub fn read_like(&mut self, name: &str, shape: [usize; 2], device: &Device) -> Result<Tensor<2>> {
        let (values, _) = self.read(name)?;
        let broken =
            |problem| Error::model(&self.path, problem, "remove its folder, to train again from what came before");
        if let Some(problem) = not_finite(name, &values) {
            return Err(broken(problem));
        }
        if values.len() != shape[0] * shape[1] {
            return Err(broken(format!("{name} does not have the model's shape {shape:?}")));
        }
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }
}

/// The weight files of a folder and which one holds each tensor.
struct Shards {
    files: Vec<TensorFile>,
    holder: HashMap<String, usize>,
}

impl Shards {
    fn open(dir: &Path) -> Result<Self> {
        let index_path = dir.join(INDEX);
        let listed: Option<BTreeMap<String, String>> = if records::disk::exists(&index_path)? {
            let index: Value = read_json(&index_path)?;
            let map = serde_json::from_value(index["weight_map"].clone())
                .map_err(|e| Error::model(&index_path, format!("weight_map: {e}"), "download the model again"))?;
            Some(map)
        } else {
            None
        };
        let names: BTreeSet<String> = match &listed {
            Some(map) => map.values().cloned().collect(),
            None => BTreeSet::from([SINGLE.to_owned()]),
        };
        let mut shards = Self { files: Vec::new(), holder: HashMap::new() };
        for name in names {
            // A shard is a file of this folder: an index from elsewhere must not reach outside it.
            let path = dir.join(&name);
            if Path::new(&name).components().count() != 1
                || !records::disk::metadata(&path)?.is_some_and(|found| found.is_file())
            {
                return Err(Error::model(dir, format!("weight file {name} is missing"), "download the model again"));
            }
            let file = TensorFile::open(&path)?;
            for tensor in file.names() {
                if shards.holder.insert(tensor.clone(), shards.files.len()).is_some() {
                    return Err(Error::model(&path, format!("{tensor} is in two files"), "download the model again"));
                }
            }
            shards.files.push(file);
        }
        if let Some(tensor) = listed.iter().flat_map(BTreeMap::keys).find(|t| !shards.holder.contains_key(*t)) {
            return Err(Error::model(
                dir,
                format!("{tensor} is in the index but in no file"),
                "download the model again",
            ));
        }
        Ok(shards)
    }
}

impl Model {
    /// Loads a Hugging Face model folder. Every tensor of the files is used exactly once; a missing, extra or misshapen
    /// one is an error.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        Self::load_as(&ModelConfig::from_dir(dir)?, dir, device)
    }

    /// The weights of a folder under a config other than its own, one with the same shapes: a longer context.
    pub fn load_as(config: &ModelConfig, dir: &Path, device: &Device) -> Result<Self> {
        let mut shards = Shards::open(dir)?;
        let model = Self::build(config, |name, shape| shards_read(&mut shards, dir, name, shape, device))?;
        // Some exporters write the tied output projection too; it must be the same numbers.
        if config.tie_word_embeddings && shards.holder.contains_key("lm_head.weight") {
            let shape = [config.vocab_size, config.hidden_size];
            let head = shards_read(&mut shards, dir, "lm_head.weight", shape, device)?;
            if head.into_data() != model.embed_tokens.clone().into_data() {
                let problem = "tie_word_embeddings is set but lm_head.weight differs from the embedding";
                return Err(Error::model(dir, problem, "set tie_word_embeddings to false in config.json"));
            }
        }
        if let Some(extra) = shards.holder.keys().min() {
            let problem =
                format!("{extra} is not a weight of {:?} ({} such)", config.architecture, shards.holder.len());
            return Err(Error::model(dir, problem, "is config.json the one of these weights?"));
        }
        Ok(model)
    }

    /// New weights: normal with this deviation, projections back into the residual stream scaled down by √(2·layers)
    /// (GPT-2's rule), norms 1, biases 0.
    pub fn random(config: &ModelConfig, deviation: f32, seed: u64, device: &Device) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let residual = deviation / ((2 * config.num_hidden_layers) as f32).sqrt();
        let built: std::result::Result<Self, std::convert::Infallible> = Self::build(config, |name, shape| {
            let count = shape[0] * shape[1];
            let values = if name.ends_with(".bias") {
                vec![0.0; count]
            } else if shape[0] == 1 {
                vec![1.0; count]
            } else {
                let into_residual = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
                normal(&mut rng, count, if into_residual { residual } else { deviation })
            };
            Ok(Tensor::from_data(TensorData::new(values, shape), device))
        });
        match built {
            Ok(model) => model,
            Err(never) => match never {},
        }
    }

    /// The weights rounded to bf16 and back: what an exported folder holds.
    #[must_use]
    pub fn rounded_to_bf16(mut self) -> Self {
        for (_, tensor) in self.parameters_mut() {
            let values: Vec<f32> = numbers(tensor.clone()).into_iter().map(|x| bf16::from_f32(x).to_f32()).collect();
            *tensor = Tensor::from_data(TensorData::new(values, tensor.dims()), &tensor.device());
        }
        self
    }
}

fn shards_read(shards: &mut Shards, dir: &Path, name: &str, shape: [usize; 2], device: &Device) -> Result<Tensor<2>> {
    let Some(file) = shards.holder.remove(name) else {
        let problem = format!("{name} is missing from the weight files");
        return Err(Error::model(dir, problem, "is config.json the one of these weights?"));
    };
    let (values, found) = shards.files[file].read(name)?;
    // Vectors are one-row matrices here and one-dimensional in the file.
    let expected = file_shape(shape, name);
    if found != expected {
        let problem = format!("{name} has shape {found:?}, config.json says {expected:?}");
        return Err(Error::model(dir, problem, "is config.json the one of these weights?"));
    }
    finite::refuse(&shards.files[file].path, name, &values)?;
    Ok(Tensor::from_data(TensorData::new(values, shape), device))
}

/// A parameter's shape in a file: norms and biases are vectors there.
fn file_shape(shape: [usize; 2], name: &str) -> Vec<usize> {
    if is_vector(name) { vec![shape[1]] } else { shape.to_vec() }
}

/// Whether a parameter of this name is a norm's or a bias: one row, and never decayed.
pub fn is_vector(name: &str) -> bool {
    name.ends_with(".bias") || name.ends_with("norm.weight")
}

/// Normal deviates by Box and Muller. Those of `rand_distr` would be others, and the figures of recipes are of these bits.
fn normal(rng: &mut ChaCha8Rng, count: usize, deviation: f32) -> Vec<f32> {
    use rand::RngExt;
    (0..count)
        .map(|_| {
            let (u, v): (f64, f64) = (rng.random_range(f64::MIN_POSITIVE..1.0), rng.random());
            ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32 * deviation
        })
        .collect()
}

/// The numbers of a tensor, from wherever it is.
pub fn numbers(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// In which numbers a written file holds its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredDtype {
    /// 4 bytes a number, exact.
    F32,
    /// 2 bytes a number, rounded to nearest even.
    Bf16,
}

/// A tensor that is turned into bytes only when it is written.
struct Written {
    tensor: Tensor<2>,
    shape: Vec<usize>,
    dtype: StoredDtype,
}

impl View for Written {
    fn dtype(&self) -> Dtype {
        match self.dtype {
            StoredDtype::F32 => Dtype::F32,
            StoredDtype::Bf16 => Dtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = numbers(self.tensor.clone());
        Cow::Owned(match self.dtype {
            StoredDtype::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            StoredDtype::Bf16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        let width = if self.dtype == StoredDtype::F32 { 4 } else { 2 };
        self.shape.iter().product::<usize>() * width
    }
}

/// Publishes named tensors as one safetensors file.
pub fn write_tensors(path: &Path, tensors: Vec<(String, Tensor<2>)>, dtype: StoredDtype) -> Result<()> {
    let views = tensors.into_iter().map(|(name, tensor)| {
        let shape = file_shape(tensor.dims(), &name);
        (name, Written { tensor, shape, dtype })
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(publish_made(path, |made| {
        safetensors::serialize_to_file(views, Some(metadata), made)
            .map_err(|e| records::Error::engine(format!("writing {}", path.display()), e))
    })?)
}

/// Writes a model's weights as bf16: one file, or shards of at most `shard_bytes` with an index.
pub fn write_model(dir: &Path, model: &Model, shard_bytes: u64) -> Result<Vec<String>> {
    let mut shards: Vec<Vec<(String, Tensor<2>)>> = vec![Vec::new()];
    let (mut filled, mut total) = (0, 0);
    for (name, tensor) in model.parameters() {
        let bytes = 2 * tensor.dims().iter().product::<usize>() as u64;
        if filled > 0 && filled + bytes > shard_bytes {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        total += bytes;
        if let Some(shard) = shards.last_mut() {
            shard.push((name, tensor));
        }
    }
    let count = shards.len();
    if count == 1 {
        write_tensors(&dir.join(SINGLE), shards.remove(0), StoredDtype::Bf16)?;
        return Ok(vec![SINGLE.to_owned()]);
    }
    let mut weight_map = serde_json::Map::new();
    let mut files = Vec::new();
    for (i, shard) in shards.into_iter().enumerate() {
        let file = format!("model-{:05}-of-{count:05}.safetensors", i + 1);
        weight_map.extend(shard.iter().map(|(name, _)| (name.clone(), json!(file))));
        write_tensors(&dir.join(&file), shard, StoredDtype::Bf16)?;
        files.push(file);
    }
    write_json(&dir.join(INDEX), &json!({"metadata": {"total_size": total}, "weight_map": weight_map}))?;
    files.push(INDEX.to_owned());
    Ok(files)
}

#[cfg(test)]
mod tests;
