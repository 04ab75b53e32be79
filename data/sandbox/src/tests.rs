//! What makes a sandbox fit, and what happens where it does not.

mod calls;

use std::os::unix::fs::symlink;
use std::sync::OnceLock;

use fixtures::can_run;
use records::test_spec::Language;

use super::*;

/// Plenty of time, for machines that are busy.
const LIMITS: Limits = Limits { time_limit_seconds: 60.0, memory_mb: 256 };

/// Takes about 150 MB in each of 20 processes.
const MANY: &str = "
import os, time
for _ in range(20):
    if os.fork() == 0: break
data = bytearray(b'x') * (150 << 20)
time.sleep(60)
print('alive')";

fn run(sandbox: &Sandbox, program: &str) -> std::result::Result<Value, Broken> {
    let (mut running, _) = sandbox.start(Language::Python, program, &LIMITS)?;
    running.session.ask(&json!({"do": "stdio", "stdin": "", "stdout_bytes": 4096}), LIMITS.patience())
}

/// A sandbox for tests; `None` where programs cannot be run.
pub(crate) fn sandbox() -> Option<&'static Sandbox> {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    can_run().then(|| SANDBOX.get_or_init(|| Sandbox::open(2).unwrap()))
}

/// If the host's process is killed, the kernel ends `bwrap`, and with it all that runs inside.
#[test]
fn nothing_outlives_bwrap() {
    let Some(sandbox) = sandbox() else { return };
    let (mut running, _) = sandbox.start(Language::Python, "while True: pass", &LIMITS).unwrap();
    let inner = running.session.children();
    assert_eq!(inner.len(), 1);
    assert!(inner.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()));
    running.session.kill_bwrap();
    assert_end(&inner);
}

/// Waits until none of them runs any more.
fn assert_end(pids: &[u32]) {
    let began = std::time::Instant::now();
    while pids.iter().any(|pid| is_running(*pid)) {
        assert!(began.elapsed().as_secs() < 10, "{pids:?} still run");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

/// A kernel that lists no children: they are found by their parents.
#[test]
fn memory_is_watched_where_the_kernel_lists_no_children() {
    if sandbox().is_none() {
        return;
    }
    let sandbox = Sandbox::watched_in(Processes::by_parents(Path::new("/proc")), 1).unwrap();
    assert_eq!(run(&sandbox, MANY), Err(Broken::Memory));
    assert_eq!(run(&sandbox, "print(6 * 7)").unwrap()["stdout"], "42\n");
}

/// Nothing to be seen in `/proc`, as with `hidepid`, or no `/proc` at all.
#[test]
fn nothing_is_run_where_processes_cannot_be_seen() {
    if sandbox().is_none() {
        return;
    }
    let empty = tempfile::tempdir().unwrap();
    for place in [empty.path().to_owned(), empty.path().join("absent")] {
        let error = Sandbox::watched_in(Processes::of(&place), 1).unwrap_err().to_string();
        assert!(error.contains("cannot be watched") && error.contains("no program is run"), "{error}");
        assert!(error.contains(&*place.to_string_lossy()), "{error}");
    }
}

/// What watched a sandbox and no longer can ends it.
#[test]
fn a_sandbox_that_is_no_longer_watched_ends() {
    if sandbox().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("proc");
    symlink("/proc", &place).unwrap();
    let sandbox = Sandbox::watched_in(Processes::of(&place), 1).unwrap();
    let (mut running, _) = sandbox.start(Language::Python, "import time\ntime.sleep(60)\nprint(1)", &LIMITS).unwrap();
    let inner = running.session.children();
    std::fs::remove_file(&place).unwrap();
    let request = json!({"do": "stdio", "stdin": "", "stdout_bytes": 4096});
    let said = running.session.ask(&request, LIMITS.patience()).unwrap_err();
    assert!(matches!(&said, Broken::Ended(said) if said.contains("cannot be watched")), "{said:?}");
    drop(running);
    assert_end(&inner);
}

#[test]
fn limits_are_checked() {
    let limits = Limits { time_limit_seconds: 6.0, memory_mb: 512 };
    assert_eq!(limits.check(), []);
    assert_eq!(Limits { time_limit_seconds: f64::NAN, ..limits }.check()[0].field, "time_limit_seconds");
    assert_eq!(Limits { memory_mb: 1, ..limits }.check()[0].field, "memory_mb");
}
