"""The torch side of `train.rs`: the same Qwen2 model, tokens, clipping and AdamW. Prints one JSON line."""

import json
import resource
import sys
import time

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

precision, sizes = sys.argv[1], list(map(int, sys.argv[2:]))
hidden, layers, heads, key_heads, inner, vocab, sequences, length, steps = sizes
torch.set_num_threads(2)
torch.manual_seed(1)
config = Qwen2Config(vocab_size=vocab, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
                     num_attention_heads=heads, num_key_value_heads=key_heads, max_position_embeddings=32768,
                     tie_word_embeddings=True, use_cache=False, attn_implementation="sdpa")
model = Qwen2ForCausalLM(config).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
ids = torch.randint(0, vocab, (sequences, length))
seconds, losses = [], []
for _ in range(steps):
    started = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    losses.append(loss.item())
    seconds.append(time.perf_counter() - started)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": seconds, "losses": losses, "peak_bytes": peak}))
