//! One file: locked, downloaded beside its place from where it was stopped, compared with its hash, and put in place.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hub::{Address, Listed, Repository};
use records::artifact::publish_partial;
use records::disk;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use tokio::sync::Mutex;

use super::api::{Api, gave_up, open_gate};
use super::{Wanted, failed, io};
use crate::Result;
use crate::retry::{Cause, Failure, Waits, with_retries};

/// How often a file is asked for; once more of it has come, it counts anew.
const ATTEMPTS: u32 = 6;
/// How often another process's download is looked after.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What is told of a download: bytes that came (or were thrown away), and whether they come by another process.
type Moved<'a> = &'a (dyn Fn(i64, bool) + Sync);

/// Refuses a download for which there is no room.
pub(super) fn make_room(repository: &Repository, wanted: &Wanted) -> Result<()> {
    let blobs = repository.blob("");
    std::fs::create_dir_all(&blobs).map_err(|e| io("create", &blobs, e))?;
    // Where the system does not say how much is free, writing will tell.
    let Ok(system) = rustix::fs::statvfs(&blobs) else { return Ok(()) };
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let mut needed = 0_u64;
    for (_, file) in &wanted.missing {
        if !repository.has(file)? {
            let there = disk::metadata(&partial(repository, file.blob()))?.map_or(0, |found| found.len());
            needed = needed.saturating_add(file.bytes().saturating_sub(there));
        }
    }
    if needed <= free {
        return Ok(());
    }
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    let problem = format!("{} MB are needed and {} MB are free", megabytes(needed), megabytes(free));
    Err(io("download into", &blobs, std::io::Error::new(ErrorKind::StorageFull, problem)).into())
}

fn partial(repository: &Repository, hash: &str) -> PathBuf {
    repository.blob(&format!("{hash}.incomplete"))
}

/// Downloads a file unless its content is there, and links it into its commit's folder.
pub(super) async fn store(
    api: &Api<'_>,
    repository: &Repository,
    address: &Address,
    name: &str,
    file: &Listed,
    waits: Waits,
    moved: Moved<'_>,
) -> Result<()> {
    let (hash, place) = (file.blob(), repository.blob(file.blob()));
    let _lock = lock(&repository.lock(hash), moved).await?;
    if !repository.has(file)? {
        let partial = Mutex::new(Partial::open(&partial(repository, hash), file, moved)?);
        Box::pin(fetch(api, address, name, &partial, waits, moved)).await?;
        let partial = partial.into_inner();
        publish_partial(&partial.file, &partial.path, &place)?;
    }
    Ok(repository.link(address.revision(), name, hash)?)
}

/// Waits for the lock, which huggingface_hub takes as well.
async fn lock(path: &Path, moved: Moved<'_>) -> Result<File> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(|e| io("create", folder, e))?;
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(|e| io("open", path, e))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => moved(0, true),
            Err(TryLockError::Error(e)) => return Err(io("lock", path, e).into()),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Downloads until the content is whole and has its hash. What was left by an earlier download may be broken, so that
/// another hash is a reason to begin again, once.
async fn fetch(
    api: &Api<'_>,
    address: &Address,
    name: &str,
    partial: &Mutex<Partial>,
    waits: Waits,
    moved: Moved<'_>,
) -> Result<()> {
    let mut again = false;
    let mut furthest = 0;
    loop {
        let arrived = with_retries(waits, ATTEMPTS, &open_gate(), || async {
            receive(api, address, name, &mut *partial.lock().await, moved).await
        })
        .await;
        let mut partial = partial.lock().await;
        match arrived {
            Ok(outcome) => outcome?,
            // A connection that breaks again and again is good enough, as long as it gets further each time.
            Err(failure) if failure.cause == Cause::Moment && partial.reached > furthest => {
                furthest = partial.reached;
                continue;
            }
            Err(failure) => return Err(gave_up(address, failure)),
        }
        let hash = partial.hash();
        if hash == partial.expected {
            return Ok(());
        }
        if again {
            let problem = format!("{name} arrives with the hash {hash}, and {} is listed", partial.expected);
            partial.restart(moved)?;
            let remedy =
                "something between here and the Hub changes it: a proxy, or the mirror in HF_ENDPOINT; try again later";
            return Err(failed(address, problem, remedy.to_owned(), Cause::Moment));
        }
        again = true;
        partial.restart(moved)?;
    }
}

/// One attempt. A failure of this machine's (a full disk) is no reason to ask again.
async fn receive(
    api: &Api<'_>,
    address: &Address,
    name: &str,
    partial: &mut Partial,
    moved: Moved<'_>,
) -> std::result::Result<records::Result<()>, Failure> {
    if partial.length == partial.total {
        return Ok(Ok(()));
    }
    let mut response = api.file(address, name, partial.length).await?;
    let goes_on = response.status() == StatusCode::PARTIAL_CONTENT && range_start(&response) == Some(partial.length);
    if partial.length > 0 && !goes_on {
        // The server does not give parts, or other ones.
        if let Err(error) = partial.restart(moved) {
            return Ok(Err(error));
        }
        if response.status() != StatusCode::OK {
            return Err(Failure::moment(format!("no part of {name} from where it was stopped")));
        }
    }
    while let Some(chunk) = response.chunk().await.map_err(|e| api.broken(&e))? {
        if partial.length + chunk.len() as u64 > partial.total {
            let total = partial.total;
            if let Err(error) = partial.restart(moved) {
                return Ok(Err(error));
            }
            return Err(Failure::moment(format!("more of {name} comes than the {total} bytes listed")));
        }
        if let Err(error) = partial.write(&chunk, moved) {
            return Ok(Err(error));
        }
    }
    if partial.length < partial.total {
        return Err(Failure::moment(format!("{} of {} bytes of {name} came", partial.length, partial.total)));
    }
    Ok(Ok(()))
}

/// Where the part begins that a response holds. A header that says so in no known way is as good as none: the part is not
/// taken, and the file is begun anew.
fn range_start(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.parse().ok()
}

/// A file that is being downloaded.
struct Partial {
    file: File,
    path: PathBuf,
    /// The hash of what is there.
    seen: Context,
    /// Bytes that are there.
    length: u64,
    /// The most that were ever there.
    reached: u64,
    /// Bytes in all.
    total: u64,
    /// The hash that it must have, in hexadecimal digits.
    expected: String,
    is_lfs: bool,
}

impl Partial {
    /// Opens what an earlier download left, or begins.
    fn open(path: &Path, listed: &Listed, moved: Moved<'_>) -> Result<Self> {
        let file = OpenOptions::new().create(true).read(true).write(true).truncate(false).open(path);
        let file = file.map_err(|e| io("open", path, e))?;
        let (is_lfs, total) = (listed.lfs_sha256.is_some(), listed.bytes());
        let (seen, expected) = (context(is_lfs, total), listed.blob().to_owned());
        let mut partial = Self { file, path: path.to_owned(), seen, length: 0, reached: 0, total, expected, is_lfs };
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = partial.file.read(&mut buffer).map_err(|e| io("read", path, e))?;
            partial.seen.update(&buffer[..read]);
            partial.length += read as u64;
            if read == 0 || partial.length > total {
                break;
            }
        }
        moved(partial.length as i64, false);
        if partial.length > total {
            partial.restart(moved)?;
        }
        partial.reached = partial.length;
        Ok(partial)
    }

    fn write(&mut self, bytes: &[u8], moved: Moved<'_>) -> records::Result<()> {
        self.file.write_all(bytes).map_err(|e| io("write", &self.path, e))?;
        self.seen.update(bytes);
        self.length += bytes.len() as u64;
        self.reached = self.reached.max(self.length);
        moved(bytes.len() as i64, false);
        Ok(())
    }

    /// Throws away what is there.
    fn restart(&mut self, moved: Moved<'_>) -> records::Result<()> {
        self.file.set_len(0).map_err(|e| io("empty", &self.path, e))?;
        self.file.seek(SeekFrom::Start(0)).map_err(|e| io("empty", &self.path, e))?;
        moved(-(self.length as i64), false);
        self.length = 0;
        self.seen = context(self.is_lfs, self.total);
        Ok(())
    }

    /// The hash of all that is there.
    fn hash(&self) -> String {
        self.seen.clone().finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    }
}

/// How the Hub hashes: large files as they are, those in git as git does.
fn context(is_lfs: bool, total: u64) -> Context {
    if is_lfs {
        return Context::new(&SHA256);
    }
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(format!("blob {total}\0").as_bytes());
    context
}
