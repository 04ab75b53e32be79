//! The folders of the local cache: what is in them of an address, and how a download is recorded in them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Address, FileKind, Kind, is_plain};
use records::artifact::{write_bytes, write_json};
use records::{Error, Result, disk};

/// The version of `trees/COMMIT.json`.
const LISTING_FORMAT: u32 = 1;

/// The local cache of downloaded files, in huggingface_hub's layout
/// (<https://huggingface.co/docs/huggingface_hub/guides/manage-cache>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// The folder that holds one folder per repository (`HF_HUB_CACHE`).
    pub root: PathBuf,
}

/// What the cache holds of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The commit.
    pub commit: String,
    /// The folder of its files.
    pub snapshot: PathBuf,
    /// The files that the address names, in order, by their paths in the repository.
    pub names: Vec<String>,
    /// Those of them that are missing from the cache, or have another size than listed.
    pub missing: Vec<String>,
}

/// The files of a commit, as `trees/COMMIT.json` keeps them: all of them, whether they were downloaded or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    format_version: u32,
    /// By their paths.
    pub files: BTreeMap<String, Listed>,
}

/// The version of a list's format, which is read first, since other versions may have other fields.
#[derive(Deserialize)]
struct ListingVersion {
    format_version: u32,
}

/// One file of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Size in bytes, of the file or of what stands for it in git.
    pub size: u64,
    /// Git's SHA-1 of the file, or of what stands for it in git.
    pub blob_id: String,
    /// SHA-256 of a file that is kept outside git (LFS, Xet).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lfs_sha256: Option<String>,
    /// Size of such a file, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lfs_size: Option<u64>,
    /// Its hash in Xet's own tree, which is not used here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xet_hash: Option<String>,
}

impl Listed {
    /// The name of its blob: the hash of its content.
    pub fn blob(&self) -> &str {
        self.lfs_sha256.as_ref().unwrap_or(&self.blob_id)
    }

    /// Size of its content, in bytes.
    pub fn bytes(&self) -> u64 {
        self.lfs_size.unwrap_or(self.size)
    }
}

impl Listing {
    /// A list of files.
    ///
    /// # Errors
    /// In words: a name that is no plain path below a folder, or a hash that is not SHA-1 or SHA-256 in hexadecimal digits.
    /// Both become parts of paths in the cache.
    pub fn new(files: BTreeMap<String, Listed>) -> std::result::Result<Self, String> {
        for (name, file) in &files {
            if !is_plain(name) {
                return Err(format!("it lists a file named {name:?}, which is no path within a folder"));
            }
            let digits = if file.lfs_sha256.is_some() { 64 } else { 40 };
            if !is_hex(file.blob(), digits) {
                return Err(format!(
                    "it gives {name} the hash {:?}, which is not {digits} hexadecimal digits",
                    file.blob()
                ));
            }
        }
        Ok(Self { format_version: LISTING_FORMAT, files })
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether a revision is a full commit id: 40 hexadecimal digits.
pub fn is_commit(revision: &str) -> bool {
    is_hex(revision, 40)
}

impl Cache {
    /// The cache that the environment names: `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `hub` in [`Cache::home`].
    ///
    /// # Errors
    /// None of the variables is set, and neither is `HOME`.
    pub fn from_env() -> Result<Self> {
        let root =
            set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")).or_else(|| Some(Self::home()?.join("hub")));
        let missing = || Error::invalid("the Hugging Face cache", "HOME is not set", "set HF_HUB_CACHE to its folder");
        Ok(Self { root: root.ok_or_else(missing)? })
    }

    /// The folder of the cache and the token: `HF_HOME`, else `$XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface`.
    pub fn home() -> Option<PathBuf> {
        set("HF_HOME")
            .or_else(|| Some(set("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(set("HOME")?.join(".cache/huggingface")))
    }

    /// The folder of an address's repository, whether it is there or not.
    pub fn repository(&self, address: &Address) -> Repository {
        let name = format!("{}--{}", address.kind.plural(), address.id.replace('/', "--"));
        Repository { dir: self.root.join(&name), locks: self.root.join(".locks").join(name) }
    }

    /// The files that an address names.
    ///
    /// # Errors
    /// Some are not in the cache (the error names the command that downloads them), or the cache cannot be read.
    pub fn paths(&self, address: &Address) -> Result<Vec<PathBuf>> {
        let found = self.find(address)?;
        if found.missing.is_empty() {
            return Ok(found.names.iter().map(|name| found.snapshot.join(name)).collect());
        }
        Err(self.absent(address))
    }

    /// The folder of a model that an address names, or one file of it.
    ///
    /// # Errors
    /// As those of [`Cache::paths`]; or the address is that of a dataset.
    pub fn model(&self, address: &Address) -> Result<PathBuf> {
        self.paths(&address.clone().of_kind(Kind::Model)?)?;
        let found = self.find(address)?;
        Ok(found.snapshot.join(&address.path))
    }

    /// What is there of an address. Where the cache does not know all files of the commit, as huggingface_hub left it before
    /// it kept lists, those that are there are taken for all.
    pub fn find(&self, address: &Address) -> Result<Found> {
        let repository = self.repository(address);
        let commit = repository.commit(address.revision())?.ok_or_else(|| self.absent(address))?;
        if let Some(listing) = repository.listing(&commit)? {
            return repository.found(address, &commit, &listing);
        }
        let snapshot = repository.snapshot(&commit);
        let mut all = BTreeMap::new();
        walk(&snapshot, "", &mut all)?;
        let names = match address.select(all.keys().map(String::as_str)) {
            Ok(Some(names)) => names,
            // Of models huggingface_hub downloads each file when it is needed: what is no model yet is not all there.
            Err(_) if address.kind == Kind::Model => return Err(self.absent(address)),
            Ok(None) => return Err(self.absent(address)),
            Err(error) => return Err(error),
        };
        let missing = names.iter().filter(|name| all.get(*name) == Some(&false)).cloned().collect();
        Ok(Found { commit, snapshot, names, missing })
    }

    /// The error for an address that is not in the cache, with the command that downloads it.
    pub fn absent(&self, address: &Address) -> Error {
        let mut command = format!("hf download {}", address.id);
        if address.kind == Kind::Dataset {
            command += " --repo-type dataset";
        }
        if let Some(revision) = &address.revision {
            let _ = write!(command, " --revision {revision}");
        }
        if !address.path.is_empty() {
            let is_file = FileKind::of(Path::new(&address.path)).is_some();
            let is_set = is_file || address.path.contains(['*', '?', '[']);
            let include = if is_set { address.path.clone() } else { format!("{}/*", address.path) };
            let _ = write!(command, " --include '{include}'");
        }
        Error::invalid(
            address.to_string(),
            format!("it is not in the Hugging Face cache {}", self.root.display()),
            format!("download it first: {command}"),
        )
    }
}

/// The folder that an environment variable names; a leading `~` stands for `HOME`.
fn set(name: &str) -> Option<PathBuf> {
    let value = PathBuf::from(std::env::var_os(name).filter(|value| !value.is_empty())?);
    match value.strip_prefix("~") {
        Ok(rest) => Some(PathBuf::from(std::env::var_os("HOME")?).join(rest)),
        Err(_) => Some(value),
    }
}

/// All files below a folder, and of each whether its content is there; none, if there is no such folder.
/// A walk of our own: the crate `walkdir`, told to follow links, reports one whose blob is gone as an error, and here such a
/// file has to be listed as missing.
fn walk(folder: &Path, prefix: &str, files: &mut BTreeMap<String, bool>) -> Result<()> {
    for path in disk::entries_if_there(folder)? {
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        match disk::metadata(&path)? {
            Some(found) if found.is_dir() => walk(&path, &format!("{name}/"), files)?,
            // A link whose blob is gone names a file that was there once.
            found => {
                files.insert(name, found.is_some());
            }
        }
    }
    Ok(())
}

/// One repository's part of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    dir: PathBuf,
    locks: PathBuf,
}

impl Repository {
    /// The commit that the cache has recorded for a branch, tag or commit; `None` if it has none.
    ///
    /// # Errors
    /// The record cannot be read or holds no commit.
    pub fn commit(&self, revision: &str) -> Result<Option<String>> {
        let path = self.reference(revision);
        let Some(text) = disk::read_if_there(&path)? else {
            return Ok(is_commit(revision).then(|| revision.to_owned()));
        };
        let commit = text.trim();
        if is_commit(commit) {
            return Ok(Some(commit.to_owned()));
        }
        let problem = format!("it should hold a commit and holds {commit:?}");
        Err(Error::malformed(&path, problem, "remove it, and the Hub is asked again"))
    }

    /// The file that says which commit a revision is.
    pub fn reference(&self, revision: &str) -> PathBuf {
        self.dir.join("refs").join(revision)
    }

    /// The folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.dir.join("snapshots").join(commit)
    }

    /// Where the content with this hash is.
    pub fn blob(&self, hash: &str) -> PathBuf {
        self.dir.join("blobs").join(hash)
    }

    /// Whether the content of a file is in the cache with the listed size; its hash is not computed.
    pub fn has(&self, file: &Listed) -> Result<bool> {
        let blob = disk::metadata(&self.blob(file.blob()))?;
        Ok(blob.is_some_and(|blob| blob.is_file() && blob.len() == file.bytes()))
    }

    /// The file that is locked while that content is downloaded.
    pub fn lock(&self, hash: &str) -> PathBuf {
        self.locks.join(format!("{hash}.lock"))
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.dir.join("trees").join(format!("{commit}.json"))
    }

    /// The files that a commit has, if the cache knows. A list that cannot be read is an error: without one, the files
    /// that are there would be taken for all.
    pub fn listing(&self, commit: &str) -> Result<Option<Listing>> {
        let path = self.listing_path(commit);
        let Some(text) = disk::read_if_there(&path)? else { return Ok(None) };
        let refused = |problem: String| Error::malformed(&path, problem, "remove it, and the Hub is asked again");
        let version: ListingVersion =
            serde_json::from_str(&text).map_err(|e| refused(format!("not a list of files: {e}")))?;
        if version.format_version != LISTING_FORMAT {
            let version = version.format_version;
            return Err(refused(format!("it is of format {version}, and format {LISTING_FORMAT} is read here")));
        }
        let listing: Listing = serde_json::from_str(&text).map_err(|e| refused(format!("not a list of files: {e}")))?;
        Listing::new(listing.files).map(Some).map_err(refused)
    }

    /// Records which commit a revision is, and the list of the commit's files.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn record(&self, revision: &str, commit: &str, listing: &Listing) -> Result<()> {
        if self.listing(commit)?.as_ref() != Some(listing) {
            write_json(&self.listing_path(commit), listing)?;
        }
        if self.commit(revision)?.as_deref() != Some(commit) {
            write_bytes(&self.reference(revision), commit.as_bytes())?;
        }
        Ok(())
    }

    /// Which files of an address the cache has and which are missing, by the list of a commit's files.
    ///
    /// # Errors
    /// The commit has no such file or folder, the folder's files cannot be told apart, or the cache cannot be read.
    pub fn found(&self, address: &Address, commit: &str, listing: &Listing) -> Result<Found> {
        let names = address.select(listing.files.keys().map(String::as_str))?;
        let names = names.ok_or_else(|| address.nothing_at(commit))?;
        let snapshot = self.snapshot(commit);
        let mut missing = Vec::new();
        for name in &names {
            let size = listing.files.get(name).map(Listed::bytes);
            let there = disk::metadata(&snapshot.join(name))?;
            if !there.is_some_and(|file| file.is_file() && Some(file.len()) == size) {
                missing.push(name.clone());
            }
        }
        Ok(Found { commit: commit.to_owned(), snapshot, names, missing })
    }

    /// Puts a blob into a commit's folder under a name, as a relative link; a link to another blob is replaced.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn link(&self, commit: &str, name: &str, hash: &str) -> Result<()> {
        let link = self.snapshot(commit).join(name);
        let folder = link.parent().unwrap_or(&self.dir);
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        // Out of the folders of the name, of the commit and of all commits.
        let target = format!("{}blobs/{hash}", "../".repeat(name.split('/').count() + 1));
        if disk::link_target(&link)?.as_deref() == Some(Path::new(&target)) {
            return Ok(());
        }
        match std::fs::remove_file(&link) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("replace", &link, e)),
            _ => {}
        }
        std::os::unix::fs::symlink(&target, &link).map_err(|e| Error::io("create", &link, e))?;
        records::artifact::sync_folder(folder)
    }
}
