//! The system calls that a program in the sandbox may not make, as a BPF filter for the kernel's seccomp.
//!
//! Namespaces already take the host away; the filter takes away what could be used against the kernel itself (see the
//! lists of Docker's default profile and of bubblewrap's users such as Flatpak), and memory that no limit counts.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    sock_filter,
};

use crate::{Error, Result};

/// Refused whatever their arguments.
#[rustfmt::skip]
const REFUSED: &[i64] = &[
    // Other processes.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd, libc::SYS_kcmp, libc::SYS_migrate_pages, libc::SYS_move_pages,
    // Namespaces and mounts.
    libc::SYS_unshare, libc::SYS_setns, libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot,
    libc::SYS_move_mount, libc::SYS_open_tree, libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount,
    libc::SYS_fspick, libc::SYS_mount_setattr, libc::SYS_quotactl, libc::SYS_swapon, libc::SYS_swapoff,
    libc::SYS_name_to_handle_at, libc::SYS_open_by_handle_at, libc::SYS_fanotify_init, libc::SYS_fanotify_mark,
    // Large parts of the kernel that no solution to a problem needs.
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_keyctl, libc::SYS_add_key,
    libc::SYS_request_key, libc::SYS_personality, libc::SYS_lookup_dcookie, libc::SYS_acct, libc::SYS_syslog,
    libc::SYS_kexec_load, libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_reboot,
    libc::SYS_vhangup, libc::SYS_nfsservctl, libc::SYS_mbind, libc::SYS_set_mempolicy,
    // The clock and the machine's names.
    libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex,
    libc::SYS_sethostname, libc::SYS_setdomainname,
    // Memory that neither the address space nor the working folder's size bounds.
    libc::SYS_memfd_create, libc::SYS_memfd_secret, libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmctl,
    libc::SYS_msgget, libc::SYS_msgsnd, libc::SYS_semget, libc::SYS_mq_open,
];

/// Those that only this architecture has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

const NAMESPACES: [i32; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    // CLONE_NEWTIME
    0x80,
];

/// The filter as `bwrap --seccomp` reads it.
pub(super) fn filter() -> Result<Vec<u8>> {
    let unfit = |error: &dyn std::fmt::Display| {
        Error::invalid(
            "the sandbox",
            format!("no filter of system calls can be made for this machine: {error}"),
            "run code verification on Linux on x86_64, aarch64 or riscv64",
        )
    };
    let rules = rules().map_err(|e| unfit(&e))?;
    let arch = std::env::consts::ARCH.try_into().map_err(|e: seccompiler::BackendError| unfit(&e))?;
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)
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

fn rules() -> std::result::Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    let when =
        |argument, length, op, value| SeccompRule::new(vec![SeccompCondition::new(argument, length, op, value)?]);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_HERE).map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_socket, vec![when(0, Dword, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?]);
    let namespaces = NAMESPACES.iter().map(|flag| {
        let flag = u64::from(*flag as u32);
        when(0, Qword, SeccompCmpOp::MaskedEq(flag), flag)
    });
    rules.insert(libc::SYS_clone, namespaces.collect::<std::result::Result<_, _>>()?);
    // Limits are one's own; and nothing is typed into a terminal.
    rules.insert(libc::SYS_prlimit64, vec![when(0, Dword, SeccompCmpOp::Ne, 0)?]);
    rules.insert(
        libc::SYS_ioctl,
        vec![
            when(1, Dword, SeccompCmpOp::Eq, u64::from(libc::TIOCSTI as u32))?,
            when(1, Dword, SeccompCmpOp::Eq, u64::from(libc::TIOCLINUX as u32))?,
        ],
    );
    Ok(rules)
}

/// What comes first: `clone3` is said not to exist, since its flags are in memory that no filter sees (the C library then
/// uses `clone`), and so is the x32 interface, by which every call has a second number.
fn head() -> [sock_filter; 4] {
    let load_number = sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    let is_x32 = sock_filter { code: 0x35, jt: 1, jf: 0, k: 0x4000_0000 };
    let is_clone3 = sock_filter { code: 0x15, jt: 0, jf: 1, k: libc::SYS_clone3 as u32 };
    let not_there = sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0000 | libc::ENOSYS as u32 };
    [load_number, is_x32, is_clone3, not_there]
}
