"""Canaries in words for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptsmith.privacy.canaries import TOKENIZER
from gptsmith.privacy.wording import tries_in_words

TELLS = 0.6
"""The least AUC by which a tokenizer that was trained on the text is worth a sentence."""


def canary_lines(figures: Mapping[str, Any]) -> list[str]:
    """The findings of `canary_figures`, a sentence or two for each number of copies; nothing without canaries."""
    if not figures:
        return []
    canaries = figures["canaries"]
    lines = [
        f"{canaries['num']:,} canaries in {canaries['num_places']:,} places. Chance gives a code "
        f"{canaries['expected_exposure']:.2f} bits of exposure, and {canaries['most_exposure']:.1f} are the most."
    ]
    given = "when asked" if canaries["unit"] == "example" else "from the name"
    lines += [_group_in_words(group, given) for group in canaries["groups"]]
    if (by_tokenizer := figures["memberships"].get(TOKENIZER)) and by_tokenizer["interval"][0] > TELLS:
        lines.append(
            f"The tokenizer alone tells what was planted once from what was not (AUC {by_tokenizer['auc']:.2f}): names "
            "became words of it. A tokenizer of yours that never read the text (--tokenizer) gives away nothing."
        )
    return [*lines, _bound_in_words(figures)]


def _group_in_words(group: Mapping[str, Any], given: str) -> str:
    planted = {1: "once"}.get(group["copies"], f"{group['copies']} times")
    low, high = group["interval"]
    return (
        f"Planted {planted}: {group['by_heart']} of {group['num']} by heart {given} (unseen twins: "
        f"{group['by_heart_unseen']}), half of them within {tries_in_words(group['tries'][1])}; exposure "
        f"{_bits(group, 'exposure')}, of the twins {_bits(group, 'exposure_unseen')}; told from them with an AUC of "
        f"{group['auc']:.2f} ({low:.2f} to {high:.2f}), {group['true_positives_at_1_percent']:.0%} found where 1 % are "
        "falsely accused."
    )


def _bound_in_words(figures: Mapping[str, Any]) -> str:
    unit = figures["canaries"]["unit"]
    lower, most, claimed = (figures[f"epsilon_{name}"] for name in ("lower", "most", "claimed"))
    if lower is None:
        return f"No bound on epsilon: no {unit} has a canary to itself. More {unit}s, or fewer canaries, give one."
    said = (
        f"{figures['num_right']} of {figures['num_coins']} coins guessed: for one {unit} that is there or not, "
        f"epsilon is at least {lower:.2f} (delta {figures['delta']:g}; with so few coins no more than {most:.2f} could "
        "have been shown)"
    )
    if claimed is None:
        return f"{said}."
    judged = "which contradicts it: something leaks beside the training" if lower > claimed else "which agrees with it"
    return f"{said}; the run claims {claimed:.3g}, {judged}."


def _bits(group: Mapping[str, Any], name: str) -> str:
    low, high = group[f"{name}_interval"]
    return f"{group[name]:.1f} bits ({low:.1f} to {high:.1f})"
