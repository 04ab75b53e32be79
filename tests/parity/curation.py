"""What curation says of real traces, and what its limits on repetition catch: the numbers of `curation_precision.md`.

    python tests/parity/curation.py SHARED --binary target/release/r1-distill [--work DIR]

SHARED is the folder that `R1D_SHARED` names. It needs nothing but Python. Three sets are imported and judged: `r1` (6,000
traces of DeepSeek-R1), `distilled` (R1-Distill, Marco-o1 and others; most without gold answers) and `qwen` (what
Qwen2.5-3B-Instruct wrote at temperature 0, as thinking and answer). Prints Markdown: the funnels, for each rule the ids to
read (the first by id, which is a hash), and the calibration. `show ID --run DIR/runs/SET` shows a trace.
"""

import argparse
import glob
import gzip
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

RULES = [
    "well_formed",
    "finished",
    "ending = 'complete'",
    "thinking_ending = 'complete'",
    "correct",
    "answer_verdict IS NULL OR answer_verdict <> 'no_answer'",
    "loop_chars = 0",
    "most_repeated_20gram <= 5",
    "duplicate_sentences <= 0.25",
    "compression <= 5",
    "language = 'eng'",
    "foreign_script < 0.1",
    "foreign_paragraphs = 0",
    "stray_letters = 0",
    "lost_characters = 0",
    "longest_paragraph <= 2000",
    "code_blocks = 0",
    "NOT identity",
    "NOT refusal",
    "NOT leak",
    "secrets IS NULL",
    "NOT duplicate",
    "NOT near_duplicate",
]
RECIPE = """
name = "{name}"
description = "Traces to be judged."
[prompts]
kind = "file"
input = "traces"
domain = "any"
format = {{ columns = {{ question = "{question}", answer = "{gold}" }} }}
[collect]
kind = "import"
input = "traces"
teacher = "{name}"
format = {{ columns = {{ question = "{question}", thinking = "{thinking}", answer = "{answer}" }} }}
[curate]
policy = "{policy}"
{more}
near_prompts = {{ shingle = 5, bands = 20, rows = 6, threshold = 0.8 }}
near_traces = {{ shingle = 5, bands = 20, rows = 6, threshold = 0.9 }}
"""


def write_sets(data, work):
    """The other two sets as JSON lines; R1's are such a file already."""
    with open(f"{work}/distilled.jsonl", "w") as out:

        def row(question, thinking, answer, gold=None):
            out.write(json.dumps({"question": question, "thinking": thinking, "answer": answer, "gold": gold}) + "\n")

        for path in sorted(glob.glob(f"{data}/traces/r1_distill_100/*.json")):
            for i, item in enumerate(json.load(open(path))):
                thinking, answer = item["response"].removeprefix("<think>").split("</think>", 1)
                row(f"Question {i} of a hundred", thinking, answer)
        for item in json.load(open(f"{data}/traces/marco_o1_CoT_demo.json")):
            thinking, answer = item["response"].split("</Thought>", 1)
            row(item["instruction"], thinking.replace("<Thought>", ""), re.sub("</?Output>", "", answer))
        for name in ("ollama", "openrouter"):
            for item in json.load(open(f"{data}/traces/rasbt_sample_{name}_outputs.json")):
                row(item["problem"], item["message_thinking"], item["message_content"], item["gtruth_answer"])
    with open(f"{work}/qwen.jsonl", "w") as out:
        for path in sorted(glob.glob(f"{data}/equivalence/qwen2.5_3b_instruct_math_evals/*.jsonl")):
            out.writelines(qwen_rows(path))
    columns = {"question": "question", "thinking": "thinking", "answer": "answer", "gold": "gold"}
    r1 = {"question": "formated_question", "thinking": "reason", "answer": "gen_ans", "gold": "answer"}
    return {
        "r1": (f"{data}/traces/deepseek_r1_mcq_6000.jsonl", r1),
        "distilled": (f"{work}/distilled.jsonl", columns),
        "qwen": (f"{work}/qwen.jsonl", columns),
    }


def qwen_rows(path):
    for line in open(path):
        item = json.loads(line)
        text = item["code"][0]
        yield json.dumps({"question": item["question"], "thinking": text, "answer": text, "gold": item["gt"]}) + "\n"


class Runs:
    def __init__(self, binary, work):
        self.binary, self.work = os.path.abspath(binary), work

    def call(self, *arguments):
        ran = subprocess.run([self.binary, *arguments], cwd=self.work, capture_output=True, text=True)
        if ran.returncode != 0:
            sys.exit(f"{' '.join(arguments)}\n{ran.stdout}{ran.stderr}")
        return ran.stdout, ran.stderr

    def curate(self, name, path, columns, rules=RULES, more="", inputs=()):
        """The funnel: each rule's own drop, and what is left in order."""
        template = open(os.path.join(os.path.dirname(__file__), "../../recipes/r1-traces-smollm2.toml")).read()
        rest = template[template.index("[student.base]"):]
        policy = " AND ".join(rule if " OR " not in rule else f"({rule})" for rule in rules)
        recipe = RECIPE.format(name=name, policy=policy, more=more, **columns) + rest
        open(f"{self.work}/{name}.toml", "w").write(recipe)
        os.makedirs(f"{self.work}/base", exist_ok=True)
        open(f"{self.work}/base/config.json", "w").write("{}")
        tokenizer = os.path.join(os.path.dirname(__file__), "../../teacher/assets/tokenizer.json")
        shutil.copy(tokenizer, f"{self.work}/base")
        inputs = [word for input in (f"traces={path}", "base=base", *inputs) for word in ("--input", input)]
        self.call("run", f"{name}.toml", "--to", "curate", *inputs)
        record = json.load(open(glob.glob(f"{self.work}/runs/{name}/curate/artifact.json")[0]))
        return record["summary"]

    def sql(self, query, name=None, tables=()):
        arguments = ["sql", "--format", "json"]
        arguments += ["--run", f"runs/{name}"] if name else []
        for table, path in tables:
            arguments += ["--table", f"{table}={path}"]
        return [json.loads(line) for line in self.call(*arguments, query)[0].splitlines()]


def funnels(summaries):
    print("## Funnel\n\nAlone: how many of all fail this rule. Left: how many pass it and those above.\n")
    print("| rule | " + " | ".join(f"{name}: alone | left" for name in summaries) + " |")
    print("|---|" + "---|---|" * len(summaries))
    print("| all | " + " | ".join(f" | {summary['total']:,}" for summary in summaries.values()) + " |")
    for i, rule in enumerate(RULES):
        steps = [summary["funnel"][i] for summary in summaries.values()]
        print(f"| `{rule}` | " + " | ".join(f"{step['dropped']:,} | {step['remaining']:,}" for step in steps) + " |")


def samples(runs, names):
    print("\n## To be read\n")
    for rule in RULES:
        for name in names:
            query = f"SELECT trace_id FROM verdicts WHERE ({rule}) IS FALSE ORDER BY trace_id LIMIT 10"
            ids = [row["trace_id"] for row in runs.sql(query, name)]
            if ids:
                print(f"- `{rule}`, {name}: {' '.join(ids)}")


# Contamination -------------------------------------------------------------------------------------------------------

# File, and what is the question and the reference solution in a row of it.
BENCHMARKS = {
    "gsm8k_train": lambda row: (row["question"], row["answer"]),
    "gsm8k_test": lambda row: (row["question"], row["answer"]),
    "svamp": lambda row: (f"{row['Body'].rstrip('.')}. {row['Question']}", None),
    "math500": lambda row: (row["problem"], row["solution"]),
    "aime24": lambda row: (row["problem"], row["solution"]),
    "aime25": lambda row: (row["problem"], None),
    "amc23": lambda row: (row["problem"], None),
    "olympiadbench": lambda row: (row["question"], "\n".join(row["solution"])),
    "mmlu_stem": lambda row: (row["question"], None),
    "mbpp": lambda row: (row["text"], row["code"]),
    "HumanEval": lambda row: (row["prompt"], row["canonical_solution"]),
    "leetcode_20240121-Jul": lambda row: (row["prompt_sft"], None),
}
# Those of `qwen` that are no benchmark above.
OTHERS = ("aqua", "asdiv", "carp_en", "gaokao2023en", "mawps", "minerva_math", "sat_math", "tabmwp")


def contamination(runs, data, work, sets):
    """What each preset finds, and what of it is to be read: the first by id of each of its rules."""
    named = []
    for name, read in BENCHMARKS.items():
        (path,) = glob.glob(f"{data}/prompts/{name}.jsonl*")
        with gzip.open(path, "rt") if path.endswith(".gz") else open(path) as lines:
            rows = [read(json.loads(line)) for line in lines]
        named.append(name.replace("-", "_").lower())
        with open(f"{work}/benchmark-{named[-1]}.jsonl", "w") as out:
            out.writelines(json.dumps({"question": question, "solution": solution}) + "\n" for question, solution in rows)
    with open(f"{work}/others.jsonl", "w") as out:
        for name in OTHERS:
            out.writelines(qwen_rows(f"{data}/equivalence/qwen2.5_3b_instruct_math_evals/{name}.jsonl"))
    inputs = [f"{name}=benchmark-{name}.jsonl" for name in named]
    sets = {"r1": sets["r1"], "distilled": sets["distilled"], "others": (f"{work}/others.jsonl", sets["qwen"][1])}
    print("\n## Contamination\n\n`others`: of `qwen` what is no benchmark itself.\n\n| preset | set | rule | traces | to be read |")
    print("|---|---|---|---|---|")
    for preset in ("strict", "deepseek", "qwen", "open-thoughts"):
        files = [f'{{ name = "{name}", input = "{name}", question = "question", solution = "solution" }}' for name in named]
        more = f'contamination = {{ preset = "{preset}", benchmarks = [{", ".join(files)}] }}'
        for name, (path, columns) in sets.items():
            run = f"{preset}-{name}"
            runs.curate(run, path, columns, ["true"], more, inputs)
            query = """SELECT contamination_rule AS rule, count(*) AS n, array_agg(trace_id ORDER BY trace_id) AS ids
                FROM verdicts WHERE contaminated IS NOT NULL GROUP BY 1 ORDER BY 1"""
            for row in runs.sql(query, run):
                print(f"| {preset} | {name} | {row['rule']} | {row['n']:,} | {' '.join(id[:8] for id in row['ids'][:12])} |")


# Planted defects -----------------------------------------------------------------------------------------------------


def looped(text, rng, period, times):
    """The text up to a place, where its last words come again until the limit cuts the last repetition."""
    words = text.split(" ")
    at = rng.randint(min(len(words), period), len(words))
    piece = words[max(0, at - period):at]
    return " ".join(words[:at] + piece * times + piece[: len(piece) // 2])


def paragraph_again(text, rng, times):
    """One paragraph, again and again among the others."""
    paragraphs = text.split("\n\n")
    again = max(paragraphs, key=len)
    for _ in range(times):
        paragraphs.insert(rng.randint(0, len(paragraphs)), again)
    return "\n\n".join(paragraphs)


def phrase_again(text, rng):
    """After each sentence the same remark."""
    remark = " Wait, let me check that again, since I may have made a mistake somewhere in between."
    return re.sub(r"(?<=[a-z])\. ", lambda match: "." + remark + " ", text)


def counting(text, rng):
    """Trials without end, of which only the numbers differ."""
    trials = [f"Let's try n = {n}: then n + 4 = {n + 4}, which is not divisible by 7, so it does not work." for n in range(60)]
    return text[: rng.randint(0, len(text))] + "\n" + "\n".join(trials)


def plants():
    for period in (1, 2, 5, 10, 20, 50, 100, 200, 400):
        times = max(6, 300 // period)
        yield f"loop of {period} word{'s' * (period > 1)}", lambda text, rng, p=period, t=times: looped(text, rng, p, t)
    for times in (3, 5, 10, 25):
        yield f"a paragraph {times} times more", lambda text, rng, t=times: paragraph_again(text, rng, t)
    yield "a remark after each sentence", phrase_again
    yield "60 trials with other numbers", counting


MEASURES = """
    SELECT set, repetition(text)['most_repeated_20gram'] AS most_repeated_20gram,
        1 - repetition(text)['distinct_20grams'] AS repeated_20grams, repetition(text)['duplicate_sentences'] AS duplicate_sentences,
        loops(text) AS loop_chars, compression(text) AS compression FROM texts
"""
LIMITS = {
    "loop_chars": [0, 200, 1000],
    "most_repeated_20gram": [2, 3, 5, 10, 20],
    "repeated_20grams": [0.02, 0.05, 0.1, 0.2, 0.5],
    "duplicate_sentences": [0.1, 0.2, 0.25, 0.3, 0.5],
    "compression": [4, 4.5, 5, 6, 8],
}
# What strict.sql drops.
TOGETHER = {"loop_chars": 0, "most_repeated_20gram": 5, "duplicate_sentences": 0.25, "compression": 5}


def calibrate(runs, work):
    texts = {}
    for name in ("r1", "distilled", "qwen"):
        rows = runs.sql("SELECT id, thinking FROM traces ORDER BY id", name)
        texts[name] = [row["thinking"] for row in rows if row.get("thinking")]
    # Long enough that a repetition may be told from the text; chosen by hash.
    real = [text for name in ("r1", "distilled") for text in texts[name]]
    long = sorted((text for text in real if len(text) > 1000), key=lambda text: hashlib.sha256(text.encode()).digest())
    with open(f"{work}/texts.jsonl", "w") as out:
        for name, those in texts.items():
            for text in those:
                out.write(json.dumps({"set": name, "text": text}) + "\n")
        for plant, make in plants():
            rng = random.Random(plant)
            for text in long[:300]:
                out.write(json.dumps({"set": plant, "text": make(text, rng)}) + "\n")
    measured = {}
    for row in runs.sql(MEASURES, tables=[("texts", f"{work}/texts.jsonl")]):
        measured.setdefault(row["set"], []).append(row)

    print("\n## Percentiles\n\n| signal | set | 50 | 90 | 95 | 99 | 99.9 | most |\n|---|---|---|---|---|---|---|---|")
    for signal in LIMITS:
        for name in texts:
            values = sorted(row[signal] for row in measured[name])
            at = [values[min(len(values) - 1, int(share * len(values)))] for share in (0.5, 0.9, 0.95, 0.99, 0.999)]
            print(f"| {signal} | {name} | " + " | ".join(f"{value:.3g}" for value in [*at, values[-1]]) + " |")

    def share(name, signal, limit):
        rows = measured[name]
        return 100 * sum(row[signal] > limit for row in rows) / len(rows)

    names = [plant for plant, _ in plants()]
    print("\n## Above a limit, per cent of 300 planted texts and of the real ones\n")
    columns = [(signal, limit) for signal, limits in LIMITS.items() for limit in limits]
    for signal, limits in LIMITS.items():
        print(f"\n| {signal} above | " + " | ".join(str(limit) for limit in limits) + " |\n|---|" + "---|" * len(limits))
        for name in [*texts, *names]:
            print(f"| {name} | " + " | ".join(f"{share(name, signal, limit):.4g}" for limit in limits) + " |")
    print("\n| together (" + ", ".join(f"{signal} > {limit}" for signal, limit in TOGETHER.items()) + ") | dropped |\n|---|---|")
    for name in [*texts, *names]:
        rows = measured[name]
        dropped = sum(any(row[signal] > limit for signal, limit in TOGETHER.items()) for row in rows)
        print(f"| {name} | {100 * dropped / len(rows):.4g} |")


def cut_short(runs, work):
    """How many texts that are cut at a random place are told from whole ones, by how they end."""
    print("\n## Cut short\n\n| set | text | cut at | seen |\n|---|---|---|---|")
    for name, field in (("r1", "thinking"), ("r1", "answer"), ("distilled", "thinking"), ("qwen", "answer")):
        rows = runs.sql(f"SELECT id, {field} AS text FROM traces ORDER BY id LIMIT 1500", name)
        columns = {"question": "question", "thinking": "thinking", "answer": "answer", "gold": "gold"}
        for unit in ("character", "word"):
            rng = random.Random(name + field + unit)
            path = f"{work}/cut.jsonl"
            count = 0
            with open(path, "w") as out:
                for i, row in enumerate(rows):
                    text = row.get("text") or ""
                    if len(text) < 200:
                        continue
                    at = rng.randint(len(text) // 2, len(text) - 2)
                    cut = text[:at] if unit == "character" else text[:at].rsplit(" ", 1)[0]
                    count += 1
                    out.write(json.dumps({"question": f"Question {i}", "thinking": "t", "answer": cut, "gold": "1"}) + "\n")
            run = f"cut-{name}-{field}-{unit}"
            runs.curate(run, path, columns, ["true"])
            seen = runs.sql("SELECT count(*) AS n FROM verdicts WHERE ending <> 'complete'", run)[0]["n"]
            print(f"| {name} | {field} | {unit} | {100 * seen / count:.1f} % |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("shared")
    parser.add_argument("--binary", required=True)
    parser.add_argument("--work")
    options = parser.parse_args()
    work = os.path.abspath(options.work or tempfile.mkdtemp())
    os.makedirs(work, exist_ok=True)
    data = os.path.abspath(os.path.join(options.shared, "data"))
    runs = Runs(options.binary, work)
    sets = write_sets(data, work)
    funnels({name: runs.curate(name, path, columns) for name, (path, columns) in sets.items()})
    samples(runs, sets)
    contamination(runs, data, work, sets)
    calibrate(runs, work)
    cut_short(runs, work)


if __name__ == "__main__":
    main()
