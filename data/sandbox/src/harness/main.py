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
    feed, ok = Feed(request["stdin"].encode("utf-8", "surrogatepass")), Tap(16)
    out, err = Tap(request["stdout_bytes"]), Tap(STDERR_BYTES, True)
    main = (lambda: python_main(source)) if language == "python" else binary_main
    pid = start(limits, [feed.end, out.end, err.end, ok.end], main)
    for fd in (feed.end, out.end, err.end, ok.end):
        os.close(fd)
    end, wall, exits = supervise(requests, [pid], [out, err, ok], feed, limits)
    compiles = language != "python" or ok.data[:1] == b"c"
    return describe(end, wall, exits[pid], compiled=compiles, stdout=out.text(), stderr=err.text())


# Requests.


def main():
    # The one signal that Python handles; what a first process does not handle cannot be sent to it from within.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    requests, replies = os.dup2(0, 3, False), os.dup2(1, 4, False)
    # Whatever else the host's process had open.
    os.closerange(5, min(resource.getrlimit(resource.RLIMIT_NOFILE)[1] & 0x7FFFFFFF, 1 << 20))
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
