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

#[test]
fn limits_are_checked() {
    let limits = Limits { time_limit_seconds: 6.0, memory_mb: 512 };
    assert!(limits.check().is_ok());
    assert!(Limits { time_limit_seconds: f64::NAN, ..limits }.check().is_err());
    assert!(Limits { memory_mb: 1, ..limits }.check().is_err());
}
