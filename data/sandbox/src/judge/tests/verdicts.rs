//! Each verdict, for honest programs.

use std::path::Path;

use CodeVerdict::{Accepted, CompileError, MemoryLimit, RuntimeError, TimeLimit, WrongAnswer};
use fixtures::skipped;

use super::*;

#[track_caller]
fn expect(outcome: Option<Outcome>, verdict: CodeVerdict, test: Option<u32>, says: &str) {
    if let Some(outcome) = outcome {
        assert_eq!((outcome.verdict, outcome.test), (verdict, test), "{outcome:?}");
        assert!(outcome.message.contains(says), "{outcome:?}");
    }
}

#[test]
fn python_on_standard_input() {
    let spec = stdio_spec(Language::Python, &[("1 2\n", "3\n"), ("5 5\n", "10"), ("", "0")]);
    let sum = "import sys\nprint(sum(map(int, sys.stdin.read().split())))";
    expect(judge(sum, &spec), Accepted, None, "");
    expect(judge("print(3)", &spec), WrongAnswer, Some(1), "expected \"10\"");
    expect(judge("print(sum(map(int, input().split())))", &spec), RuntimeError, Some(2), "EOFError");
    expect(judge("print(3", &spec), CompileError, None, "SyntaxError");
    expect(judge("import time\ntime.sleep(60)", &spec), TimeLimit, Some(0), "");
    expect(judge("while True: pass", &spec), TimeLimit, Some(0), "");
    expect(judge("x = bytearray(1 << 30)", &spec), MemoryLimit, Some(0), "");
    expect(judge("import sys\nsys.exit(3)", &spec), RuntimeError, Some(0), "");
    expect(judge("import os\nos.abort()", &spec), RuntimeError, Some(0), "");
}

#[test]
fn programs_run_as_scripts_do() {
    let program = r#"
import atexit, sys, threading, pickle, dataclasses
@dataclasses.dataclass
class Point:
    x: int
if __name__ == "__main__":
    atexit.register(lambda: print("last"))
    threading.Timer(0.05, lambda: print(pickle.loads(pickle.dumps(Point(1))).x)).start()
    sys.stdout.write("first\n")
    sys.exit(0)
"#;
    expect(printing(program, "first\n1\nlast"), Accepted, None, "");
    expect(
        printing("import sys\nprint(sys.stdin.read(), 'ä', len(sys.argv), sys.path[0][:4])", "ä 1 /usr"),
        Accepted,
        None,
        "",
    );
    let large = stdio_spec(Language::Python, &[(&"7 ".repeat(1_000_000), &"8\n".repeat(400_000))]);
    expect(judge("print('8\\n' * 400_000, end='')", &large), Accepted, None, "");
    expect(judge("print('8\\n' * len(input().split()))", &large), WrongAnswer, Some(0), "");
}

#[test]
fn cpp() {
    // Both are asked for, so that a test that lacks both is counted for both.
    let compiler = ["g++", "clang++"].iter().any(|name| Path::new("/usr/bin").join(name).is_file());
    if !compiler {
        skipped("compiler", "C++ is judged only where there is a compiler");
    }
    let Some(sandbox) = sandbox() else { return };
    assert_eq!(sandbox.has(Language::Cpp), compiler);
    if !compiler {
        return;
    }
    let spec = stdio_spec(Language::Cpp, &[("1 2", "3"), ("4 5", "9")]);
    let program = |body: &str| format!("#include <bits/stdc++.h>\nusing namespace std;\nint main() {{ {body} }}");
    expect(judge(&program("int a, b; cin >> a >> b; cout << a + b;"), &spec), Accepted, None, "");
    expect(judge(&program("cout << 3;"), &spec), WrongAnswer, Some(1), "");
    expect(judge(&program("cout << x;"), &spec), CompileError, None, "was not declared");
    expect(judge(&program("for (;;) {}"), &spec), TimeLimit, Some(0), "");
    expect(judge(&program("vector<char> v(1 << 30);"), &spec), MemoryLimit, Some(0), "bad_alloc");
    expect(judge(&program("abort();"), &spec), RuntimeError, Some(0), "");
    // A compiler is a program too: it reads no file of the host, and its limits end what has no end.
    for body in ["\n#include \"/etc/passwd\"\n", "static_assert(__has_include(\"/etc/passwd\"))"] {
        let outcome = judge(&program(body), &spec);
        assert!(outcome.is_none_or(|o| o.verdict == CompileError && !o.message.contains("root:")));
    }
    let bomb = "template<int N, int M> struct T { T<N - 1, M> a; T<N - 1, M + 1> b; }; \
                template<int M> struct T<0, M> {}; int main() { T<40, 0> t; }";
    expect(judge(bomb, &spec), CompileError, None, "");
    expect(judge("char x[1u << 30] = {1}; int main() {}", &spec), CompileError, None, "");
}

#[test]
fn assertions() {
    let spec = asserts_spec("assert f(2) == 4\nassert f(3) == 9, 'nine'\n");
    expect(judge("def f(x): return x * x", &spec), Accepted, None, "");
    expect(
        judge("def f(x): return x + 2", &spec),
        WrongAnswer,
        Some(2),
        "assert f(3) == 9, 'nine': AssertionError: nine",
    );
    expect(judge("def f(x): return {}[x]", &spec), RuntimeError, Some(1), "KeyError");
    expect(judge("def g(x): return x * x", &spec), RuntimeError, Some(1), "no 'f'");
    expect(judge("def f(x) return", &spec), CompileError, None, "SyntaxError");
    // By its own limit of CPU time, or on a busy machine by the clock, which does not say where.
    assert!(judge("def f(x):\n  while True: pass", &spec).is_none_or(|o| o.verdict == TimeLimit));
    expect(judge("def f(x): return len(bytearray(1 << 30))", &spec), MemoryLimit, Some(1), "");
    expect(judge("1 / 0", &spec), RuntimeError, Some(1), "ZeroDivisionError");
    expect(judge("import os\ndef f(x): os.abort()", &spec), RuntimeError, Some(1), "");
    expect(judge("def f(x): return f(x)", &spec), RuntimeError, Some(1), "RecursionError");
    expect(judge("def f(x): pass", &asserts_spec("assert f(2")), CodeVerdict::SandboxError, None, "SyntaxError");
}

/// What tests do with functions and their values, beyond comparing.
#[test]
fn assertions_of_all_kinds() {
    let program = r#"
from collections import Counter, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from enum import IntEnum
class Node:
    def __init__(self, val, next=None):
        self.val, self.next = val, next
class Stack(list):
    def peek(self): return self[-1]
class Level(IntEnum):
    LOW = 1
Point = namedtuple("Point", "x y")
def f(what, *args):
    return globals()[what](*args)
def in_place(items): items.sort(); items.append(None)
def apply(function, items): return [function(x) for x in items]
def fail(kind): raise kind("so")
def numbers():
    yield from range(3)
def forever():
    while True: yield 1
def kinds():
    return [Counter("aab"), deque([1]), Point(1, 2), Decimal("0.1"), Fraction(1, 3), Level.LOW, 2 ** 70, -0.0,
            float("inf"), 1j, b"\xff", {1, (2, 3)}, frozenset([4]), range(3), None, True, "\ud800ä", {None: {1: [()]}}]
def add(a, b=1): return a + b
"#;
    let tests = r#"
import itertools
items = [3, 1, 2]
assert f("in_place", items) is None and items == [1, 2, 3, None]
assert f("apply", lambda x: x + 1, (1, 2)) == [2, 3] and f("apply", str, [1]) == ["1"]
try:
    f("fail", ValueError)
    assert False
except ValueError as error:
    assert str(error) == "so"
assert list(f("numbers")) == [0, 1, 2] and sum(f("numbers")) == 3
assert list(itertools.islice(f("forever"), 2)) == [1, 1]
from collections import deque
from decimal import Decimal
from fractions import Fraction
assert f("kinds") == [{"a": 2, "b": 1}, deque([1]), (1, 2), Decimal("0.1"), Fraction(1, 3), 1, 2 ** 70, 0.0,
    float("inf"), 1j, b"\xff", {1, (2, 3)}, frozenset([4]), range(3), None, True, "\ud800ä", {None: {1: [()]}}]
assert type(f("numbers")) is not list and f("Stack", [1]) == [1]
node = Node(1, Node(2))
node.next.next = Node(3)
assert node.next.next.val == 3 and node.next is node.next and node != Node(1) and not f("add", -1)
def values(node):
    return [node.val] + values(node.next) if node else []
assert values(node) == [1, 2, 3]
assert f("add", 1, 2) == 3 and add(a=1) == 2 and add(1, b=3) == 4
assert f("add", [1], [2]) == [1, 2] and abs(f("add", 0.1, 0.2) - 0.3) < 1e-9
"#;
    expect(judge(program, &asserts_spec(tests)), Accepted, None, "");
}

#[test]
fn preambles_and_names() {
    let spec = |code: &str, entry: Option<&str>, preamble: &str| {
        let entry_point = entry.map(Into::into);
        let tests = CodeTests::Asserts { code: code.into(), entry_point, preamble: preamble.into() };
        TestSpec { language: Language::Python, tests, time_limit_seconds: None, memory_mb: None }
    };
    let sum = spec("assert sum(10, 15) == 6", Some("sum"), "");
    expect(judge("def sum(a, b): return 6", &sum), Accepted, None, "");
    // Without a program of that name, the builtin is not it.
    expect(judge("x = 1", &spec("assert max(1, 2) == 2", Some("max"), "")), RuntimeError, Some(1), "no 'max'");
    let stub =
        "from typing import List\ndef helper(x):\n    return x + 1\ndef f(xs: List[int]) -> int:\n    '''Stub.'''\n";
    let tests = spec("assert helper(f([1])) == 2", Some("f"), stub);
    expect(judge("def f(xs: List[int]): return helper(xs[0]) - 1", &tests), Accepted, None, "");
    expect(judge("x = 1", &tests), WrongAnswer, Some(1), "NoneType");
    let node = "class Node:\n    def __init__(self, val):\n        self.val = val\n";
    expect(judge("def f(node): return node.val", &spec("assert f(Node(3)) == 3", Some("f"), node)), Accepted, None, "");
}

#[test]
fn an_answer_without_a_program_does_not_compile() {
    if let Some(sandbox) = sandbox() {
        let spec = stdio_spec(Language::Python, &[("", "1")]);
        let verdict = |answer: &str| judge_answer(sandbox, answer, &spec, &LIMITS).verdict;
        assert_eq!(verdict("The answer is 1."), CompileError);
        assert_eq!(verdict("So:\n```python\nprint(1)\n```"), Accepted);
    }
}

#[test]
fn limits_of_the_tests_go_first() {
    let spec = TestSpec { time_limit_seconds: Some(0.2), ..stdio_spec(Language::Python, &[("", "")]) };
    let began = std::time::Instant::now();
    expect(judge("while True: pass", &spec), TimeLimit, Some(0), "");
    assert!(sandbox().is_none() || began.elapsed().as_secs() < 10);
    let spec = TestSpec { memory_mb: Some(1), ..spec };
    expect(judge("", &spec), CodeVerdict::SandboxError, None, "memory_mb: it is 1");
}
