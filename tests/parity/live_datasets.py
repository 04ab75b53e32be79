"""Datasets as Python's `datasets` and pyarrow write them, imported by r1-distill; and what r1-distill exports, read by
`datasets` and DuckDB. Every text is compared.

    python tests/parity/live_datasets.py --binary target/release/r1-distill
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import duckdb
import pyarrow
import pyarrow.parquet
from datasets import Dataset, Features, List, Value, load_dataset
from huggingface_hub import try_to_load_from_cache

COUNT = 500
TEXT = Value("string")


def question(n):
    return f"What is {n} + {n}? β≤\"{n}\""


def thinking(n):
    return f"Twice {n}.\n\nSo \\frac{{1}}{{2}} of it is {n}. ✓"


def answer(n):
    return f"It is \\boxed{{{2 * n}}}."


def think(n):
    return f"<think>\n{thinking(n)}\n</think>\n\n{answer(n)}"


def thought(n):
    return (f"<|begin_of_thought|>\n\n{thinking(n)}\n\n<|end_of_thought|>\n\n"
            f"<|begin_of_solution|>\n\n{answer(n)}\n\n<|end_of_solution|>")


def messages(n):
    return [{"content": question(n), "role": "user"}, {"content": think(n), "role": "assistant"}]


def conversations(n, user, assistant, reply):
    return [{"from": user, "value": question(n)}, {"from": assistant, "value": reply}]


def tool_messages(n):
    return [{**message, "tool_calls": []} for message in messages(n)]


MESSAGE = List({"content": TEXT, "role": TEXT})
TURNS = List({"from": TEXT, "value": TEXT})
CALLS = List({"id": TEXT, "type": TEXT, "function": {"name": TEXT, "arguments": TEXT}})

# Name of the format: features as their cards have them, a row, and what must come of it (gold, domain, source).
FORMATS = {
    "mixture-of-thoughts": (
        {"messages": MESSAGE, "num_tokens": Value("int64"), "source": TEXT},
        lambda n: {"messages": messages(n), "num_tokens": n, "source": "a"},
        lambda n: (None, "math", "a"),
    ),
    "openr1-math": (
        {"problem": TEXT, "solution": TEXT, "answer": TEXT, "problem_type": TEXT, "question_type": TEXT, "source": TEXT,
         "uuid": TEXT, "is_reasoning_complete": List(Value("bool")), "generations": List(TEXT),
         "correctness_math_verify": List(Value("bool")), "correctness_llama": List(Value("bool")),
         "finish_reasons": List(TEXT), "correctness_count": Value("int64"), "messages": MESSAGE},
        lambda n: {"problem": question(n), "solution": "s", "answer": str(2 * n), "problem_type": "Algebra",
                   "question_type": "q", "source": "a", "uuid": "u", "is_reasoning_complete": [True],
                   "generations": [think(n)], "correctness_math_verify": [True], "correctness_llama": None,
                   "finish_reasons": None, "correctness_count": 1, "messages": messages(n)},
        lambda n: (str(2 * n), "math", "a"),
    ),
    "open-thoughts": (
        {"system": TEXT, "conversations": TURNS},
        lambda n: {"system": "s", "conversations": conversations(n, "user", "assistant", thought(n))},
        lambda n: (None, "math", "open-thoughts"),
    ),
    "open-thoughts/metadata": (
        {name: TEXT for name in ("problem", "deepseek_reasoning", "deepseek_solution", "ground_truth_solution", "domain",
                                 "source", "test_cases", "starter_code")},
        lambda n: {"problem": question(n), "deepseek_reasoning": thinking(n), "deepseek_solution": answer(n),
                   "ground_truth_solution": f"So \\boxed{{{2 * n}}}", "domain": "math", "source": "a",
                   "test_cases": None, "starter_code": None},
        lambda n: (f"So \\boxed{{{2 * n}}}", "math", "a"),
    ),
    "open-thoughts3": (
        {"difficulty": Value("int64"), "source": TEXT, "domain": TEXT, "conversations": TURNS},
        lambda n: {"difficulty": 7, "source": "a", "domain": "code",
                   "conversations": conversations(n, "human", "gpt", think(n))},
        lambda n: (None, "code", "a"),
    ),
    "bespoke-stratos": (
        {"system": TEXT, "conversations": TURNS},
        lambda n: {"system": "s", "conversations": conversations(n, "user", "assistant", thought(n))},
        lambda n: (None, "math", "bespoke-stratos"),
    ),
    "nemotron-v1": (
        {"uuid": TEXT, "license": TEXT, "generator": TEXT, "version": TEXT, "category": TEXT, "reasoning": TEXT,
         "messages": List({"role": TEXT, "content": TEXT, "tool_calls": CALLS}), "metadata": TEXT},
        lambda n: {"uuid": "u", "license": "l", "generator": "teacher", "version": "v1", "category": "math",
                   "reasoning": "on", "messages": tool_messages(n),
                   "metadata": json.dumps({"expected_answer": str(2 * n), "problem_source": "a"})},
        lambda n: (str(2 * n), "math", "a"),
    ),
    "sharegpt": (
        {"conversations": TURNS},
        lambda n: {"conversations": conversations(n, "human", "gpt", think(n))},
        lambda n: (None, "math", "sharegpt"),
    ),
    "messages": (
        {"messages": MESSAGE},
        lambda n: {"messages": messages(n)},
        lambda n: (None, "math", "messages"),
    ),
}


class Runs:
    """A folder in which recipes are run."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.count = str(Path(binary).resolve()), Path(folder), 0
        (self.folder / "base").mkdir()
        (self.folder / "base/config.json").write_text("{}")
        # Curation counts tokens.
        shutil.copy(Path(__file__).parents[2] / "teacher/assets/tokenizer.json", self.folder / "base")
        self.run("init", "start.toml", "--from", "r1-traces")

    def run(self, *arguments, **environment):
        done = subprocess.run([self.binary, *map(str, arguments)], cwd=self.folder, capture_output=True, text=True,
                              env={**os.environ, **environment})
        if done.returncode != 0:
            raise SystemExit(f"{arguments}: {done.stderr}")
        return done.stdout

    def imported(self, path, name, to="collect", **environment):
        """Runs a recipe on a file; returns the run's folder."""
        self.count += 1
        run = f"run{self.count}"
        lines = []
        for line in (self.folder / "start.toml").read_text().splitlines():
            line = line.replace('name = "r1-traces-smollm2"', f'name = "{run}"').replace("multiple choice", "math")
            if line.startswith("format = "):
                line = f'format = "{name}"'
            if line.startswith("policy = "):
                line = 'policy = "well_formed"'
            lines.append(line)
        (self.folder / f"{run}.toml").write_text("\n".join(lines))
        self.run("run", f"{run}.toml", "--to", to, "--input", f"traces={path}", "--input", "base=base", **environment)
        return f"runs/{run}"

    def check(self, run, expected):
        """Every trace of the run is the one that was written."""
        query = ("SELECT question, p.answer AS gold, domain, source, thinking, t.answer AS answer, sample FROM traces t "
                 "JOIN prompts p ON t.prompt_id = p.id")
        text = self.run("sql", query, "--run", run, "--format", "json", "--max-rows", 10 * COUNT)
        found = {row["question"]: row for row in map(json.loads, text.splitlines())}
        assert len(found) == COUNT, len(found)
        for n in range(COUNT):
            row = found[question(n)]
            gold, domain, source = expected(n)
            assert row.get("gold") == gold and row["domain"] == domain, row
            assert source is None or row["source"] == source, row
            assert (row["thinking"], row["answer"], row["sample"]) == (thinking(n), answer(n), 0), row


def imports(runs):
    for name, (features, row, expected) in FORMATS.items():
        dataset = Dataset.from_list([row(n) for n in range(COUNT)], features=Features(features))
        stem = runs.folder / name.split("/")[0]
        for extension, write in [("parquet", dataset.to_parquet), ("jsonl", dataset.to_json)]:
            path = f"{stem}.{extension}"
            write(path)
            runs.check(runs.imported(path, name.split("/")[0]), expected)
    print(f"{len(FORMATS)} formats that `datasets` wrote as Parquet and JSON Lines, {COUNT} rows each: all texts equal")


def arrow_types(runs):
    """Text and lists of every kind of Arrow's that pyarrow writes; it does not write views."""
    kinds = [pyarrow.string(), pyarrow.large_string()]
    rows = [FORMATS["mixture-of-thoughts"][1](n) for n in range(COUNT)]
    for text in kinds:
        for list_of in (pyarrow.list_, pyarrow.large_list):
            message = list_of(pyarrow.struct([("content", text), ("role", text)]))
            schema = pyarrow.schema([("messages", message), ("num_tokens", pyarrow.int64()), ("source", text)])
            table = pyarrow.Table.from_pylist(rows, schema=schema)
            if text == pyarrow.string():
                source = table["source"].dictionary_encode()
                table = table.set_column(2, "source", source)
            path = runs.folder / "arrow.parquet"
            pyarrow.parquet.write_table(table, path, row_group_size=100, compression="snappy")
            runs.check(runs.imported(path, "mixture-of-thoughts"), lambda n: (None, "math", "a"))
    print("string, large_string and dictionary, list and large_list: all texts equal")


def hub_cache(runs):
    """A cache that huggingface_hub finds files in."""
    cache, commit = runs.folder / "hub", "0123456789abcdef0123456789abcdef01234567"
    snapshot = cache / "datasets--open-r1--Mixture-of-Thoughts/snapshots" / commit
    refs = snapshot.parents[1] / "refs"
    (snapshot / "all").mkdir(parents=True)
    refs.mkdir()
    (refs / "main").write_text(commit)
    data = (runs.folder / "mixture-of-thoughts.parquet").read_bytes()
    (snapshot / "all/train-00000-of-00001.parquet").write_bytes(data)
    found = try_to_load_from_cache("open-r1/Mixture-of-Thoughts", "all/train-00000-of-00001.parquet", cache_dir=cache,
                                   repo_type="dataset")
    assert isinstance(found, str), found
    run = runs.imported("hf://datasets/open-r1/Mixture-of-Thoughts/all", "mixture-of-thoughts", HF_HUB_CACHE=str(cache))
    runs.check(run, lambda n: (None, "math", "a"))
    print("hf://datasets/ in a cache as huggingface_hub lays it out: all texts equal")


# Python reads zstd with a package of its own.
EXTENSIONS = ["parquet", "jsonl"] + (["jsonl.zst"] if importlib.util.find_spec("zstandard") else [])


def exports(runs):
    run = runs.imported(runs.folder / "mixture-of-thoughts.parquet", "mixture-of-thoughts", to="curate")
    turns = lambda n: conversations(n, "human", "gpt", think(n))
    expected = {
        "mixture-of-thoughts": lambda n: {"messages": messages(n), "num_tokens": None, "source": "a"},
        "open-thoughts3": lambda n: {"difficulty": None, "source": "a", "domain": "math", "conversations": turns(n)},
        "sharegpt": lambda n: {"conversations": turns(n)},
        "messages": lambda n: {"messages": messages(n)},
    }
    for name, row in expected.items():
        wanted = [row(n) for n in range(COUNT)]
        for extension in EXTENSIONS:
            path = runs.folder / f"exported-{name}.{extension}"
            runs.run("dataset", run, "--format", name, "--output", path)
            kind = "parquet" if extension == "parquet" else "json"
            read = load_dataset(kind, data_files=str(path), split="train", cache_dir=str(runs.folder / "cache"))
            assert sorted(map(key, read)) == sorted(map(key, wanted)), (name, extension, read[0])
            if kind == "parquet":
                published = {field: FORMATS[name][0][field] for field in row(0)}
                assert read.features == Features(published), (read.features, published)
                column = "messages" if "messages" in row(0) else "conversations"
                part = "content" if column == "messages" else "value"
                query = f"SELECT {column}[1].{part}, {column}[2].{part} FROM read_parquet('{path}')"
                assert sorted(duckdb.sql(query).fetchall()) == sorted((question(n), think(n)) for n in range(COUNT))
    print(f"{len(expected)} formats exported as {', '.join(EXTENSIONS)}: `datasets` reads every text, and the features "
          "of the published sets; DuckDB reads every text of the Parquet")


def key(row):
    return json.dumps(row, sort_keys=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(arguments.binary, folder)
        imports(runs)
        arrow_types(runs)
        hub_cache(runs)
        exports(runs)


if __name__ == "__main__":
    main()
