//! The system calls that a program in the sandbox may make, as a BPF filter for the kernel's seccomp.
//!
//! Namespaces already take the host away; the filter keeps programs from the parts of the kernel that they do not need,
//! and from memory that no limit counts. It is a list of what is allowed, modelled on Docker's default profile
//! (<https://github.com/moby/profiles/blob/main/seccomp/default.json>, <https://docs.docker.com/engine/security/seccomp/>)
//! less what neither Python with its standard library, nor programs in C++, nor their compilers need: asynchronous I/O,
//! key rings, System V and POSIX message queues, shared memory and semaphores, memory files, watches on files, other
//! users' ids, network sockets, tracing, landlock, and flushing all file systems.
//!
//! As in Docker, what is refused fails with `EPERM`, and what is newer than the profile with `ENOSYS`, upon which a C
//! library uses an older call. A call of another architecture's kind (`int 0x80` on x86_64) ends the process.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;

use records::{Error, Result};
use rustix::fs::{MemfdFlags, memfd_create};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    sock_filter,
};

/// Allowed whatever their arguments.
#[rustfmt::skip]
const ALLOWED: &[i64] = &[
    // Files.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_preadv2, libc::SYS_pwritev2, libc::SYS_openat, libc::SYS_close,
    libc::SYS_close_range, libc::SYS_lseek, libc::SYS_fcntl, libc::SYS_flock, libc::SYS_dup, libc::SYS_dup3,
    libc::SYS_pipe2, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getdents64, libc::SYS_getcwd,
    libc::SYS_chdir, libc::SYS_fchdir, libc::SYS_mkdirat, libc::SYS_unlinkat, libc::SYS_renameat, libc::SYS_renameat2,
    libc::SYS_linkat, libc::SYS_symlinkat, libc::SYS_fchmod, libc::SYS_fchmodat, FCHMODAT2,
    libc::SYS_fchown, libc::SYS_fchownat, libc::SYS_utimensat, libc::SYS_umask, libc::SYS_truncate,
    libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_fadvise64, libc::SYS_readahead, libc::SYS_fsync,
    libc::SYS_fdatasync, libc::SYS_sendfile, libc::SYS_copy_file_range, libc::SYS_getxattr, libc::SYS_lgetxattr,
    libc::SYS_fgetxattr, libc::SYS_listxattr, libc::SYS_llistxattr, libc::SYS_flistxattr,
    // Waiting for files.
    libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2, libc::SYS_eventfd2, libc::SYS_timerfd_create, libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    // Memory.
    libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mprotect, libc::SYS_mremap, libc::SYS_madvise,
    libc::SYS_mincore, libc::SYS_msync, libc::SYS_membarrier,
    // Processes and threads, all of them in the sandbox's namespace; `clone` has conditions.
    libc::SYS_execve, libc::SYS_execveat, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_wait4, libc::SYS_waitid,
    libc::SYS_getpid, libc::SYS_getppid, libc::SYS_gettid, libc::SYS_getpgid, libc::SYS_setpgid, libc::SYS_getsid,
    libc::SYS_setsid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getresuid,
    libc::SYS_getresgid, libc::SYS_getgroups, libc::SYS_getrlimit, libc::SYS_setrlimit, libc::SYS_getrusage,
    libc::SYS_getpriority, libc::SYS_setpriority, libc::SYS_prctl, libc::SYS_set_tid_address,
    libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_futex, libc::SYS_sched_yield, libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity, libc::SYS_sched_getparam, libc::SYS_sched_setparam, libc::SYS_sched_getscheduler,
    libc::SYS_sched_setscheduler, libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min,
    libc::SYS_sched_rr_get_interval, libc::SYS_getcpu, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal,
    // Signals.
    libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigpending, libc::SYS_rt_sigreturn, libc::SYS_rt_sigsuspend, libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo, libc::SYS_sigaltstack, libc::SYS_restart_syscall,
    // Time.
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep, libc::SYS_nanosleep,
    libc::SYS_gettimeofday, libc::SYS_times, libc::SYS_getitimer, libc::SYS_setitimer, libc::SYS_timer_create,
    libc::SYS_timer_settime, libc::SYS_timer_gettime, libc::SYS_timer_getoverrun, libc::SYS_timer_delete,
    // Sockets between processes in here; `socket` and `socketpair` have conditions.
    libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_connect, libc::SYS_shutdown,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_sendto,
    libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg,
    // The machine.
    libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrandom,
];

/// Older forms of the above that only this architecture has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_open, libc::SYS_creat, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink,
    libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_unlink, libc::SYS_rename, libc::SYS_link, libc::SYS_symlink,
    libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat,
    libc::SYS_getdents, libc::SYS_dup2, libc::SYS_pipe, libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_create,
    libc::SYS_epoll_wait, libc::SYS_eventfd, libc::SYS_fork, libc::SYS_vfork, libc::SYS_getpgrp, libc::SYS_pause,
    libc::SYS_alarm, libc::SYS_time, libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];

/// `libc` names it on some architectures only.
const FCHMODAT2: i64 = 452;

/// The last number that the profile knows: `removexattrat`, of Linux 6.13. Numbers from 424 on are the same everywhere.
const NEWEST: u32 = 466;

/// `clone` flags for new namespaces: of mounts, control groups, host names, IPC, users, processes, network and time.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    // CLONE_NEWTIME
    | 0x80;

/// What may be asked of a file by `ioctl`: is it a terminal and how large, how much can be read, and to set flags of its
/// descriptor, which Python does so. Drivers see no others.
const CONTROLS: [u32; 7] = [
    libc::TCGETS as u32,
    // TCGETS2, which newer C libraries ask instead.
    0x802c_542a,
    libc::TIOCGWINSZ as u32,
    libc::FIONREAD as u32,
    libc::FIONBIO as u32,
    libc::FIOCLEX as u32,
    libc::FIONCLEX as u32,
];

/// The filter as `bwrap --seccomp` reads it.
pub(super) fn filter() -> Result<Vec<u8>> {
    let unfit = |error: &dyn std::fmt::Display| {
        Error::invalid(
            "the sandbox",
            format!("no filter of system calls can be made for this machine: {error}"),
            "run code verification on Linux on x86_64 or aarch64",
        )
    };
    let rules = rules().map_err(|e| unfit(&e))?;
    let arch = std::env::consts::ARCH.try_into().map_err(|e: seccompiler::BackendError| unfit(&e))?;
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let program: BpfProgram = SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)
        .and_then(TryInto::try_into)
        .map_err(|e| unfit(&e))?;
    let mut bytes = Vec::new();
    for sock_filter { code, jt, jf, k } in head().into_iter().chain(program) {
        bytes.extend(code.to_ne_bytes());
        bytes.extend([jt, jf]);
        bytes.extend(k.to_ne_bytes());
    }
    Ok(bytes)
}

/// A file in memory for `bwrap` to read the filter from.
pub(super) fn file(filter: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("filter", MemfdFlags::CLOEXEC)?);
    file.write_all(filter)?;
    file.rewind()?;
    Ok(file.into())
}

/// The numbers that are allowed, some of them on conditions, and the last one that the profile knows.
#[cfg(test)]
pub(super) fn profile() -> (Vec<i64>, u32) {
    (rules().unwrap().into_keys().collect(), NEWEST)
}

/// What is allowed: each number with its rules, any of which must hold.
fn rules() -> std::result::Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    let when =
        |argument, length, op, value| SeccompRule::new(vec![SeccompCondition::new(argument, length, op, value)?]);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    let local = libc::AF_UNIX as u64;
    rules.insert(libc::SYS_socket, vec![when(0, Dword, SeccompCmpOp::Eq, local)?]);
    rules.insert(libc::SYS_socketpair, vec![when(0, Dword, SeccompCmpOp::Eq, local)?]);
    let namespaces = u64::from(NAMESPACES as u32);
    rules.insert(libc::SYS_clone, vec![when(0, Qword, SeccompCmpOp::MaskedEq(namespaces), 0)?]);
    // Limits are one's own.
    rules.insert(libc::SYS_prlimit64, vec![when(0, Dword, SeccompCmpOp::Eq, 0)?]);
    let controls = CONTROLS.map(|control| when(1, Dword, SeccompCmpOp::Eq, u64::from(control)));
    rules.insert(libc::SYS_ioctl, controls.into_iter().collect::<std::result::Result<_, _>>()?);
    // Named pipes, but no devices.
    let kind = SeccompCmpOp::MaskedEq(u64::from(libc::S_IFMT));
    let pipe = u64::from(libc::S_IFIFO);
    rules.insert(libc::SYS_mknodat, vec![when(2, Dword, kind.clone(), pipe)?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_mknod, vec![when(1, Dword, kind, pipe)?]);
    Ok(rules)
}

/// What comes first: what is newer than the profile is said not to exist, and with it the x32 interface, whose numbers
/// begin at 0x40000000; and so is `clone3`, since its flags are in memory that no filter sees (the C library then uses
/// `clone`).
fn head() -> [sock_filter; 4] {
    let load_number = sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    let is_newer = sock_filter { code: 0x25, jt: 1, jf: 0, k: NEWEST };
    let is_clone3 = sock_filter { code: 0x15, jt: 0, jf: 1, k: libc::SYS_clone3 as u32 };
    let not_there = sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0000 | libc::ENOSYS as u32 };
    [load_number, is_newer, is_clone3, not_there]
}
