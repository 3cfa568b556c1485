"""The promise of a privately trained model, as result.json keeps it, and a file of its own until there is one: whatever
is made of its weights alone keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptsmith.base.files import read_table, write_json

PRIVATE = "private"
"""Its key in result.json."""
CLAIM = "privacy_claim.json"
"""The promise of a run that has not ended: of the steps that it has taken, or is to take."""


def write_unfinished_claim(folder: Path, claim: Mapping[str, Any]) -> None:
    """Keeps the promise of a run that has not ended: it holds for every checkpoint of no more steps.

    Raises:
        UserError: it cannot be written.
    """
    write_json(folder / CLAIM, dict(claim))


def claim_of(folder: Path, result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The promise of a run, by its figures or, if it has not ended, by what it keeps of it; None if there is none.

    Raises:
        UserError: what it keeps cannot be read.
    """
    if result and PRIVATE in result:
        return dict(result[PRIVATE])
    return read_table(folder / CLAIM) if result is None and (folder / CLAIM).exists() else None


def carried_claim(folder: Path, result: Mapping[str, Any] | None) -> dict[str, Any]:
    """The promise of a run, for the figures of a run that is made of its weights and of nothing private; empty if there
    is none.

    Raises:
        UserError: what it keeps of it cannot be read.
    """
    claim = claim_of(folder, result)
    return {} if claim is None else {PRIVATE: claim}


def claim_in_a_line(claim: Mapping[str, Any]) -> str:
    """A promise for people."""
    return (
        f"Differentially private: epsilon {claim['epsilon']:.3g}, delta {claim['delta']:.2g} per {claim['unit']} "
        f"(noise {claim['noise_multiplier']:.3g} x clipping norm {claim['clip_norm']:g}; {claim['num_steps']:,} steps, "
        f"each {claim['unit']} in {claim['sampling_rate']:.2%} of them)"
    )
