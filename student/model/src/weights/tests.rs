use std::fs;

use proptest::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use tempfile::{TempDir, tempdir};

use super::*;
use crate::golden;

fn device() -> Device {
    Device::flex()
}

/// A copy of a golden model to damage.
fn copy(name: &str) -> TempDir {
    let dir = tempdir().unwrap();
    for file in ["config.json", SINGLE] {
        fs::copy(golden::folder(name).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

fn refusal(dir: &Path) -> String {
    Model::load(dir, &device()).expect_err("this folder must not load").to_string()
}

/// Rewrites the weight file tensor by tensor: name, type, shape and bytes.
fn rewrite(dir: &Path, mut change: impl FnMut(&mut Vec<(String, Dtype, Vec<usize>, Vec<u8>)>)) {
    let path = dir.join(SINGLE);
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> =
        file.iter().map(|(n, v)| (n.to_owned(), v.dtype(), v.shape().to_vec(), v.data().to_vec())).collect();
    change(&mut tensors);
    write_file(&path, &tensors);
}

fn write_file(path: &Path, tensors: &[(String, Dtype, Vec<usize>, Vec<u8>)]) {
    let views =
        tensors.iter().map(|(n, dtype, shape, bytes)| (n, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn values(model: &Model) -> Vec<(String, Vec<u32>)> {
    model.parameters().into_iter().map(|(n, t)| (n, numbers(t).into_iter().map(f32::to_bits).collect())).collect()
}

/// A model written in shards of 20 KB.
fn sharded(name: &str) -> (TempDir, Vec<String>) {
    let dir = tempdir().unwrap();
    let files = write_model(dir.path(), &golden::model(name), 20_000).unwrap();
    fs::copy(golden::folder(name).join("config.json"), dir.path().join("config.json")).unwrap();
    assert!(files.len() > 3, "{files:?}");
    (dir, files)
}

#[test]
fn what_is_written_reads_back_as_the_weights_rounded_to_bf16() {
    for name in golden::NAMES {
        let expected = values(&golden::model(name).rounded_to_bf16());
        let (dir, files) = sharded(name);
        assert_eq!(values(&Model::load(dir.path(), &device()).unwrap()), expected, "{name} in {} files", files.len());
        let index: Value = read_json(&dir.path().join(INDEX)).unwrap();
        assert_eq!(index["weight_map"].as_object().unwrap().len(), expected.len());
        let total: usize = expected.iter().map(|(_, values)| 2 * values.len()).sum();
        assert_eq!(index["metadata"]["total_size"], total);
        for file in files.iter().filter(|file| *file != INDEX) {
            let bytes = fs::read(dir.path().join(file)).unwrap();
            let file = SafeTensors::deserialize(&bytes).unwrap();
            let sizes: Vec<usize> = file.iter().map(|(_, view)| view.data().len()).collect();
            assert!(sizes.len() == 1 || sizes.iter().sum::<usize>() <= 20_000, "{sizes:?}");
            assert!(file.iter().all(|(_, view)| view.dtype() == Dtype::BF16));
        }
        let single = tempdir().unwrap();
        fs::copy(dir.path().join("config.json"), single.path().join("config.json")).unwrap();
        assert_eq!(write_model(single.path(), &golden::model(name), u64::MAX).unwrap(), [SINGLE]);
        assert_eq!(values(&Model::load(single.path(), &device()).unwrap()), expected);
    }
    assert!(values(&golden::model("qwen2")) != values(&golden::model("qwen2").rounded_to_bf16()), "rounding shows");
}

/// A server of another user reads them: as any new file, not as a private one.
#[test]
fn weights_have_the_mode_that_the_umask_gives() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("plain"), "").unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
    let files = write_model(dir.path(), &golden::model("qwen2"), 20_000).unwrap();
    for file in &files {
        assert_eq!(mode(file), mode("plain"), "{file}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), files.len() + 1, "and nothing else is left");
}

/// An index that cannot be read is not a model in one file, nor a shard one that is missing.
#[test]
fn what_is_there_and_cannot_be_read_is_named() {
    let (dir, files) = sharded("qwen2");
    for name in [INDEX, &files[0], "config.json"] {
        let path = dir.path().join(name);
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(name, &path).unwrap();
        let message = refusal(dir.path());
        assert!(message.contains(name) && message.contains("cannot look at"), "{message}");
        fs::remove_file(&path).unwrap();
        fs::write(&path, kept).unwrap();
    }
}

#[test]
fn half_precision_is_read_as_it_is_written() {
    let dir = copy("llama");
    rewrite(dir.path(), |tensors| {
        for (_, dtype, _, bytes) in tensors {
            let halves = bytes.as_chunks::<2>().0.iter().map(|b| f16::from_f32(bf16::from_le_bytes(*b).to_f32()));
            *bytes = halves.flat_map(f16::to_le_bytes).collect();
            *dtype = Dtype::F16;
        }
    });
    let read = values(&Model::load(dir.path(), &device()).unwrap());
    let differences = read.iter().zip(values(&golden::model("llama"))).flat_map(|((_, a), (_, b))| {
        a.iter().zip(b).map(|(a, b)| (f32::from_bits(*a) - f32::from_bits(b)).abs()).collect::<Vec<_>>()
    });
    // Ten bits hold the eight of bf16; only numbers below 2⁻¹⁴ lose some.
    assert!(differences.fold(0.0, f32::max) < 1e-7);
}

#[test]
fn a_folder_that_lacks_something_says_what() {
    let (dir, files) = sharded("qwen2");
    fs::remove_file(dir.path().join(&files[1])).unwrap();
    let message = refusal(dir.path());
    assert!(message.contains(&format!("weight file {} is missing", files[1])), "{message}");

    let dir = copy("qwen2");
    fs::remove_file(dir.path().join(SINGLE)).unwrap();
    assert!(refusal(dir.path()).contains("weight file model.safetensors is missing"));
    fs::remove_file(dir.path().join("config.json")).unwrap();
    assert!(refusal(dir.path()).contains("there is no config.json"));

    let dir = copy("qwen2");
    rewrite(dir.path(), |tensors| tensors.retain(|(name, ..)| name != "model.layers.1.self_attn.k_proj.bias"));
    let message = refusal(dir.path());
    assert!(message.contains("model.layers.1.self_attn.k_proj.bias is missing"), "{message}");
}

#[test]
fn a_weight_that_does_not_belong_says_which() {
    let dir = copy("llama");
    rewrite(dir.path(), |tensors| {
        tensors.push(("model.layers.0.self_attn.q_proj.bias".into(), Dtype::F32, vec![64], vec![0; 256]));
    });
    let message = refusal(dir.path());
    assert!(message.contains("model.layers.0.self_attn.q_proj.bias is not a weight of Llama (1 such)"), "{message}");

    for (shape, name) in [(vec![72, 32], "mlp.down_proj.weight"), (vec![16, 2], "input_layernorm.weight")] {
        let dir = copy("qwen2");
        let name = format!("model.layers.1.{name}");
        rewrite(dir.path(), |tensors| {
            tensors.iter_mut().filter(|(n, ..)| *n == name).for_each(|(_, _, s, _)| s.clone_from(&shape));
        });
        let message = refusal(dir.path());
        assert!(message.contains(&format!("{name} has shape {shape:?}, config.json says")), "{message}");
    }

    let dir = copy("qwen2");
    rewrite(dir.path(), |tensors| {
        let norm = tensors.iter_mut().find(|(name, ..)| name == "model.norm.weight").unwrap();
        (norm.1, norm.3) = (Dtype::I64, vec![0; 32 * 8]);
    });
    let message = refusal(dir.path());
    assert!(message.contains("model.norm.weight has type I64"), "{message}");
}

#[test]
fn the_tied_output_projection_may_be_there_if_it_is_the_embedding() {
    let dir = copy("qwen2");
    let mut embedding = None;
    rewrite(dir.path(), |tensors| {
        let (_, dtype, shape, bytes) = tensors.iter().find(|(n, ..)| n == "model.embed_tokens.weight").unwrap().clone();
        embedding = Some((dtype, shape.clone(), bytes.clone()));
        tensors.push(("lm_head.weight".into(), dtype, shape, bytes));
    });
    assert_eq!(values(&Model::load(dir.path(), &device()).unwrap()), values(&golden::model("qwen2")));
    rewrite(dir.path(), |tensors| {
        let head = tensors.iter_mut().find(|(n, ..)| n == "lm_head.weight").unwrap();
        head.3[1] ^= 1;
    });
    let message = refusal(dir.path());
    assert!(message.contains("tie_word_embeddings is set but lm_head.weight differs"), "{message}");
}

#[test]
fn an_index_cannot_reach_outside_the_folder() {
    let (dir, files) = sharded("llama");
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let index = fs::read_to_string(dir.path().join(INDEX)).unwrap();
    // The shard does exist where each of these names points.
    let absolute = dir.path().join(&files[0]).display().to_string();
    let up = format!("../{}/{}", dir.path().file_name().unwrap().to_string_lossy(), files[0]);
    let below = format!("outside/{}", files[0]);
    fs::copy(dir.path().join(&files[0]), dir.path().join(&below)).unwrap();
    for name in [absolute, up, below, "..".into(), String::new()] {
        fs::write(dir.path().join(INDEX), index.replace(&files[0], &name)).unwrap();
        let message = refusal(dir.path());
        assert!(message.contains(&format!("weight file {name} is missing")), "{message}");
    }
}

#[test]
fn an_index_that_does_not_fit_the_files_is_refused() {
    let (dir, files) = sharded("llama");
    let path = dir.path().join(INDEX);
    let original: Value = read_json(&path).unwrap();

    let mut index = original.clone();
    index["weight_map"]["model.layers.9.mlp.up_proj.weight"] = json!(files[0]);
    fs::write(&path, index.to_string()).unwrap();
    assert!(refusal(dir.path()).contains("model.layers.9.mlp.up_proj.weight is in the index but in no file"));

    let mut index = original.clone();
    index["weight_map"]["copy"] = json!("copy.safetensors");
    fs::write(&path, index.to_string()).unwrap();
    fs::copy(dir.path().join(&files[0]), dir.path().join("copy.safetensors")).unwrap();
    assert!(refusal(dir.path()).contains("is in two files"));

    for broken in [json!({}), json!({"weight_map": [1]}), json!({"weight_map": {"a": 1}}), json!([])] {
        fs::write(&path, broken.to_string()).unwrap();
        assert!(refusal(dir.path()).contains("weight_map"));
    }
    fs::write(&path, "{").unwrap();
    refusal(dir.path());
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let dir = copy("llama");
    let path = dir.path().join(SINGLE);
    let whole = fs::read(&path).unwrap();
    let header = usize::try_from(u64::from_le_bytes(whole[..8].try_into().unwrap())).unwrap();
    let lengths = (0..64).chain([header / 2, header + 7, header + 8, header + 9]);
    for length in lengths.chain((0..whole.len()).step_by(997)).chain([whole.len() - 1]) {
        fs::write(&path, &whole[..length]).unwrap();
        let message = refusal(dir.path());
        assert!(message.contains(SINGLE) && message.contains("download"), "{length} bytes: {message}");
    }
    fs::write(&path, [whole.as_slice(), &[0]].concat()).unwrap();
    assert!(refusal(dir.path()).contains("should have"), "one byte too many");
    fs::write(&path, &whole).unwrap();
    assert!(Model::load(dir.path(), &device()).is_ok(), "it was whole before");
}

fn safetensors_file(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn a_header_that_lies_is_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join(SINGLE);
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let good = tensor("F32", "[2,2]", "[0,16]");
    fs::write(&path, safetensors_file(&good, 16)).unwrap();
    assert_eq!(TensorFile::open(&path).unwrap().read("a").unwrap(), (vec![0.0; 4], vec![2, 2]));
    let lies = [
        tensor("F32", "[2,2]", "[0,8]"),
        tensor("F32", "[2,2]", "[16,0]"),
        tensor("F32", "[2,2]", "[8,24]"),
        tensor("F32", "[2,3]", "[0,16]"),
        tensor("F32", "[4294967296,4294967296]", "[0,16]"),
        tensor("F32", "[-2,-2]", "[0,16]"),
        tensor("F99", "[2,2]", "[0,16]"),
        tensor("F32", "[1099511627776]", "[0,4398046511104]"),
        "[]".into(),
        "null".into(),
        r#"{"a":{}}"#.into(),
        String::new(),
    ];
    for header in lies {
        fs::write(&path, safetensors_file(&header, 16)).unwrap();
        let error = TensorFile::open(&path).err().unwrap_or_else(|| panic!("{header} was believed"));
        assert!(error.to_string().contains(SINGLE), "{error}");
    }
    for length in [u64::MAX, u64::MAX - 7, HEADER_LIMIT, 1 << 40] {
        fs::write(&path, [length.to_le_bytes().as_slice(), &[b'{'; 64]].concat()).unwrap();
        assert!(TensorFile::open(&path).err().unwrap().to_string().contains("cut short or not safetensors"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_a_file_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), framed in any::<bool>()) {
        let dir = tempdir().unwrap();
        let path = dir.path().join(SINGLE);
        let bytes = if framed { [&(bytes.len() as u64 / 2).to_le_bytes(), bytes.as_slice()].concat() } else { bytes };
        fs::write(&path, bytes).unwrap();
        if let Ok(mut file) = TensorFile::open(&path) {
            for name in file.names() {
                let _ = file.read(&name);
            }
        }
    }

    #[test]
    fn a_damaged_header_loads_the_same_shapes_or_is_an_error(at in 0usize..2000, byte in any::<u8>()) {
        let dir = copy("llama");
        let path = dir.path().join(SINGLE);
        let mut bytes = fs::read(&path).unwrap();
        let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        bytes[at % (8 + header)] = byte;
        fs::write(&path, bytes).unwrap();
        if let Ok(model) = Model::load(dir.path(), &device()) {
            let shapes = |m: &Model| m.parameters().into_iter().map(|(n, t)| (n, t.dims())).collect::<Vec<_>>();
            prop_assert_eq!(shapes(&model), shapes(&golden::model("llama")));
        }
    }
}
