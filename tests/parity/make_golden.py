"""Writes the golden models and what transformers and torch compute with them.

Three tiny models with random weights (a Qwen2 with biases and a tied head; a Llama 3 with scaled rotary embedding, wide
heads and an untied output; a Qwen3 with norms on q and k and heads that are not hidden / heads wide), saved as Hugging
Face folders, and beside each:

  conversations.json    token ids and prompt lengths of two conversations; the mean loss over their supervised tokens
  expected.safetensors  logits.0, logits.1: each conversation alone; gradient.NAME of the mean loss over both together
  adamw.json            settings, losses, gradient norms and learning rates of five optimizer steps (Qwen2 only)
  adamw.safetensors     the weights after them

Everything in float32 on one thread with eager attention, each conversation by itself and without padding: packing is
what is under test on the other side.
"""

import copy
import json
import math
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    get_cosine_with_min_lr_schedule_with_warmup,
)

GOLDEN = Path(__file__).parent / "golden"
# (tokens, of these the prompt). The first is longer than one block of the fused attention.
CONVERSATIONS = [(75, 19), (23, 9)]

SHAPE = dict(vocab_size=101, hidden_size=32, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=512, attn_implementation="eager")
QWEN2 = Qwen2Config(**SHAPE, rms_norm_eps=1e-6, tie_word_embeddings=True,
                    rope_parameters={"rope_type": "default", "rope_theta": 1e6})
# With an original context of 64, of the eight frequencies one is left alone, one is blended and six are slowed: all
# three cases of llama3 scaling show in 75 tokens.
LLAMA = LlamaConfig(**SHAPE, head_dim=16, rms_norm_eps=1e-5, tie_word_embeddings=False,
                    rope_parameters={"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0,
                                     "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                     "original_max_position_embeddings": 64})
# Queries are 48 wide and keys 24, where the model is 32: nothing here may take head_dim for hidden / heads.
QWEN3 = Qwen3Config(**SHAPE, head_dim=12, rms_norm_eps=1e-6, tie_word_embeddings=True,
                    rope_parameters={"rope_type": "default", "rope_theta": 1e6})


def randomise(model, seed):
    """Weights large enough that logits are far from flat; norms and biases are not left at 1 and 0."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            values = 1 + 0.2 * values
        else:
            values = values * (0.3 if name.endswith("bias") or "embed" in name else 0.15)
        parameter.data.copy_(values)


def conversations(seed, vocab):
    generator = torch.Generator().manual_seed(seed)
    return [{"ids": torch.randint(0, vocab, (length,), generator=generator).tolist(), "prompt_len": prompt}
            for length, prompt in CONVERSATIONS]


def logits_of(model, ids):
    return model(torch.tensor([ids])).logits[0]


def loss_of(model, batch):
    """Cross-entropy of all supervised tokens of the batch, over their number."""
    total = sum(len(c["ids"]) - c["prompt_len"] for c in batch)
    summed = 0
    for conversation in batch:
        ids, first = conversation["ids"], conversation["prompt_len"]
        predictions = logits_of(model, ids)[first - 1:-1]
        summed = summed + torch.nn.functional.cross_entropy(predictions, torch.tensor(ids[first:]), reduction="sum")
    return summed / total


def gradients(model, batch):
    model.zero_grad()
    loss = loss_of(model, batch)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def relative(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def golden(name, model, seed, weights):
    folder = GOLDEN / name
    randomise(model, seed)
    for parameter in model.parameters():  # Not model.to: that would round the rotary table as well.
        parameter.data = parameter.data.to(weights).float()
    batch = conversations(seed + 1, model.config.vocab_size)
    loss, grads = gradients(model, batch)
    with torch.no_grad():
        logits = [logits_of(model, c["ids"]) for c in batch]
    copy.deepcopy(model).to(weights).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "conversations.json").write_text(json.dumps({"conversations": batch, "loss": loss}) + "\n")
    expected = {f"logits.{i}": x.contiguous() for i, x in enumerate(logits)}
    expected |= {f"gradient.{key}": grad for key, grad in grads.items()}
    save_file(expected, folder / "expected.safetensors")

    # How far float32 itself is from float64: the scale to read the tests' tolerances on.
    double = copy.deepcopy(model).double()
    loss64, grads64 = gradients(double, batch)
    with torch.no_grad():
        off = max((a - logits_of(double, c["ids"])).abs().max().item() for a, c in zip(logits, batch))
    worst = max(grads, key=lambda key: relative(grads[key], grads64[key]))
    print(f"{name}: loss {loss:.6f}, logits within ±{max(x.abs().max().item() for x in logits):.1f}; float64 differs by "
          f"{off:.1e} (logits), {abs(loss - loss64):.1e} (loss), {relative(grads[worst], grads64[worst]):.1e} ({worst})")
    return model, batch


def optimizer_steps(model, batch, matrices, vectors, max_grad_norm):
    """Five steps as Hugging Face's Trainer takes them; decay on matrices only. Steps take turns over the batch.

    Epsilon is larger than usual: Adam divides by the root of the second moment, and with 1e-8 the rounding of the
    smallest gradients becomes whole steps (torch itself then ends 2e-5 away from float64 in the biases of k).
    """
    settings = {"learning_rate": 5e-3, "warmup_ratio": 0.4, "final_ratio": 0.1, "weight_decay": 0.1, "beta1": 0.9,
                "beta2": 0.95, "epsilon": 1e-4, "max_grad_norm": max_grad_norm}
    steps = [[0, 1], [0], [1], [0, 1], [1, 0]]
    groups = [{"params": matrices, "weight_decay": settings["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings["learning_rate"], betas=(settings["beta1"], settings["beta2"]),
                                  eps=settings["epsilon"], foreach=False)
    warmup = math.ceil(settings["warmup_ratio"] * len(steps))
    schedule = get_cosine_with_min_lr_schedule_with_warmup(optimizer, warmup, len(steps),
                                                           min_lr_rate=settings["final_ratio"])
    record = {"optimizer": settings, "steps": []}
    for members in steps:
        # transformers counts steps from 0 and would waste the first one on a rate of 0.
        with warnings.catch_warnings(action="ignore"):
            schedule.step()
        loss, _ = gradients(model, [batch[i] for i in members])
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings["max_grad_norm"]).item()
        rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        record["steps"].append({"conversations": members, "loss": loss, "grad_norm": norm, "learning_rate": rate})
        print(f"adamw: loss {loss:.6f}, norm {norm:.4f}, rate {rate:.6f}")
    clipped = [step["grad_norm"] > settings["max_grad_norm"] for step in record["steps"]]
    assert any(clipped) and not all(clipped), "the steps should show both clipping and none"
    return record


def adamw(model, batch):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    record = optimizer_steps(model, batch, matrices, vectors, max_grad_norm=4.0)
    (GOLDEN / "qwen2" / "adamw.json").write_text(json.dumps(record) + "\n")
    save_file({name: p.data for name, p in model.named_parameters()}, GOLDEN / "qwen2" / "adamw.safetensors")


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model, batch = golden("qwen2", Qwen2ForCausalLM(QWEN2), 11, torch.float32)
    adamw(model, batch)
    golden("llama", LlamaForCausalLM(LLAMA), 22, torch.bfloat16)
    golden("qwen3", Qwen3ForCausalLM(QWEN3), 44, torch.bfloat16)


if __name__ == "__main__":
    main()
