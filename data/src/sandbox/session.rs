//! One sandbox while it runs: requests go in, answers come out, and somebody watches the time and the memory.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

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
    /// It ended; with what it said.
    Ended(String),
}

#[derive(Debug)]
struct Watched {
    deadline: Instant,
    most_bytes: u64,
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
    replies: ChildStdout,
    shared: Arc<Shared>,
    watchdog: Option<JoinHandle<()>>,
}

impl Session {
    /// Takes over a sandbox that was started with pipes; `most_bytes` bounds the memory of all its processes together.
    pub(super) fn new(mut child: Child, most_bytes: u64) -> std::io::Result<Self> {
        let (Some(requests), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(std::io::Error::other("it was started without pipes"));
        };
        let deadline = Instant::now() + FAREWELL;
        let watched = Mutex::new(Watched { deadline, most_bytes, done: false, killed: None });
        let shared = Arc::new(Shared { watched, changed: Condvar::new() });
        let (process, watch) = (child.id(), Arc::clone(&shared));
        let watchdog = std::thread::spawn(move || watch_over(process, &watch));
        Ok(Self { child, requests: Some(requests), replies, shared, watchdog: Some(watchdog) })
    }

    /// Sends a request and waits for its answer, so long at most.
    pub(crate) fn ask(&mut self, request: &Value, patience: Duration) -> Result<Value, Broken> {
        self.shared.lock().deadline = Instant::now() + patience;
        self.exchange(request).map_err(|said| self.shared.lock().killed.clone().unwrap_or(Broken::Ended(said)))
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
        children(self.child.id())
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

/// Kills the sandbox when it takes too long or too much.
fn watch_over(process: u32, shared: &Shared) {
    let mut watched = shared.lock();
    while !watched.done {
        let left = watched.deadline.saturating_duration_since(Instant::now()).min(SAMPLE);
        watched = shared.changed.wait_timeout(watched, left).unwrap_or_else(PoisonError::into_inner).0;
        if watched.done || watched.killed.is_some() && watched.deadline > Instant::now() {
            continue;
        }
        if watched.deadline <= Instant::now() {
            watched.killed.get_or_insert(Broken::Time);
            watched.deadline = Instant::now() + FAREWELL;
            kill(process);
        } else if take_more_than(watched.most_bytes, process) {
            watched.killed = Some(Broken::Memory);
            watched.deadline = Instant::now() + FAREWELL;
            kill(process);
        }
    }
}

/// Kills the first process in the namespace, which takes all others with it and is then collected by `bwrap`; or else
/// `bwrap`, which has its children killed.
fn kill(process: u32) {
    let inner = children(process);
    let targets = if inner.is_empty() { vec![process] } else { inner };
    for target in targets {
        if let Some(pid) = i32::try_from(target).ok().and_then(Pid::from_raw) {
            // One that is gone needs no killing.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let lists = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Whether all processes that descend from this one take more than `most` bytes of memory together. The kernel's own
/// limits are for each process; nothing but a control group, which takes rights that few have, bounds their sum.
fn take_more_than(most: u64, process: u32) -> bool {
    let mut found = children(process);
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        found.extend(children(pid));
    }
    let total: u64 = found.iter().filter_map(|pid| resident(*pid)).sum();
    // Pages that forked processes share count once only if one looks closely, which takes longer.
    total > most && found.iter().filter_map(|pid| share(*pid).or_else(|| resident(*pid))).sum::<u64>() > most
}

/// Resident memory of a process, in bytes.
fn resident(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    Some(statm.split_whitespace().nth(1)?.parse::<u64>().ok()? * rustix::param::page_size() as u64)
}

/// Resident memory of a process, in bytes, shared pages divided by those who share them.
fn share(pid: u32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}
