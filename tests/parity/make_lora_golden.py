"""Writes a LoRA adapter as PEFT saves it and what PEFT and torch compute with it.

    python tests/parity/make_lora_golden.py

The base is golden/qwen2; the adapter has random A and B, no dropout, and adapts four of the seven projections. In
golden/lora:

  adapter_config.json, adapter_model.safetensors   as PEFT saves them; the base's path is replaced by its name
  expected.safetensors  logits.0, logits.1 and gradient.NAME of the conversations in golden/qwen2, names as in the adapter
  adamw.json            settings, losses, gradient norms and learning rates of five optimizer steps
  adamw.safetensors     the adapter after them
"""

import json

import torch
from make_golden import GOLDEN, gradients, logits_of, optimizer_steps
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

FOLDER = GOLDEN / "lora"
CONFIG = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=6, lora_dropout=0.0, bias="none",
                    target_modules=["q_proj", "v_proj", "o_proj", "down_proj"])


def adapter(model, values=None):
    """Tensors by the names they have in the file."""
    names = {id(p): name.replace(".default", "") for name, p in model.named_parameters() if p.requires_grad}
    saved = get_peft_model_state_dict(model, save_embedding_layers=False)
    assert set(names.values()) == set(saved), "the names in the file are others"
    return {names[id(p)]: (values(p) if values else p.data).clone() for p in model.parameters() if p.requires_grad}


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    base = AutoModelForCausalLM.from_pretrained(GOLDEN / "qwen2", dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(base, CONFIG)
    generator = torch.Generator().manual_seed(55)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)

    batch = json.loads((GOLDEN / "qwen2" / "conversations.json").read_text())["conversations"]
    with torch.no_grad():
        logits = [logits_of(model, c["ids"]) for c in batch]
        with model.disable_adapter():
            moved = max((a - logits_of(model, c["ids"])).abs().max().item() for a, c in zip(logits, batch))
    loss, _ = gradients(model, batch)
    expected = {f"logits.{i}": x.contiguous() for i, x in enumerate(logits)}
    expected |= {f"gradient.{name}": grad for name, grad in adapter(model, lambda p: p.grad).items()}

    model.save_pretrained(FOLDER, save_embedding_layers=False)
    (FOLDER / "README.md").unlink()
    config = json.loads((FOLDER / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "qwen2"
    config["target_modules"].sort()
    (FOLDER / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    save_file(expected, FOLDER / "expected.safetensors")
    print(f"lora: loss {loss:.6f}, the adapter moves logits by {moved:.2f} at most")

    trained = [p for p in model.parameters() if p.requires_grad]
    record = optimizer_steps(model, batch, trained, [], max_grad_norm=3.0)
    (FOLDER / "adamw.json").write_text(json.dumps({"loss": loss} | record) + "\n")
    save_file(adapter(model), FOLDER / "adamw.safetensors")


if __name__ == "__main__":
    main()
