//! The sandbox: where programs that a model wrote run, and the only place where they do.
//!
//! A sandbox is made by bubblewrap (`bwrap`): namespaces of its own for users, processes, network, IPC and host name, the
//! host's `/usr` read-only and hardly anything else, a folder in memory of bounded size to write to, no capabilities, and
//! a filter of system calls (`filter`). In it a harness runs a program on tests, each in a process of its own with hard
//! limits on time, memory, processes and files (`harness/`). A watchdog outside bounds the memory of all processes
//! together, and the time (`session`).
//!
//! The limit of processes binds because a sandbox's user is a different one for the kernel: where the host's user is
//! root, whom that limit does not bind, sandboxes run as nobody. Since Linux 5.14 processes are counted for each
//! sandbox. [`Sandbox::open`] proves all this on the machine it runs on, by trying; if anything is not isolated it fails,
//! and then nothing is run.

#[cfg(test)]
#[path = "../../../tests/checked.rs"]
mod checked;
mod command;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod filter;
pub mod judge;
mod probe;
mod processes;
mod session;

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use records::test_spec::Language;
use records::{Mistake, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::command::Programs;
use self::processes::Processes;
pub(crate) use self::session::{Broken, Session};

/// Size of the folder that a program may write to.
const WORK_BYTES: u64 = 64 << 20;
/// Processes and threads of one program at a time.
const PROCESSES: u32 = 64;
/// The harness answers some time after a program's time is up, on a machine that is busy.
const SLACK: Duration = Duration::from_secs(20);

/// Death by a process's own limit of CPU time, on Linux.
pub(crate) const SIGXCPU: i64 = 24;
/// The harness's exit code for a Python program that ran out of memory.
pub(crate) const OUT_OF_MEMORY: i64 = 78;

/// What a program may use for one test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Seconds of CPU time; of wall-clock time twice as many and one more, since other processes run beside it.
    pub time_limit_seconds: f64,
    /// Address space of one process, and memory of all processes (half as much again and 128 MB more), in megabytes.
    pub memory_mb: u32,
}

impl Limits {
    /// Limits that cannot be kept.
    pub fn check(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        if !(0.1..=600.0).contains(&self.time_limit_seconds) {
            let problem = format!("it is {}", self.time_limit_seconds);
            found.push(Mistake::new("time_limit_seconds", problem, "set it from 0.1 to 600"));
        }
        if !(64..=65536).contains(&self.memory_mb) {
            found.push(Mistake::new("memory_mb", format!("it is {}", self.memory_mb), "set it from 64 to 65536"));
        }
        found
    }

    fn wall_seconds(&self) -> f64 {
        2.0 * self.time_limit_seconds + 1.0
    }

    fn memory_bytes(&self) -> u64 {
        u64::from(self.memory_mb) << 20
    }

    fn as_request(&self) -> Value {
        json!({
            "seconds": self.time_limit_seconds,
            "wall_seconds": self.wall_seconds(),
            "memory_bytes": self.memory_bytes(),
            "work_bytes": WORK_BYTES,
            "file_bytes": WORK_BYTES / 4,
            "processes": PROCESSES,
        })
    }

    /// How long to wait for the harness's answer on one test.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.wall_seconds()) + SLACK
    }
}

/// Makes sandboxes on a machine that was found to isolate them.
#[derive(Debug)]
pub struct Sandbox {
    programs: Programs,
    filter: Vec<u8>,
    processes: Arc<Processes>,
    free: Mutex<usize>,
    freed: Condvar,
}

impl Sandbox {
    /// Finds what sandboxes are made of and proves that they isolate: a program in one must not reach the network, see
    /// files of the host, write outside its folder or start processes without bound. At most `parallel` run at a time.
    ///
    /// # Errors
    /// A program is missing, the system forbids user namespaces, or isolation does not hold; with what to do.
    pub fn open(parallel: usize) -> Result<Self> {
        Self::watched_in(Processes::of(Path::new("/proc")), parallel)
    }

    /// As [`Sandbox::open`], with the place where the kernel shows processes.
    fn watched_in(processes: Processes, parallel: usize) -> Result<Self> {
        let sandbox = Self {
            programs: Programs::find()?,
            filter: filter::filter()?,
            processes: Arc::new(processes),
            free: Mutex::new(parallel.max(1)),
            freed: Condvar::new(),
        };
        probe::prove(&sandbox)?;
        Ok(sandbox)
    }

    /// Whether programs of a language can be run on this machine.
    pub fn has(&self, language: Language) -> bool {
        language == Language::Python || self.programs.compiler.is_some()
    }

    /// Starts a sandbox for one program, when one is free. The answer is that of the compiler.
    pub(crate) fn start(
        &self,
        language: Language,
        source: &str,
        limits: &Limits,
    ) -> std::result::Result<(Running<'_>, Value), Broken> {
        let compiling = if language == Language::Cpp { 1 << 30 } else { 0 };
        let most = limits.memory_bytes().max(compiling);
        self.start_bounded(language, source, &limits.as_request(), most + most / 2 + (128 << 20))
    }

    /// As [`Sandbox::start`], with each bound by itself: those that the harness sets, and the bytes of all processes.
    fn start_bounded(
        &self,
        language: Language,
        source: &str,
        bounds: &Value,
        most_bytes: u64,
    ) -> std::result::Result<(Running<'_>, Value), Broken> {
        let permit = self.acquire();
        let refused = |e: std::io::Error| Broken::Ended(e.to_string());
        let filter = filter::file(&self.filter).map_err(refused)?;
        let (child, replies) = self.programs.spawn(filter).map_err(refused)?;
        let session = Session::new(child, replies, most_bytes, Arc::clone(&self.processes)).map_err(refused)?;
        let mut running = Running { session, _permit: permit };
        let compiler = self.programs.compiler.as_deref().unwrap_or(Path::new(""));
        let request = json!({
            "do": "program", "language": language, "source": source, "compiler": compiler, "limits": bounds,
        });
        let reply = running.session.ask(&request, Duration::from_mins(1) + SLACK)?;
        running.session.is_watched()?;
        Ok((running, reply))
    }

    fn acquire(&self) -> Permit<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Permit(self)
    }
}

/// A running sandbox, and its place among those that may run.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    pub(crate) session: Session,
    // After the session: a place is free when the sandbox is gone.
    _permit: Permit<'a>,
}

#[derive(Debug)]
struct Permit<'a>(&'a Sandbox);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// There is none.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod filter {
    use std::os::fd::OwnedFd;

    use records::{Error, Result};

    pub(super) fn filter() -> Result<Vec<u8>> {
        let problem = "programs are isolated on Linux on x86_64 and aarch64 only";
        Err(Error::invalid("the sandbox", problem, "verify code on such a machine"))
    }

    pub(super) fn file(_: &[u8]) -> std::io::Result<OwnedFd> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
pub(crate) mod tests;
