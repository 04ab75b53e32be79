//! What is on the disk. That nothing is there is an answer; that a place cannot be looked at (no permission, a file where
//! a folder should be, a loop of links, a failing disk) is an error that names it, and never "nothing is there".
//!
//! `Path::exists`, `is_file` and `is_dir` say no to both, so they are not used on what is read or counted. A link whose
//! target is gone counts as nothing.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What is at a path, links followed; `None` if nothing is.
pub fn metadata(path: &Path) -> Result<Option<Metadata>> {
    some(fs::metadata(path)).map_err(|e| Error::io("look at", path, e))
}

/// Whether anything is at a path.
pub fn exists(path: &Path) -> Result<bool> {
    Ok(metadata(path)?.is_some())
}

/// Whether a folder is at a path.
pub fn is_dir(path: &Path) -> Result<bool> {
    Ok(metadata(path)?.is_some_and(|found| found.is_dir()))
}

/// The path, if anything is there.
pub fn if_there(path: PathBuf) -> Result<Option<PathBuf>> {
    Ok(exists(&path)?.then_some(path))
}

/// The text of a file; `None` if there is no such file.
pub fn read_if_there(path: &Path) -> Result<Option<String>> {
    some(fs::read_to_string(path)).map_err(|e| Error::io("read", path, e))
}

/// Where a link leads; `None` if nothing is there, or something else than a link.
pub fn link_target(path: &Path) -> Result<Option<PathBuf>> {
    match some(fs::read_link(path)) {
        // What is no link has no target: "invalid argument", says the system.
        Err(e) if e.kind() == ErrorKind::InvalidInput => Ok(None),
        found => found.map_err(|e| Error::io("look at", path, e)),
    }
}

/// The path without links, from the root on; `None` if nothing is there.
pub fn canonical(path: &Path) -> Result<Option<PathBuf>> {
    some(path.canonicalize()).map_err(|e| Error::io("look at", path, e))
}

/// All that is in a folder, sorted.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    list(folder).map_err(|e| Error::io("list", folder, e))
}

/// The same; nothing, if there is no such folder.
pub fn entries_if_there(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(some(list(folder)).map_err(|e| Error::io("list", folder, e))?.unwrap_or_default())
}

fn list(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
    found.sort();
    Ok(found)
}

fn some<T>(found: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Permission bits do not stop root, these do.
    #[test]
    fn nothing_there_is_an_answer_and_unreadable_is_an_error_that_names_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "text").unwrap();
        fs::write(at("latin1"), b"caf\xe9").unwrap();
        fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        std::os::unix::fs::symlink("gone", at("dangling")).unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();

        for nothing in ["none", "none/below", "dangling"] {
            assert!(!exists(&at(nothing)).unwrap() && !is_dir(&at(nothing)).unwrap(), "{nothing}");
            assert_eq!(if_there(at(nothing)).unwrap(), None);
            assert_eq!(read_if_there(&at(nothing)).unwrap(), None);
            assert_eq!(entries_if_there(&at(nothing)).unwrap(), Vec::<PathBuf>::new());
        }
        assert_eq!(read_if_there(&at("link")).unwrap().as_deref(), Some("text"));
        assert!(is_dir(&at("folder")).unwrap() && exists(&at("file")).unwrap() && !is_dir(&at("file")).unwrap());
        assert_eq!(entries_if_there(dir.path()).unwrap().len(), 6);
        assert_eq!(link_target(&at("loop")).unwrap(), Some("loop".into()));
        assert_eq!(["file", "none"].map(|name| link_target(&at(name)).unwrap()), [None, None]);

        // ENOTDIR, ELOOP, EISDIR, and text that is none.
        let said = |error: Error, name: &str| {
            let message = error.to_string();
            assert!(message.contains(&at(name).display().to_string()), "{name}: {message}");
        };
        for name in ["file/below", "loop", "loop/below"] {
            said(exists(&at(name)).unwrap_err(), name);
            said(is_dir(&at(name)).unwrap_err(), name);
            said(read_if_there(&at(name)).unwrap_err(), name);
            said(entries_if_there(&at(name)).unwrap_err(), name);
        }
        said(link_target(&at("file/below")).unwrap_err(), "file/below");
        said(entries_if_there(&at("file")).unwrap_err(), "file");
        said(entries(&at("none")).unwrap_err(), "none");
        for name in ["folder", "latin1"] {
            said(read_if_there(&at(name)).unwrap_err(), name);
        }
    }
}
