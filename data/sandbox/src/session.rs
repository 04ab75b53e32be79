//! One sandbox while it runs: requests go in, answers come out, and somebody watches the time and the memory.

use std::io::{PipeReader, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, ChildStdin};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::processes::Processes;

/// How often the memory of all processes is added up.
const SAMPLE: Duration = Duration::from_millis(50);
/// Longer answers are none: what a program writes is bounded in the sandbox already.
const MOST_REPLY_BYTES: u32 = 64 << 20;
/// A sandbox whose requests ended ends within this time, or is killed.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// All processes together took more memory than they may.
    Memory,
    /// The sandbox itself did not answer in time.
    Time,
    /// It ended, or was ended because it could not be watched; with what was said.
    Ended(String),
}

#[derive(Debug)]
struct Watched {
    deadline: Instant,
    done: bool,
    killed: Option<Broken>,
}

#[derive(Debug)]
struct Shared {
    watched: Mutex<Watched>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One running sandbox; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Session {
    child: Child,
    requests: Option<ChildStdin>,
    replies: PipeReader,
    processes: Arc<Processes>,
    shared: Arc<Shared>,
    watchdog: Option<JoinHandle<()>>,
}

impl Session {
    /// Takes over a sandbox that was started with a pipe for requests and answers on another; `most_bytes` bounds the
    /// memory of all its processes together.
    pub(super) fn new(
        mut child: Child,
        replies: PipeReader,
        most_bytes: u64,
        processes: Arc<Processes>,
    ) -> std::io::Result<Self> {
        let requests = child.stdin.take();
        let watched = Watched { deadline: Instant::now() + FAREWELL, done: false, killed: None };
        let shared = Arc::new(Shared { watched: Mutex::new(watched), changed: Condvar::new() });
        let (process, watch, seen) = (child.id(), Arc::clone(&shared), Arc::clone(&processes));
        let watchdog = std::thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
            let is_over = || seen.take_more_than(most_bytes, process);
            watch_over(&watch, is_over, || kill(process, &seen));
        });
        match watchdog {
            Ok(watchdog) => Ok(Self { child, requests, replies, processes, shared, watchdog: Some(watchdog) }),
            Err(error) => {
                // Nothing was asked of it yet.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Sends a request and waits for its answer, so long at most.
    pub(crate) fn ask(&mut self, request: &Value, patience: Duration) -> Result<Value, Broken> {
        {
            let mut watched = self.shared.lock();
            if let Some(killed) = &watched.killed {
                return Err(killed.clone());
            }
            watched.deadline = Instant::now() + patience;
        }
        self.exchange(request).map_err(|said| self.shared.lock().killed.clone().unwrap_or(Broken::Ended(said)))
    }

    /// Whether the watch sees the processes that it watches. They must be there: the harness waits for requests.
    pub(super) fn is_watched(&self) -> Result<(), Broken> {
        match self.processes.descendants(self.child.id()) {
            Ok(found) if found.is_empty() => Err(unwatched(&"/proc does not show them")),
            Ok(_) => Ok(()),
            Err(error) => Err(unwatched(&error)),
        }
    }

    fn exchange(&mut self, request: &Value) -> Result<Value, String> {
        let bytes = request.to_string().into_bytes();
        let length = u32::try_from(bytes.len()).map_err(|_| "the request is too long".to_owned())?;
        // A sandbox that could not be made does not read; what it says about that comes with the answer.
        let sent = self
            .requests
            .as_mut()
            .map(|pipe| pipe.write_all(&length.to_le_bytes()).and_then(|()| pipe.write_all(&bytes)));
        let mut head = [0; 4];
        self.replies.read_exact(&mut head).map_err(|e| match sent {
            Some(Err(write)) => format!("it does not read: {write}"),
            _ => format!("it ended without an answer: {e}"),
        })?;
        let length = u32::from_le_bytes(head);
        if length > MOST_REPLY_BYTES {
            let mut text = head.to_vec();
            let _ = self.replies.by_ref().take(1000).read_to_end(&mut text);
            return Err(String::from_utf8_lossy(&text).trim().to_owned());
        }
        let mut body = vec![0; length as usize];
        self.replies.read_exact(&mut body).map_err(|e| format!("its answer is cut off: {e}"))?;
        serde_json::from_slice(&body).map_err(|e| format!("its answer cannot be read: {e}"))
    }
}

#[cfg(test)]
impl Session {
    pub(super) fn children(&self) -> Vec<u32> {
        self.processes.children(self.child.id()).unwrap()
    }

    pub(super) fn kill_bwrap(&mut self) {
        let _ = self.child.kill();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.lock().deadline = Instant::now() + FAREWELL;
        // The harness ends with its requests, and everything with the harness; then nothing holds the other pipe.
        drop(self.requests.take());
        let mut rest = [0; 4096];
        while matches!(self.replies.read(&mut rest), Ok(count) if count > 0) {}
        self.shared.lock().done = true;
        self.shared.changed.notify_all();
        if let Some(watchdog) = self.watchdog.take() {
            let _ = watchdog.join();
        }
        // Last: until then its number is no other process's.
        let _ = self.child.wait();
    }
}

/// Kills the sandbox when it takes too long or too much, and when nobody can tell.
fn watch_over(shared: &Shared, is_over: impl Fn() -> std::io::Result<bool>, kill: impl Fn()) {
    let ended = catch_unwind(AssertUnwindSafe(|| watch(shared, &is_over, &kill)));
    if ended.is_err() {
        shared.lock().killed.get_or_insert(unwatched(&"the watch itself failed"));
        kill();
    }
}

fn watch(shared: &Shared, is_over: &impl Fn() -> std::io::Result<bool>, kill: &impl Fn()) {
    let mut watched = shared.lock();
    while !watched.done {
        let left = watched.deadline.saturating_duration_since(Instant::now()).min(SAMPLE);
        watched = shared.changed.wait_timeout(watched, left).unwrap_or_else(PoisonError::into_inner).0;
        if watched.done || watched.killed.is_some() && watched.deadline > Instant::now() {
            continue;
        }
        let broken = if watched.deadline <= Instant::now() {
            Some(Broken::Time)
        } else {
            match is_over() {
                Ok(is_over) => is_over.then_some(Broken::Memory),
                Err(error) => Some(unwatched(&error)),
            }
        };
        if let Some(broken) = broken {
            watched.killed.get_or_insert(broken);
            watched.deadline = Instant::now() + FAREWELL;
            kill();
        }
    }
}

fn unwatched(why: &dyn std::fmt::Display) -> Broken {
    Broken::Ended(format!("the memory of its processes cannot be watched: {why}"))
}

/// Kills the first process in the namespace, which takes all others with it and is then collected by `bwrap`; or else
/// `bwrap`, which has its children killed.
fn kill(process: u32, processes: &Processes) {
    let inner = processes.children(process).unwrap_or_default();
    let targets = if inner.is_empty() { vec![process] } else { inner };
    for target in targets {
        if let Some(pid) = i32::try_from(target).ok().and_then(Pid::from_raw) {
            // One that is gone needs no killing.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What watches fails in each way; the process ends, and the reason is kept.
    #[test]
    fn what_cannot_be_watched_is_ended() {
        let fail = || Err(std::io::Error::other("gone"));
        ends(&fail, "gone");
        ends(&|| panic!("a mistake in the watch"), "itself failed");
    }

    fn ends(is_over: &(dyn Fn() -> std::io::Result<bool> + Sync), why: &str) {
        let child = Mutex::new(Command::new("sleep").arg("60").spawn().unwrap());
        let watched = Watched { deadline: Instant::now() + Duration::from_mins(1), done: false, killed: None };
        let shared = Shared { watched: Mutex::new(watched), changed: Condvar::new() };
        let kill = || {
            child.lock().unwrap().kill().unwrap();
            shared.changed.notify_all();
        };
        std::thread::scope(|threads| {
            threads.spawn(|| watch_over(&shared, is_over, kill));
            let status = loop {
                if let Some(status) = child.lock().unwrap().try_wait().unwrap() {
                    break status;
                }
                std::thread::sleep(Duration::from_millis(5));
            };
            assert!(!status.success());
            shared.lock().done = true;
        });
        let killed = shared.lock().killed.clone();
        assert!(matches!(&killed, Some(Broken::Ended(said)) if said.contains(why)), "{killed:?}");
    }
}
