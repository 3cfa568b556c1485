"""The parts that a claim names, and the items that it lists."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from gptsmith.explain.claim import Item
from gptsmith.explain.testing import fewest_named
from gptsmith.explain.units import Unit

MOST_NAMED = 8
IMPORTANT, STILL_IMPORTANT = 0.5, 0.25
"""Parts are named whose change is at least this share of the largest; where so few cannot be tested, those of the
smaller share too."""
LEAST_CHANGE = 0.02
"""Nats: a part that changes less is not named."""


def important(changes: np.ndarray, num_claims: int = 1) -> list[int]:
    """The numbers of the parts that a claim names, the most important first."""
    order = [int(number) for number in np.argsort(-changes, kind="stable") if changes[number] > LEAST_CHANGE]
    if not order:
        return []
    largest = changes[order[0]]
    named = [number for number in order if changes[number] >= IMPORTANT * largest]
    needed = fewest_named(len(changes), num_claims) or 1
    if len(named) < needed:
        named = [number for number in order[:needed] if changes[number] >= STILL_IMPORTANT * largest]
    return named[: min(MOST_NAMED, max(1, len(changes) // 2))]


def unit_items(units: Sequence[Unit], changes: np.ndarray, named: Collection[int]) -> list[Item]:
    """An item for each part of a prompt, with its change (N)."""
    return [
        Item(
            unit.text.strip() or unit.text, float(change), unit.start, unit.stop, unit.message,
            is_named=number in named,
        )
        for number, (unit, change) in enumerate(zip(units, changes, strict=True))
    ]  # fmt: skip
