//! The processes of a sandbox as the host's kernel shows them in `/proc`, and the memory that they take together.
//!
//! The kernel's own limits are for each process; nothing but a control group, which takes rights that few have, bounds
//! their sum. What cannot be read is an error here, never "no processes": nobody would be watched then.

use std::collections::{HashMap, HashSet};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a list of the machine's processes serves those who watch sandboxes.
const FRESH: Duration = Duration::from_millis(20);

/// Parents by process.
type Parents = HashMap<u32, u32>;

/// Where processes are looked up.
#[derive(Debug)]
pub(super) struct Processes {
    /// `/proc`; in tests, what stands for it.
    proc: PathBuf,
    /// Whether the kernel lists children (`CONFIG_PROC_CHILDREN`). Otherwise all of the machine's processes are gone
    /// through for their parents.
    lists_children: bool,
    seen: Mutex<Option<(Instant, Parents)>>,
}

impl Processes {
    /// Looks processes up in `proc`, in the way that it allows.
    pub(super) fn of(proc: &Path) -> Self {
        let own = std::process::id();
        let lists_children = proc.join(format!("{own}/task/{own}/children")).exists();
        Self { proc: proc.to_owned(), lists_children, seen: Mutex::new(None) }
    }

    /// Looks processes up by their parents, whatever the kernel lists.
    #[cfg(test)]
    pub(super) fn by_parents(proc: &Path) -> Self {
        Self { lists_children: false, ..Self::of(proc) }
    }

    /// The processes that a process started and that still run, as they are now.
    pub(super) fn children(&self, process: u32) -> Result<Vec<u32>> {
        if self.lists_children {
            return self.listed_of(process);
        }
        let parents = self.parents(process)?;
        Ok(parents.iter().filter(|(_, parent)| **parent == process).map(|(pid, _)| *pid).collect())
    }

    /// All processes that descend from one, through whichever thread, session or orphan.
    pub(super) fn descendants(&self, process: u32) -> Result<Vec<u32>> {
        if self.lists_children {
            let mut found = self.listed_of(process)?;
            let mut next = 0;
            while let Some(pid) = found.get(next).copied() {
                next += 1;
                // One that is gone has left its children to another.
                found.extend(self.listed(pid)?.unwrap_or_default());
            }
            return Ok(found);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let parents = match seen.take() {
            Some((when, parents)) if when.elapsed() < FRESH && parents.contains_key(&process) => (when, parents),
            _ => (Instant::now(), self.parents(process)?),
        };
        let found = below(process, &parents.1);
        *seen = Some(parents);
        Ok(found)
    }

    /// Whether all processes that descend from this one take more than `most` bytes of memory together.
    pub(super) fn take_more_than(&self, most: u64, process: u32) -> Result<bool> {
        let found = self.descendants(process)?;
        let mut resident = HashMap::new();
        for pid in found {
            if let Some(bytes) = self.resident(pid)? {
                resident.insert(pid, bytes);
            }
        }
        if resident.values().sum::<u64>() <= most {
            return Ok(false);
        }
        // Pages that forked processes share count once only if one looks closely, which takes longer. Where that is not
        // shown, they count for each.
        let closely = resident.iter().map(|(pid, bytes)| self.share(*pid).unwrap_or(*bytes));
        Ok(closely.sum::<u64>() > most)
    }

    /// The children of a process, as the kernel lists them for each of its threads; `None` if the process is gone.
    fn listed(&self, process: u32) -> Result<Option<Vec<u32>>> {
        let tasks = self.proc.join(format!("{process}/task"));
        let Some(threads) = present(std::fs::read_dir(&tasks)).map_err(|e| at(&tasks, &e))? else { return Ok(None) };
        let mut found = Vec::new();
        for thread in threads {
            // A thread that is gone has left its children to another.
            let Some(thread) = present(thread).map_err(|e| at(&tasks, &e))? else { continue };
            let path = thread.path().join("children");
            let list = present(std::fs::read_to_string(&path)).map_err(|e| at(&path, &e))?.unwrap_or_default();
            for pid in list.split_whitespace() {
                found.push(pid.parse().map_err(|_| unreadable(&path))?);
            }
        }
        Ok(Some(found))
    }

    /// Those of a process that must exist.
    fn listed_of(&self, process: u32) -> Result<Vec<u32>> {
        let problem = || Error::other(format!("{} does not show process {process}", self.proc.display()));
        self.listed(process)?.ok_or_else(problem)
    }

    /// The parents of all processes of the machine, of which `process` must be one.
    fn parents(&self, process: u32) -> Result<Parents> {
        let mut parents = self.read_parents()?;
        let mut without = orphans(&parents);
        // A parent that ended while they were read has left its children to another, whom the next reading shows. Parents
        // that stay away are of other users, who are hidden.
        while !without.is_empty() {
            parents = self.read_parents()?;
            let before = std::mem::replace(&mut without, orphans(&parents));
            if without.iter().all(|pid| before.contains(pid)) {
                break;
            }
        }
        if !parents.contains_key(&process) {
            return Err(Error::other(format!("{} does not show process {process}", self.proc.display())));
        }
        Ok(parents)
    }

    fn read_parents(&self) -> Result<Parents> {
        let mut parents = Parents::new();
        for entry in std::fs::read_dir(&self.proc).map_err(|e| at(&self.proc, &e))? {
            let entry = entry.map_err(|e| at(&self.proc, &e))?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let path = entry.path().join("stat");
            // Bytes: a process names itself as it likes.
            if let Some(stat) = present(std::fs::read(&path)).map_err(|e| at(&path, &e))? {
                parents.insert(pid, parent_in(&stat).ok_or_else(|| unreadable(&path))?);
            }
        }
        Ok(parents)
    }

    /// Resident memory of a process, in bytes; `None` if the process is gone.
    fn resident(&self, pid: u32) -> Result<Option<u64>> {
        let path = self.proc.join(format!("{pid}/statm"));
        let Some(statm) = present(std::fs::read_to_string(&path)).map_err(|e| at(&path, &e))? else { return Ok(None) };
        let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
        Ok(Some(pages.ok_or_else(|| unreadable(&path))? * rustix::param::page_size() as u64))
    }

    /// Resident memory of a process, in bytes, shared pages divided by those who share them.
    fn share(&self, pid: u32) -> Option<u64> {
        let rollup = std::fs::read_to_string(self.proc.join(format!("{pid}/smaps_rollup"))).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
    }
}

fn at(path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Processes whose parents are not among them. The first process, and the kernel's, have none.
fn orphans(parents: &Parents) -> HashSet<u32> {
    let is_orphan = |(_, parent): &(&u32, &u32)| **parent != 0 && !parents.contains_key(parent);
    parents.iter().filter(is_orphan).map(|(pid, _)| *pid).collect()
}

fn unreadable(path: &Path) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{} is not what proc(5) says", path.display()))
}

/// Whoever descends from a process, by parents.
fn below(process: u32, parents: &Parents) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, parent) in parents {
        children.entry(*parent).or_default().push(*pid);
    }
    let mut found = children.remove(&process).unwrap_or_default();
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        found.extend(children.remove(&pid).unwrap_or_default());
    }
    found
}

/// The fourth field of `stat`. The second is a name in parentheses, which may hold anything, parentheses too.
fn parent_in(stat: &[u8]) -> Option<u32> {
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(after..)?).ok()?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// What was read of a process or thread, if it still exists.
fn present<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(ESRCH) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What reading from a process that has ended gives.
const ESRCH: i32 = rustix::io::Errno::SRCH.raw_os_error();

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// A made `/proc`: each process with its parent and its resident pages.
    fn made(processes: &[(u32, u32, u64)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (pid, parent, pages) in processes {
            let own = folder.path().join(pid.to_string());
            std::fs::create_dir(&own).unwrap();
            // No UTF-8, and another closing parenthesis.
            let mut stat = format!("{pid} (a) S 1 (\n?) R {parent} 7 7").into_bytes();
            stat.iter_mut().filter(|byte| **byte == b'?').for_each(|byte| *byte = 0xff);
            std::fs::write(own.join("stat"), stat).unwrap();
            std::fs::write(own.join("statm"), format!("9999 {pages} 0 0 0 0 0\n")).unwrap();
        }
        folder
    }

    #[test]
    fn descendants_are_found_by_their_parents() {
        let folder = made(&[(1, 0, 1), (7, 1, 1), (8, 7, 3), (9, 8, 4), (10, 7, 5), (11, 1, 1000), (12, 99, 1)]);
        let processes = Processes::of(folder.path());
        assert!(!processes.lists_children);
        let mut found = processes.descendants(7).unwrap();
        found.sort_unstable();
        assert_eq!(found, [8, 9, 10]);
        let page = rustix::param::page_size() as u64;
        assert!(!processes.take_more_than(12 * page, 7).unwrap());
        assert!(processes.take_more_than(12 * page - 1, 7).unwrap());
    }

    /// Not being able to tell is no "nothing".
    #[test]
    fn what_cannot_be_read_is_an_error() {
        let folder = made(&[(1, 0, 1), (7, 1, 1), (8, 7, 1)]);
        let processes = Processes::of(folder.path());
        assert!(processes.descendants(6).unwrap_err().to_string().contains("process 6"));
        std::fs::write(folder.path().join("8/statm"), "").unwrap();
        assert!(processes.take_more_than(1, 7).unwrap_err().to_string().contains("8/statm"));
        std::fs::write(folder.path().join("8/stat"), "8 (a").unwrap();
        assert!(processes.children(7).unwrap_err().to_string().contains("8/stat"));
        assert!(Processes::of(&folder.path().join("absent")).children(7).is_err());
    }

    /// Both ways see the same on the real `/proc`: a child, one of its own, and one whose parent has ended.
    #[cfg(target_os = "linux")]
    #[test]
    fn both_ways_see_the_same() {
        let script = "sh -c 'sleep 60 & sleep 60 & read x'; read x";
        let mut shell = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        let began = Instant::now();
        let listing = Processes::of(Path::new("/proc"));
        let walking = Processes::by_parents(Path::new("/proc"));
        let sorted = |processes: &Processes| {
            let mut found = processes.descendants(shell.id()).unwrap();
            found.sort_unstable();
            found
        };
        while sorted(&walking).len() < 3 {
            assert!(began.elapsed().as_secs() < 20, "{:?}", sorted(&walking));
            std::thread::sleep(FRESH);
        }
        let found = sorted(&walking);
        assert_eq!(sorted(&listing), found);
        drop(shell.stdin.take());
        for pid in found {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        shell.wait().unwrap();
    }
}
