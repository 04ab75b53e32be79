//! Inputs and models on the Hugging Face Hub: looked up, downloaded into the cache where they are missing, and pinned to
//! the commit that they are at, so that all of a run reads the same.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hub::{Address, Kind};
use teacher::hub::{Downloaded, Hub, Wanted};

use crate::commands::runtime;
use crate::console::{Progress, say};
use crate::error::{Failure, Result};
use crate::options::RunOptions;
use crate::recipe::Recipe;

/// An input as it is before a run.
pub(crate) struct InputState {
    /// Its name in the recipe.
    pub input: String,
    /// What there is of it, in words.
    pub words: String,
    /// All of it is there.
    pub is_here: bool,
}

/// Brings all inputs of a recipe that are on the Hub, and pins them. Whatever can be wrong with any of them is found before
/// the first is downloaded.
pub(crate) fn inputs(recipe: &Recipe, options: &mut RunOptions) -> Result<()> {
    let (local, addresses) = split(recipe, options)?;
    if addresses.is_empty() {
        return Ok(());
    }
    for name in local {
        if recipe.base_input() == Some(&name) {
            options.folder(&name).map(drop)
        } else {
            options.files(&name).map(drop)
        }?;
    }
    let hub = Hub::from_env()?;
    waiting(async {
        let mut all = Vec::new();
        for (name, address) in addresses {
            let wanted = hub.find(&address).await.map_err(|error| of_input(&name, error))?;
            all.push((name, wanted));
        }
        for (name, wanted) in all {
            download(&hub, &wanted, &format!("input {name}")).await.map_err(|error| of_input(&name, error))?;
            if wanted.missing() == 0 {
                say(&format!("input {name}: {}", in_words(&wanted, "in the cache")));
            }
            options.pin(&name, &wanted.address);
        }
        Ok(())
    })
}

/// Says what there is of the inputs of a recipe that are on the Hub. Downloads nothing, and pins those that are there.
pub(crate) fn estimate(recipe: &Recipe, options: &mut RunOptions) -> Result<Vec<InputState>> {
    let (_, addresses) = split(recipe, options)?;
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let hub = Hub::from_env()?;
    waiting(async {
        let mut all = Vec::new();
        for (input, address) in addresses {
            let (words, is_here) = match hub.find(&address).await {
                Ok(wanted) if wanted.missing() == 0 => {
                    options.pin(&input, &wanted.address);
                    (in_words(&wanted, "in the cache"), true)
                }
                Ok(wanted) => (in_words(&wanted, "to be downloaded"), false),
                Err(teacher::Error::Hub { problem, remedy, passing: true, .. }) => {
                    let unknown = "not in the cache, and how large it is cannot be said";
                    (format!("{address}, {unknown}: {problem}; {remedy}"), false)
                }
                Err(error) => return Err(of_input(&input, error)),
            };
            all.push(InputState { input, words, is_here });
        }
        Ok(all)
    })
}

/// The folder of a model, or a file of it, that a path or an address names; brought into the cache if need be.
pub(crate) fn place(path: &Path) -> Result<PathBuf> {
    let Some(address) = Address::of(path) else { return Ok(path.to_owned()) };
    let address = address?.of_kind(Kind::Model)?;
    let hub = Hub::from_env()?;
    let brought = waiting(async { Ok(fetch(&hub, &address, "model").await?) })?;
    Ok(hub.cache.model(&brought)?)
}

/// The repository that something is from and its commit, if it is from the Hub.
pub(crate) fn origin(place: &Path) -> Option<(String, String)> {
    // One that is wrong was refused before anything was fetched.
    let address = Address::of(place)?.ok()?;
    Some((address.id.clone(), address.revision().to_owned()))
}

/// Brings tables for queries.
pub(crate) fn for_queries() -> sql::Fetch {
    Arc::new(|address| {
        Box::pin(async move {
            let fetched = async { fetch(&Hub::from_env()?, &address, "table").await }.await;
            fetched.map_err(|error| match error {
                teacher::Error::Data(error) => error,
                teacher::Error::Hub { what, problem, remedy, passing: true } => {
                    records::Error::Unreachable { what, message: format!("{problem}; {remedy}") }
                }
                teacher::Error::Hub { what, problem, remedy, passing: false } => {
                    records::Error::Invalid { what, problem, remedy }
                }
                teacher::Error::Stopped { .. } => records::Error::Stopped,
                // Errors of asking a teacher, which no download gives.
                teacher::Error::Endpoint { .. }
                | teacher::Error::Ledger { .. }
                | teacher::Error::GaveUp { .. }
                | teacher::Error::Incomplete { .. } => {
                    records::Error::invalid(address.to_string(), error.to_string(), "run again")
                }
            })
        })
    })
}

async fn fetch(hub: &Hub, address: &Address, label: &str) -> teacher::Result<Address> {
    let wanted = hub.find(address).await?;
    download(hub, &wanted, label).await?;
    Ok(wanted.address)
}

/// Downloads what is missing, and says what that was.
async fn download(hub: &Hub, wanted: &Wanted, label: &str) -> teacher::Result<()> {
    if let Some(why) = &wanted.unreachable {
        say(&format!("{label}: {why}"));
    }
    if wanted.missing() > 0 {
        say(&format!("{label}: {}", in_words(wanted, "to be downloaded")));
    }
    let bar = Progress::new("download", megabytes(wanted.bytes));
    let show = |now: Downloaded<'_>| {
        let waiting = if now.elsewhere { ", which another process downloads" } else { "" };
        bar.set(megabytes(now.done), megabytes(now.total), &format!("MB, {}{waiting}", now.file));
    };
    Box::pin(hub.download(wanted, &show)).await
}

fn in_words(wanted: &Wanted, how: &str) -> String {
    let files = |count: usize| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
    let (address, all) = (&wanted.address, files(wanted.files));
    match wanted.missing() {
        0 => format!("{address}, {all} {how}"),
        missing if missing == wanted.files => format!("{address}, {all} {how} ({} MB)", megabytes(wanted.bytes)),
        missing => format!("{address}, {missing} of {all} {how} ({} MB)", megabytes(wanted.bytes)),
    }
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

/// An input's name, and where it is on the Hub.
type Remote = (String, Address);

/// The recipe's inputs that are here, by name, and those that are on the Hub, with their addresses.
fn split(recipe: &Recipe, options: &RunOptions) -> Result<(Vec<String>, Vec<Remote>)> {
    let (mut local, mut addresses) = (Vec::new(), Vec::new());
    let data = recipe.data_inputs().into_iter().map(|name| (name, Kind::Dataset));
    for (name, kind) in data.chain(recipe.base_input().map(|name| (name, Kind::Model))) {
        match Address::of(options.given(name)?) {
            None => local.push(name.to_owned()),
            Some(address) => {
                let address = address.and_then(|address| address.of_kind(kind));
                let address = address.map_err(|error| Failure::usage(format!("input {name}: {error}")))?;
                addresses.push((name.to_owned(), address));
            }
        }
    }
    Ok((local, addresses))
}

fn of_input(name: &str, error: teacher::Error) -> Failure {
    Failure::from(error).about(&format!("input {name}"))
}

/// Runs what waits on the network to its end. A signal ends the process: what has arrived stays, and is gone on with.
fn waiting<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(work)
}
