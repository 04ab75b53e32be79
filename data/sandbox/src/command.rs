//! How `bwrap` is called: what a sandbox sees and what it may use.

use std::io::PipeReader;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use command_fds::CommandFdExt;
use records::{Error, Result};

use super::WORK_BYTES;

/// Where programs are looked for, on the host and in the sandbox.
pub(super) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Nobody: without capabilities, without files, and bound by the limit of processes, which does not bind root.
const NOBODY: u32 = 65534;
/// The harness, run by Python: one script of four parts.
const HARNESS: &str = concat!(
    include_str!("harness/processes.py"),
    include_str!("harness/peer.py"),
    include_str!("harness/asserts.py"),
    include_str!("harness/main.py"),
);

/// Programs of the host that sandboxes are made of.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    bwrap: PathBuf,
    /// `bwrap` can forbid further user namespaces, from version 0.8 on.
    disables_namespaces: bool,
    python: PathBuf,
    /// `g++` or `clang++`, where there is one.
    pub(super) compiler: Option<PathBuf>,
    is_root: bool,
}

impl Programs {
    /// Finds them, or says what to install.
    pub(super) fn find() -> Result<Self> {
        let missing = |what: &str, remedy: &str| Error::invalid("the sandbox", what, remedy);
        let everywhere = std::env::var("PATH").unwrap_or_default();
        let bwrap = find("bwrap", &format!("{everywhere}:{PATH}")).ok_or_else(|| {
            missing(
                "the program bwrap is missing, and without isolation no program is run",
                "install bubblewrap (apt-get install bubblewrap, dnf install bubblewrap, ...)",
            )
        })?;
        // What is elsewhere would not be visible inside.
        let python = find("python3", PATH).ok_or_else(|| {
            missing(
                "there is no python3 under /usr, which sandboxes see",
                "install the system's python3 (3.9 or newer)",
            )
        })?;
        let version = Command::new(&bwrap).arg("--version").output().map_err(|e| Error::io("run", &bwrap, e))?;
        let disables_namespaces = version_of(&String::from_utf8_lossy(&version.stdout)) >= Some((0, 8));
        let compiler = find("g++", PATH).or_else(|| find("clang++", PATH));
        let is_root = rustix::process::geteuid().is_root();
        Ok(Self { bwrap, disables_namespaces, python, compiler, is_root })
    }

    /// Makes a sandbox in which the harness waits for requests. What it answers comes with what `bwrap` says.
    pub(super) fn spawn(&self, filter: OwnedFd) -> std::io::Result<(Child, PipeReader)> {
        let (replies, writer) = std::io::pipe()?;
        let mut command = Command::new(&self.bwrap);
        command.args(self.arguments(filter.as_raw_fd()));
        command.arg("--").arg(&self.python).args(["-s", "-B", "-c", HARNESS]);
        command.env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer).preserved_fds(vec![filter]);
        if self.is_root {
            use std::os::unix::process::CommandExt;
            command.gid(NOBODY).uid(NOBODY);
        }
        // With the command goes this side's end for writing: the answers end with the sandbox.
        Ok((command.spawn()?, replies))
    }

    fn arguments(&self, filter: RawFd) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]);
        add(&["--unshare-cgroup-try", "--uid", "1000", "--gid", "1000", "--hostname", "sandbox"]);
        if self.disables_namespaces {
            add(&["--disable-userns"]);
        }
        add(&["--cap-drop", "ALL", "--new-session", "--die-with-parent", "--as-pid-1"]);
        add(&["--seccomp", &filter.to_string()]);
        // The same run after run: string hashes order sets.
        for (name, value) in [
            ("PATH", PATH),
            ("HOME", "/box"),
            ("TMPDIR", "/box"),
            ("LANG", "C.UTF-8"),
            ("PYTHONUTF8", "1"),
            ("PYTHONHASHSEED", "0"),
            ("OPENBLAS_NUM_THREADS", "1"),
            ("OMP_NUM_THREADS", "1"),
        ] {
            add(&["--setenv", name, value]);
        }
        add(&["--ro-bind", "/usr", "/usr"]);
        for folder in ["/bin", "/sbin", "/lib", "/lib32", "/lib64"] {
            match std::fs::read_link(folder) {
                Ok(target) => add(&["--symlink", &target.to_string_lossy(), folder]),
                Err(_) => add(&["--ro-bind-try", folder, folder]),
            }
        }
        // Where libraries are; nothing else of /etc, and no /proc at all: it would show processes to each other.
        add(&["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]);
        add(&["--ro-bind-try", "/etc/alternatives", "/etc/alternatives"]);
        for device in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"] {
            add(&["--dev-bind", device, device]);
        }
        add(&["--perms", "0700", "--size", &WORK_BYTES.to_string(), "--tmpfs", "/box"]);
        add(&["--symlink", "/box", "/tmp", "--remount-ro", "/", "--chdir", "/box"]);
        arguments
    }
}

fn find(name: &str, path: &str) -> Option<PathBuf> {
    path.split(':')
        .filter(|folder| folder.starts_with('/'))
        .map(|folder| Path::new(folder).join(name))
        .find(|p| p.is_file())
}

/// The first two numbers of `bubblewrap 0.8.0`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().last()?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(version_of("bubblewrap 0.11.0\n") > version_of("bubblewrap 0.8.0\n"));
        assert_eq!(version_of("bubblewrap"), None);
    }
}
