"""Sums in words, answered in digits. They are generated here, so that no model has seen the test split."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from gptsmith.base.errors import DataError, did_you_mean
from gptsmith.base.files import write_atomically
from gptsmith.base.json_text import json_text
from gptsmith.base.randomness import derived_seed
from gptsmith.data.readers import ReadSettings
from gptsmith.evaluate.language_model import LanguageModel, Observe
from gptsmith.evaluate.metric import Metric
from gptsmith.evaluate.prompt import Prompt, user
from gptsmith.evaluate.scorers.number import NumberSettings
from gptsmith.evaluate.tasks import Example, TaskExamples, TaskResult, TaskSettings

SPLITS = {"train": range(8), "validation": range(8, 9), "test": range(9, 10)}
"""Which tenths of all pairs of numbers belong to which split."""
MAX_DIGITS = 3
NUM_EXAMPLES = 500
MOST_EXAMPLES = {"train": 100_000, "validation": 10_000, "test": 10_000}
REPLY_TOKENS = 32

SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


class ArithmeticSettings(TaskSettings):
    """Accuracy of sums of two numbers with one to three digits each."""

    kind: Literal["arithmetic"] = "arithmetic"

    def examples(
        self,
        sources: Sequence[str | Path],
        *,
        seed: int,
        limit: int | None = None,
        reading: ReadSettings | None = None,
        skip_bad: bool = False,
    ) -> TaskExamples:
        if sources:
            raise DataError(f"--task arithmetic makes its own examples: leave {sources[0]} out")
        scored = self._made("test", seed, NUM_EXAMPLES if limit is None else limit)
        return TaskExamples(scored, self._made("train", seed, NUM_EXAMPLES))

    def _made(self, split: str, seed: int, count: int) -> list[Example]:
        return [
            Example(f"{split} sum {number}", Prompt.from_messages([user(question)]), answer)
            for number, (question, answer) in enumerate(sums(split, count=count, seed=seed), 1)
        ]

    def predict(
        self, model: LanguageModel, examples: Sequence[Example], prompts: Sequence[Prompt], observe: Observe
    ) -> list[str]:
        return model.reply(prompts, REPLY_TOKENS, observe)

    def aggregate(self, examples: Sequence[Example], predictions: Sequence[str]) -> TaskResult:
        scorer = NumberSettings()
        correct = [
            scorer.is_correct(reply, example.answer) for example, reply in zip(examples, predictions, strict=True)
        ]
        baseline = scorer.baseline([example.answer for example in examples])
        return TaskResult([Metric.proportion("accuracy", np.array(correct), baseline)])


def sums(split: str, *, count: int, seed: int) -> list[tuple[str, str]]:
    """Questions with their answers, such as ("What is twelve plus three hundred and four?", "316"), no two the same.

    Which split a pair of numbers belongs to never changes, whatever the seed and the order of the two.

    Args:
        split: train, validation or test.
        seed: which of them, and in which order.

    Raises:
        DataError: there is no such split, or it has not so many.
    """
    if split not in SPLITS:
        raise DataError(f"no such split of sums: {split} ({did_you_mean(split, SPLITS)})")
    if not 0 < count <= MOST_EXAMPLES[split]:
        raise DataError(f"{count} {split} sums were requested: allowed are 1 to {MOST_EXAMPLES[split]:,}")
    chance = random.Random(derived_seed(seed, "sums", split))
    drawn: dict[tuple[int, int], None] = {}
    while len(drawn) < count:
        pair = _number(chance), _number(chance)
        if _tenth(pair) in SPLITS[split]:
            drawn.setdefault(pair)
    return [(f"What is {in_words(first)} plus {in_words(second)}?", str(first + second)) for first, second in drawn]


def write_sums(path: Path, split: str, *, count: int, seed: int) -> None:
    """Writes sums as a .jsonl file of `question` and `answer`, which a model can be tuned on."""
    lines = [
        json_text({"question": question, "answer": answer}) for question, answer in sums(split, count=count, seed=seed)
    ]
    write_atomically(path, "\n".join(lines) + "\n")


def in_words(number: int) -> str:
    """A number below a thousand, as it is said: three hundred and four."""
    hundreds, rest = divmod(number, 100)
    if hundreds:
        return f"{SMALL[hundreds]} hundred" + (f" and {in_words(rest)}" if rest else "")
    if rest < len(SMALL):
        return SMALL[rest]
    tens, ones = divmod(rest, 10)
    return TENS[tens - 2] + (f"-{SMALL[ones]}" if ones else "")


def _number(chance: random.Random) -> int:
    """A number of one to three digits, each as likely."""
    return chance.randrange(10 ** chance.randint(1, MAX_DIGITS))


def _tenth(pair: tuple[int, int]) -> int:
    """Which tenth of all pairs a pair belongs to, whatever the order of the two."""
    return derived_seed(0, "pair of a sum", *sorted(pair)) % 10
