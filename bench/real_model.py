"""Fine-tuning of a real model with the defaults: what it learns, and what it still knows.

python bench/real_model.py MODEL DATA            MODEL: a Hugging Face folder, such as SmolLM2-135M-Instruct

DATA has train.jsonl, val.jsonl and test.jsonl with `prompt`, `chosen` and `rejected`, and facts.jsonl with `question`
and `answer`. DPO is trained on the pairs, SFT on the chosen completions, each with all weights and with LoRA.

--only dpo-lora  one of dpo, dpo-lora, sft, sft-lora
--out FOLDER     keeps the runs
--set KEY=VALUE  changes a setting of the tuning
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import gptsmith

RANK = 8
WAYS: dict[str, tuple[str, int | None]] = {
    "dpo": ("dpo", None),
    "dpo-lora": ("dpo", RANK),
    "sft": ("sft", None),
    "sft-lora": ("sft", RANK),
}


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def answers(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"prompt": row["prompt"], "response": row["chosen"]} for row in pairs]


def num_known(model: str | Path, facts: list[dict[str, Any]]) -> int:
    """The questions to which a greedy reply contains the answer."""
    loaded = gptsmith.load(model)
    replies = [
        loaded.reply([{"role": "user", "content": fact["question"]}], max_tokens=24, temperature=0) for fact in facts
    ]
    return sum(fact["answer"].casefold() in reply.casefold() for fact, reply in zip(facts, replies, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", choices=WAYS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    facts = records(arguments.data / "facts.jsonl")
    print(f"{arguments.model.name}: {num_known(arguments.model, facts)} of {len(facts)} facts", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        out = arguments.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        for name in [arguments.only] if arguments.only else WAYS:
            objective, rank = WAYS[name]
            files = [arguments.data / f"{split}.jsonl" for split in ("train", "val", "test")]
            if objective == "sft":
                files = [written(out / f"sft-{file.name}", answers(records(file))) for file in files]
            train, validation, test = files
            figures = gptsmith.finetune(
                arguments.model, [train], validation=[validation], test=[test], objective=objective, lora=rank,
                out=out / name, settings=arguments.set,
            )  # fmt: skip
            wanted = ("test_loss", "test_accuracy", "general_bits_per_byte_before", "general_bits_per_byte")
            said = ", ".join(f"{key} {figures[key]:.4f}" for key in wanted if key in figures)
            print(f"{name}: {num_known(figures['run'], facts)} of {len(facts)} facts, {said}", flush=True)


if __name__ == "__main__":
    main()
