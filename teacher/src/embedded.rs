//! The teacher that ships with the binary: a small Qwen2 model that solves arithmetic word problems step by step.
//!
//! It is made by `recipes/embedded-teacher.toml`; `teacher/assets/README.md` is its model card. Its files are written to
//! a folder and served like any other model.

use std::path::Path;

use records::artifact::write_bytes;
use records::record::short_hash;

use crate::Result;

/// What recipes call it.
pub const NAME: &str = "embedded";

const FILES: [(&str, &[u8]); 5] = [
    ("config.json", include_bytes!("../assets/config.json")),
    ("generation_config.json", include_bytes!("../assets/generation_config.json")),
    ("tokenizer.json", include_bytes!("../assets/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../assets/tokenizer_config.json")),
    ("model.safetensors", include_bytes!("../assets/model.safetensors")),
];

/// Hash of its files.
pub fn fingerprint() -> String {
    let all: Vec<u8> = FILES.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes].concat()).collect();
    short_hash(&all)
}

/// The name in traces: it changes with the files, so that traces of another version are never taken for its own.
pub fn full_name() -> String {
    format!("{NAME}-{}", &fingerprint()[..8])
}

/// Writes its model folder, but for files that are there already, to the byte. One that cannot be read is replaced, and
/// where it cannot be, that is the error.
pub fn write(dir: &Path) -> Result<()> {
    for (name, bytes) in FILES {
        let path = dir.join(name);
        if !std::fs::read(&path).is_ok_and(|found| found == bytes) {
            write_bytes(&path, bytes)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_damaged_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).unwrap();
        let (name, bytes) = FILES[0];
        let path = dir.path().join(name);
        let mut damaged = bytes.to_vec();
        damaged[0] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        write(dir.path()).unwrap();
        assert!(std::fs::read(&path).unwrap() == bytes, "of the same length, and other content");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(write(dir.path()).unwrap_err().to_string().contains(name));
    }
}
