"""The plain twin of `split_examples`: dictionaries of lists, in which the rules can be read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from gptsmith.base.randomness import derived_seed
from gptsmith.data.shapes import Example


def plain_split(
    examples: Sequence[Example],
    *,
    validation: Sequence[Example] | None,
    test: Sequence[Example] | None,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> list[list[Example]]:
    """The examples to train on, to validate with and to test with."""
    held_back = {_key(example) for given in (validation, test) for example in given or []}
    groups: dict[str, list[Example]] = {}
    for example in examples:
        if (key := _key(example)) not in held_back:
            groups.setdefault(key, []).append(example)
    keys = sorted(groups)
    order = np.random.Generator(np.random.PCG64(derived_seed(seed, "parts"))).permutation(len(keys))
    strata: dict[str | None, list[str]] = {}
    for number in order:
        strata.setdefault(_stratum(groups[keys[number]]), []).append(keys[number])
    sizes = {key: len(group) for key, group in groups.items()}
    num_examples = {label: sum(sizes[key] for key in pool) for label, pool in strata.items()}
    split_of = dict.fromkeys(keys, "train")
    for name, given, fraction in (("validation", validation, validation_fraction), ("test", test, test_fraction)):
        if given is not None:
            continue
        taken = _taken(strata, sizes, {label: fraction * count for label, count in num_examples.items()})
        split_of |= dict.fromkeys(taken, name)
        strata = {label: [key for key in pool if key not in taken] for label, pool in strata.items()}
    splits: dict[str, list[Example]] = {"train": [], "validation": list(validation or []), "test": list(test or [])}
    for example in examples:
        if (key := _key(example)) in split_of:
            splits[split_of[key]].append(example)
    return list(splits.values())


def _taken(
    strata: Mapping[str | None, Sequence[str]], sizes: Mapping[str, int], quotas: Mapping[str | None, float]
) -> set[str]:
    """The questions of a split: of each stratum, whose questions are in random order, about as many examples as its
    quota. One question of each stratum is left."""
    wanted = {label: int(quota) for label, quota in quotas.items()}
    # The largest remainders make up for what rounding down has lost, of labels with examples to spare.
    missing = round(sum(quotas.values())) - sum(wanted.values())
    spare = [label for label, pool in strata.items() if len(pool) > wanted[label] + 1]
    for label in sorted(spare, key=lambda label: wanted[label] - quotas[label])[:missing]:
        wanted[label] += 1
    taken: set[str] = set()
    for label, pool in strata.items():
        left = wanted[label]
        of_stratum: set[str] = set()
        for key in pool:
            if sizes[key] <= left and len(of_stratum) < len(pool) - 1:
                of_stratum.add(key)
                left -= sizes[key]
        taken |= of_stratum
    if not taken and missing + sum(wanted.values()) > 0 and len(sizes) > 2 and None in strata:
        # Of many answers to few questions, the question with the fewest answers is better than none.
        smallest = min(strata[None], key=sizes.__getitem__, default=None)
        if smallest is not None and 2 * sizes[smallest] < sum(sizes[key] for key in strata[None]):
            taken.add(smallest)
    return taken


def _stratum(group: Sequence[Example]) -> str | None:
    """The label of the examples of one question; None if they have none."""
    labels = [str(label) for example in group if (label := getattr(example, "label", None)) is not None]
    return Counter(labels).most_common(1)[0][0] if labels else None


def _key(example: Example) -> str:
    return hashlib.sha256(example.question().encode()).hexdigest()
