# The two sides.


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
    """The tests' global names. What they do not define is looked up: builtins first, then modules of the standard
    library, then the program. So a program cannot replace `abs` or `math`. Only the function under test is always its
    own."""

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


STANDARD = ("math", "cmath", "random", "string", "re", "copy", "itertools", "functools", "collections", "heapq",
            "bisect", "operator", "statistics", "decimal", "fractions", "datetime", "json", "typing", "sys", "os",
            "time")
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
