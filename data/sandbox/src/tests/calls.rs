//! System calls in a sandbox: what is refused, and what ordinary programs need.

use super::*;

/// A program that makes raw calls and collects what did not go as it should.
const RAW: &str = "
import ctypes, errno, json, os
libc = ctypes.CDLL(None, use_errno=True)
found = []
def call(number, *args):
    ctypes.set_errno(0)
    args = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    return libc.syscall(ctypes.c_long(number), *args), ctypes.get_errno()
def refused(name, number, *args, errors=(errno.EPERM,)):
    got = call(number, *args)
    if got[0] == 0 and 'clone' in name: os._exit(0)
    if got[0] != -1 or got[1] not in errors: found.append((name, got))
";

#[track_caller]
fn finds_nothing(program: &str) {
    let Some(sandbox) = sandbox() else { return };
    let reply = run(sandbox, &[RAW, program, "\nprint(found or 'nothing')"].concat()).unwrap();
    assert_eq!(reply["stdout"], "nothing\n", "{reply}");
}

/// Every number that is not listed, up to far beyond the newest; those of x32 too.
#[test]
fn calls_that_are_not_listed_are_refused() {
    let (allowed, newest) = filter::profile();
    for never in [
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_bpf,
        libc::SYS_userfaultfd,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_clone3,
        libc::SYS_open_by_handle_at,
        libc::SYS_name_to_handle_at,
        libc::SYS_perf_event_open,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_personality,
        libc::SYS_memfd_create,
        libc::SYS_seccomp,
        libc::SYS_sync,
        libc::SYS_io_setup,
        libc::SYS_splice,
        libc::SYS_shmget,
        libc::SYS_landlock_create_ruleset,
    ] {
        assert!(!allowed.contains(&never), "{never}");
    }
    let clone3 = libc::SYS_clone3;
    finds_nothing(&format!(
        "
allowed = {allowed:?}
# Linux lets x86_64's uretprobe and uprobe past every filter, and kills who calls them from anywhere but a probe.
past = (335, 336) if os.uname().machine == 'x86_64' else ()
for number in range(600):
    if number not in allowed and number not in past:
        newer = number > {newest} or number == {clone3}
        refused(str(number), number, 0, 0, 0, 0, 0, 0, errors=(errno.ENOSYS if newer else errno.EPERM,))
for number in (4096, 0x40000000 | 165, 0x40000000 | 39, 0x40000000 | 521, 0x7fffffff, 0xffffff00):
    refused(hex(number), number, 0, 0, 0, 0, 0, 0, errors=(errno.ENOSYS,))"
    ));
}

/// What is allowed only with some arguments.
#[test]
fn arguments_that_are_not_listed_are_refused() {
    let (clone, socket, pair) = (libc::SYS_clone, libc::SYS_socket, libc::SYS_socketpair);
    let (ioctl, prlimit, mknodat) = (libc::SYS_ioctl, libc::SYS_prlimit64, libc::SYS_mknodat);
    let (sti, linux) = (libc::TIOCSTI, libc::TIOCLINUX);
    finds_nothing(&format!(
        "
for bit in (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
    refused(f'clone {{bit:x}}', {clone}, bit | 17, 0, 0, 0, 0)
    refused(f'clone {{bit:x}}', {clone}, 0x100000000 | bit | 17, 0, 0, 0, 0)
refused('clone all', {clone}, 0x7e020011, 0, 0, 0, 0)
for family in range(50):
    if family != 1:
        for kind in (1, 2, 3, 5):
            refused(f'socket {{family}}', {socket}, family, kind, 0)
            refused(f'pair {{family}}', {pair}, family, kind, 0, (ctypes.c_int * 2)())
refused('socket with high bits', {socket}, 0x100000002, 1, 0)
for request in ({sti}, {linux}, 0x5405, 0x8901, 0x5441):
    refused(f'ioctl {{request:x}}', {ioctl}, 0, request, b'x' * 64)
refused('limits of another', {prlimit}, 1, 7, 0, 0)
for mode in (0o020666, 0o060666, 0o100666, 0o140666, 0):
    refused(f'mknod {{mode:o}}', {mknodat}, -100, b'/box/device', mode, 0x103)"
    ));
}

/// A call of another architecture's kind ends the process, by SIGSYS, or by SIGSEGV where the kernel has none.
#[cfg(target_arch = "x86_64")]
#[test]
fn calls_by_interrupt_end_the_process() {
    let Some(sandbox) = sandbox() else { return };
    // mov eax, 20 (getpid); int 0x80; ret
    let program = "
import ctypes, mmap
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3]))
at = ctypes.addressof(ctypes.c_char.from_buffer(code))
print(ctypes.CFUNCTYPE(ctypes.c_int)(at)())";
    let reply = run(sandbox, program).unwrap();
    let signal = reply["signal"].as_i64();
    assert!(signal == Some(31) || signal == Some(11), "{reply}");
    assert_eq!(reply["stdout"], "");
}

/// The standard library's ways to the kernel.
#[test]
fn ordinary_programs_are_not_hindered() {
    let Some(sandbox) = sandbox() else { return };
    let reply = run(sandbox, include_str!("ordinary.py")).unwrap();
    assert_eq!(reply["stdout"], "all\n", "{reply}");
}
