"""Records 50 steps of TRL's SFTTrainer on the golden Qwen2 model: loss, gradient norm and learning rate of each.

    python tests/parity/make_trl_golden.py                            # writes golden/trl.json
    python tests/parity/make_trl_golden.py --out /tmp/t.json --seed 7 # other conversations, for the live comparison

Conversations come tokenized, with TRL's mask of the assistant's tokens; TRL makes labels, batches, loss, clipping and
steps of them by itself, in float32 on the CPU, in the order they are in. Of its behaviour one thing is changed: the
schedule is stepped once before training, because transformers counts from 0 and spends the first step on a rate of 0,
while r1-distill counts from 1. From then on the rates are the same.
"""

import argparse
import json
import tempfile
import warnings
from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

GOLDEN = Path(__file__).parent / "golden"
STEPS, ACCUMULATION, CONVERSATIONS, VOCABULARY = 50, 4, 40, 101
OPTIMIZER = {"learning_rate": 3e-3, "warmup_ratio": 0.1, "final_ratio": 0.0, "weight_decay": 0.1, "beta1": 0.9,
             "beta2": 0.999, "epsilon": 1e-8, "max_grad_norm": 2.75}


class Trainer(SFTTrainer):
    def create_scheduler(self, *args, **kwargs):
        scheduler = super().create_scheduler(*args, **kwargs)
        with warnings.catch_warnings(action="ignore"):
            scheduler.step()
        return scheduler


def conversations(seed):
    """Lengths from 12 to 60, a tenth to nine tenths of them supervised: means of means would show."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda low, high: torch.randint(low, high, (), generator=generator).item()
    batch = []
    for _ in range(CONVERSATIONS):
        length = draw(12, 61)
        # Runs of consecutive ids: something to learn in 50 steps.
        start, stride = draw(0, VOCABULARY), draw(1, 4)
        ids = [(start + stride * i) % VOCABULARY for i in range(length)]
        batch.append({"ids": ids, "prompt_len": max(2, length * draw(1, 10) // 10)})
    return batch


def tokenizer():
    vocabulary = {f"t{i}": i for i in range(VOCABULARY)}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="t0"))
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="t0", eos_token="t1", unk_token="t0")


def curve(batch):
    data = Dataset.from_list([
        {"input_ids": c["ids"], "assistant_masks": [int(i >= c["prompt_len"]) for i in range(len(c["ids"]))]}
        for c in batch
    ])
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder, max_steps=STEPS, per_device_train_batch_size=1, gradient_accumulation_steps=ACCUMULATION,
            learning_rate=OPTIMIZER["learning_rate"], lr_scheduler_type="cosine",
            warmup_steps=round(OPTIMIZER["warmup_ratio"] * STEPS), weight_decay=OPTIMIZER["weight_decay"],
            adam_beta1=OPTIMIZER["beta1"], adam_beta2=OPTIMIZER["beta2"], adam_epsilon=OPTIMIZER["epsilon"],
            max_grad_norm=OPTIMIZER["max_grad_norm"], optim="adamw_torch", bf16=False, fp16=False, use_cpu=True,
            gradient_checkpointing=False, packing=False, max_length=None, shuffle_dataset=False,
            train_sampling_strategy="sequential", logging_steps=1, save_strategy="no", report_to="none",
            disable_tqdm=True, dataloader_num_workers=0,
        )
        model = AutoModelForCausalLM.from_pretrained(GOLDEN / "qwen2", dtype=torch.float32, attn_implementation="eager")
        trainer = Trainer(model=model, args=config, train_dataset=data, processing_class=tokenizer())
        trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == STEPS, len(logged)
    # The first step says how TRL weighs: by token over the accumulated batch, or by pass.
    return [{key: entry[key] for key in ("loss", "grad_norm", "learning_rate")} for entry in logged]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=GOLDEN / "trl.json")
    parser.add_argument("--seed", type=int, default=33)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    batch = conversations(arguments.seed)
    steps = curve(batch)
    record = {"optimizer": OPTIMIZER, "accumulation": ACCUMULATION, "conversations": batch, "steps": steps}
    arguments.out.write_text(json.dumps(record) + "\n")
    clipped = sum(step["grad_norm"] > OPTIMIZER["max_grad_norm"] for step in steps)
    print(f"loss {steps[0]['loss']:.4f} to {steps[-1]['loss']:.4f} in {STEPS} steps, {clipped} of them clipped")


if __name__ == "__main__":
    main()
