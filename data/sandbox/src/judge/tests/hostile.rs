//! Programs that would harm: each is run, and after each an honest one.

use CodeVerdict::{Accepted, MemoryLimit, RuntimeError, TimeLimit, WrongAnswer};

use super::*;

/// Runs a program that prints what it got away with: `nothing` if it went well. Prints a row of the table.
#[track_caller]
fn outcome_of(name: &str, program: &str, verdicts: &[CodeVerdict]) {
    let prelude = "import ctypes, os, signal, socket, subprocess, sys, time, mmap\n\
        def works(f, *a):\n    try:\n        f(*a)\n        return True\n    except Exception:\n        return False\n";
    let began = std::time::Instant::now();
    let Some(outcome) = printing(&[prelude, program].concat(), "nothing") else { return };
    let took = began.elapsed();
    let honest = printing("print(6 * 7)", "42").map(|o| o.verdict);
    eprintln!("hostile: {name:<22} {:<4} in {:>5} ms; the next program: AC", outcome.verdict.code(), took.as_millis());
    assert!(verdicts.contains(&outcome.verdict), "{name}: {outcome:?}");
    assert!(took.as_secs() < 40, "{name} took {took:?}");
    assert_eq!(honest, Some(Accepted), "after {name}");
}

macro_rules! hostile {
    ($($name:ident: [$($verdict:expr),+] $program:expr;)+) => {
        $(
            #[test]
            fn $name() {
                outcome_of(stringify!($name), $program, &[$($verdict),+]);
            }
        )+
    };
}

hostile! {
    fork_bomb: [TimeLimit] "
while True:
    try: os.fork()
    except OSError: pass";
    fork_count: [Accepted] "
count = 0
try:
    while count < 1000:
        if os.fork() == 0: time.sleep(60)
        count += 1
except OSError: pass
print('nothing' if count < 64 else count)";
    thread_bomb: [Accepted] "
import threading
count = 0
try:
    while count < 1000:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        count += 1
except RuntimeError: pass
print('nothing' if count < 64 else count, flush=True)
os._exit(0)";
    fill_disk: [Accepted] "
total = 0
for folder in ('/box', '/dev/shm', '/var/tmp', '/run', '/', '/dev', '/etc', '/usr'):
    number = 0
    while number < 200:
        try:
            with open(f'{folder}/{number}', 'wb', buffering=0) as f:
                while True: total += f.write(bytes(1 << 20))
        except OSError: pass
        try: size = os.path.getsize(f'{folder}/{number}')
        except OSError: break
        if size == 0: break
        number += 1
print('nothing' if total <= 64 << 20 else total)";
    one_large_file: [Accepted, RuntimeError] "
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
f = open('/box/x', 'wb')
print(works(os.ftruncate, f.fileno(), 1 << 40) or works(os.posix_fallocate, f.fileno(), 0, 1 << 30) or 'nothing')";
    read_secrets: [Accepted] "
found = [p for p in ('/etc/passwd', '/etc/shadow', '/etc/hostname', '/etc/ssl', '/root', '/home', '/proc', '/proc/self',
    '/proc/1/environ', '/sys', '/var', '/run', '/boot', '/mnt', '/opt', '/srv', '/dev/mem', '/dev/kvm', '/dev/sda',
    '/dev/vda', '/dev/tty', '/dev/fuse', '/dev/pts') if os.path.exists(p)]
found += [p for p in os.listdir('/') if p not in ('usr', 'bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32', 'etc', 'dev', 'box', 'tmp')]
found += [p for p in os.listdir('/etc') if p not in ('ld.so.cache', 'alternatives')]
print(found or 'nothing')";
    environment: [Accepted] "
known = {'PATH', 'HOME', 'TMPDIR', 'LANG', 'PYTHONUTF8', 'PYTHONHASHSEED', 'OPENBLAS_NUM_THREADS', 'OMP_NUM_THREADS', 'PWD', 'LC_CTYPE'}
print((set(os.environ) - known) or 'nothing')";
    sockets: [Accepted] "
found = [f for f in range(50) if f != socket.AF_UNIX and works(socket.socket, f, socket.SOCK_STREAM) or f != socket.AF_UNIX and works(socket.socket, f, socket.SOCK_RAW)]
found += [h for h in ('localhost', 'example.org') if works(socket.create_connection, (h, 80), 1)]
print(found or 'nothing')";
    huge_output: [WrongAnswer] "
while True: print('nothing' * 1000)";
    huge_errors: [Accepted] "
for _ in range(50): sys.stderr.write('x' * (1 << 20))
print('nothing')";
    tracing: [Accepted] "
libc = ctypes.CDLL(None, use_errno=True)
found = [(request, pid) for request in (0, 16, 0x4206) for pid in (0, 1, os.getppid()) if libc.ptrace(request, pid, 0, 0) != -1]
print(found or 'nothing')";
    system_calls: [Accepted] "
if os.uname().machine == 'x86_64':
    libc = ctypes.CDLL(None, use_errno=True)
    calls = dict(unshare=(272, 0x10000000), unshare_net=(272, 0x40000000), setns=(308, 0, 0), bpf=(321, 0, 0, 0),
        keyctl=(250, 0, -3, 1), add_key=(248, b'user', b'x', b'y', 1, -3), perf=(298, 0, 0, -1, -1, 0), userfaultfd=(323, 1),
        io_uring=(425, 1, 0), mount=(165, b'x', b'/box', b'tmpfs', 0, 0), chroot=(161, b'/box'), pivot=(155, b'/', b'/'),
        clone_user=(56, 0x10000011, 0, 0, 0, 0), clone_net=(56, 0x40000011, 0, 0, 0, 0), clone3=(435, 0, 0), memfd=(319, b'x', 0), shm=(29, 0, 1 << 30, 0o1600),
        swapon=(167, b'/box/x', 0), reboot=(169, 0, 0, 0), settime=(227, 0, 0), iopl=(172, 3), modules=(175, 0, 0, b''),
        x32_mount=(0x40000000 | 165, b'x', b'/box', b'tmpfs', 0, 0), x32_ptrace=(0x40000000 | 521, 0, 0, 0, 0), open_tree=(428, -100, b'/', 1),
        handle=(304, -100, 0, 0), prlimit=(302, 1, 7, 0, 0))
    found = []
    for name, (number, *args) in calls.items():
        got = libc.syscall(number, *args)
        if got == 0 and name.startswith('clone'): os._exit(0)
        if got != -1 or ctypes.get_errno() not in (1, 38): found.append((name, got, ctypes.get_errno()))
    print(found or 'nothing')
else: print('nothing')";
    symlinks: [Accepted] "
found = []
for target in ('/etc/passwd', '/etc/shadow', '/etc/hostname', '/proc/1/root/etc/passwd', '/box/../../etc/passwd'):
    os.symlink(target, '/box/link')
    if works(open, '/box/link'): found.append(target)
    if works(open, '/box/link', 'w'): found.append('write ' + target)
    os.unlink('/box/link')
for target in ('/usr/x', '/x', '/etc/x', '/dev/x', '/etc/ld.so.cache', '/usr/bin/python3'):
    os.symlink(target, '/box/link')
    if works(open, '/box/link', 'a'): found.append('write ' + target)
    os.unlink('/box/link')
    if works(os.link, target, '/box/hard'): found.append('link ' + target)
os.symlink('/usr', '/box/usr')
if works(os.rename, '/box/usr/bin', '/box/bin'): found.append('rename')
print(found or 'nothing')";
    setuid: [Accepted] "
found = []
for path in ('/usr/bin/su', '/usr/bin/mount', '/usr/bin/passwd', '/usr/bin/newgrp', '/usr/bin/chsh', '/usr/bin/sudo', '/usr/bin/bwrap'):
    if os.path.exists(path) and os.stat(path).st_uid == 0 and os.getuid() == 0: found.append(path)
run = lambda *c: subprocess.run(c, capture_output=True, stdin=subprocess.DEVNULL, timeout=3).returncode == 0
for command in (['su', '-c', 'id'], ['mount', '-t', 'tmpfs', 'x', '/box'], ['unshare', '-Ur', 'id'], ['newgrp', 'root'],
        ['bwrap', '--unshare-user', '--ro-bind', '/', '/', 'id']):
    if works(run, *command) and run(*command): found.append(command)
for change in (os.setuid, os.setgid):
    if works(change, 0): found.append(change.__name__)
libc = ctypes.CDLL(None)
if libc.prctl(39, 0, 0, 0, 0) != 1: found.append('new privileges')
print(found or 'nothing')";
    infinite_loop: [TimeLimit] "
while True: pass";
    sleep: [TimeLimit] "
time.sleep(1000)";
    stop_oneself: [TimeLimit] "
os.kill(os.getpid(), signal.SIGSTOP)";
    ignore_signals: [TimeLimit] "
for number in range(1, 65):
    works(signal.signal, number, signal.SIG_IGN)
while True: pass";
    kill_everything: [Accepted] "
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV, signal.SIGXCPU):
    works(os.kill, os.getppid(), number)
    works(os.kill, 1, number)
    if number != signal.SIGSTOP: works(os.kill, -1, number) if number == signal.SIGKILL else None
print('nothing')";
    memory_bomb: [MemoryLimit] "
data = []
while True: data.append(bytearray(1 << 20))";
    many_memory_bombs: [MemoryLimit] "
for _ in range(20):
    if os.fork() == 0: break
data = bytearray(b'x') * (150 << 20)
time.sleep(60)";
    shared_memory_bomb: [MemoryLimit] "
for _ in range(20):
    if os.fork() == 0: break
data = mmap.mmap(-1, 150 << 20)
for at in range(0, 150 << 20, 4096): data[at] = 1
time.sleep(60)";
    more_limits: [Accepted] "
import resource
found = []
for what in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
    soft, hard = resource.getrlimit(what)
    if hard == resource.RLIM_INFINITY or works(resource.setrlimit, what, (hard + 1, hard + 1)): found.append(what)
print(found or 'nothing')";
    recursion: [RuntimeError, MemoryLimit, TimeLimit] "
sys.setrecursionlimit(10 ** 9)
def f(n): return [f(n + 1)]
f(0)";
    nesting: [RuntimeError] "
x = []
for _ in range(10 ** 6): x = [x]
print(repr(x))";
    writing_outside: [Accepted] "
found = []
for folder in ('/', '/usr', '/usr/bin', '/usr/lib', '/etc', '/dev', '/lib', '/var', '/root', '/..', '/box/..'):
    if works(open, folder + '/x', 'w') or works(os.mkdir, folder + '/y'): found.append(folder)
for change in ((os.remove, '/usr/bin/python3'), (os.chmod, '/', 0o777), (os.chmod, '/usr', 0o777), (os.utime, '/etc'), (os.rmdir, '/dev')):
    if works(*change): found.append(change)
for path in ('/dev/null', '/dev/zero', '/dev/random'):
    if works(os.chmod, path, 0): found.append(path)
print(found or 'nothing')";
    pipes: [Accepted] "
ends = []
try:
    while len(ends) < 10000: ends.append(os.pipe())
except OSError: pass
print('nothing' if len(ends) < 64 else len(ends))";
    many_files: [RuntimeError] "
for number in range(10 ** 7):
    open(f'/box/{number}', 'w').close()
print('nothing')";
    deep_folders: [Accepted] "
for _ in range(3000):
    os.mkdir('x'); os.chdir('x')
os.chmod('/box', 0)
print('nothing')";
    daemon: [Accepted] "
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        while True:
            works(open, '/box/alive', 'w')
    os._exit(0)
os.wait()
print('nothing')";
}

/// What one test leaves behind, the next does not find; and no process outlives the sandbox.
#[test]
fn nothing_stays() {
    let program = r#"
import os, sys, time
if input() == "leave":
    open("/box/file", "w").write("x")
    os.makedirs("/box/a/b")
    os.symlink("/usr", "/box/usr")
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
    print("left")
else:
    try:
        os.kill(-1, 0)
        others = True
    except ProcessLookupError:
        others = False
    print(sorted(os.listdir("/box")), others)
"#;
    let spec = stdio_spec(Language::Python, &[("leave", "left"), ("look", "[] False")]);
    if let Some(outcome) = judge(program, &spec) {
        assert_eq!(outcome.verdict, Accepted, "{outcome:?}");
    }
}
