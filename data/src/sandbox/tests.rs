//! What makes a sandbox fit, without one.

use super::*;

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
    let limits = Limits { time_limit_seconds: 6.0, memory_mb: 256 };
    let Ok(sandbox) = Sandbox::open(1) else {
        eprintln!("skipped: no sandboxes can be made here");
        return;
    };
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
    assert_eq!(limits.check(), []);
    assert_eq!(Limits { time_limit_seconds: f64::NAN, ..limits }.check()[0].field, "time_limit_seconds");
    assert_eq!(Limits { memory_mb: 1, ..limits }.check()[0].field, "memory_mb");
}
