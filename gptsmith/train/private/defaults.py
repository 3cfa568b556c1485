"""The batch and the steps of private training that nobody sets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gptsmith.base.settings import merged

USUAL_EPOCHS, USUAL_STEPS = 10.0, 100
"""Noise is added once per step, and counts for less beside many units: few steps of large batches, and more passes over
the data than without noise (LOG.md)."""


def private_table(given: Mapping[str, Any], epochs: float | None, num_units: int) -> dict[str, Any]:
    """The settings of the group `train`, with a batch and a number of steps for so many units."""
    epochs = epochs or USUAL_EPOCHS
    wanted = round(epochs * num_units / given.get("num_steps", USUAL_STEPS))
    batch_size = given.get("batch_size", min(max(1, wanted), num_units))
    num_steps = given.get("num_steps", max(1, math.ceil(epochs * num_units / batch_size)))
    return merged({"batch_size": batch_size, "num_steps": num_steps}, given)
