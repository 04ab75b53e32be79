"""The first process of a sandbox: runs a program on tests, each in a process of its own that is confined before any of
the program's code runs. It takes requests on one pipe and answers on another, one JSON object a frame, behind its length
in 4 bytes. Being process 1 of its namespace it cannot be killed, stopped or traced by what it starts, and it ends with
everything when its requests end. It holds no expected output: comparing is done outside."""
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

WORK = "/work"
MAIN = WORK + "/main.py"
BINARY = WORK + "/.program"
STACK_BYTES = 64 << 20
OPEN_FILES = 64
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
    deadline = began + limits["wall_seconds"]
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


# Programs that read standard input and write standard output.


def finish():
    """What the interpreter does at its end, without taking it down."""
    code = 0
    threading = sys.modules.get("threading")
    if threading:
        threading._shutdown()
    if "atexit" in sys.modules:
        sys.modules["atexit"]._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            code = 120
    return code


def run_module(code, name):
    """Runs code as the module `name`; returns it and its exit code."""
    module = types.ModuleType(name)
    module.__dict__.update(__builtins__=builtins, __file__=MAIN)
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
        return module, 0
    except SystemExit as leave:
        if leave.code is None or isinstance(leave.code, int):
            return module, (leave.code or 0) & 0xFF
        write_all(2, str(leave.code).encode("utf-8", "replace"))
        return module, 1
    except MemoryError:
        return module, OUT_OF_MEMORY
    except BaseException:
        report()
        return module, 1


def compiled(source, name):
    """Compiles, and says on file 3 that it did: before any of the program's code runs."""
    code = compile(source, name, "exec", dont_inherit=True)
    os.write(3, b"c")
    return code


def python_main(source):
    code = compiled(source, MAIN)
    os.close(3)
    sys.argv = [MAIN]
    _, status = run_module(code, "__main__")
    return finish() or status


def binary_main():
    os.close(3)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(BINARY, [BINARY])


def compile_cpp(requests, source, compiler, limits):
    path = WORK + "/main.cpp"
    with open(path, "w", encoding="utf-8", errors="replace") as file:
        file.write(source)
    bounds = dict(limits, seconds=COMPILE_SECONDS, wall_seconds=2 * COMPILE_SECONDS)
    bounds["memory_bytes"] = max(limits["memory_bytes"], COMPILE_BYTES)
    bounds["file_bytes"] = limits["work_bytes"]
    nothing, errors = os.open("/dev/null", os.O_RDWR), Tap(STDERR_BYTES)
    command = [compiler, "-O2", "-std=c++17", "-w", "-fmax-errors=5", "-o", BINARY, path]
    if "clang" in compiler:
        command[4] = "-ferror-limit=5"
    pid = start(bounds, [nothing, nothing, errors.end], lambda: os.execv(compiler, command))
    os.close(nothing)
    os.close(errors.end)
    _, _, exits = supervise(requests, [pid], [errors], None, bounds)
    os.unlink(path)
    return {"compiled": exits[pid].code == 0 and os.path.exists(BINARY), "stderr": errors.text()}


def stdio(requests, program, request):
    """One case: fresh process, fresh folder."""
    limits, language, source = program
    clean()
    feed, out, err = Feed(request["stdin"].encode("utf-8", "surrogatepass")), Tap(request["stdout_bytes"]), Tap(STDERR_BYTES, True)
    ok = Tap(16)
    main = (lambda: python_main(source)) if language == "python" else binary_main
    pid = start(limits, [feed.end, out.end, err.end, ok.end], main)
    for fd in (feed.end, out.end, err.end, ok.end):
        os.close(fd)
    end, wall, exits = supervise(requests, [pid], [out, err, ok], feed, limits)
    compiles = language != "python" or ok.data[:1] == b"c"
    return describe(end, wall, exits[pid], compiled=compiles, stdout=out.text(), stderr=err.text())


# Programs whose functions are called by tests. The tests run in a process of their own; the program never sees them, and
# the only thing it can give back is plain values. So it can neither answer with an object that equals everything, nor
# change what `assert` or a builtin mean, nor end the tests early: no verdict arrives then.


class Gone(BaseException):
    """The program's process ended, or does not keep to the protocol."""


class Unsupported(BaseException):
    """The tests hand over something that cannot be sent."""


class Handle:
    """Stands in the tests for an object of the program's own. It equals itself alone and takes part in no arithmetic or
    comparison: those would be the program's to define."""

    __slots__ = ("_peer", "_id")

    def __init__(self, peer, number):
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_id", number)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._peer.ask("attribute", self, name)

    def __setattr__(self, name, value):
        self._peer.ask("set", self, name, value)

    def __call__(self, *args, **kwargs):
        return self._peer.call(self, args, kwargs)

    def __iter__(self):
        return self._peer.ask("iter", self)

    def __next__(self):
        return self._peer.ask("next", self)

    def __len__(self):
        return self._peer.ask("len", self)

    def __getitem__(self, key):
        return self._peer.ask("item", self, key)

    def __setitem__(self, key, value):
        self._peer.ask("set_item", self, key, value)

    def __bool__(self):
        return self._peer.ask("bool", self) is True

    def __str__(self):
        return self._peer.ask("str", self)

    def __repr__(self):
        return self._peer.ask("repr", self)


class Callback:
    """Stands in the program for a function of the tests."""

    def __init__(self, peer, number):
        self.peer, self.number = peer, number

    def __call__(self, *args, **kwargs):
        return self.peer.call(self, args, kwargs)


class Peer:
    """One end of the pipes between tests and program. Both ends may call the other while they wait for it."""

    def __init__(self, incoming, outgoing, is_tests):
        self.incoming, self.outgoing, self.is_tests = incoming, outgoing, is_tests
        self.objects, self.numbers, self.handles = {}, {}, {}
        self.module = None

    # Values.

    def plain(self, value):
        """A value as JSON."""
        kind = type(value)
        if value is None or kind in (bool, str, float):
            return value
        if kind is int:
            return value if -(1 << 53) < value < (1 << 53) else {"i": hex(value)}
        if kind is list:
            return [self.plain(item) for item in value]
        if kind is tuple:
            return {"t": [self.plain(item) for item in value]}
        if kind is dict:
            return {"d": [[self.plain(key), self.plain(item)] for key, item in value.items()]}
        if kind in (set, frozenset):
            return {"s" if kind is set else "f": [self.plain(item) for item in value]}
        if kind in (bytes, bytearray):
            return {"b" if kind is bytes else "B": value.hex()}
        if kind is complex:
            return {"c": [value.real, value.imag]}
        if kind is range:
            return {"r": [value.start, value.stop, value.step]}
        if kind is collections.deque:
            return {"q": [self.plain(item) for item in value]}
        if kind is Handle:
            return {"h": value._id}
        if kind is Callback:
            return {"k": value.number}
        return self.rare(value, kind)

    def rare(self, value, kind):
        if self.is_tests:
            name = getattr(value, "__name__", None)
            if isinstance(name, str) and getattr(builtins, name, None) is value:
                return {"u": name}
        name = (kind.__module__, kind.__name__)
        if name == ("decimal", "Decimal"):
            return {"D": str(value)}
        if name == ("fractions", "Fraction"):
            return {"F": [self.plain(value.numerator), self.plain(value.denominator)]}
        if name[0] == "datetime" and name[1] in ("datetime", "date", "time", "timedelta"):
            return {"T": [name[1], [self.plain(part) for part in kind.__reduce__(value)[1]]]}
        # Values of a subclass are sent as what they extend.
        for base, convert in (
            (int, int.__int__), (float, float.__float__), (str, str.__str__), (tuple, tuple), (list, list),
            (dict, lambda v: dict(dict.items(v))), (set, set), (frozenset, frozenset), (bytes, bytes),
        ):
            if isinstance(value, base):
                return self.plain(convert(value))
        if not self.is_tests and kind.__module__ == "numpy" and hasattr(value, "item") and not hasattr(value, "__len__"):
            item = value.item()
            if type(item) in (bool, int, float, complex, str):
                return self.plain(item)
        if self.is_tests and not callable(value):
            raise Unsupported(f"a value of type {kind.__name__} cannot be handed to the program")
        return {"k" if self.is_tests else "h": self.export(value)}

    def export(self, value):
        number = self.numbers.get(id(value))
        if number is None:
            number = len(self.objects)
            self.numbers[id(value)] = number
            self.objects[number] = value
        return number

    def value(self, plain):
        """A value from JSON. What the other end sends is data: nothing in it runs here."""
        kind = type(plain)
        if kind is list:
            return [self.value(item) for item in plain]
        if kind is not dict:
            return plain
        ((tag, body),) = plain.items()
        if tag == "i":
            return int(body, 16)
        if tag in "tsfq":
            makers = {"t": tuple, "s": set, "f": frozenset, "q": collections.deque}
            return makers[tag]([self.value(item) for item in body])
        if tag == "d":
            return {self.value(key): self.value(item) for key, item in body}
        if tag in "bB":
            return (bytes if tag == "b" else bytearray).fromhex(body)
        if tag == "c":
            return complex(*body)
        if tag == "r":
            return range(*body)
        if tag == "u" and not self.is_tests:
            return getattr(builtins, body)
        if tag == "h" and self.is_tests:
            if body not in self.handles:
                self.handles[body] = Handle(self, body)
            return self.handles[body]
        if tag == "k" and not self.is_tests:
            return Callback(self, body)
        if tag in "hk":
            return self.objects[body]
        if tag == "D":
            import decimal

            return decimal.Decimal(body)
        if tag == "F":
            import fractions

            return fractions.Fraction(self.value(body[0]), self.value(body[1]))
        if tag == "T":
            import datetime

            makers = {name: getattr(datetime, name) for name in ("datetime", "date", "time", "timedelta")}
            return makers[body[0]](*[self.value(part) for part in body[1]])
        raise ValueError(tag)

    # Calls.

    def exchange(self, request):
        """Sends a request and serves the other end until the answer comes."""
        try:
            send(self.outgoing, request)
            while True:
                message = receive(self.incoming)
                if "op" in message:
                    send(self.outgoing, self.serve(message))
                    continue
                return message
        except (EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
            raise Gone(str(problem)) from None

    def ask(self, op, *args):
        message = self.exchange({"op": op, "args": [self.plain(arg) for arg in args]})
        return self.result(message)

    def call(self, target, args, kwargs):
        message = self.exchange({
            "op": "call", "args": [self.plain(target), self.plain(list(args)), self.plain(kwargs)],
        })
        if self.is_tests and isinstance(message.get("changed"), dict):
            self.write_back(list(args) + list(kwargs.values()), message["changed"])
        return self.result(message)

    def write_back(self, originals, changed):
        """Arguments that the program changed in place are changed here too."""
        for place, plain in changed.items():
            try:
                original, now = originals[int(place)], self.value(plain)
            except Exception as problem:
                raise Gone(str(problem)) from None
            if type(original) is not type(now):
                continue
            if type(now) in (list, bytearray):
                original[:] = now
            elif type(now) in (dict, set):
                original.clear()
                original.update(now)
            elif type(now) is collections.deque:
                original.clear()
                original.extend(now)

    def result(self, message):
        try:
            if "raise" not in message:
                return self.value(message["is"])
            name, text = message["raise"]
            kind = getattr(builtins, name, Exception)
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                kind = Exception
            try:
                error = kind(str(text))
            except TypeError:
                error = Exception(f"{name}: {text}")
        except Exception as problem:
            raise Gone(str(problem)) from None
        error.from_program = True
        raise error

    def serve(self, message):
        op, args = message["op"], message["args"]
        if self.is_tests:
            # Of the tests, a program may call the functions that it was given, and nothing else.
            if op != "call":
                raise ValueError(op)
            target = self.objects[args[0]["k"]]
            try:
                return {"is": self.plain(target(*self.value(args[1]), **self.value(args[2])))}
            except Exception as error:
                return {"raise": [type(error).__name__, str(error)]}
        try:
            if op == "call":
                return self.serve_call(args)
            args = [self.value(arg) for arg in args]
            return {"is": self.plain(OPERATIONS[op](self, *args))}
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except Exception as error:
            return self.raised(error)

    def serve_call(self, args):
        target, positional, named = (self.value(arg) for arg in args)
        originals = list(positional) + list(named.values())
        before = [self.plain(value) if type(value) in MUTABLE else None for value in originals]
        try:
            answer = {"is": self.plain(target(*positional, **named))}
        except MemoryError:
            raise
        except Exception as error:
            answer = self.raised(error)
        changed = {}
        for place, (value, old) in enumerate(zip(originals, before)):
            if type(value) in MUTABLE:
                now = self.plain(value)
                if now != old:
                    changed[place] = now
        if changed:
            answer["changed"] = changed
        return answer

    @staticmethod
    def raised(error):
        if type(error) is not StopIteration:
            report()
        for kind in type(error).__mro__:
            if kind.__module__ == "builtins":
                return {"raise": [kind.__name__, str(error)]}
        return {"raise": ["Exception", str(error)]}


MUTABLE = (list, dict, set, bytearray, collections.deque)


def global_of(peer, name):
    try:
        return getattr(peer.module, name)
    except AttributeError:
        raise NameError(f"the program defines no {name!r}") from None


OPERATIONS = {
    "global": global_of,
    "attribute": lambda peer, target, name: getattr(target, name),
    "set": lambda peer, target, name, value: setattr(target, name, value),
    "iter": lambda peer, target: iter(target),
    "next": lambda peer, target: next(target),
    "len": lambda peer, target: len(target),
    "item": lambda peer, target, key: target[key],
    "set_item": lambda peer, target, key, value: target.__setitem__(key, value),
    "bool": lambda peer, target: bool(target),
    "str": lambda peer, target: str(target),
    "repr": lambda peer, target: repr(target),
}


def program_main(preamble, source):
    """The program's side: files 3 (compiled), 4 and 5 (the pipes)."""
    before = compile(preamble, "<preamble>", "exec", dont_inherit=True)
    code = compiled(source, MAIN)
    os.close(3)
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 5000))
    module = types.ModuleType("solution")
    module.__dict__.update(__builtins__=builtins, __file__=MAIN)
    sys.modules["solution"] = module
    exec(before, module.__dict__)
    exec(code, module.__dict__)
    peer = Peer(4, 5, False)
    peer.module = module
    while True:
        try:
            message = receive(4)
        except EOFError:
            return 0
        send(5, peer.serve(message))


class Names(dict):
    """The tests' global names. What they do not define is looked up: builtins first, then modules of the standard library,
    then the program. So a program cannot replace `abs` or `math`. Only the function under test is always its own."""

    def __init__(self, peer, entry_point):
        super().__init__(__builtins__=builtins, __name__="tests")
        self.peer, self.entry_point = peer, entry_point

    def __missing__(self, name):
        own = name == self.entry_point
        if not own and hasattr(builtins, name):
            raise KeyError(name)
        if not own and (name in STANDARD or name in ALIASES):
            value = __import__(ALIASES.get(name, name))
        else:
            value = self.peer.ask("global", name)
        self[name] = value
        return value


STANDARD = ("math", "cmath", "random", "string", "re", "copy", "itertools", "functools", "collections", "heapq", "bisect",
            "operator", "statistics", "decimal", "fractions", "datetime", "json", "typing", "sys", "os", "time")
ALIASES = {"np": "numpy", "numpy": "numpy", "pd": "pandas", "pandas": "pandas"}


def tests_main(request):
    """The tests' side: files 3 (verdict), 4 and 5 (the pipes)."""
    peer, code = Peer(4, 5, True), request["code"]
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 5000))
    names = Names(peer, request["entry_point"])
    try:
        own = {"__builtins__": builtins, "__name__": "preamble"}
        exec(compile(request["preamble"], "<preamble>", "exec", dont_inherit=True), own)
        for name, value in own.items():
            # Its classes are the program's: the program must know their objects.
            is_class = isinstance(value, type) and value.__module__ == "preamble"
            if not name.startswith("__") and not is_class and name != request["entry_point"]:
                names[name] = value
        tests = compile(code, "<tests>", "exec", dont_inherit=True)
    except BaseException as error:
        send(3, {"kind": "tests", "message": f"{type(error).__name__}: {error}", "line": 0})
        return 0
    try:
        exec(tests, names)
        verdict = {"kind": "passed", "message": "", "line": 0}
    except BaseException as error:
        verdict = failure(error, code)
    send(3, verdict)
    return 0


def failure(error, code):
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<tests>"]
    line = lines[-1] if lines else 0
    text = code.split("\n")[line - 1].strip() if line else ""
    if isinstance(error, Gone):
        kind = "gone"
    elif isinstance(error, Unsupported):
        kind = "tests"
    elif getattr(error, "from_program", False):
        kind = "raised"
    else:
        kind = "failed"
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return {"kind": kind, "message": f"{text}: {said}"[:2000], "line": line}


def load(program, request):
    """Starts the program's side, before the tests are known in here."""
    limits, _, source = program
    clean()
    nothing, err, ok = os.open("/dev/null", os.O_RDWR), Tap(STDERR_BYTES, True), Tap(16)
    to_program, to_tests = os.pipe(), os.pipe()
    preamble = request["preamble"]
    fds = [nothing, nothing, err.end, ok.end, to_program[0], to_tests[1]]
    pid = start(limits, fds, lambda: program_main(preamble, source))
    for fd in fds[1:]:
        os.close(fd)
    return pid, err, ok, to_program[1], to_tests[0]


def asserts(requests, program, loaded, request):
    """Runs the tests against the program that was loaded."""
    limits = program[0]
    pid, err, ok, outgoing, incoming = loaded
    nothing, verdict, own = os.open("/dev/null", os.O_RDWR), Tap(1 << 16), Tap(STDERR_BYTES, True)
    fds = [nothing, nothing, own.end, verdict.end, incoming, outgoing]
    # The tests wait while the program computes: they need time of their own beside it, and room for what it returns.
    tests_pid = start(dict(limits, memory_bytes=2 * limits["memory_bytes"]), fds, lambda: tests_main(request))
    for fd in set(fds):
        os.close(fd)
    end, wall, exits = supervise(requests, [tests_pid], [err, ok, verdict, own], None, limits)
    said = None
    if len(verdict.data) >= 4:
        said = json.loads(bytes(verdict.data[4:]))
    compiles = ok.data[:1] == b"c"
    # The program is ended from outside once the tests are through; only an end of its own says something.
    return describe(
        end, wall, exits[pid], compiled=compiles, stderr=err.text(), verdict=said, tests_stderr=own.text()
    )


def main():
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.close(nothing)
    sys.path[:] = [path for path in sys.path if path]
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    program = loaded = None
    while True:
        request = receive(requests)
        do = request["do"]
        if do == "program":
            program = (request["limits"], request["language"], request["source"])
            if program[1] == "cpp":
                reply = compile_cpp(requests, program[2], request["compiler"], program[0])
            else:
                reply = {"compiled": True, "stderr": ""}
        elif do == "stdio":
            reply = stdio(requests, program, request)
        elif do == "load":
            loaded = load(program, request)
            reply = {"loaded": True}
        else:
            reply = asserts(requests, program, loaded, request)
        send(replies, reply)


try:
    main()
except EOFError:
    # Requests ended: leave, and with this process everything in the namespace goes.
    os._exit(0)
