//! Files of the Hugging Face Hub: what an address lacks in the local cache is downloaded into it.
//!
//! A branch is looked up once: the commit that the cache has for it is taken from then on, so that the same command gives
//! the same result, and asks nobody. The files of a commit are listed first, with sizes and hashes, and that list is kept
//! before the first of them is there; so a download that was stopped never reads as complete. Each file is written aside,
//! goes on where it was stopped, is compared with its listed hash (SHA-256, or git's SHA-1 for small files) and renamed into
//! `blobs/`; only then does the snapshot link to it. A file lock, the one that huggingface_hub takes, keeps two processes
//! from downloading the same file.
//!
//! The endpoints are those of <https://huggingface.co/docs/hub/api>; the environment's variables (`HF_ENDPOINT`,
//! `HF_TOKEN`, `HF_HUB_OFFLINE` and others) mean what they mean to huggingface_hub.

mod api;
mod blob;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use hub::{Address, Cache, Found, Listed, Listing, Repository, is_commit};
use records::disk;
use reqwest::Url;

use self::api::Api;
use crate::retry::{Cause, Waits};
use crate::{Error, Result};

/// Files that are downloaded at a time.
const AT_A_TIME: usize = 4;

/// The Hub as this machine reaches it, and the cache.
#[derive(Clone)]
pub struct Hub {
    /// Where files are kept.
    pub cache: Cache,
    /// Nothing is asked; the cache is all there is.
    offline: bool,
    endpoint: Url,
    token: Option<String>,
    waits: Waits,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .field("endpoint", &self.endpoint.as_str())
            .field("token", &self.token.as_ref().map(|_| "[redacted]"))
            .finish_non_exhaustive()
    }
}

/// What an address is, and what of it has to be downloaded.
#[derive(Debug)]
pub struct Wanted {
    /// The address at its commit.
    pub address: Address,
    /// How many files it names.
    pub files: usize,
    /// Why the Hub was not heard, where the cache has all that it knows of.
    pub unreachable: Option<String>,
    /// Bytes that have to come.
    pub bytes: u64,
    missing: Vec<(String, Listed)>,
    /// Kept when the download begins.
    record: Option<(String, Listing)>,
}

impl Wanted {
    /// How many of the files are not in the cache.
    pub fn missing(&self) -> usize {
        self.missing.len()
    }
}

/// How far a download is.
#[derive(Debug, Clone, Copy)]
pub struct Downloaded<'a> {
    /// Bytes that are there.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
    /// The file that came on last.
    pub file: &'a str,
    /// It is another process that downloads this file.
    pub elsewhere: bool,
}

impl Hub {
    /// The Hub that the environment names, by the rules of huggingface_hub.
    pub fn from_env() -> Result<Self> {
        let text = |name: &str| match std::env::var(name) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(error) => Err(records::Error::invalid(name, error.to_string(), "write it in UTF-8, or unset it")),
        };
        let on = |name: &str| -> Result<bool> {
            Ok(text(name)?.is_some_and(|text| ["1", "on", "yes", "true"].contains(&text.to_ascii_lowercase().as_str())))
        };
        let endpoint = text("HF_ENDPOINT")?.unwrap_or_else(|| "https://huggingface.co".into());
        let token_file = text("HF_TOKEN_PATH")?.map(Into::into).or_else(|| Some(Cache::home()?.join("token")));
        let mut token = text("HF_TOKEN")?.or(text("HUGGING_FACE_HUB_TOKEN")?);
        if token.is_none()
            && let Some(file) = token_file
        {
            token = disk::read_if_there(&file)?.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        }
        let anonymous = on("HF_HUB_DISABLE_IMPLICIT_TOKEN")?;
        Ok(Self {
            cache: Cache::from_env()?,
            offline: on("HF_HUB_OFFLINE")? || on("TRANSFORMERS_OFFLINE")?,
            endpoint: api::endpoint(&endpoint)?,
            token: token.filter(|_| !anonymous),
            waits: Waits { first: Duration::from_millis(500), ..Waits::default() },
        })
    }

    /// What an address is and what of it is missing. The Hub is asked only for what the cache cannot tell; nothing is
    /// written.
    pub async fn find(&self, address: &Address) -> Result<Wanted> {
        let repository = self.cache.repository(address);
        let revision = address.revision();
        let known = repository.commit(revision)?;
        if let Some(commit) = &known {
            if let Some(listing) = repository.listing(commit)? {
                let found = repository.found(address, commit, &listing)?;
                if found.missing.is_empty() || !self.offline {
                    return wanted(address, &repository, found, listing, None);
                }
            }
            // A file that is named is there or not, whatever else the commit has.
            let file = disk::metadata(&repository.snapshot(commit).join(&address.path))?;
            if self.offline || file.is_some_and(|file| file.is_file()) {
                return self.cached(address);
            }
        } else if self.offline {
            return Err(self.cache.absent(address).into());
        }
        match self.ask(address, &repository, known).await {
            Ok(wanted) => Ok(wanted),
            // What cannot be asked for now may all be there.
            Err(Error::Hub { what, problem, remedy, passing: true }) => match self.cached(address) {
                Ok(wanted) => Ok(Wanted { unreachable: Some(format!("{problem}; {remedy}")), ..wanted }),
                Err(Error::Data(records::Error::Invalid { .. })) => {
                    Err(Error::Hub { what, problem, remedy, passing: true })
                }
                Err(unreadable) => Err(unreadable),
            },
            Err(error) => Err(error),
        }
    }

    /// All that the cache knows of an address, all of it there.
    fn cached(&self, address: &Address) -> Result<Wanted> {
        let files = self.cache.paths(address)?.len();
        let Found { commit, .. } = self.cache.find(address)?;
        Ok(Wanted {
            address: address.at(&commit),
            files,
            unreachable: None,
            bytes: 0,
            missing: Vec::new(),
            record: None,
        })
    }

    /// Asks the Hub for the commit, where it is not known, and for its files.
    async fn ask(&self, address: &Address, repository: &Repository, known: Option<String>) -> Result<Wanted> {
        let api = Api::new(self)?;
        let commit = match &known {
            Some(commit) => commit.clone(),
            None => api.commit(address).await.map_err(|failure| api::gave_up(address, failure))?,
        };
        let listing = api.listing(&address.at(&commit)).await.map_err(|mut failure| {
            if failure.cause != Cause::Moment && known.is_some() && !is_commit(address.revision()) {
                let path = repository.reference(address.revision());
                let newer = format!("if commit {commit} is gone, remove {} to take a newer one", path.display());
                failure.remedy = Some(failure.remedy.map_or(newer.clone(), |remedy| format!("{remedy}; {newer}")));
            }
            api::gave_up(address, failure)
        })?;
        let found = repository.found(address, &commit, &listing)?;
        wanted(address, repository, found, listing.clone(), Some((address.revision().to_owned(), listing)))
    }

    /// Downloads what is missing. Stopped at any moment, by the caller or by `kill -9`, the same call goes on later.
    pub async fn download(&self, wanted: &Wanted, progress: &(dyn Fn(Downloaded<'_>) + Sync)) -> Result<()> {
        let repository = self.cache.repository(&wanted.address);
        let commit = wanted.address.revision();
        let recorded = wanted.record.as_ref().map(|(revision, listing)| repository.record(revision, commit, listing));
        if wanted.missing.is_empty() {
            // A cache that cannot be written can still be read.
            return Ok(());
        }
        recorded.transpose()?;
        blob::make_room(&repository, wanted)?;
        let api = Api::new(self)?;
        let (done, total) = (AtomicI64::new(0), wanted.bytes);
        let store = |(name, file): &(String, Listed)| {
            let (name, file, api, repository, done) = (name.clone(), file.clone(), &api, &repository, &done);
            async move {
                let moved = |bytes: i64, elsewhere: bool| {
                    let now = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                    let done = u64::try_from(now).unwrap_or_default().min(total);
                    progress(Downloaded { done, total, file: &name, elsewhere });
                };
                blob::store(api, repository, &wanted.address, &name, &file, self.waits, &moved).await
            }
        };
        stream::iter(wanted.missing.iter().map(store)).buffer_unordered(AT_A_TIME).try_collect::<()>().await
    }
}

fn wanted(
    address: &Address,
    repository: &Repository,
    found: Found,
    mut listing: Listing,
    record: Option<(String, Listing)>,
) -> Result<Wanted> {
    // Names that are missing come from that list.
    let missing: Vec<_> = found.missing.into_iter().filter_map(|name| listing.files.remove_entry(&name)).collect();
    let mut bytes = 0_u64;
    for (_, file) in &missing {
        // What another commit has too only needs a link.
        if !repository.has(file)? {
            bytes = bytes.saturating_add(file.bytes());
        }
    }
    let address = address.at(&found.commit);
    Ok(Wanted { address, files: found.names.len(), unreachable: None, bytes, missing, record })
}

/// What went wrong with an address and what to do, by whose fault it is.
fn failed(address: &Address, problem: String, remedy: String, cause: Cause) -> Error {
    Error::Hub { what: address.to_string(), problem, remedy, passing: cause == Cause::Moment }
}

/// An operating system's error, with what to do where it is a full disk.
fn io(action: &'static str, path: &Path, error: std::io::Error) -> records::Error {
    let full = [std::io::ErrorKind::StorageFull, std::io::ErrorKind::QuotaExceeded].contains(&error.kind());
    let remedy = "; make room there and run again to go on, or set HF_HOME to a folder on another disk";
    let source = if full { std::io::Error::new(error.kind(), format!("{error}{remedy}")) } else { error };
    records::Error::io(action, path, source)
}
