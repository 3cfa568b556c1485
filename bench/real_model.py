"""Fine-tuning of a real model with the defaults: what it learns, and what it still knows.

python bench/real_model.py MODEL DATA            MODEL: a Hugging Face folder, such as SmolLM2-135M-Instruct

DATA has train.jsonl, val.jsonl and test.jsonl with `prompt`, `chosen` and `rejected`, and facts.jsonl with `question`
and `answer`. The objectives for preferences are trained on the pairs, SFT on the chosen completions and on plain, true
answers that are made here, a classifier on the completions, and GRPO on sums.

--only dpo-lora  one of the ways below
--pairs 36       only so many of the pairs to train on
--out FOLDER     keeps the runs
--set KEY=VALUE  changes a setting of the tuning
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gptsmith
from gptsmith.generate.api import generate_batch
from gptsmith.generate.sampling import SamplingSettings

RANK = 8
ANSWER_TOKENS = 24
SPLITS = ("train", "val", "test")
Rows = list[dict[str, Any]]


def records(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def written(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def answers(pairs: Rows) -> Rows:
    return [{"prompt": row["prompt"], "response": row["chosen"]} for row in pairs]


def judged(pairs: Rows) -> Rows:
    return [
        {"prompt": row["prompt"], "completion": row[kind], "label": kind == "chosen"}
        for row in pairs
        for kind in ("chosen", "rejected")
    ]


def labelled(pairs: Rows) -> Rows:
    return [{"text": row[kind], "label": kind} for row in pairs for kind in ("chosen", "rejected")]


def plain(pairs: Rows) -> Rows:
    """True answers in a sentence each, as many as there are pairs: others in each split, because the pairs are."""
    numbers = [sum(map(ord, row["prompt"])) for row in pairs]
    forms = ("What is {} plus {}?|{} plus {} is {}.", "Add {} and {}.|The sum of {} and {} is {}.")
    made = []
    for place, number in enumerate(numbers):
        one, other = number % 47 + 3, number // 7 % 41 + 2
        question, answer = forms[place % 2].split("|")
        made.append({"prompt": question.format(one, other), "response": answer.format(one, other, one + other)})
    return made


def small_sums(pairs: Rows) -> Rows:
    """Sums that a small model gets right now and then, so that groups of completions differ."""
    numbers = [sum(map(ord, row["prompt"])) for row in pairs]
    return [
        {"prompt": f"What is {n % 9 + 1} plus {n // 9 % 9 + 1}?", "response": str(n % 9 + n // 9 % 9 + 2)}
        for n in numbers
    ]


def as_they_are(pairs: Rows) -> Rows:
    return pairs


WAYS: dict[str, tuple[str, int | None, Callable[[Rows], Rows]]] = {
    "dpo": ("dpo", None, as_they_are),
    "dpo-lora": ("dpo", RANK, as_they_are),
    "sft": ("sft", None, answers),
    "sft-lora": ("sft", RANK, answers),
    "sft-plain": ("sft", None, plain),
    "kto": ("kto", None, judged),
    "simpo": ("simpo", None, as_they_are),
    "simpo-lora": ("simpo", RANK, as_they_are),
    "classification": ("classification", None, labelled),
    "reward": ("reward_model", None, as_they_are),
    "grpo": ("grpo", None, small_sums),
}


def num_known(model: str | Path, facts: Rows) -> int:
    """The questions to which a greedy reply contains the answer, also where the model has a head for labels."""
    loaded = gptsmith.load(model)
    template = loaded.template
    assert template is not None, "facts are asked for in conversations"
    asked = [[{"role": "user", "content": fact["question"]}] for fact in facts]
    replies = generate_batch(
        loaded.model,
        loaded.tokenizer,
        [template.prompt_ids(loaded.tokenizer, messages) for messages in asked],
        max_tokens=ANSWER_TOKENS,
        sampling=SamplingSettings(temperature=0),
        seeds=[0] * len(facts),
    )
    return sum(fact["answer"].casefold() in reply.text.casefold() for fact, reply in zip(facts, replies, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", choices=WAYS)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    facts = records(arguments.data / "facts.jsonl")
    print(f"{arguments.model.name}: {num_known(arguments.model, facts)} of {len(facts)} facts", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        out = arguments.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        for name in [arguments.only] if arguments.only else WAYS:
            objective, rank, rows_of = WAYS[name]
            pairs = {split: records(arguments.data / f"{split}.jsonl") for split in SPLITS}
            pairs["train"] = pairs["train"][: arguments.pairs]
            files = {split: written(out / f"{name}-{split}.jsonl", rows_of(pairs[split])) for split in SPLITS}
            figures = gptsmith.finetune(
                arguments.model, [files["train"]], validation=[files["val"]], test=[files["test"]], objective=objective,
                lora=rank, out=out / name, settings=arguments.set,
            )  # fmt: skip
            wanted = (
                "validation_loss", "test_loss", "test_accuracy", "test_reward", "general_bits_per_byte_before",
                "general_bits_per_byte", "num_general_answers_kept", "best_step", "step",
            )  # fmt: skip
            said = ", ".join(f"{key} {figures[key]:.4g}" for key in wanted if figures.get(key) is not None)
            print(f"{name}: {num_known(figures['run'], facts)} of {len(facts)} facts, {said}", flush=True)


if __name__ == "__main__":
    main()
