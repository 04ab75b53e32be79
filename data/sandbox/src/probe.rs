//! The proof that a machine isolates: programs in sandboxes try what must not be possible, and take more of everything
//! than they may (`probe/`).

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use records::test_spec::Language;
use records::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{Broken, Limits, OUT_OF_MEMORY, PROCESSES, SIGXCPU, SLACK, Sandbox, WORK_BYTES};

const ISOLATION: &str = include_str!("probe/isolation.py");
const LIMITS: &str = include_str!("probe/limits.py");
const MEMORY: &str = include_str!("probe/memory.py");

/// What each of four processes takes, and what all may take together: less than the four, more than three of them and
/// all the interpreters.
const EACH_BYTES: u64 = 128 << 20;
const MOST_BYTES: u64 = 490 << 20;
/// The harness's limit on files in a program's folder.
const MOST_FILES: u64 = 20_000;
/// For a second of CPU time on a machine that is very busy.
const LONG: Duration = Duration::from_mins(10);
const SHORT: Duration = Duration::from_millis(300);

/// Lets programs in sandboxes try what must not be possible.
///
/// # Errors
/// No sandbox can be made or watched, or a program could do what it must not.
pub(super) fn prove(sandbox: &Sandbox) -> Result<()> {
    let mut holes = isolation(sandbox)?.holes();
    holes.extend(limits(sandbox, bounds()).map_err(|broken| not_made(&broken))?);
    holes.extend(memory(sandbox, MOST_BYTES).map_err(|broken| not_made(&broken))?);
    refuse(&holes)
}

/// Fails if there is a hole.
fn refuse(holes: &[&str]) -> Result<()> {
    if holes.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(
        "the sandbox",
        format!("isolation does not hold on this machine: a program in it can {}", holes.join(", ")),
        "run code verification on Linux 5.14 or newer with bubblewrap 0.8 or newer; no program is run here",
    ))
}

/// What a program in a sandbox found out.
#[expect(clippy::struct_excessive_bools, reason = "one answer to each question")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(Default))]
pub(super) struct Isolation {
    network: bool,
    host_files: bool,
    writes: bool,
    environment: Vec<String>,
    calls: Vec<String>,
    root: bool,
    processes: u32,
}

impl Isolation {
    fn holes(&self) -> Vec<&'static str> {
        let holes = [
            (self.network, "reach the host's network"),
            (self.host_files, "see files of the host"),
            (self.writes, "write outside its folder"),
            (!self.environment.is_empty(), "read the host's environment"),
            (!self.calls.is_empty(), "make refused system calls"),
            (self.root, "be root"),
            (self.processes > PROCESSES, "start processes without bound"),
        ];
        holes.iter().filter(|(open, _)| *open).map(|(_, what)| *what).collect()
    }
}

/// Network, files, environment, system calls, user and number of processes.
fn isolation(sandbox: &Sandbox) -> Result<Isolation> {
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| Ok((listener.local_addr()?.port(), listener)))
        .map_err(|e| Error::io("listen on", Path::new("127.0.0.1"), e))?;
    let secret = secret().map_err(|e| Error::io("make a file in", &std::env::temp_dir(), e))?;
    let limits = Limits { time_limit_seconds: 10.0, memory_mb: 256 };
    let question = json!({"port": listener.0, "file": secret.path(), "most_processes": 4 * PROCESSES}).to_string();
    let reply = sandbox
        .start(Language::Python, ISOLATION, &limits)
        .and_then(|(mut running, _)| running.session.ask(&stdio(&question), limits.patience()))
        .map_err(|broken| not_made(&broken))?;
    serde_json::from_str(reply["stdout"].as_str().unwrap_or_default()).map_err(|_| {
        not_made(&Broken::Ended(format!("the probe said {}", reply["stderr"].as_str().unwrap_or_default())))
    })
}

/// A file of the host that everybody may read, for the probe to look for.
fn secret() -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o644));
    }
    let mut file = builder.tempfile()?;
    file.write_all(b"visible")?;
    Ok(file)
}

/// The bounds that programs run into, except on wall-clock time.
fn bounds() -> Value {
    let mut bounds = Limits { time_limit_seconds: 0.1, memory_mb: 256 }.as_request();
    bounds["wall_seconds"] = LONG.as_secs_f64().into();
    bounds
}

/// Whether what came of a program shows that a limit holds.
type Holds<'a> = &'a dyn Fn(&Value) -> bool;

/// What the harness bounds for each process and test, and that it is itself ended when it does not answer.
fn limits(sandbox: &Sandbox, bounds: Value) -> std::result::Result<Vec<&'static str>, Broken> {
    const FILE_BYTES: u64 = WORK_BYTES / 4;
    const MEMORY_BYTES: u64 = 256 << 20;
    let (mut running, _) = sandbox.start_bounded(Language::Python, LIMITS, &bounds, 1 << 30)?;
    let mut holes = Vec::new();
    let ended = |by: &'static str| move |reply: &Value| reply["end"] == by;
    let printed = |most: u64| {
        move |reply: &Value| {
            let taken = reply["stdout"].as_str().and_then(|text| text.trim().parse::<u64>().ok());
            // It could take something: what does not work at all is no limit.
            taken.is_some_and(|taken| (1..=most).contains(&taken))
        }
    };
    let killed = |reply: &Value| reply["signal"] == SIGXCPU;
    let refused = |reply: &Value| reply["code"] == OUT_OF_MEMORY;
    let tries: [(&str, u64, Holds<'_>, &str); 6] = [
        ("cpu", 0, &killed, "compute without bound"),
        ("memory", 2 * MEMORY_BYTES, &refused, "take memory without bound"),
        ("file", 2 * FILE_BYTES, &printed(FILE_BYTES), "write files without bound"),
        ("folder", 2 * WORK_BYTES, &printed(WORK_BYTES), "fill its folder without bound"),
        ("files", 2 * MOST_FILES, &ended("files"), "make files without bound"),
        ("output", 8 << 20, &ended("output"), "print without bound"),
    ];
    for (what, most, holds, hole) in tries {
        let reply = running.session.ask(&stdio(&format!("{what} {most}")), LONG + SLACK)?;
        if !holds(&reply) {
            holes.push(hole);
        }
    }
    // Now a bound that a sleeper reaches; then one that it does not, so that the harness answers too late.
    let mut program = json!({"do": "program", "language": Language::Python, "source": LIMITS, "limits": bounds});
    program["limits"]["wall_seconds"] = SHORT.as_secs_f64().into();
    running.session.ask(&program, SLACK)?;
    if running.session.ask(&stdio("sleep 0"), LONG + SLACK)?["end"] != "time" {
        holes.push("run without bound");
    }
    program["limits"]["wall_seconds"] = LONG.as_secs_f64().into();
    running.session.ask(&program, SLACK)?;
    match running.session.ask(&stdio("sleep 0"), SHORT) {
        Err(Broken::Time) => {}
        Err(broken) => return Err(broken),
        Ok(_) => holes.push("keep the harness from answering"),
    }
    Ok(holes)
}

/// That the watch sees the memory of processes however they were started, and ends them in time.
fn memory(sandbox: &Sandbox, most_bytes: u64) -> std::result::Result<Vec<&'static str>, Broken> {
    let mut bounds = Limits { time_limit_seconds: 30.0, memory_mb: 512 }.as_request();
    bounds["wall_seconds"] = LONG.as_secs_f64().into();
    let (mut running, _) = sandbox.start_bounded(Language::Python, MEMORY, &bounds, most_bytes)?;
    match running.session.ask(&stdio(&EACH_BYTES.to_string()), LONG + SLACK) {
        Err(Broken::Memory) => Ok(Vec::new()),
        Err(broken) => Err(broken),
        Ok(reply) if reply["stdout"].as_str().is_some_and(|text| text.trim() == "alive") => {
            Ok(vec!["take more memory than it may through processes that it starts"])
        }
        Ok(reply) => {
            Err(Broken::Ended(format!("the probe of memory said {}", reply["stderr"].as_str().unwrap_or_default())))
        }
    }
}

fn stdio(question: &str) -> Value {
    json!({"do": "stdio", "stdin": question, "stdout_bytes": 4096})
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
         seccomp=unconfined --security-opt systempaths=unconfined`; mount /proc without `hidepid`; or use another machine",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each limit in turn is looser than it should be; the probe notices that one.
    #[test]
    fn a_limit_that_does_not_hold_is_found() {
        let Some(sandbox) = crate::tests::sandbox() else { return };
        // Where none bounds CPU time, wall-clock time ends the program.
        for (bound, value, wall_seconds, hole) in [
            ("seconds", json!(1000), 5, "compute"),
            ("memory_bytes", json!(4_u64 << 30), 120, "take memory"),
            ("file_bytes", json!(1 << 30), 120, "write files"),
        ] {
            let mut bounds = bounds();
            bounds["wall_seconds"] = wall_seconds.into();
            bounds[bound] = value;
            let found = limits(sandbox, bounds).unwrap();
            assert!(found.iter().any(|found| found.contains(hole)), "{bound}: {found:?}");
        }
        assert_eq!(memory(sandbox, u64::MAX).unwrap().len(), 1);
    }

    fn tight() -> Isolation {
        Isolation { processes: PROCESSES - 2, ..Isolation::default() }
    }

    #[test]
    fn any_hole_is_named_and_refused() {
        assert!(refuse(&tight().holes()).is_ok());
        for (holed, says) in [
            (Isolation { network: true, ..tight() }, "network"),
            (Isolation { host_files: true, ..tight() }, "see files"),
            (Isolation { writes: true, ..tight() }, "write outside"),
            (Isolation { environment: vec!["KEY".into()], ..tight() }, "environment"),
            (Isolation { calls: vec!["ptrace".into()], ..tight() }, "system calls"),
            (Isolation { root: true, ..tight() }, "root"),
            (Isolation { processes: 256, ..tight() }, "without bound"),
        ] {
            assert!(refuse(&holed.holes()).unwrap_err().to_string().contains(says), "{holed:?}");
        }
    }
}
