//! The run folder: one folder a stage result, named by its fingerprint, found again or made.
//!
//! `RUNS/<recipe>/<n>-<stage>-<fingerprint>/` holds a result; the link `RUNS/<recipe>/<stage>` points to the one of the
//! latest run. A result of an earlier recipe stays until it is removed, so going back to that recipe costs nothing.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Instant;

use records::artifact::{Artifact, ArtifactRecord, RECORD_FILE, fingerprint, is_complete, read_record};
use records::disk;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Failure, Result};

/// A stage of a recipe: what decides its result.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// Place in the pipeline, from 1.
    pub number: usize,
    /// Its name, also of its folder.
    pub name: &'static str,
    /// Raised when the stage's code changes what it produces.
    pub version: u32,
    /// The part of the recipe that decides the result.
    pub spec: Value,
    /// Fingerprints of the inputs, by name.
    pub inputs: BTreeMap<String, String>,
    /// Where the inputs that the user gave were read from, by the same names. Decides nothing.
    pub sources: BTreeMap<String, String>,
}

impl Stage {
    /// Hash of all of the above.
    pub(crate) fn fingerprint(&self) -> String {
        fingerprint(self.name, self.version, &self.spec, &self.inputs)
    }
}

/// The folder of one recipe's results, locked against a second run.
#[derive(Debug)]
pub(crate) struct Store {
    /// `RUNS/<recipe>`.
    pub root: PathBuf,
    _lock: Option<File>,
}

impl Store {
    /// Opens the folder for reading.
    pub(crate) fn open(runs: &Path, recipe: &str) -> Self {
        Self { root: runs.join(recipe), _lock: None }
    }

    /// Opens the folder for a run; a second run of the same recipe at the same time is refused.
    pub(crate) fn lock(runs: &Path, recipe: &str) -> Result<Self> {
        let root = runs.join(recipe);
        let refused = |e: std::io::Error| {
            let message = "cannot write to the run folder";
            Failure::of_place(&e, format!("{message} {}: {e}; choose another with --runs DIR", root.display()))
        };
        fs::create_dir_all(&root).map_err(refused)?;
        let file = File::create(root.join(".lock")).map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { root, _lock: Some(file) }),
            Err(TryLockError::WouldBlock) => Err(Failure::failed(format!(
                "another run is using {}; wait for it, or choose another folder with --runs DIR",
                root.display()
            ))),
            Err(TryLockError::Error(e)) => Err(refused(e)),
        }
    }

    /// The folder of a stage's result, made or not.
    pub(crate) fn dir(&self, stage: &Stage) -> PathBuf {
        self.root.join(format!("{}-{}-{}", stage.number, stage.name, &stage.fingerprint()[..8]))
    }

    /// The folder of a stage's result in the latest run.
    pub(crate) fn latest(&self, stage: &str) -> Result<Option<PathBuf>> {
        let Some(target) = disk::link_target(&self.root.join(stage))? else { return Ok(None) };
        Ok(disk::if_there(self.root.join(target))?)
    }

    /// What a stage left in the latest run under a name.
    pub(crate) fn latest_part(&self, stage: &str, name: impl AsRef<Path>) -> Result<Option<PathBuf>> {
        Ok(match self.latest(stage)? {
            Some(dir) => disk::if_there(dir.join(name))?,
            None => None,
        })
    }

    /// Whether the stage's result is complete.
    pub(crate) fn is_complete(&self, stage: &Stage) -> Result<bool> {
        Ok(is_complete(&self.dir(stage), &stage.fingerprint())?)
    }

    /// The stage's result, if it is complete.
    pub(crate) fn find<S: DeserializeOwned>(&self, stage: &Stage) -> Result<Option<Artifact<S>>> {
        Ok(Artifact::open(&self.dir(stage), &stage.fingerprint())?)
    }

    /// The stage's result: found, or built into its folder and recorded. `build` may find partial work there, left by a
    /// run that was stopped, and returns the stage's summary.
    pub(crate) fn realize<S: Serialize + DeserializeOwned>(
        &self,
        stage: &Stage,
        build: impl FnOnce(&Path) -> Result<S>,
    ) -> Result<(Artifact<S>, bool)> {
        let dir = self.dir(stage);
        if let Some(found) = self.find(stage)? {
            self.link(stage, &dir)?;
            return Ok((found, true));
        }
        fs::create_dir_all(&dir).map_err(|e| {
            let message = format!("cannot create {}: {e}; choose another folder with --runs DIR", dir.display());
            Failure::of_place(&e, message)
        })?;
        let started = Instant::now();
        let summary = build(&dir)?;
        let record = ArtifactRecord {
            stage: stage.name.to_owned(),
            version: stage.version,
            fingerprint: stage.fingerprint(),
            spec: stage.spec.clone(),
            inputs: stage.inputs.clone(),
            sources: stage.sources.clone(),
            summary,
            seconds: started.elapsed().as_secs_f64(),
        };
        let artifact = Artifact::publish(&dir, record)?;
        self.link(stage, &dir)?;
        Ok((artifact, false))
    }

    /// Points `RUNS/<recipe>/<stage>` to the result.
    fn link(&self, stage: &Stage, dir: &Path) -> Result<()> {
        let target = dir.file_name().unwrap_or_default();
        let link = self.root.join(stage.name);
        if disk::link_target(&link)?.is_some_and(|current| current.as_os_str() == target) {
            return Ok(());
        }
        let aside = self.root.join(format!(".{}.link", stage.name));
        // One that a killed run left; what else is in the way, the next line says.
        let _ = fs::remove_file(&aside);
        std::os::unix::fs::symlink(target, &aside)
            .and_then(|()| fs::rename(&aside, &link))
            .map_err(|e| Failure::failed(format!("cannot write {}: {e}", link.display())))
    }

    /// All records of a stage in this folder, newest first: what `plan` compares with.
    pub(crate) fn records(&self, stage: &str) -> Result<Vec<ArtifactRecord>> {
        let mut found = Vec::new();
        for path in disk::entries_if_there(&self.root)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.contains(&format!("-{stage}-")) || disk::link_target(&path)?.is_some() {
                continue;
            }
            if let Some(record) = read_record(&path)? {
                let written = path.join(RECORD_FILE);
                let written = written
                    .metadata()
                    .and_then(|m| m.modified())
                    .map_err(|e| records::Error::io("read", &written, e))?;
                found.push((written, record));
            }
        }
        found.sort_by_key(|(written, _)| std::cmp::Reverse(*written));
        Ok(found.into_iter().map(|(_, record)| record).collect())
    }
}

/// The run folder whose lock is newest.
pub(crate) fn last_used(runs: &Path) -> Result<Option<PathBuf>> {
    let mut used = Vec::new();
    for path in disk::entries_if_there(runs)? {
        // Other files and folders may lie beside the runs.
        let lock = path.join(".lock");
        if disk::is_dir(&path)?
            && let Some(found) = disk::metadata(&lock)?
        {
            used.push((found.modified().map_err(|e| records::Error::io("read", &lock, e))?, path));
        }
    }
    Ok(used.into_iter().max().map(|(_, path)| path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    fn store(root: &Path) -> Store {
        Store { root: root.to_owned(), _lock: None }
    }

    /// Permission bits do not stop root, these do.
    #[test]
    fn a_folder_that_cannot_be_read_is_not_one_without_results() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("run");
        assert_eq!(store(&root).records("curate").unwrap().len(), 0);
        assert_eq!(store(&root).latest("curate").unwrap(), None);
        let said = |failure: Failure, path: &Path| {
            assert!(failure.to_string().contains(&path.display().to_string()), "{failure}");
        };
        fs::write(&root, "a file").unwrap();
        said(store(&root).records("curate").unwrap_err(), &root);
        said(store(&root).latest("curate").unwrap_err(), &root);
        fs::remove_file(&root).unwrap();
        let result = root.join("3-curate-00000000");
        fs::create_dir_all(&result).unwrap();
        assert_eq!(store(&root).records("curate").unwrap().len(), 0, "a stage that was stopped has no record");
        let record = result.join(RECORD_FILE);
        std::os::unix::fs::symlink(RECORD_FILE, &record).unwrap();
        said(store(&root).records("curate").unwrap_err(), &record);
        let link = root.join("curate");
        std::os::unix::fs::symlink("curate", &link).unwrap();
        said(store(&root).latest("curate").unwrap_err(), &link);
        // Cleared away by the user: nothing is there.
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("gone", &link).unwrap();
        assert_eq!(store(&root).latest("curate").unwrap(), None);
    }

    #[test]
    fn a_folder_in_use_is_no_mistake_of_the_users_and_one_that_is_a_file_is() {
        let dir = tempfile::tempdir().unwrap();
        let held = Store::lock(dir.path(), "run").unwrap();
        let failure = Store::lock(dir.path(), "run").unwrap_err();
        assert!(failure.exit == Exit::Failed && failure.to_string().contains("another run"), "{failure}");
        drop(held);
        Store::lock(dir.path(), "run").unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let failure = Store::lock(&dir.path().join("file"), "run").unwrap_err();
        assert!(failure.exit == Exit::Usage && failure.to_string().contains("--runs DIR"), "{failure}");
    }
}
