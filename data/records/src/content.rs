//! What an input is: a hash of its content, wherever it is.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::artifact::{read_json, write_json};
use crate::{Error, Result, disk};

/// Whether a file of a model's folder is part of its identity: what a reader of the folder uses, not caches, not other
/// formats beside it.
pub fn is_model_file(name: &str) -> bool {
    let used = [".json", ".safetensors", ".jinja"].iter().any(|extension| name.ends_with(extension));
    used && !name.starts_with('.')
}

/// The identity of an input file or folder: BLAKE3 over names (relative) and contents. Paths do not enter.
pub fn content_hash(path: &Path) -> Result<String> {
    hash(&files_of(path)?)
}

/// The files that make up an input, each with its name in a folder.
fn files_of(path: &Path) -> Result<Vec<(Option<String>, PathBuf)>> {
    if !disk::is_dir(path)? {
        return Ok(vec![(None, path.to_owned())]);
    }
    let mut files = Vec::new();
    for entry in disk::entries(path)? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A link that leads nowhere is an error too: the folder lists a file that cannot be read.
        let is_file = || fs::metadata(&entry).map(|found| found.is_file()).map_err(|e| Error::io("read", &entry, e));
        if is_model_file(&name) && is_file()? {
            files.push((Some(name), entry));
        }
    }
    Ok(files)
}

fn hash(files: &[(Option<String>, PathBuf)]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for (name, path) in files {
        hasher.update(name.as_deref().unwrap_or_default().as_bytes());
        hasher.update_mmap_rayon(path).map_err(|e| Error::io("read", path, e))?;
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}

/// Hashes that were computed before, in a file. A hash is taken from it as long as its files have the sizes, the times of
/// modification and of change, and the inodes that they had then. The last time is the system's own and cannot be set, so
/// that a file with other content is noticed even where its time of modification was restored.
#[derive(Debug)]
pub struct KnownHashes {
    path: PathBuf,
    known: KnownFile,
    changed: bool,
}

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct KnownFile {
    /// [`VERSION`] of the program that wrote it.
    version: u32,
    /// By the input's path, links resolved.
    inputs: BTreeMap<PathBuf, Known>,
}

/// Raised when [`content_hash`] gives other hashes: those of another version are of no use.
const VERSION: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    files: Vec<Stamp>,
    hash: String,
    /// Seconds since 1970.
    used: u64,
}

/// What tells that a file is still the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    name: Option<String>,
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds since 1970, and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(name: Option<&str>, path: &Path) -> Result<Self> {
        let found = fs::metadata(path).map_err(|e| Error::io("read", path, e))?;
        Ok(Self {
            name: name.map(str::to_owned),
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Inputs that are remembered.
const INPUTS: usize = 1000;
/// Seconds within which a file may change again without another time.
const SAME_TIME: i64 = 2;

impl KnownHashes {
    /// Reads the file, if there is one. One that cannot be read costs time only: nothing is known then, and the error says
    /// why.
    pub fn open(path: &Path) -> (Self, Option<Error>) {
        let read = disk::if_there(path.to_owned()).and_then(|file| file.map(|file| read_json(&file)).transpose());
        let (found, error) = match read {
            Ok(found) => (found.filter(|known: &KnownFile| known.version == VERSION), None),
            Err(Error::Malformed { path, problem, .. }) => {
                (None, Some(Error::malformed(&path, problem, "it is written anew")))
            }
            Err(error) => (None, Some(error)),
        };
        let known = found.unwrap_or(KnownFile { version: VERSION, inputs: BTreeMap::new() });
        (Self { path: path.to_owned(), known, changed: false }, error)
    }

    /// As [`content_hash`].
    pub fn content_hash(&mut self, path: &Path) -> Result<String> {
        let files = files_of(path)?;
        let stamps = || files.iter().map(|(name, path)| Stamp::of(name.as_deref(), path)).collect::<Result<Vec<_>>>();
        let (before, now) = (stamps()?, seconds());
        let place = fs::canonicalize(path).map_err(|e| Error::io("read", path, e))?;
        if let Some(known) = self.known.inputs.get_mut(&place).filter(|known| known.files == before) {
            // Once a day is enough to know which are in use.
            if known.used.saturating_add(86_400) < now {
                known.used = now;
                self.changed = true;
            }
            return Ok(known.hash.clone());
        }
        let hash = hash(&files)?;
        let settled =
            before.iter().all(|stamp| stamp.modified.0.max(stamp.changed.0).saturating_add(SAME_TIME) < now as i64);
        if settled && stamps()? == before {
            self.known.inputs.insert(place, Known { files: before, hash: hash.clone(), used: now });
            self.changed = true;
        }
        Ok(hash)
    }

    /// Writes what is new; of many inputs those that were used last.
    pub fn save(mut self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        while self.known.inputs.len() > INPUTS {
            let oldest = self.known.inputs.iter().min_by_key(|(_, known)| known.used).map(|(place, _)| place.clone());
            oldest.and_then(|place| self.known.inputs.remove(&place));
        }
        write_json(&self.path, &self.known)
    }
}

fn seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;

    /// Sets the time of modification; that of change is the system's, and a moment ago.
    fn age(path: &Path) {
        let long_ago = SystemTime::now() - Duration::from_hours(1);
        File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }

    #[test]
    fn a_hash_is_taken_as_long_as_nothing_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (data, cache) = (dir.path().join("a.jsonl"), dir.path().join("cache/hashes.json"));
        fs::write(&data, "one").unwrap();
        age(&data);
        let expected = content_hash(&data).unwrap();
        let (mut known, error) = KnownHashes::open(&cache);
        assert!(error.is_none(), "no file is no error: {error:?}");
        assert_eq!(known.content_hash(&data).unwrap(), expected);
        assert!(!known.changed, "it changed a moment ago, and may change again at the same time");
        std::thread::sleep(Duration::from_secs(SAME_TIME as u64 + 2));
        assert_eq!(known.content_hash(&data).unwrap(), expected);
        known.save().unwrap();

        // What is known is taken, not computed.
        let mut text = fs::read_to_string(&cache).unwrap();
        text = text.replace(&expected, "0123456789abcdef");
        fs::write(&cache, text).unwrap();
        let mut known = KnownHashes::open(&cache).0;
        assert_eq!(known.content_hash(&data).unwrap(), "0123456789abcdef");
        assert!(!known.changed);

        // Another content of the same size and time of modification.
        let modified = fs::metadata(&data).unwrap().modified().unwrap();
        fs::write(&data, "two").unwrap();
        File::options().append(true).open(&data).unwrap().set_modified(modified).unwrap();
        assert_eq!(known.content_hash(&data).unwrap(), content_hash(&data).unwrap());
        // What another version knew is nothing; what cannot be read is said, and costs time only.
        let text = fs::read_to_string(&cache).unwrap();
        fs::write(&cache, text.replace("\"version\": 1", "\"version\": 0")).unwrap();
        let (other, error) = KnownHashes::open(&cache);
        assert!(other.known.inputs.is_empty() && error.is_none(), "{other:?} {error:?}");
        fs::write(&cache, "{").unwrap();
        let (mut none, error) = KnownHashes::open(&cache);
        let said = error.unwrap().to_string();
        assert!(said.contains("hashes.json") && said.contains("written anew"), "{said}");
        assert_eq!(none.content_hash(&data).unwrap(), content_hash(&data).unwrap());
        fs::remove_file(&cache).unwrap();
        fs::create_dir(&cache).unwrap();
        assert!(KnownHashes::open(&cache).1.is_some());
    }

    #[test]
    fn a_folder_is_its_model_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("model")).unwrap();
        for (name, text) in [("config.json", "{}"), ("model.safetensors", "w"), ("notes.txt", "n"), (".git.json", "g")]
        {
            fs::write(at("model").join(name), text).unwrap();
        }
        let hash = || KnownHashes::open(&at("none")).0.content_hash(&at("model")).unwrap();
        let whole = hash();
        assert_eq!(whole, content_hash(&at("model")).unwrap());
        fs::write(at("model/notes.txt"), "other").unwrap();
        assert_eq!(whole, hash());
        fs::remove_file(at("model/config.json")).unwrap();
        fs::write(at("model/other.json"), "{}").unwrap();
        assert_ne!(whole, hash());
        // The same as before this was split from names: names, then contents, file by file.
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"model.safetensorswother.json{}");
        assert_eq!(hash(), hasher.finalize().to_hex()[..16]);
    }

    #[test]
    fn a_file_of_a_model_that_cannot_be_read_is_no_smaller_model() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        fs::create_dir(dir.path().join("onnx.json")).unwrap();
        let whole = content_hash(dir.path()).unwrap();
        for target in ["model.safetensors", "gone"] {
            let link = dir.path().join("model.safetensors");
            std::os::unix::fs::symlink(target, &link).unwrap();
            let message = content_hash(dir.path()).unwrap_err().to_string();
            assert!(message.contains("model.safetensors"), "{message}");
            fs::remove_file(&link).unwrap();
        }
        assert_eq!(content_hash(dir.path()).unwrap(), whole);
        assert!(content_hash(&dir.path().join("config.json/below")).is_err());
    }

    #[test]
    fn content_is_identity_and_path_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("a", "same"), ("b", "same"), ("c", "other")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let hash = |name: &str| content_hash(&dir.path().join(name)).unwrap();
        assert_eq!(hash("a"), hash("b"));
        assert_ne!(hash("a"), hash("c"));
    }
}
