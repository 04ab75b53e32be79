"""Pairs of answers, with what is true of them and what Math-Verify says.

    python tests/parity/make_math_golden.py        # with math-verify (0.9.0)

reads golden/math_pairs.json, whose pairs and truths were written for this project, and writes Math-Verify's verdicts into
it. `data/verify/src/tests/golden.rs` checks r1-distill's verdicts against the truths.
"""

import json
import logging
import pathlib
from importlib.metadata import version

from math_verify import parse, verify

FILE = pathlib.Path(__file__).parent / "golden" / "math_pairs.json"


def says(gold, answer):
    """Math-Verify's verdict on two formulas; an error counts as no."""
    try:
        return bool(verify(parse(f"${gold}$"), parse(f"${answer}$")))
    except Exception:  # noqa: BLE001 - whatever it raises, it gave no verdict
        return False


def main():
    logging.disable(logging.CRITICAL)
    golden = json.loads(FILE.read_text())
    golden["math_verify"] = version("math-verify")
    for pair in golden["pairs"]:
        pair["math_verify"] = says(pair["gold"], pair["answer"])
    lines = ",\n".join("  " + json.dumps(pair, ensure_ascii=False) for pair in golden["pairs"])
    FILE.write_text(f'{{"math_verify": "{golden["math_verify"]}", "pairs": [\n{lines}\n]}}\n')
    wrong = [pair for pair in golden["pairs"] if pair["math_verify"] != pair["equal"]]
    print(f"{len(golden['pairs'])} pairs, Math-Verify is wrong on {len(wrong)}")


if __name__ == "__main__":
    main()
