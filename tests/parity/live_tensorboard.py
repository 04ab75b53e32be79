"""Reads a training's event file with TensorBoard's own reader and compares it with metrics.jsonl, number by number.

    python tests/parity/live_tensorboard.py runs/quickstart/train/student
"""

import json
import sys
from pathlib import Path

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

FIELDS = {"train/loss": "loss", "train/grad_norm": "grad_norm", "train/learning_rate": "learning_rate",
          "train/tokens_per_second": "tokens_per_second", "eval/loss": "eval_loss"}


def main():
    folder = Path(sys.argv[1])
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    wrong = [tag for tag in events.Tags()["scalars"] if tag not in FIELDS]
    compared = 0
    for tag, field in FIELDS.items():
        expected = [(m["step"], float(numpy.float32(m[field]))) for m in metrics if m[field] is not None]
        known = tag in events.Tags()["scalars"]
        found = [(event.step, event.value) for event in events.Scalars(tag)] if known else []
        compared += len(found)
        if found != expected:
            wrong.append(tag)
    if wrong or not compared:
        sys.exit(f"TensorBoard reads something else than metrics.jsonl holds: {wrong or 'nothing'}")
    print(f"TensorBoard reads {compared} numbers of {len(metrics)} steps, all as in metrics.jsonl")


if __name__ == "__main__":
    main()
