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

mod command;
#[cfg(target_os = "linux")]
mod filter;
mod session;

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::command::Programs;
pub(crate) use self::session::{Broken, Session};
use crate::{Error, Mistake, Result};

/// Size of the folder that a program may write to.
const WORK_BYTES: u64 = 64 << 20;
/// Processes and threads of one program at a time.
const PROCESSES: u32 = 64;
/// The harness answers some time after a program's time is up, on a machine that is busy.
const SLACK: Duration = Duration::from_secs(20);

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

/// A language that programs are run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// The system's Python 3.
    #[default]
    Python,
    /// C++17, by `g++` or `clang++`.
    Cpp,
}

impl Language {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Cpp => "cpp",
        }
    }
}

/// Makes sandboxes on a machine that was found to isolate them.
#[derive(Debug)]
pub struct Sandbox {
    programs: Programs,
    filter: Vec<u8>,
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
        let programs = Programs::find()?;
        let sandbox = Self { programs, filter: filter()?, free: Mutex::new(parallel.max(1)), freed: Condvar::new() };
        sandbox.prove()?;
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
        let permit = self.acquire();
        let refused = |e: std::io::Error| Broken::Ended(e.to_string());
        let (reader, mut writer) = std::io::pipe().map_err(refused)?;
        // It fits the pipe: nothing waits.
        writer.write_all(&self.filter).map_err(refused)?;
        drop(writer);
        let child = self.programs.command(reader).spawn().map_err(refused)?;
        let compiling = if language == Language::Cpp { 1 << 30 } else { 0 };
        let most = limits.memory_bytes().max(compiling);
        let session = Session::new(child, most + most / 2 + (128 << 20)).map_err(refused)?;
        let mut running = Running { session, _permit: permit };
        let compiler = self.programs.compiler.as_deref().unwrap_or(Path::new(""));
        let request = json!({
            "do": "program", "language": language, "source": source, "compiler": compiler, "limits": limits.as_request(),
        });
        let reply = running.session.ask(&request, Duration::from_mins(1) + SLACK)?;
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

    /// Lets a program in a sandbox try what must not be possible.
    fn prove(&self) -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| Ok((listener.local_addr()?.port(), listener)))
            .map_err(|e| Error::io("listen on", Path::new("127.0.0.1"), e))?;
        let secret = Secret::new()?;
        let limits = Limits { time_limit_seconds: 10.0, memory_mb: 256 };
        let question = json!({"port": listener.0, "file": secret.0, "most": 4 * PROCESSES}).to_string();
        let request = json!({"do": "stdio", "stdin": question, "stdout_bytes": 4096});
        let reply = self
            .start(Language::Python, PROBE, &limits)
            .and_then(|(mut running, _)| running.session.ask(&request, limits.patience()))
            .map_err(|broken| not_made(&broken))?;
        let found: Probe = serde_json::from_str(reply["stdout"].as_str().unwrap_or_default()).map_err(|_| {
            not_made(&Broken::Ended(format!("the probe said {}", reply["stderr"].as_str().unwrap_or_default())))
        })?;
        found.check()
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

#[cfg(target_os = "linux")]
fn filter() -> Result<Vec<u8>> {
    filter::filter()
}

#[cfg(not(target_os = "linux"))]
fn filter() -> Result<Vec<u8>> {
    Err(Error::invalid("the sandbox", "programs are isolated on Linux only", "verify code on a Linux machine"))
}

/// A file of the host that everybody may read, for the probe to look for.
struct Secret(PathBuf);

impl Secret {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("r1-distill-probe-{}", std::process::id()));
        std::fs::write(&path, "visible").map_err(|e| Error::io("write", &path, e))?;
        Ok(Self(path))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Tries what must fail, and says what did not.
const PROBE: &str = r#"
import ctypes, json, os, socket, sys, time
asked = json.load(sys.stdin)
def works(attempt):
    try:
        attempt()
        return True
    except OSError:
        return False
found = {
    "network": works(lambda: socket.create_connection(("127.0.0.1", asked["port"]), 1)),
    "host_files": any(os.path.exists(p) for p in (asked["file"], "/etc/passwd", "/etc/shadow", "/proc/self", "/sys/kernel", "/root")),
    "writes": any(works(lambda p=p: open(p + "/x", "w")) for p in ("/", "/usr", "/dev", "/etc", "/usr/lib")),
    "environment": sorted(set(os.environ) - {"PATH", "HOME", "TMPDIR", "LANG", "PYTHONUTF8", "PYTHONHASHSEED", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "PWD", "LC_CTYPE"}),
    "traces": ctypes.CDLL(None, use_errno=True).ptrace(0, 0, 0, 0) == 0,
    "root": os.getuid() == 0,
    "processes": 0,
}
try:
    while found["processes"] < asked["most"]:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        found["processes"] += 1
except OSError:
    pass
print(json.dumps(found))
"#;

/// What the probe found out.
#[expect(clippy::struct_excessive_bools, reason = "one answer to each question")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Probe {
    network: bool,
    host_files: bool,
    writes: bool,
    environment: Vec<String>,
    traces: bool,
    root: bool,
    processes: u32,
}

impl Probe {
    fn check(&self) -> Result<()> {
        let holes = [
            (self.network, "reach the host's network"),
            (self.host_files, "see files of the host"),
            (self.writes, "write outside its folder"),
            (!self.environment.is_empty(), "read the host's environment"),
            (self.traces, "make refused system calls"),
            (self.root, "be root"),
            (self.processes > PROCESSES, "start processes without bound"),
        ];
        let open: Vec<&str> = holes.iter().filter(|(open, _)| *open).map(|(_, what)| *what).collect();
        if open.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(
            "the sandbox",
            format!("isolation does not hold on this machine: a program in it can {}", open.join(", ")),
            "run code verification on Linux 5.14 or newer with bubblewrap 0.8 or newer; no program is run here",
        ))
    }
}

fn not_made(broken: &Broken) -> Error {
    let said = match broken {
        Broken::Ended(said) => said.clone(),
        Broken::Time => "it did not answer".to_owned(),
        Broken::Memory => "it took too much memory".to_owned(),
    };
    Error::invalid(
        "the sandbox",
        format!("no sandbox can be made on this machine ({said}), and without isolation no program is run"),
        "allow user namespaces: `sysctl kernel.unprivileged_userns_clone=1` (Debian), \
         `sysctl kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu), in a container `--security-opt \
         seccomp=unconfined --security-opt systempaths=unconfined` or another machine",
    )
}

#[cfg(test)]
mod tests;
