"""The cache is huggingface_hub's: what r1-distill downloads, huggingface_hub finds without asking, and the other way round.
Then a disk that fills up during a download. The Hub is a server on a loopback port.

    python tests/parity/live_hub.py --binary target/release/r1-distill
"""

import argparse
import hashlib
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

COMMIT = "c0ffee00" * 5
LARGE = 1000
ROOT = Path(__file__).resolve().parents[2]


def rows(first, count):
    return b"".join(json.dumps({"n": n, "text": "word " * 40}).encode() + b"\n" for n in range(first, first + count))


REPOSITORIES = {
    "datasets/owner/data": {"README.md": b"# Data", "data/a.jsonl": rows(0, 3), "data/b.jsonl": rows(3, 30_000),
                            "data/deep/c d.jsonl": rows(9, 2)},
    "models/owner/model": {path.name: path.read_bytes() for path in (ROOT / "teacher/assets").iterdir()},
}


def blob(content):
    if len(content) >= LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = []
    # Where a large download stops until somebody says that it may go on.
    pause_at = None
    paused = threading.Event()
    go_on = threading.Event()

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            stop = self.pause_at if self.pause_at and len(body) > self.pause_at else len(body)
            self.wfile.write(body[:stop])
            if stop < len(body):
                self.wfile.flush()
                self.paused.set()
                self.go_on.wait(60)
                try:
                    self.wfile.write(body[stop:])
                except OSError:
                    pass

    def do_GET(self):
        self.asked.append((self.command, self.path, self.headers.get("Range")))
        path = urllib.parse.unquote(self.path.split("?")[0])
        for name, files in REPOSITORIES.items():
            if path.startswith(f"/api/{name}"):
                rest = path[len(f"/api/{name}"):]
                if rest.startswith(f"/tree/{COMMIT}"):
                    entries = [{"type": "file", "path": path, "size": len(content), "oid": blob(content)}
                               for path, content in files.items()]
                    for entry, content in zip(entries, files.values()):
                        if len(content) >= LARGE:
                            entry |= {"oid": "0" * 40, "lfs": {"oid": blob(content), "size": len(content), "pointerSize": 9}}
                    return self.answer(200, json.dumps(entries).encode(), Content_Type="application/json")
                siblings = [{"rfilename": path} for path in files]
                body = {"id": name.split("/", 1)[1], "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
                return self.answer(200, json.dumps(body).encode(), Content_Type="application/json")
            for revision in ("main", COMMIT):
                prefix = f"/{name.removeprefix('models/')}/resolve/{revision}/"
                if path.startswith(prefix):
                    content = files.get(path[len(prefix):])
                    if content is None:
                        return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
                    about = {"X_Repo_Commit": COMMIT, "ETag": f'"{blob(content)}"'}
                    if len(content) < LARGE:
                        return self.answer(200, content, **about)
                    place = f"http://localhost:{self.server.server_port}/elsewhere/{blob(content)}"
                    return self.answer(302, Location=place, X_Linked_Size=str(len(content)),
                                       X_Linked_ETag=f'"{blob(content)}"', **about)
        for files in REPOSITORIES.values():
            for content in files.values():
                if path == f"/elsewhere/{blob(content)}":
                    start = self.headers.get("Range")
                    if start is None:
                        return self.answer(200, content)
                    start = int(start.removeprefix("bytes=").rstrip("-"))
                    place = f"bytes {start}-{len(content) - 1}/{len(content)}"
                    return self.answer(206, content[start:], Content_Range=place)
        return self.answer(404, X_Error_Code="RepoNotFound")


def run(binary, home, *arguments, **more):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    ran = subprocess.run([binary, *arguments], capture_output=True, text=True,
                         env=environment | {"HF_HOME": str(home), "HF_ENDPOINT": os.environ["HF_ENDPOINT"]} | more)
    if ran.returncode:
        sys.exit(f"{' '.join(arguments)}: {ran.stderr}")
    return ran.stdout.strip().splitlines()[-1]


def expect(found, wanted, what):
    if found != wanted:
        sys.exit(f"{what}: {found!r}, not {wanted!r}")


COUNT = "SELECT count(*) AS n FROM 'hf://datasets/owner/data/data/*.jsonl'"
PROMPT = ("What is 3 + 4?", "--max-tokens", "8")


def ours_then_theirs(binary, home, hub):
    """Downloaded by r1-distill, found by huggingface_hub."""
    expect(run(binary, home, "sql", COUNT, "--format", "csv"), "30003", "rows")
    run(binary, home, "generate", "hf://owner/model", *PROMPT)
    cache, asked, compared = home / "hub", len(Hub.asked), 0
    for name, patterns in (("datasets/owner/data", "data/?.jsonl"), ("models/owner/model", ["*.json", "*.safetensors"])):
        kind, repository = name.split("/", 1)
        options = {"repo_type": kind.rstrip("s"), "cache_dir": cache, "local_files_only": True}
        folder = Path(hub.snapshot_download(repository, allow_patterns=patterns, **options))
        expect(folder.name, COMMIT, "the snapshot")
        for path, content in REPOSITORIES[name].items():
            if (folder / path).exists():
                found = hub.hf_hub_download(repository, path, **options)
                expect(Path(found).read_bytes(), content, path)
                compared += 1
    seen = hub.scan_cache_dir(cache)
    expect([str(warning) for warning in seen.warnings], [], "what huggingface_hub says of the cache")
    expect(sorted(repo.repo_id for repo in seen.repos), ["owner/data", "owner/model"], "repositories")
    expect(len(Hub.asked), asked, "requests")
    print(f"huggingface_hub {hub.__version__} finds {compared} files that r1-distill stored, and asks nobody")


def theirs_then_ours(binary, home, hub):
    """Downloaded by huggingface_hub, found by r1-distill: with its list of files, and by single files without one."""
    cache = home / "hub"
    hub.snapshot_download("owner/model", cache_dir=cache)
    hub.snapshot_download("owner/data", repo_type="dataset", cache_dir=cache, allow_patterns="data/*.jsonl")
    asked = len(Hub.asked)
    expect(run(binary, home, "sql", COUNT, "--format", "csv"), "30003", "rows")
    first = run(binary, home, "generate", "hf://owner/model", *PROMPT)
    expect(run(binary, home, "generate", str(ROOT / "teacher/assets"), *PROMPT), first, "the answer")
    expect(len(Hub.asked), asked, "requests")
    single = home / "single"
    hub.hf_hub_download("owner/data", "data/a.jsonl", repo_type="dataset", cache_dir=single / "hub")
    asked = len(Hub.asked)
    query = "SELECT count(*) AS n FROM 'hf://datasets/owner/data/data/a.jsonl'"
    expect(run(binary, single, "sql", query, "--format", "csv"), "3", "rows")
    expect(run(binary, single, "sql", query, "--format", "csv", HF_HUB_OFFLINE="1"), "3", "rows without the net")
    expect(len(Hub.asked), asked, "requests")
    print(f"r1-distill reads what huggingface_hub {hub.__version__} stored, and asks nobody")


def full_disk(binary, work):
    """A small file system, filled while the second half of a file is on its way; the first half is kept."""
    if subprocess.run(["unshare", "-rm", "true"], stderr=subprocess.DEVNULL).returncode:
        print("skipped: a full disk (no file system can be mounted here)")
        return
    size = len(REPOSITORIES["datasets/owner/data"]["data/b.jsonl"])
    (work / "home").mkdir()
    Hub.pause_at = size // 2
    script = f"""
        set -eu
        mount -t tmpfs -o size={size * 2} none home
        "$BINARY" sql "{COUNT}" --format csv >out 2>err & child=$!
        until [ -e paused ]; do sleep 0.05; done
        dd if=/dev/zero of=home/filler bs=64k 2>/dev/null || true
        touch full
        code=0; wait $child || code=$?
        echo "$code" >code
        rm home/filler; touch room
        until [ -e again ]; do sleep 0.05; done
        "$BINARY" sql "{COUNT}" --format csv >out 2>>err
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"BINARY": binary, "HF_HOME": str(work / "home"), "HF_ENDPOINT": os.environ["HF_ENDPOINT"]}
    child = subprocess.Popen(["unshare", "-rm", "bash", "-c", script], cwd=work, env=environment)
    Hub.paused.wait(60)
    (work / "paused").touch()
    while not (work / "full").exists():
        time.sleep(0.05)
    Hub.go_on.set()
    while not (work / "room").exists():
        time.sleep(0.05)
    code, message = (work / "code").read_text().strip(), (work / "err").read_text().strip().splitlines()[-1]
    if code != "1" or "No space left" not in message or "make room there" not in message:
        sys.exit(f"a full disk, exit code {code}: {message}")
    Hub.pause_at, asked = None, len(Hub.asked)
    (work / "again").touch()
    expect(child.wait(60), 0, "the command after there was room")
    expect((work / "out").read_text().split()[-1], "30003", "rows")
    ranges = [wanted for _, path, wanted in Hub.asked[asked:] if "/elsewhere/" in path]
    if len(ranges) != 1 or ranges[0] is None:
        sys.exit(f"with room again it asked for {ranges}")
    print(f"a disk that fills up: exit code {code}, and with room again it goes on with {ranges[0]} of {size}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--binary", required=True)
    binary = str(Path(arguments.parse_args().binary).resolve())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_DISABLE_TELEMETRY": "1",
                   "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    # Read when it is imported.
    import huggingface_hub

    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        os.environ["HF_HOME"] = str(work / "unused")
        ours_then_theirs(binary, work / "ours", huggingface_hub)
        theirs_then_ours(binary, work / "theirs", huggingface_hub)
        (work / "disk").mkdir()
        full_disk(binary, work / "disk")


if __name__ == "__main__":
    main()
