"""Examples in splits: to train on, to validate with, to test with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gptsmith.base.errors import DataError
from gptsmith.base.json_text import json_text
from gptsmith.base.randomness import derived_seed
from gptsmith.data.shapes import Example
from gptsmith.data.skipped import Skipped


@dataclass(frozen=True)
class ExampleSplits:
    """The train, validation and test split of examples. No question is in two of them."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    num_dropped: int = 0
    """Examples of the training file that are skipped because a validation or test file has the same question."""
    skipped: Skipped = field(default_factory=Skipped)
    """Records of which no example could be made."""
    fields: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The fields of each file that have other names than usual, by their usual names."""

    @property
    def fingerprint(self) -> str:
        """The same for the same examples in the same splits and order."""
        return fingerprint([*self.train, *self.validation, *self.test])


def split_examples(
    examples: Sequence[Example],
    *,
    validation: Sequence[Example] | None,
    test: Sequence[Example] | None,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> ExampleSplits:
    """The splits of examples: those that are given, and for the others a share of the examples, sampled by the seed.
    Examples with the same question stay in the same split.

    Raises:
        DataError: too few examples are left to train on.
    """
    held_back = {_key(example) for given in (validation, test) for example in given or []}
    left = [example for example in examples if _key(example) not in held_back]
    keys = sorted({_key(example) for example in left})
    order = np.random.Generator(np.random.PCG64(derived_seed(seed, "parts"))).permutation(len(keys))
    counts = {
        "validation": 0 if validation is not None else round(validation_fraction * len(keys)),
        "test": 0 if test is not None else round(test_fraction * len(keys)),
    }
    split_of = dict.fromkeys(keys, "train")
    for place, number in enumerate(order):
        if place < counts["validation"] + counts["test"]:
            split_of[keys[number]] = "validation" if place < counts["validation"] else "test"
    splits: dict[str, list[Example]] = {"train": [], "validation": list(validation or []), "test": list(test or [])}
    for example in left:
        splits[split_of[_key(example)]].append(example)
    if not splits["train"]:
        raise DataError(f"no examples are left to train on, of {len(examples)}: give more, or set smaller fractions")
    return ExampleSplits(splits["train"], splits["validation"], splits["test"], len(examples) - len(left))


def _key(example: Example) -> str:
    return hashlib.sha256(example.question().encode()).hexdigest()


def fingerprint(examples: Iterable[Example]) -> str:
    """The same for the same examples in the same order, wherever they were read from."""
    digest = hashlib.sha256()
    for example in examples:
        fields = {key: value for key, value in vars(example).items() if key != "place"}
        digest.update(json_text(fields, default=dict, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()
