//! What makes a sandbox fit, without one.

use std::process::Command;
use std::sync::OnceLock;

use super::*;
use crate::skipped::skipped;

/// Whether programs can be run here, which tests that run some ask first. Where bubblewrap can make a namespace,
/// sandboxes must work.
pub(crate) fn can_run() -> bool {
    static CAN_RUN: OnceLock<bool> = OnceLock::new();
    let can_run = *CAN_RUN.get_or_init(|| {
        let bare = Command::new("bwrap").args(["--unshare-user", "--ro-bind", "/", "/", "true"]).output();
        bare.is_ok_and(|output| output.status.success())
    });
    if !can_run {
        skipped("sandbox", "programs are run only where bubblewrap is installed and user namespaces are allowed");
    }
    can_run
}

fn probe() -> Probe {
    Probe {
        network: false,
        host_files: false,
        writes: false,
        environment: Vec::new(),
        traces: false,
        root: false,
        processes: PROCESSES - 2,
    }
}

#[test]
fn any_hole_is_named_and_refused() {
    assert!(probe().check().is_ok());
    for (holed, says) in [
        (Probe { network: true, ..probe() }, "network"),
        (Probe { host_files: true, ..probe() }, "see files"),
        (Probe { writes: true, ..probe() }, "write outside"),
        (Probe { environment: vec!["KEY".into()], ..probe() }, "environment"),
        (Probe { traces: true, ..probe() }, "system calls"),
        (Probe { root: true, ..probe() }, "root"),
        (Probe { processes: 256, ..probe() }, "without bound"),
    ] {
        assert!(holed.check().unwrap_err().to_string().contains(says), "{holed:?}");
    }
}

/// If the host's process is killed, the kernel ends `bwrap`, and with it all that runs inside.
#[test]
fn nothing_outlives_bwrap() {
    if !can_run() {
        return;
    }
    let limits = Limits { time_limit_seconds: 6.0, memory_mb: 256 };
    let sandbox = Sandbox::open(1).unwrap();
    let (mut running, _) = sandbox.start(Language::Python, "while True: pass", &limits).unwrap();
    let inner = running.session.children();
    assert_eq!(inner.len(), 1);
    assert!(inner.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()));
    running.session.kill_bwrap();
    let began = std::time::Instant::now();
    while inner.iter().any(|pid| is_running(*pid)) {
        assert!(began.elapsed().as_secs() < 10, "{inner:?} still run");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

#[test]
fn limits_are_checked() {
    let limits = Limits { time_limit_seconds: 6.0, memory_mb: 512 };
    assert!(limits.check().is_ok());
    assert!(Limits { time_limit_seconds: f64::NAN, ..limits }.check().is_err());
    assert!(Limits { memory_mb: 1, ..limits }.check().is_err());
}
