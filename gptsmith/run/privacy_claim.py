"""The promise of a privately trained model, as result.json keeps it: whatever is made of its weights alone keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRIVATE = "private"
"""Its key in result.json."""


def carried_claim(result: Mapping[str, Any] | None) -> dict[str, Any]:
    """The promise in the figures of a run, for those of a run that is made of its weights and of nothing private; empty
    if there is none."""
    return {PRIVATE: result[PRIVATE]} if result and PRIVATE in result else {}


def claim_in_a_line(claim: Mapping[str, Any]) -> str:
    """A promise for people."""
    return (
        f"Differentially private: epsilon {claim['epsilon']:.3g}, delta {claim['delta']:.2g} per {claim['unit']} "
        f"(noise {claim['noise_multiplier']:.3g} x clipping norm {claim['clip_norm']:g}; {claim['num_steps']:,} steps, "
        f"each {claim['unit']} in {claim['sampling_rate']:.2%} of them)"
    )
