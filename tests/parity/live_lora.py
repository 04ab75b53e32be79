"""r1-distill trains an adapter; PEFT loads it over the base and gets the model that r1-distill exported.

    python live_lora.py --binary target/release/r1-distill [--seed 1]

The base is a new random model, the traces are made up. In float32:

  adapter   PEFT loads every tensor of the file, with the same bits, and misses none
  weights   PEFT's merged weights, rounded to bf16, are the exported ones (a value between two bf16 numbers may go to
            either: at most one in a thousand, by one step)
  logits    PEFT's with those weights are r1-distill's of the exported folder; and with the adapter beside the base they
            differ from these by the rounding to bf16 alone
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from live import SMALL_TOLERANCE, TEXT, Failed, binary, small_model
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

TARGETS = ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"]
RECIPE = """
name = "lora"
description = "Trains an adapter for a comparison with PEFT."

[prompts]
kind = "file"
input = "traces"
domain = "arithmetic"
format = {{ columns = {{ question = "question", answer = "answer" }} }}

[collect]
kind = "import"
input = "traces"
teacher = "made up"
format = {{ columns = {{ question = "question", thinking = "thinking", answer = "text" }} }}

[curate]
policy = "finished"
near_prompts = {{ shingle = 5, bands = 20, rows = 6, threshold = 0.8 }}
near_traces = {{ shingle = 5, bands = 20, rows = 6, threshold = 0.9 }}

[student.base]
kind = "folder"
input = "base"

[pack]
sequence_length = 512
too_long = "drop"
held_out = 4
seed = 1

[train]
epochs = 3
max_steps = 12
rows_per_step = 2
rows_per_pass = 1
seed = 1
keep_best = false
precision = "f32"

[train.lora]
rank = 4
alpha = 10.0
dropout = 0.1
target_modules = {targets}

[train.optimizer]
learning_rate = 2e-2
warmup_ratio = 0.1
final_ratio = 0.1
weight_decay = 0.01
beta1 = 0.9
beta2 = 0.95
epsilon = 1e-8
max_grad_norm = 1.0

[evaluate]

[export]
model_name = "an adapter"
license = "apache-2.0"
shard_gigabytes = 4.0
"""


def traces(path):
    with path.open("w") as file:
        for n in range(60):
            total = 3 * n + 5
            row = {"question": f"What is {2 * n + 1} + {n + 4}?", "answer": str(total),
                   "thinking": f"I add {n + 4} to {2 * n + 1} and get {total}.", "text": f"It is \\boxed{{{total}}}."}
            file.write(json.dumps(row) + "\n")


def run(path, scratch, base):
    traces(scratch / "traces.jsonl")
    (scratch / "recipe.toml").write_text(RECIPE.format(targets=json.dumps(TARGETS)))
    arguments = ["run", "recipe.toml", "--input", "traces=traces.jsonl", "--input", f"base={base}", "--to", "export"]
    done = subprocess.run([Path(path).resolve(), *arguments], cwd=scratch, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"r1-distill run ended with {done.returncode}: {done.stderr.strip()[-800:]}")
    return scratch / "runs" / "lora" / "export"


@torch.no_grad()
def compare(path, scratch, seed):
    base = scratch / "base"
    print(f"base: {small_model(base, seed)}")
    export = run(path, scratch, base)

    def load(folder):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

    adapted = PeftModel.from_pretrained(load(base), export / "adapter")
    stored = load_file(export / "adapter" / "adapter_model.safetensors")
    loaded = {name.replace(".default", ""): p for name, p in adapted.named_parameters() if ".lora_" in name}
    if loaded.keys() != stored.keys():
        raise Failed(f"PEFT has other tensors: {sorted(loaded.keys() ^ stored.keys())[:4]}")
    for name, tensor in stored.items():
        if not torch.equal(loaded[name], tensor):
            raise Failed(f"PEFT did not load {name}")
        if not tensor.any():
            raise Failed(f"{name} was not trained")

    ids = AutoTokenizer.from_pretrained(base)(TEXT, add_special_tokens=False)["input_ids"]
    beside = adapted(torch.tensor([ids])).logits[0]
    with adapted.disable_adapter():
        moved = (beside - adapted(torch.tensor([ids])).logits[0]).abs().max().item()

    merged, exported = adapted.merge_and_unload(), load(export / "model")
    flipped, count = 0, 0
    for (name, ours), theirs in zip(exported.named_parameters(), merged.parameters()):
        rounded = theirs.bfloat16().float()
        step = torch.maximum(rounded.abs(), ours.abs()) * 2.0 ** -7
        if ((ours - rounded).abs() > step).any():
            raise Failed(f"{name} differs from PEFT's merged weights by more than rounding")
        flipped, count = flipped + (ours != rounded).sum().item(), count + ours.numel()
        theirs.data = ours.data
    if flipped > count / 1000:
        raise Failed(f"{flipped} of {count} weights are rounded otherwise")

    out = scratch / "logits.safetensors"
    binary(path, "logits", export / "model", "--ids", ",".join(map(str, ids)), "--out", out)
    ours, theirs = load_file(out)["logits"], merged(torch.tensor([ids])).logits[0]
    difference, rounding = (ours - theirs).abs().max().item(), (beside - theirs).abs().max().item()
    apart = (ours - beside).abs().max().item()
    print(f"adapter: {len(stored)} tensors, moves logits by {moved:.2f} at most (logits within ±{beside.abs().max():.1f})")
    print(f"weights: {flipped} of {count} rounded otherwise")
    print(f"logits: differ by {difference:.1e}; adapter beside base: by {apart:.1e}, of which bf16 is {rounding:.1e}")
    if difference > SMALL_TOLERANCE or apart > rounding + SMALL_TOLERANCE or rounding > moved / 10:
        raise Failed("the logits differ")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            compare(arguments.binary, Path(scratch), arguments.seed)
        except Failed as failure:
            print(f"FAILED: {failure}")
            sys.exit(1)


if __name__ == "__main__":
    main()
