"""The first process of a sandbox: runs a program on tests, each in a process of its own that is confined before any of
the program's code runs. It takes requests on one pipe and answers on another, one JSON object a frame, behind its
length in 4 bytes. Being process 1 of its namespace it cannot be killed, stopped or traced by what it starts, and it
ends with everything when its requests end. It holds no expected output: comparing is done outside."""
import builtins
import collections
import json
import os
import resource
import select
import signal
import struct
import sys
import time
import traceback
import types

WORK = "/box"
MAIN = WORK + "/main.py"
BINARY = WORK + "/.program"
STACK_BYTES = 64 << 20
OPEN_FILES = 64
MOST_FILES = 20_000
STDERR_BYTES = 4096
OUT_OF_MEMORY = 78
COMPILE_SECONDS = 30
COMPILE_BYTES = 1 << 30
MESSAGE_BYTES = 64 << 20


def read_all(fd, count):
    data = bytearray()
    while len(data) < count:
        chunk = os.read(fd, count - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


def receive(fd):
    (length,) = struct.unpack("<I", read_all(fd, 4))
    if length > MESSAGE_BYTES:
        raise EOFError
    return json.loads(read_all(fd, length))


def send(fd, message):
    data = json.dumps(message).encode()
    write_all(fd, struct.pack("<I", len(data)) + data)


# Processes.


def confine(limits, fds):
    """Gives a new process its files and its limits. Limits are hard: nothing in here may raise them again."""
    os.setsid()
    # Out of the way first, so that none is overwritten before it is moved.
    moved = [os.dup(fd) for fd in fds]
    moved = [os.dup2(fd, 100 + i) for i, fd in enumerate(moved)]
    for place, fd in enumerate(moved):
        os.dup2(fd, place)
    os.closerange(len(fds), 1024)

    def limit(what, value):
        resource.setrlimit(what, (value, value))

    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, limits["file_bytes"])
    limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    limit(resource.RLIMIT_NPROC, limits["processes"])
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    limit(resource.RLIMIT_STACK, STACK_BYTES if hard == resource.RLIM_INFINITY else min(STACK_BYTES, hard))
    seconds = int(limits["seconds"]) + 1
    # At the soft limit a signal that can be told from others; at the hard one, death.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    limit(resource.RLIMIT_AS, limits["memory_bytes"])


def start(limits, fds, main):
    """A process that runs `main` with `fds` as its files 0, 1, 2, ..."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        confine(limits, fds)
        code = main()
    except MemoryError:
        code = OUT_OF_MEMORY
    except BaseException:
        report()
    finally:
        os._exit(code)


def report():
    """Says on standard error what was raised, without the lines of this file."""
    try:
        kind, error, trace = sys.exc_info()
        while trace and trace.tb_frame.f_code.co_filename == "<string>":
            trace = trace.tb_next
        text = "".join(traceback.format_exception(kind, error, trace, limit=-12))
        write_all(2, text.encode("utf-8", "replace"))
    except BaseException:
        pass


class Tap:
    """What comes out of a pipe: the first `cap` bytes, or with `tail` the last ones."""

    def __init__(self, cap, tail=False):
        self.fd, self.end = os.pipe()
        os.set_blocking(self.fd, False)
        self.cap, self.tail, self.data, self.open, self.over = cap, tail, bytearray(), True, False

    def read(self):
        try:
            chunk = os.read(self.fd, 65536)
        except BlockingIOError:
            return False
        self.open = bool(chunk)
        self.data += chunk
        if len(self.data) > self.cap:
            if self.tail:
                del self.data[:-self.cap]
            else:
                self.over = True
                del self.data[self.cap:]
        return self.open and not self.over

    def text(self):
        return self.data.decode("utf-8", "replace")

    def close(self):
        os.close(self.fd)


class Feed:
    """What goes into a pipe."""

    def __init__(self, data):
        self.end, self.fd = os.pipe()
        os.set_blocking(self.fd, False)
        self.data = memoryview(data)

    def write(self):
        try:
            self.data = self.data[os.write(self.fd, self.data[:65536]):]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(self.data)


class Exit:
    """How a process ended."""

    def __init__(self, status, usage):
        self.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        self.code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        self.cpu = usage.ru_utime + usage.ru_stime
        self.rss = usage.ru_maxrss


def reap(exits):
    """Collects whatever ended; orphans are this process's children too."""
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        exits[pid] = Exit(status, usage)


def kill_all(exits):
    """Ends every process but this one. What forks meanwhile is found in the next round."""
    while reap(exits):
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass
        time.sleep(0.0002)


def supervise(requests, pids, taps, feed, limits):
    """Waits until the processes ended, or until time, output or requests do; then ends everything."""
    began = time.monotonic()
    deadline, next_look = began + limits["wall_seconds"], began
    poll = select.poll()
    readers = {tap.fd: tap for tap in taps}
    for fd in readers:
        poll.register(fd, select.POLLIN)
    if feed:
        poll.register(feed.fd, select.POLLOUT)
    poll.register(requests, 0)
    watches = [os.pidfd_open(pid) for pid in pids]
    for fd in watches:
        poll.register(fd, select.POLLIN)
    exits, end = {}, "exit"
    while True:
        reap(exits)
        if all(pid in exits for pid in pids):
            break
        left = deadline - time.monotonic()
        if left <= 0:
            end = "time"
            break
        # Files take memory beside their content, which the folder's size does not bound.
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + 0.1
            folder = os.statvfs(WORK)
            if folder.f_files - folder.f_ffree > MOST_FILES:
                end = "files"
                break
        for fd, _ in poll.poll(min(left, 0.1) * 1000):
            if fd == requests:
                raise EOFError
            if fd in readers:
                tap = readers[fd]
                if not tap.read() and (tap.over or not tap.open):
                    poll.unregister(fd)
            elif feed and fd == feed.fd:
                if not feed.write():
                    poll.unregister(fd)
                    os.close(fd)
                    feed = None
            else:
                reap(exits)
                for watch, pid in zip(watches, pids):
                    if watch == fd and pid in exits:
                        poll.unregister(fd)
        if any(tap.over for tap in taps):
            end = "output"
            break
    wall = time.monotonic() - began
    kill_all(exits)
    for tap in taps:
        while tap.open and tap.read():
            pass
        tap.close()
    for fd in watches + ([feed.fd] if feed else []):
        os.close(fd)
    if end == "exit" and any(tap.over for tap in taps):
        end = "output"
    return end, wall, exits


def describe(end, wall, ended, **more):
    return dict(
        end=end, wall=wall, code=ended.code, signal=ended.signal, cpu=ended.cpu, rss_kb=ended.rss, **more
    )


def clean():
    """Takes away what the test before left in the working folder, as far as that goes."""
    try:
        os.chmod(WORK, 0o700)
        empty(WORK)
    except (OSError, RecursionError):
        pass


def empty(work):
    for folder, folders, files in os.walk(work, topdown=False):
        for name in files + folders:
            path = os.path.join(folder, name)
            if path == BINARY:
                continue
            try:
                os.rmdir(path) if name in folders and not os.path.islink(path) else os.unlink(path)
            except OSError:
                pass
