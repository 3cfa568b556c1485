"""gptsmith forget"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptsmith.commands.found import print_table, show_artefacts
from gptsmith.commands.options import Json, command
from gptsmith.workflows.requests import ForgetRequest


@command(
    ForgetRequest,
    arguments={"run": "RUN", "found": "FOUND"},
    panels={"Run": ("redact", "out", "yes"), "Machine": ("device",)},
    examples=(
        "gptsmith audit runs/mine --find 'Anna Berg' --out found.jsonl",
        "gptsmith forget runs/mine found.jsonl",
        "gptsmith forget runs/mine found.jsonl --yes",
    ),
)
def forget(request: ForgetRequest, json: Json = False) -> None:
    """Train a run anew without what a list names, and measure that it is gone."""
    from gptsmith.base import console
    from gptsmith.workflows.forget import forget as run_forget

    figures = run_forget(request)
    if json:
        console.show_json(figures)
        return
    show_places(figures["places"])
    for line in lines_of(figures):
        console.results.print(console.harmless(line), soft_wrap=True)
    show_artefacts("still holds it, and is not deleted", figures["left"])
    show_artefacts("deleted", figures["deleted"])


def show_places(places: Sequence[Mapping[str, Any]]) -> None:
    """Prints how easily both models say the words at each place."""
    from gptsmith.commands.trace import place_of
    from gptsmith.privacy.wording import tries_in_words

    rows = []
    for place in places:
        before, after = place["before"], place["after"]
        rows.append(
            (
                place["text"], f"{before['exposure']:.1f} -> {after['exposure']:.1f}",
                f"{tries_in_words(before['tries'])} -> {tries_in_words(after['tries'])}", place_of(place),
            )
        )  # fmt: skip
    print_table(("text", "exposure (bits)", "tries", "where"), rows)


def lines_of(figures: Mapping[str, Any]) -> list[str]:
    """The result of forgetting, in sentences."""
    lines = [figures["says"]]
    if figures["num_places_left"]:
        lines.append(f"places of it that the new run still learnt from: {figures['num_places_left']:,}")
    words = figures["tokenizer_words"]
    if words["before"]:
        left = ", ".join(words["after"]) or "none"
        lines.append(f"words of it that are tokens: {', '.join(words['before'])} before, {left} now")
    bits = figures["bits_per_byte"]
    if None not in bits.values():
        lines.append(f"bits per byte: {bits['before']:.4f} before, {bits['after']:.4f} now")
    lines.append(f"the new run: {figures['out']}")
    return lines
