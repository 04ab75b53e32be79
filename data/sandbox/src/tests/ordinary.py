# What programs do that are no attack: each part must work in a sandbox.
import asyncio, concurrent.futures, contextlib, ctypes, decimal, fcntl, glob, gzip, hashlib, io, json, mmap, os
import pathlib, platform, pwd, queue, random, resource, select, selectors, shutil, signal, socket, socketserver
import sqlite3, stat, struct, subprocess, sys, tempfile, threading, time, uuid, zipfile

parts = []
part = parts.append


@part
def files():
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "a").write_text("x" * 100000)
    shutil.copy2(folder / "a", folder / "b")
    shutil.copyfile(folder / "a", folder / "c")
    shutil.copytree(folder, "/box/tree")
    os.rename(folder / "b", folder / "d")
    os.replace(folder / "c", folder / "e")
    os.link(folder / "d", folder / "f")
    os.symlink("d", folder / "g")
    assert os.readlink(folder / "g") == "d" and os.path.samefile(folder / "d", folder / "g")
    os.chmod(folder / "d", 0o600)
    os.chown(folder / "d", os.getuid(), os.getgid())
    os.utime(folder / "d", (1, 2))
    os.truncate(folder / "d", 10)
    assert os.stat(folder / "d").st_size == 10 and os.listxattr(folder / "d") == []
    os.mkfifo(folder / "pipe")
    assert stat.S_ISFIFO(os.lstat(folder / "pipe").st_mode)
    with open(folder / "h", "w+b") as file:
        file.write(b"abc")
        file.flush()
        os.fsync(file.fileno())
        os.posix_fallocate(file.fileno(), 0, 4096)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        assert os.pread(file.fileno(), 2, 1) == b"bc" and os.pwrite(file.fileno(), b"z", 0) == 1
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_UN)
        assert not os.isatty(file.fileno())
    assert len(glob.glob("/box/tree/*")) == 3 and sum(1 for _ in os.walk("/box")) > 1
    assert os.access("/box", os.W_OK) and os.statvfs("/box").f_bsize > 0
    shutil.rmtree(folder)
    shutil.rmtree("/box/tree")
    with tempfile.TemporaryFile() as file:
        file.write(b"x")


@part
def threads():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(lambda x: x * x, range(100))) == 328350
    lock, event, box = threading.Lock(), threading.Event(), queue.Queue()
    threading.Timer(0.01, event.set).start()
    assert event.wait(5) and not lock.acquire(timeout=0.01) is False
    assert threading.get_native_id() > 0


@part
def processes():
    assert subprocess.run(["/bin/sh", "-c", "echo a | tr a b; exit 3"], capture_output=True).stdout == b"b\n"
    assert subprocess.check_output([sys.executable, "-c", "print(1)"]) == b"1\n"
    assert subprocess.run("sleep 0", shell=True, start_new_session=True, close_fds=True).returncode == 0
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(["sleep", "5"], timeout=0.05)
    assert os.system("true") == 0 and os.popen("echo x").read() == "x\n"
    pid = os.posix_spawn("/bin/true", ["true"], {})
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    watch = os.pidfd_open(pid)
    select.select([watch], [], [], 5)
    assert os.waitid(os.P_PID, pid, os.WEXITED).si_status == 7
    os.close(watch)


@part
def multiprocessing():
    import multiprocessing
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    worker = context.Process(target=lambda: theirs.send([1, 2, 3]))
    worker.start()
    assert ours.recv() == [1, 2, 3]
    worker.join()


@part
def sockets():
    a, b = socket.socketpair()
    a.sendall(b"x")
    assert b.recv(1) == b"x"
    server = socket.socket(socket.AF_UNIX)
    server.bind("/box/socket")
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect("/box/socket")
    peer, _ = server.accept()
    client.setblocking(False)
    peer.sendmsg([b"y"])
    assert select.select([client], [], [], 5)[0] and client.recvmsg(1)[0] == b"y"
    with selectors.DefaultSelector() as selector:
        selector.register(peer, selectors.EVENT_WRITE)
        assert selector.select(1)
    os.unlink("/box/socket")


@part
def coroutines():
    async def work():
        process = await asyncio.create_subprocess_exec("echo", "x", stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
        await asyncio.gather(asyncio.sleep(0.01), asyncio.to_thread(time.sleep, 0.01))
        return said
    assert asyncio.run(work()) == b"x\n"


@part
def signals():
    got = []
    signal.signal(signal.SIGALRM, lambda *_: got.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.pause()
    signal.alarm(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.SIGUSR1 in signal.sigpending() and signal.sigtimedwait([signal.SIGUSR1], 1).si_signo
    signal.raise_signal(signal.SIGALRM)
    assert len(got) == 2


@part
def times():
    assert time.time() > 0 and time.clock_getres(time.CLOCK_MONOTONIC) > 0 and time.process_time() > 0
    assert time.thread_time() >= 0 and time.localtime().tm_year > 2000 and os.times().user >= 0
    time.sleep(0.001)


@part
def machine():
    assert os.uname().sysname == "Linux" and platform.platform() and os.cpu_count() and os.sched_getaffinity(0)
    assert os.getuid() == os.geteuid() and os.getgroups() is not None and os.getloadavg is not None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0 and resource.getrlimit(resource.RLIMIT_AS)[0] > 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    os.nice(1)
    os.umask(0o022)
    assert os.getpgid(0) and os.getsid(0) and os.getpriority(os.PRIO_PROCESS, 0) == 1
    assert len(os.urandom(8)) == 8 and len(os.getrandom(8)) == 8 and uuid.uuid4() and random.SystemRandom().random()
    os.sched_yield()
    os.sched_setaffinity(0, os.sched_getaffinity(0))


@part
def data():
    base = sqlite3.connect("/box/base")
    base.execute("CREATE TABLE t (x)")
    base.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(100)])
    base.commit()
    assert base.execute("SELECT sum(x) FROM t").fetchone() == (4950,)
    base.close()
    with gzip.open("/box/z.gz", "wt") as file:
        file.write("x")
    with zipfile.ZipFile("/box/z.zip", "w") as archive:
        archive.write("/box/z.gz")
    assert hashlib.sha256(b"").hexdigest()[:4] == "e3b0" and decimal.Decimal(2).sqrt()
    memory = mmap.mmap(-1, 1 << 20)
    memory.write(b"x")
    memory.flush()
    with open("/box/base", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped.flush()
        mapped.resize(8192)


@part
def newer():
    if hasattr(os, "eventfd"):
        fd = os.eventfd(1)
        assert os.eventfd_read(fd) == 1
    if hasattr(os, "timerfd_create"):
        fd = os.timerfd_create(time.CLOCK_MONOTONIC)
        os.timerfd_settime(fd, initial=0.001)
        assert os.read(fd, 8)
    ours, theirs = os.pipe2(os.O_NONBLOCK)
    os.set_inheritable(ours, True)
    os.set_blocking(ours, True)
    os.sendfile(theirs, os.open("/usr/bin/env", os.O_RDONLY), 0, 100)
    assert len(os.read(ours, 100)) == 100


failed = []
for test in parts:
    try:
        test()
    except BaseException as error:
        failed.append((test.__name__, repr(error)))
print(failed or "all")
