//! What a stage leaves behind: a folder whose record, `artifact.json`, is written last.
//!
//! Every file is written aside, synced and renamed, so that `kill -9` at any moment leaves nothing that reads as
//! complete. A folder without `artifact.json` does not exist for later stages; what it holds (partial traces, a
//! checkpoint) is for the same stage to resume from.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::record::short_hash;
use crate::{Error, Result, disk};

/// The name of the record that makes a folder an artifact.
pub const RECORD_FILE: &str = "artifact.json";

/// The finished output of a stage; `S` is the stage's own summary, so that stages cannot be wired wrongly.
#[derive(Debug)]
pub struct Artifact<S> {
    /// The folder.
    pub dir: PathBuf,
    /// Hash of the stage, its spec and the fingerprints of its inputs.
    pub fingerprint: String,
    /// Counts and measurements.
    pub summary: S,
}

/// What `artifact.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactRecord<S = serde_json::Value> {
    /// The stage's name.
    pub stage: String,
    /// Raised when the stage's code changes what it produces.
    pub version: u32,
    /// See [`fingerprint`].
    pub fingerprint: String,
    /// The part of the recipe that decides this stage's result.
    pub spec: serde_json::Value,
    /// Fingerprints of the inputs, by name.
    pub inputs: BTreeMap<String, String>,
    /// Where those inputs were read that are the user's, by the same names: a path, or an address with its commit. What
    /// decides is their content, so this is no part of the fingerprint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, String>,
    /// The stage's own summary.
    pub summary: S,
    /// Seconds of the run that completed the stage; a run that was stopped before is not in it.
    pub seconds: f64,
}

/// Hash of all that decides a stage's result. `spec` must hold every value that matters and nothing that does not
/// (devices, endpoints, paths and concurrency are run options).
pub fn fingerprint(stage: &str, version: u32, spec: &serde_json::Value, inputs: &BTreeMap<String, String>) -> String {
    let key = serde_json::json!({"stage": stage, "version": version, "spec": canonical(spec), "inputs": inputs});
    short_hash(key.to_string().as_bytes())
}

/// The value with object keys sorted, so that field order never matters.
fn canonical(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, Value> = map.iter().map(|(k, v)| (k, canonical(v))).collect();
            Value::Object(sorted.into_iter().map(|(k, v)| (k.clone(), v)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

impl<S: DeserializeOwned> Artifact<S> {
    /// Opens a finished artifact; `None` if the folder has no record or its record is for another fingerprint.
    pub fn open(dir: &Path, fingerprint: &str) -> Result<Option<Self>> {
        let Some(record) = read_record(dir)? else { return Ok(None) };
        if record.fingerprint != fingerprint {
            return Ok(None);
        }
        let summary = serde_json::from_value(record.summary).map_err(|e| {
            let problem = format!("the stage's summary cannot be read ({e})");
            Error::malformed(&dir.join(RECORD_FILE), problem, "remove its folder to make it again")
        })?;
        Ok(Some(Self { dir: dir.to_owned(), fingerprint: record.fingerprint, summary }))
    }
}

impl<S: Serialize> Artifact<S> {
    /// Publishes the record: the last act of a stage.
    pub fn publish(dir: &Path, record: ArtifactRecord<S>) -> Result<Self> {
        write_json(&dir.join(RECORD_FILE), &record)?;
        Ok(Self { dir: dir.to_owned(), fingerprint: record.fingerprint, summary: record.summary })
    }
}

/// Whether a folder holds the finished artifact of this fingerprint.
pub fn is_complete(dir: &Path, fingerprint: &str) -> Result<bool> {
    Ok(read_record(dir)?.is_some_and(|record| record.fingerprint == fingerprint))
}

/// Reads a folder's record; `None` if there is none.
pub fn read_record(dir: &Path) -> Result<Option<ArtifactRecord>> {
    disk::if_there(dir.join(RECORD_FILE))?.map(|path| read_json(&path)).transpose()
}

/// A file that is being written beside its place, as `.NAME.PID.partial`: it has its name only once it is published.
/// Dropped before, it is gone.
#[derive(Debug)]
pub struct Aside {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    published: bool,
}

impl Aside {
    /// Begins a file in its folder, which is made if it is not there.
    pub fn create(path: &Path) -> Result<Self> {
        let folder = folder_of(path);
        fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = folder.join(format!(".{name}.{}.partial", std::process::id()));
        let file = File::create(&partial).map_err(|e| Error::io("create", &partial, e))?;
        Ok(Self { file, partial, path: path.to_owned(), published: false })
    }

    /// What is written to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Syncs the file, renames it into place and syncs the folder.
    pub fn publish(mut self) -> Result<()> {
        publish_partial(&self.file, &self.partial, &self.path)?;
        self.published = true;
        Ok(())
    }
}

impl Write for Aside {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.published {
            // The error that matters came before; a leftover is harmless, since no reader looks at dot files.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file aside, syncs it, renames it into place and syncs the folder.
pub fn publish_file(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let mut aside = Aside::create(path)?;
    write(aside.file())?;
    aside.publish()
}

/// Publishes a file that was written beside its place under a name of its own.
pub fn publish_partial(file: &File, partial: &Path, path: &Path) -> Result<()> {
    file.sync_all().map_err(|e| Error::io("sync", partial, e))?;
    fs::rename(partial, path).map_err(|e| Error::io("publish", path, e))?;
    sync_folder(folder_of(path))
}

/// Publishes a file that `make` makes by itself at the path it is given. Libraries make files through `tempfile` that only
/// their owner may read; the published one has the mode that the umask gives to any new file.
pub fn publish_made(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut aside = Aside::create(path)?;
    let permissions = aside.file.metadata().map_err(|e| Error::io("read", &aside.partial, e))?.permissions();
    make(&aside.partial)?;
    aside.file = File::open(&aside.partial).map_err(|e| Error::io("open", &aside.partial, e))?;
    aside.file.set_permissions(permissions).map_err(|e| Error::io("set the mode of", &aside.partial, e))?;
    aside.publish()
}

/// Makes renames in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io("sync", folder, e))
}

/// Publishes bytes as a file; see [`publish_file`].
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    publish_file(path, |file| file.write_all(bytes).map_err(|e| Error::io("write", path, e)))
}

/// Publishes a value as indented JSON.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text =
        serde_json::to_string_pretty(value).map_err(|e| Error::engine(format!("encoding {}", path.display()), e))?;
    text.push('\n');
    write_bytes(path, text.as_bytes())
}

/// Reads a JSON file into a value.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    serde_json::from_str(&text).map_err(|e| {
        Error::malformed(path, format!("not the JSON expected here: {e}"), "remove it to make the stage run again")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fingerprint_ignores_field_order_and_nothing_else() {
        let none = BTreeMap::new();
        let base = fingerprint("train", 1, &json!({"a": 1, "b": {"x": 1, "y": [1, 2]}}), &none);
        assert_eq!(base, fingerprint("train", 1, &json!({"b": {"y": [1, 2], "x": 1}, "a": 1}), &none));
        assert_ne!(base, fingerprint("train", 2, &json!({"a": 1, "b": {"x": 1, "y": [1, 2]}}), &none));
        assert_ne!(base, fingerprint("train", 1, &json!({"a": 1, "b": {"x": 1, "y": [2, 1]}}), &none));
        let inputs = BTreeMap::from([("packed".to_owned(), "ff".to_owned())]);
        assert_ne!(base, fingerprint("train", 1, &json!({"a": 1, "b": {"x": 1, "y": [1, 2]}}), &inputs));
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_bytes(&path, b"old").unwrap();
        let failed = publish_file(&path, |file| {
            file.write_all(b"half").unwrap();
            Err(Error::invalid("test", "stopped half way", "nothing"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_summary_that_cannot_be_read_is_named_and_is_no_default() {
        #[derive(Debug, Serialize, Deserialize)]
        struct Summary {
            rows: u64,
        }
        let dir = tempfile::tempdir().unwrap();
        let record = |summary| ArtifactRecord {
            stage: "pack".to_owned(),
            version: 1,
            fingerprint: "f".to_owned(),
            spec: json!({}),
            inputs: BTreeMap::new(),
            sources: BTreeMap::new(),
            summary,
            seconds: 0.0,
        };
        Artifact::publish(dir.path(), record(json!({"rows": 3}))).unwrap();
        assert_eq!(Artifact::<Summary>::open(dir.path(), "f").unwrap().unwrap().summary.rows, 3);
        assert!(Artifact::<Summary>::open(dir.path(), "g").unwrap().is_none());
        Artifact::publish(dir.path(), record(json!({"row": 3}))).unwrap();
        let message = Artifact::<Summary>::open(dir.path(), "f").unwrap_err().to_string();
        assert!(message.contains(RECORD_FILE) && message.contains("`rows`"), "{message}");
        assert!(is_complete(dir.path(), "f").unwrap() && !is_complete(dir.path(), "g").unwrap());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_not_a_record_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_record(&dir.path().join("none")).unwrap().is_none());
        assert!(read_record(dir.path()).unwrap().is_none());
        let path = dir.path().join(RECORD_FILE);
        std::os::unix::fs::symlink(RECORD_FILE, &path).unwrap();
        let message = read_record(dir.path()).unwrap_err().to_string();
        assert!(message.contains(RECORD_FILE), "{message}");
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"{\"stage\": \"caf\xe9\"}").unwrap();
        let message = read_record(dir.path()).unwrap_err().to_string();
        assert!(message.contains(RECORD_FILE), "{message}");
    }

    /// As safetensors makes its files.
    #[test]
    fn what_a_library_made_private_is_published_with_the_mode_of_other_files() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        fs::write(dir.path().join("plain"), "").unwrap();
        let make = |partial: &Path| {
            let mut file = tempfile::NamedTempFile::new_in(dir.path()).unwrap();
            file.write_all(b"weights").unwrap();
            file.persist(partial).unwrap();
            Ok(())
        };
        publish_made(&dir.path().join("made"), make).unwrap();
        assert_eq!(mode("made"), mode("plain"));
        assert_eq!(fs::read(dir.path().join("made")).unwrap(), b"weights");
        assert!(publish_made(&dir.path().join("made"), |_| Err(Error::Stopped)).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
