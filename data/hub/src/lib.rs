//! What a `hf://` address names on the Hugging Face Hub, and the local cache that holds it.
//!
//! An address is `hf://datasets/OWNER/NAME[@REVISION][/PATH]`, or `hf://OWNER/NAME[@REVISION][/PATH]` for a model, as
//! huggingface_hub writes them. The cache's layout is huggingface_hub's too, so that each reads what the other stored:
//! `datasets--OWNER--NAME/refs/REVISION` names a commit, `snapshots/COMMIT/` holds its files as links into `blobs/`, and
//! `trees/COMMIT.json` lists all files that the commit has. That list is what tells a complete snapshot from one whose
//! download was stopped. Nothing is downloaded here: the crate `teacher` does that.

mod cache;
#[cfg(test)]
#[path = "../../../tests/checked.rs"]
mod checked;
mod select;

use std::fmt;
use std::path::{Component, Path};

use records::content::is_model_file;
use records::{Error, Result};

pub use self::cache::{Cache, Found, Listed, Listing, Repository, is_commit};
pub use self::select::{FileKind, not_a_pattern, of_folder, stem};
use self::select::{MATCHING, pattern};

/// How every address begins.
const SCHEME: &str = "hf://";
/// The branch that is meant where none is named.
const MAIN: &str = "main";

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A model: configuration, tokenizer, templates and weights in a folder.
    Model,
    /// Files of data.
    Dataset,
}

impl Kind {
    /// As in `/api/datasets/` and in the names of cache folders.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// Files of a repository on the Hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// What kind of repository.
    pub kind: Kind,
    /// `OWNER/NAME`.
    pub id: String,
    /// A branch, tag or commit; `None` stands for the branch `main`.
    pub revision: Option<String>,
    /// A file, a folder or a pattern with `*`; empty for all of the repository.
    pub path: String,
}

impl Address {
    /// The address that an input is; `None` if it is something else, as a file's name.
    pub fn of(input: &Path) -> Option<Result<Self>> {
        let text = input.to_string_lossy();
        let place = text.strip_prefix(SCHEME)?;
        Some(Self::parse(place).ok_or_else(|| {
            let remedy =
                "write hf://datasets/OWNER/NAME/PATH or hf://OWNER/NAME, with @REVISION after the name if need be";
            Error::invalid(&*text, "not the address of files on the Hugging Face Hub", remedy)
        }))
    }

    fn parse(place: &str) -> Option<Self> {
        let (kind, place) = match place.split_once('/')? {
            ("datasets", rest) => (Kind::Dataset, rest),
            ("models", rest) => (Kind::Model, rest),
            ("spaces" | "buckets" | "kernels", _) => return None,
            _ => (Kind::Model, place),
        };
        let mut parts = place.splitn(3, '/');
        let (owner, name, mut path) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
        let (name, revision) = name.split_once('@').map_or((name, None), |(name, revision)| (name, Some(revision)));
        let revision = match revision {
            // Conversions and pull requests: the only revisions whose slashes are not written %2F.
            Some("refs") => {
                let mut parts = path.splitn(3, '/');
                let (of, which) = (parts.next()?, parts.next()?);
                path = parts.next().unwrap_or_default();
                Some(format!("refs/{of}/{which}"))
            }
            other => other.map(|revision| revision.replace("%2F", "/").replace("%2f", "/")),
        };
        let path = path.trim_end_matches('/');
        let valid = is_name(owner) && is_name(name) && revision.as_deref().is_none_or(is_plain);
        let valid = valid && (path.is_empty() || is_plain(path));
        valid.then(|| Self { kind, id: format!("{owner}/{name}"), revision, path: path.to_owned() })
    }

    /// The address, if what it names is of this kind.
    pub fn of_kind(self, kind: Kind) -> Result<Self> {
        let (problem, remedy) = match kind {
            _ if self.kind == kind => return Ok(self),
            Kind::Model => ("a dataset where a model is read", "name a model as hf://OWNER/NAME"),
            Kind::Dataset => ("a model where data is read", "name a dataset as hf://datasets/OWNER/NAME/PATH"),
        };
        Err(Error::invalid(self.to_string(), problem, remedy))
    }

    /// The same files at a commit.
    #[must_use]
    pub fn at(&self, commit: &str) -> Self {
        Self { revision: Some(commit.to_owned()), ..self.clone() }
    }

    /// The revision's name.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// Which of a commit's files are meant: a file that is named or those that a pattern matches; of a folder of data the
    /// files that a local folder would give, of a model's those that identify it. `None` if nothing has such a name.
    pub fn select<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Option<Vec<String>>> {
        let inside = if self.path.is_empty() { String::new() } else { format!("{}/", self.path) };
        let is_pattern = self.path.contains(['*', '?', '[']);
        let pattern = is_pattern.then(|| pattern(&self.to_string(), &self.path)).transpose()?;
        let (mut here, mut folders) = (Vec::new(), Vec::new());
        for name in names {
            let matches = pattern.as_ref().is_some_and(|pattern| pattern.matches_with(name, MATCHING));
            if name == self.path {
                return Ok(Some(vec![name.to_owned()]));
            } else if matches {
                here.push(name.to_owned());
            } else if let Some(rest) = name.strip_prefix(&inside).filter(|_| pattern.is_none()) {
                match rest.split_once('/') {
                    Some((folder, _)) => folders.push(folder.to_owned()),
                    None => here.push(rest.to_owned()),
                }
            }
        }
        if here.is_empty() && folders.is_empty() {
            return Ok(None);
        }
        here.sort();
        if pattern.is_some() {
            return Ok(Some(here));
        }
        folders.sort();
        folders.dedup();
        let place = self.to_string();
        let chosen = match self.kind {
            Kind::Dataset => of_folder(Path::new(&place), here, &folders, FileKind::ROWS)?,
            Kind::Model => of_model(Path::new(&place), here)?,
        };
        Ok(Some(chosen.into_iter().map(|name| format!("{inside}{name}")).collect()))
    }

    /// The error for an address whose path nothing has at that commit.
    pub fn nothing_at(&self, commit: &str) -> Error {
        let problem = format!("no file or folder has a name like that in {} at commit {commit}", self.id);
        let place = if self.kind == Kind::Dataset { "datasets/" } else { "" };
        let page = format!("look it up at https://huggingface.co/{place}{}", self.id);
        Error::invalid(self.to_string(), problem, format!("{page}; @COMMIT after the name is another commit"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.kind == Kind::Dataset { "datasets/" } else { "" };
        write!(f, "{SCHEME}{place}{}", self.id)?;
        match &self.revision {
            Some(special) if special.starts_with("refs/") => write!(f, "@{special}")?,
            Some(revision) => write!(f, "@{}", revision.replace('/', "%2F"))?,
            None => {}
        }
        if self.path.is_empty() { Ok(()) } else { write!(f, "/{}", self.path) }
    }
}

/// An owner or a repository, as the Hub allows them: `--` separates them in the cache's folders.
fn is_name(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !part.is_empty() && part.chars().all(plain) && !part.starts_with(['.', '-']) && !part.contains("--")
}

/// A path that stays below where it begins, and is the same on every system.
fn is_plain(path: &str) -> bool {
    let odd = |c: char| c == '\\' || c.is_control();
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    // Components leave out what is empty or a dot, which the Hub would not.
    inside && !path.contains(odd) && path.split('/').all(|part| !part.is_empty() && part != ".")
}

/// The files of a model's folder that a model consists of.
fn of_model(place: &Path, names: Vec<String>) -> Result<Vec<String>> {
    let has = |wanted: &dyn Fn(&String) -> bool| names.iter().any(wanted);
    let missing = if !has(&|name| name == "config.json") {
        "config.json"
    } else if !has(&|name| name.ends_with(".safetensors")) {
        "*.safetensors"
    } else {
        return Ok(names.into_iter().filter(|name| is_model_file(name)).collect());
    };
    let remedy =
        "a model folder needs config.json, tokenizer.json and *.safetensors; name another repository or folder";
    Err(Error::malformed(place, format!("there is no {missing} in it"), remedy))
}

#[cfg(test)]
mod tests;
