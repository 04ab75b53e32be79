"""Makes golden/chat: what transformers' apply_chat_template gives, for tests/chat.rs.

    python tests/parity/make_chat_golden.py [SHARED [CACHE]]

`own.json` (always): text and ids of the project's own templates (golden/chat/templates) under the embedded teacher's
tokenizer. `real.json` (with SHARED, a folder with data/templates and data/tokenizers, and CACHE, one with models/): hashes
of text and ids of published templates and tokenizers, which are not part of the repository.
"""

import json
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import transformers
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "chat"

# name, template, tokenizer folder, bos, eos; a template of None is the one in the folder's tokenizer_config.json.
R1 = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")
QWEN = (None, "<|im_end|>")
LLAMA = ("<|begin_of_text|>", "<|eot_id|>")
REAL = [
    ("R1-Distill-Qwen", "R1-Distill_original_2025-01.jinja", "shared:tokenizers/r1_distill_qwen", *R1),
    ("R1-Distill-Qwen, opening the thinking", "R1-Distill_forced_think_2025-02.jinja", "shared:tokenizers/r1_distill_qwen", *R1),
    ("R1-Distill-Qwen-32B", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja", "shared:tokenizers/r1_distill_qwen", *R1),
    ("R1-Distill-Llama-8B", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja", "shared:tokenizers/llama3_1", *LLAMA),
    ("DeepSeek-V3.1", "deepseek-ai-DeepSeek-V3.1.jinja", "shared:tokenizers/r1_distill_qwen", *R1),
    ("DeepSeek-R1 of llama.cpp", "llama-cpp-deepseek-r1.jinja", "shared:tokenizers/r1_distill_qwen", *R1),
    ("Qwen2.5-Instruct", "Qwen-Qwen2.5-7B-Instruct.jinja", "shared:tokenizers/qwen3", *QWEN),
    ("QwQ-32B", "Qwen-QwQ-32B.jinja", "shared:tokenizers/qwen3", *QWEN),
    ("Qwen3-0.6B", "Qwen-Qwen3-0.6B.jinja", "shared:tokenizers/qwen3", *QWEN),
    ("Qwen3, its tokenizer_config", None, "shared:tokenizers/qwen3", None, None),
    ("Llama-3.1-8B-Instruct", "meta-llama-Llama-3.1-8B-Instruct.jinja", "shared:tokenizers/llama3_1", *LLAMA),
    ("Llama-3.3-70B-Instruct", "meta-llama-Llama-3.3-70B-Instruct.jinja", "shared:tokenizers/llama3_1", *LLAMA),
    ("Llama-3.1, its tokenizer_config", None, "shared:tokenizers/llama3_1", None, None),
    ("SmolLM2", None, "cache:models/smollm2-135m", None, None),
    ("Qwen2.5-Coder", None, "cache:models/qwen2.5-coder-0.5b", None, None),
]


class FixedDay(datetime):
    """strftime_now of r1-distill is always the same day (data/tokens/src/template.rs)."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


def fnv(data: bytes) -> str:
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) % (1 << 64)
    return f"{value:016x}"


def load(folder: Path, template: str | None, bos: str | None, eos: str | None) -> PreTrainedTokenizerFast:
    if template is None:
        return PreTrainedTokenizerFast.from_pretrained(folder)
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary)
        (target / "tokenizer.json").symlink_to(folder / "tokenizer.json")
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos, "chat_template": template}
        (target / "tokenizer_config.json").write_text(json.dumps(config))
        return PreTrainedTokenizerFast.from_pretrained(target)


def cases(tokenizer, conversations, keep):
    found = []
    for name, messages in conversations.items():
        for prompt in (False, True):
            case = {"conversation": name, "add_generation_prompt": prompt}
            try:
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
                ids = tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False)
                found.append(case | keep(text, ids))
            except Exception as error:  # a template that raises must raise in r1-distill too
                found.append(case | {"error": str(error)})
    return found


def main() -> None:
    chat_template_utils.datetime = FixedDay
    conversations = json.loads((GOLDEN / "conversations.json").read_text())
    made_with = f"transformers {transformers.__version__}"

    own = {}
    for path in sorted((GOLDEN / "templates").glob("*.jinja")):
        tokenizer = load(HERE.parent.parent / "teacher" / "assets", path.read_text(), *R1)
        own[path.stem] = cases(tokenizer, conversations, lambda text, ids: {"text": text, "ids": ids})
    write("own.json", {"made_with": made_with, "templates": own})

    if len(sys.argv) < 2:
        return
    roots = {"shared": Path(sys.argv[1]) / "data", "cache": Path(sys.argv[2]) if len(sys.argv) > 2 else None}
    real = []
    for name, template, where, bos, eos in REAL:
        root, folder = where.split(":")
        if roots[root] is None:
            raise SystemExit(f"{name} needs the {root} folder")
        source = (roots["shared"] / "templates" / template).read_text() if template else None
        tokenizer = load(roots[root] / folder, source, bos, eos)
        hashed = lambda text, ids: {
            "text": fnv(text.encode()),
            "ids": fnv(b"".join(i.to_bytes(4, "little") for i in ids)),
            "count": len(ids),
        }
        found = cases(tokenizer, conversations, hashed)
        real.append({"name": name, "template": template, "tokenizer": where, "bos": bos, "eos": eos, "cases": found})
    write("real.json", {"made_with": made_with, "formats": real})


def write(name: str, value: dict) -> None:
    text = json.dumps(value, ensure_ascii=False)
    text = text.replace('{"conversation"', '\n{"conversation"')  # one case a line
    (GOLDEN / name).write_text(text + "\n")
    print(f"{name}: {len(text)} bytes")


if __name__ == "__main__":
    main()
