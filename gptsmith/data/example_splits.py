"""Examples in splits: to train on, to validate with, to test with."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import numpy as np

from gptsmith.base.errors import DataError
from gptsmith.base.json_text import json_text
from gptsmith.base.randomness import derived_seed
from gptsmith.data.care.canaries import Canary
from gptsmith.data.example_store import ChosenExamples
from gptsmith.data.shapes import Example
from gptsmith.data.skipped import Skipped


@dataclass(frozen=True)
class ExampleSplits:
    """The train, validation and test split of examples. No question is in two of them."""

    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    num_dropped: int = 0
    """Examples of the training file that are skipped because a validation or test file has the same question."""
    num_left_out: int = 0
    """Examples that are not read because a list names them."""
    redacted: Mapping[str, int] = field(default_factory=dict)
    """How many findings were replaced by placeholders, by kind."""
    skipped: Skipped = field(default_factory=Skipped)
    """Records of which no example could be made."""
    fields: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The fields of each file that have other names than usual, by their usual names."""
    canaries: Sequence[Canary] = ()
    """Those that are planted: the last examples of the train split."""
    notes: tuple[str, ...] = ()
    """Lines for a person about how the examples were split."""

    @property
    def own_train(self) -> Sequence[Example]:
        """The train split without canaries, which are nobody's examples."""
        return ChosenExamples(self.train, np.arange(len(self.train) - sum(each.copies for each in self.canaries)))

    @cached_property
    def fingerprint(self) -> str:
        """The same for the same examples in the same splits and order."""
        return fingerprint(chain(self.train, self.validation, self.test))


def split_examples(
    examples: Sequence[Example],
    *,
    validation: Sequence[Example] | None,
    test: Sequence[Example] | None,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    group_of: np.ndarray | None = None,
) -> ExampleSplits:
    """The splits of examples: those that are given, and for the others a share of the examples, sampled by the seed.
    Examples with the same question stay in the same split. Labels have the same share in each split, as far as there
    are examples enough; every label has some to train on.

    Args:
        group_of: (N,), the first example of the group of each, which all are in the same split: groups of near
            duplicates, and of the same question.

    Raises:
        DataError: too few examples are left to train on.
    """
    keys, labels = _read(examples)
    held_back = np.concatenate([_read(given or [])[0] for given in (validation, test)])
    kept = np.flatnonzero(~np.isin(keys, held_back))
    if group_of is not None:
        keys = _of_groups(keys, group_of)
    questions, question_of = np.unique(keys[kept], return_inverse=True)
    sizes = np.bincount(question_of, minlength=len(questions))
    order = np.random.Generator(np.random.PCG64(derived_seed(seed, "parts"))).permutation(len(questions))
    strata = _strata(order, _labels_of_questions(question_of, labels[kept], sizes))
    num_examples = {label: int(sizes[pool].sum()) for label, pool in strata.items()}
    split_of = np.zeros(len(questions), np.int8)
    notes = []
    for number, (name, given, fraction) in enumerate(
        (("validation", validation, validation_fraction), ("test", test, test_fraction)), 1
    ):
        if given is not None:
            continue
        is_taken = _taken(strata, sizes, {label: fraction * count for label, count in num_examples.items()})
        split_of[is_taken] = number
        strata = {label: pool[~is_taken[pool]] for label, pool in strata.items()}
        if fraction > 0 and not is_taken.any() and len(examples) > 1:
            notes.append(
                f"there are no {name} examples: {len(examples):,} examples of {len(questions):,} "
                f"{'question' if len(questions) == 1 else 'questions'} leave none; --{name} FILE names some"
            )
    train, *drawn = (ChosenExamples(examples, kept[split_of[question_of] == number]) for number in range(3))
    if not train:
        raise DataError(f"no examples are left to train on, of {len(examples)}: give more, or set smaller fractions")
    validation, test = (own if given is None else given for own, given in zip(drawn, (validation, test), strict=True))
    return ExampleSplits(train, validation, test, len(examples) - len(kept), notes=tuple(notes))


NO_LABEL = -1


def _read(examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
    """The SHA-256 of each example's question (N,), and the number of its label (N,) in the order of the first of each;
    `NO_LABEL` if it has none."""
    keys, labels = np.empty(len(examples), "S32"), np.full(len(examples), NO_LABEL, np.int32)
    numbers: dict[str, int] = {}
    for number, example in enumerate(examples):
        keys[number] = hashlib.sha256(example.question().encode()).digest()
        if (label := getattr(example, "label", None)) is not None:
            labels[number] = numbers.setdefault(str(label), len(numbers))
    return keys, labels


def _of_groups(keys: np.ndarray, group_of: np.ndarray) -> np.ndarray:
    """The key of each example's group (N,): the least of those of its examples."""
    order = np.lexsort((keys, group_of))
    _, firsts, number_of = np.unique(group_of[order], return_index=True, return_inverse=True)
    found = np.empty_like(keys)
    found[order] = keys[order][firsts[number_of]]
    return found


def _labels_of_questions(question_of: np.ndarray, labels: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The commonest label of the examples of each question (Q,), of several the first."""
    found = np.full(len(sizes), NO_LABEL, np.int32)
    found[question_of] = labels
    counts: dict[int, Counter[int]] = {}
    for number in np.flatnonzero((sizes[question_of] > 1) & (labels != NO_LABEL)):
        counts.setdefault(int(question_of[number]), Counter())[int(labels[number])] += 1
    for question, counter in counts.items():
        found[question] = counter.most_common(1)[0][0]
    return found


def _strata(order: np.ndarray, label_of: np.ndarray) -> dict[int, np.ndarray]:
    """The questions of each label, in random order, which also decides which label comes first."""
    if not len(order):
        return {}
    by_label = np.argsort(label_of[order], kind="stable")
    labels, starts = np.unique(label_of[order][by_label], return_index=True)
    pools = {int(label): order[places] for label, places in zip(labels, np.split(by_label, starts[1:]), strict=True)}
    return {int(label): pools[int(label)] for label in labels[np.argsort(by_label[starts])]}


def _taken(strata: Mapping[int, np.ndarray], sizes: np.ndarray, quotas: Mapping[int, float]) -> np.ndarray:
    """Which questions (Q,) are in a split: of each stratum, whose questions are in random order, about as many examples
    as its quota. One question of each stratum is left."""
    wanted = {label: int(quota) for label, quota in quotas.items()}
    # The largest remainders make up for what rounding down has lost, of labels with examples to spare.
    missing = round(sum(quotas.values())) - sum(wanted.values())
    spare = [label for label, pool in strata.items() if len(pool) > wanted[label] + 1]
    for label in sorted(spare, key=lambda label: wanted[label] - quotas[label])[:missing]:
        wanted[label] += 1
    is_taken = np.zeros(len(sizes), bool)
    for label, pool in strata.items():
        left, num_left = wanted[label], len(pool)
        for question in pool:
            if left == 0 or num_left == 1:
                break
            if sizes[question] <= left:
                is_taken[question] = True
                left -= int(sizes[question])
                num_left -= 1
    if not is_taken.any() and missing + sum(wanted.values()) > 0 and len(sizes) > 2 and len(strata.get(NO_LABEL, ())):
        # Of many answers to few questions, the question with the fewest answers is better than none.
        pool = strata[NO_LABEL]
        smallest = pool[np.argmin(sizes[pool])]
        is_taken[smallest] = 2 * sizes[smallest] < sizes[pool].sum()
    return is_taken


def fingerprint(examples: Iterable[Example]) -> str:
    """The same for the same examples in the same order, wherever they were read from."""
    digest = hashlib.sha256()
    for example in examples:
        # Without tools, examples keep the fingerprint that they had before they could have some.
        fields = {key: value for key, value in vars(example).items() if key != "place" and (value or key != "tools")}
        digest.update(json_text(fields, default=dict, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()
