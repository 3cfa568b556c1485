"""A task's examples in parts: to train on, to choose by, to judge by."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gptsmith.base.errors import UserError
from gptsmith.base.randomness import derived_seed
from gptsmith.data.examples import Example, LabelledExample


@dataclass(frozen=True)
class Parts:
    """Examples to train on, to choose settings by, and to judge with, none in two of them."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    num_dropped: int = 0
    """Examples of the training file that are left out because a validation or test file asks the same."""


def divide(
    examples: Sequence[Example],
    *,
    validation: Sequence[Example] | None,
    test: Sequence[Example] | None,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> Parts:
    """The parts of a task's data: those that were given, and for the others a share of the examples, drawn by the seed.
    Examples that ask the same stand in the same part.

    Raises:
        UserError: too few examples are left to train on.
    """
    held_back = {_key(example) for given in (validation, test) for example in given or []}
    left = [example for example in examples if _key(example) not in held_back]
    keys = sorted({_key(example) for example in left})
    order = np.random.Generator(np.random.PCG64(derived_seed(seed, "parts"))).permutation(len(keys))
    counts = {
        "validation": 0 if validation is not None else round(validation_fraction * len(keys)),
        "test": 0 if test is not None else round(test_fraction * len(keys)),
    }
    part_of = dict.fromkeys(keys, "train")
    for place, number in enumerate(order):
        if place < counts["validation"] + counts["test"]:
            part_of[keys[number]] = "validation" if place < counts["validation"] else "test"
    parts: dict[str, list[Example]] = {"train": [], "validation": list(validation or []), "test": list(test or [])}
    for example in left:
        parts[part_of[_key(example)]].append(example)
    if not parts["train"]:
        raise UserError(f"no examples are left to train on, of {len(examples)}: give more, or smaller shares")
    return Parts(parts["train"], parts["validation"], parts["test"], len(examples) - len(left))


def _key(example: Example) -> str:
    return hashlib.sha256(example.question().encode()).hexdigest()


def labels_of(examples: Iterable[LabelledExample]) -> list[str]:
    """The labels that occur, in order: by number where all are numbers.

    Raises:
        UserError: there is only one.
    """
    counts = Counter(str(example.label) for example in examples)
    if len(counts) < 2:
        raise UserError(
            f"every example has the label {next(iter(counts), None)!r}: a classifier needs at least two labels"
        )
    numbers = all(label.lstrip("-").isdecimal() for label in counts)
    return sorted(counts, key=int if numbers else str)


def fingerprint(examples: Iterable[Example]) -> str:
    """The same for the same examples in the same order, wherever they were read from."""
    digest = hashlib.sha256()
    for example in examples:
        fields = {key: value for key, value in vars(example).items() if key != "place"}
        digest.update(json.dumps(fields, default=dict, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()
