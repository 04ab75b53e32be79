//! Programs that would pass without being right.

use super::*;

const SQUARES: &str = "assert f(2) == 4\nassert f(3) == 9\n";
const NEAR: &str = "import math\nassert abs(f(2) - 4) < 1e-6 and math.isclose(f(3), 9)\n";

#[track_caller]
fn fails(tests: &str, program: &str) {
    if let Some(outcome) = judge(program, &asserts_spec(tests)) {
        eprintln!(
            "forging: {} {:?}",
            outcome.verdict.code(),
            program.lines().find(|l| !l.is_empty()).unwrap_or_default()
        );
        assert!(
            matches!(outcome.verdict, CodeVerdict::WrongAnswer | CodeVerdict::RuntimeError),
            "{program}\n{outcome:?}"
        );
    }
}

#[test]
fn ending_early() {
    for end in ["os._exit(0)", "sys.exit(0)", "raise SystemExit", "os.kill(os.getpid(), 9)", "os.kill(-1, 9)", "exit()"]
    {
        fails(SQUARES, &format!("import os, sys\nprint('passed')\n{end}"));
        fails(SQUARES, &format!("import os, sys\ndef f(x):\n    print('passed')\n    {end}"));
    }
}

#[test]
fn objects_that_equal_everything() {
    let always = "
class Always:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __lt__
    def __sub__(self, other): return self
    def __abs__(self): return self
    __rsub__ = __add__ = __radd__ = __sub__
    def __float__(self): return 0.0
    def __hash__(self): return 4
    def __bool__(self): return True
";
    fails(SQUARES, &format!("{always}\ndef f(x): return Always()"));
    fails(NEAR, &format!("{always}\ndef f(x): return Always()"));
    for base in ["int", "float", "str", "list", "dict", "tuple"] {
        let program = format!(
            "class Sub({base}):\n    __eq__ = __lt__ = lambda s, o: True\n    __sub__ = lambda s, o: s\n    __abs__ = lambda s: s\n    __hash__ = {base}.__hash__\ndef f(x): return Sub()"
        );
        fails(SQUARES, &program);
        fails(NEAR, &program);
    }
    fails(SQUARES, &format!("{always}\nclass L(Always):\n    __class__ = int\ndef f(x): return L()"));
    fails("assert f(2) in [4]", &format!("{always}\ndef f(x): return Always()"));
    fails("assert [4] == f(2)", &format!("{always}\ndef f(x): return [Always()]"));
    fails("assert f(2) == {4: 5}", &format!("{always}\ndef f(x): return {{Always(): Always()}}"));
    fails(NEAR, "def f(x): return float('nan')");
}

#[test]
fn other_meanings_of_names() {
    for change in [
        "builtins.abs = lambda x: 0",
        "builtins.AssertionError = type('A', (BaseException,), {})",
        "builtins.__build_class__ = None",
        "sys.modules['math'] = type('M', (), {'isclose': lambda *a: True})",
        "math.isclose = lambda *a: True",
        "abs = lambda x: 0.0",
        "sys.settrace(lambda *a: None)",
        "sys.excepthook = lambda *a: os._exit(0)",
        "atexit.register(os._exit, 0)",
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "vars(builtins)['__debug__'] = False",
    ] {
        let program = format!("import atexit, builtins, math, os, signal, sys\n{change}\ndef f(x): return -1.0");
        fails(NEAR, &program);
    }
    // A helper that the tests bring along stays theirs.
    let code = "assert decode(f('ab')) == 'ab'";
    let preamble = "def decode(s):\n    return ''.join(chr(ord(c) - 1) for c in s)\n";
    let tests = CodeTests::Asserts { code: code.into(), entry_point: Some("f".into()), preamble: preamble.into() };
    let spec = TestSpec { language: Language::Python, tests, time_limit_seconds: None, memory_mb: None };
    let honest = judge("def f(s): return ''.join(chr(ord(c) + 1) for c in s)", &spec);
    assert!(honest.is_none_or(|o| o.verdict == CodeVerdict::Accepted));
    let forged = judge("def decode(s): return s\ndef f(s): return s", &spec);
    assert!(forged.is_none_or(|o| o.verdict == CodeVerdict::WrongAnswer));
}

/// The expected values are nowhere in the program's reach: not in its memory, its files, its frames or its pipes.
#[test]
fn looking_for_the_tests() {
    let memory = r#"
import gc, re, sys
def find():
    seen = set()
    stack = [gc.get_objects(), [m.__dict__ for m in list(sys.modules.values())]]
    frame = sys._getframe()
    while frame:
        stack.append([frame.f_locals, frame.f_globals]); frame = frame.f_back
    while stack:
        item = stack.pop()
        if id(item) in seen: continue
        seen.add(id(item))
        if isinstance(item, (str, bytes)):
            text = item if isinstance(item, str) else item.decode("latin1")
            found = re.search("90210[1]7", text)
            if found: return int(found.group())
        elif isinstance(item, dict): stack.extend(item.keys()); stack.extend(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)): stack.extend(item)
    return None
def f(x): return find()
"#;
    fails("assert f(2) == 9021017", memory);
    // Known to find what is there.
    let found = judge(&format!("planted = 'x9021017'\n{memory}"), &asserts_spec("assert f(2) == 9021017"));
    assert!(found.is_none_or(|o| o.verdict == CodeVerdict::Accepted));
    let processes = r#"
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def f(x):
    opened = []
    for pid in range(1, 12):
        if pid == os.getpid(): continue
        if libc.ptrace(16, pid, 0, 0) == 0: opened.append(pid)
        for name in ("mem", "environ", "fd", "cmdline"):
            if os.path.exists(f"/proc/{pid}/{name}"): opened.append(name)
        try: fd = os.pidfd_open(pid)
        except OSError: continue
        for number in range(12):
            if libc.syscall(438, fd, number, 0) >= 0: opened.append("pidfd_getfd")
        if libc.syscall(310, pid, 0, 0, 0, 0, 0) >= 0: opened.append("process_vm_readv")
    assert not opened, opened
    return "nothing"
"#;
    let found = judge(processes, &asserts_spec("assert f(2) == 'nothing'"));
    assert!(found.as_ref().is_none_or(|o| o.verdict == CodeVerdict::Accepted), "{found:?}");
}

/// Whatever is written to any pipe, it is no verdict.
#[test]
fn lies_on_the_pipes() {
    for reply in [
        r#"{"kind": "passed", "message": "", "line": 0}"#,
        r#"{"is": {"h": 0}}"#,
        r#"{"is": {"k": 0}}"#,
        r#"{"is": {"u": "exit"}}"#,
        r#"{"raise": ["SystemExit", "0"]}"#,
        r#"{"raise": ["KeyboardInterrupt", ""]}"#,
        r#"{"raise": ["exit", ""]}"#,
        r#"{"op": "call", "args": [{"k": 0}, [], {"d": []}]}"#,
        r#"{"op": "attribute", "args": [{"k": 0}, "__globals__"]}"#,
        r#"{"op": "global", "args": ["exit"]}"#,
        r#"{"is": {"": 1}}"#,
        r#"{"is": {"i": "x"}}"#,
        r#"{"is": null, "changed": {"0": 1, "-1": [], "x": 2}}"#,
        "[]",
        "3",
        "{",
    ] {
        fails(
            SQUARES,
            &format!(
                "import os, struct\ndata = {reply:?}.encode()\nframe = struct.pack('<I', len(data)) + data\ndef f(x):\n    for fd in range(3, 256):\n        try: os.write(fd, frame * 3)\n        except OSError: pass\n    os._exit(0)"
            ),
        );
    }
    let deep = "import os, struct\ndata = b'{\"is\": ' + b'[' * 100000 + b']' * 100000 + b'}'\ndef f(x):\n    os.write(5, struct.pack('<I', len(data)) + data)\n    os._exit(0)";
    fails(SQUARES, deep);
    fails(SQUARES, "import os\ndef f(x):\n    os.write(5, b'\\xff' * 4)\n    os._exit(0)");
}

#[test]
fn standard_output_is_judged_outside() {
    let frame = r#"
import os, json, struct
data = json.dumps({"end": "exit", "code": 0, "cpu": 0, "compiled": True, "stdout": "12345", "stderr": ""}).encode()
for fd in range(3, 256):
    try: os.write(fd, struct.pack("<I", len(data)) + data)
    except OSError: pass
print("AC")
"#;
    let outcome = printing(frame, "12345");
    assert!(outcome.is_none_or(|o| o.verdict == CodeVerdict::WrongAnswer));
    let outcome = printing("import os\nos._exit(0)", "12345");
    assert!(outcome.is_none_or(|o| o.verdict == CodeVerdict::WrongAnswer));
}
