"""Compares the r1-distill binary with transformers on models that are not in the repository.

    python live.py --binary target/release/r1-distill [--model DIR]... [--exported DIR]... [--random 9] [--seed 1]

For each folder: logits, 32 greedy tokens and their text from the same ids, and 32 greedy tokens after the same question,
which both sides render with the folder's chat template and tokenize themselves. float32, eager attention.

  random    small Llama, Qwen2 and Qwen3 models of drawn shapes, number formats, shardings and config dialects
  --model   folders made elsewhere (a real base model)
  --exported  folders that r1-distill exported

Prints a table; exits with 1 if anything differs by more than float32 rounding.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX
from transformers.utils import logging

NEW_TOKENS = 32
# Largest difference of logits that counts as equal: absolute for the small models, whose logits are within ±20; for
# models of dozens of layers, relative to the largest logit.
SMALL_TOLERANCE = 1e-4
RELATIVE_TOLERANCE = 1e-4
QUESTION = "Mia has 12 apples and buys 30 more. How many does she have?"
TEXT = " ".join(f"{n} times {n + 7} is {n * (n + 7)}, which is {'even' if n % 2 else 'even too'};" for n in range(12))
TEMPLATE = ("{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + eos_token"
            " }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")


def small_tokenizer(folder, rng):
    """A byte-level BPE; the model's vocabulary is a little larger, as Qwen's is.

    Split as Qwen2 does it, because transformers does so for `model_type: qwen2` whatever the file says.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=rng.randrange(270, 400), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=["<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>"])
    tokenizer.train_from_iterator([TEXT, QUESTION] * 3, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|eos|>",
                                   clean_up_tokenization_spaces=False, chat_template=TEMPLATE)
    fast.save_pretrained(folder)
    return len(fast) + rng.randrange(9)


def small_model(folder, seed):
    """A folder with a random model; returns what it is like, in words."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    vocab = small_tokenizer(folder, rng)
    heads_per_group, groups = rng.choice([1, 2, 3, 7]), rng.choice([1, 2, 3])
    family = ["llama", "qwen2", "qwen3"][seed % 3]
    llama, qwen2 = family == "llama", family == "qwen2"
    head = rng.choice([8, 16, 32, 64])
    heads = heads_per_group * groups
    # Qwen2's head is always hidden / heads; that of the others may be anything.
    hidden = heads * (head if qwen2 or rng.random() < 0.5 else rng.randrange(6, 40))
    shape = dict(vocab_size=vocab, hidden_size=hidden, intermediate_size=rng.randrange(30, 400),
                 num_hidden_layers=rng.randrange(1, 5), num_attention_heads=heads, num_key_value_heads=groups,
                 max_position_embeddings=2048, rms_norm_eps=rng.choice([1e-5, 1e-6]), bos_token_id=0, eos_token_id=1,
                 tie_word_embeddings=rng.random() < 0.5)
    rope = {"rope_type": "default", "rope_theta": rng.choice([1e4, 5e5, 1e6])}
    if llama and rng.random() < 0.7:
        rope |= {"rope_type": "llama3", "factor": rng.choice([8.0, 32.0]), "low_freq_factor": 1.0,
                 "high_freq_factor": 4.0, "original_max_position_embeddings": rng.choice([64, 512, 8192])}
    if llama:
        model = LlamaForCausalLM(LlamaConfig(**shape, head_dim=head, rope_parameters=rope))
    elif qwen2:
        model = Qwen2ForCausalLM(Qwen2Config(**shape, rope_parameters=rope))
    else:
        model = Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=head, rope_parameters=rope))
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        spread = 1.2 / hidden ** 0.5
        parameter.data = 1 + 0.2 * noise if "norm" in name else noise * (0.3 if "bias" in name else spread)
    dtype = rng.choice([torch.float32, torch.bfloat16, torch.float16])
    sharded, old = rng.random() < 0.5, rng.random() < 0.5
    model.to(dtype).save_pretrained(folder, max_shard_size="60KB" if sharded else "50GB")
    if old:  # As transformers 4 wrote it.
        path = folder / "config.json"
        config = json.loads(path.read_text())
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = rope if rope["rope_type"] == "llama3" else None
        path.write_text(json.dumps(config))
    return (f"{family} {model.config.num_hidden_layers}x{hidden}, {heads}/{groups} heads of {head}, "
            f"{rope['rope_type']} rope, {str(dtype)[6:]}{', shards' if sharded else ''}{', v4 config' if old else ''}")


class Failed(Exception):
    pass


def binary(path, *arguments):
    done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"r1-distill {arguments[0]} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


@torch.no_grad()
def greedy(model, ids):
    """The most likely tokens, none of which ends the text, and the distance from each to the runner-up."""
    tokens, gaps, past, feed = [], [], None, torch.tensor([ids])
    for _ in range(NEW_TOKENS):
        out = model(feed, past_key_values=past, use_cache=True)
        past = out.past_key_values
        best = out.logits[0, -1].topk(2)
        tokens.append(best.indices[0].item())
        gaps.append((best.values[0] - best.values[1]).item())
        feed = best.indices[:1][None]
    return tokens, gaps


def stop_ids(folder, tokenizer):
    config = json.loads((folder / "generation_config.json").read_text())
    listed = config.get("eos_token_id") or []
    return {tokenizer.eos_token_id, *(listed if isinstance(listed, list) else [listed])}


def compare_tokens(ours, model, ids, stops, tokenizer, what):
    expected, gaps = greedy(model, ids)
    got = ours["token_ids"]
    for at, (a, b) in enumerate(zip(got, expected)):
        if a != b:
            raise Failed(f"{what}: token {at} is {a}, not {b}; the two are {gaps[at]:.1e} apart")
    if len(got) < NEW_TOKENS and not (ours["finish_reason"] == "stop" and expected[len(got)] in stops):
        raise Failed(f"{what}: {len(got)} tokens and finish_reason {ours['finish_reason']}, next {expected[len(got)]}")
    text = tokenizer.decode(got, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if ours["text"] != text:
        raise Failed(f"{what}: the text is {ours['text']!r}, not {text!r}")
    return len(got)


def compare(path, folder, real, scratch):
    """One folder; returns (largest difference, largest logit, tokens compared)."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    stops = stop_ids(folder, tokenizer)
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    out = Path(scratch) / "logits.safetensors"
    binary(path, "logits", folder, "--ids", ",".join(map(str, ids)), "--out", out)
    ours = load_file(out)["logits"]
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0]
    if ours.shape != expected.shape:
        raise Failed(f"logits have shape {tuple(ours.shape)}, not {tuple(expected.shape)}")
    difference, largest = (ours - expected).abs().max().item(), expected.abs().max().item()
    tolerance = RELATIVE_TOLERANCE * largest if real else SMALL_TOLERANCE
    if not difference < tolerance:
        raise Failed(f"logits differ by {difference:.1e}, allowed are {tolerance:.1e}")

    options = ["--max-tokens", NEW_TOKENS, "--temperature", 0, "--json"]
    count = 0
    for prompt in (ids, ids[:1], ids[: len(ids) // 2]):
        reply = json.loads(binary(path, "generate", folder, "--ids", ",".join(map(str, prompt)), *options))
        count += compare_tokens(reply, model, prompt, stops, tokenizer, f"after {len(prompt)} ids")
    chat = tokenizer.apply_chat_template([{"role": "user", "content": QUESTION}], add_generation_prompt=True,
                                         tokenize=False)
    reply = json.loads(binary(path, "generate", folder, QUESTION, *options))
    prompt = tokenizer(chat, add_special_tokens=False)["input_ids"]
    count += compare_tokens(reply, model, prompt, stops, tokenizer, "after a question")
    return difference, largest, count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", action="append", default=[], type=Path)
    parser.add_argument("--exported", action="append", default=[], type=Path)
    parser.add_argument("--random", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()

    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        cases = []
        for seed in range(arguments.seed, arguments.seed + arguments.random):
            folder = Path(scratch) / str(seed)
            cases.append((f"{seed}: {small_model(folder, seed)}", folder, False))
        cases += [(str(folder), folder, True) for folder in arguments.model + arguments.exported]
        width = max(len(name) for name, _, _ in cases)
        print(f"{'model':{width}}  logits differ  of at most  tokens equal")
        for name, folder, real in cases:
            try:
                difference, largest, count = compare(arguments.binary, folder, real, scratch)
                print(f"{name:{width}}  {difference:13.1e}  {largest:10.1f}  {count:12}", flush=True)
            except Failed as failure:
                failures += 1
                print(f"{name:{width}}  FAILED: {failure}", flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
