"""What a page shows of compressed runs: what they cost, what was tried, and what they write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptsmith.base.console import label_of, readable
from gptsmith.pages.shell import Html, element, table

KEYS = (
    "made_from", "weight_bytes_before", "weight_bytes", "bits_per_weight", "kl_divergence", "top1_agreement",
    "label_agreement", "reward_correlation", "compared_on", "num_compared_tokens",
)  # fmt: skip
MAX_CHARACTERS = 2000
HEADS_SAY = (
    "The difference of what each head finds from what it found in the original, as a share of its size: a row for each "
    "layer of this model, from 0. It contains what earlier layers changed."
)


def compression(result: Mapping[str, Any], details: Mapping[str, Any]) -> Html:
    """The part of a report about compression: its figures, the place of the curve, how far heads have moved, and ten
    texts side by side.

    Args:
        result: the figures of the run.
        details: `trials`, `heads` and `samples`, as compression.json keeps them.
    """
    rows = [(label_of(key), readable(result[key], key)) for key in KEYS if key in result]
    content = [element("div", table([*rows, *_rise(result)]), class_="scroll")]
    if details.get("trials"):
        content.append(element("div", id="trials"))
    if heads := details.get("heads"):
        content.append(element("h3", "How far attention heads have moved"))
        content.append(element("p", HEADS_SAY, class_="soft"))
        content.append(_heads(heads))
    if samples := details.get("samples"):
        content.append(element("h3", "The same prompts before and after"))
        content.append(_samples(samples))
    return element("div", *content)


def rise_in_a_line(result: Mapping[str, Any]) -> str:
    """`1.733 -> 1.736 (+0.0021 to +0.0034)`: bits per byte, with the interval of the paired difference; empty if they
    were not measured."""
    prefix = "" if "bits_per_byte_rise_low" in result else "general_"
    names = ("bits_per_byte_before", "bits_per_byte", "bits_per_byte_rise_low", "bits_per_byte_rise_high")
    figures = [figure for name in names if isinstance(figure := result.get(f"{prefix}{name}"), int | float)]
    if len(figures) < len(names):
        return ""
    return "{:.4f} → {:.4f} ({:+.4f} to {:+.4f})".format(*figures)


def comparison(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Html:
    """A table of several compressed runs: a row each, a column for each key."""
    head = element("tr", *(element("th", label, scope="col") for label in columns.values()))
    body = [element("tr", *(element("td", readable(row.get(key, ""), key)) for key in columns)) for row in rows]
    return element("div", element("table", element("thead", head), element("tbody", *body)), class_="scroll")


def _rise(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    line = rise_in_a_line(result)
    return [("bits per byte (difference, 95 % interval)", line)] if line else []


def _heads(heads: Sequence[Sequence[float]]) -> Html:
    """A table of shares (L, H)."""
    numbers = range(max(map(len, heads)))
    head = element(
        "tr", element("th", "layer", scope="col"), *(element("th", f"head {n}", scope="col") for n in numbers)
    )
    rows = [
        element("tr", element("th", str(layer), scope="row"), *(element("td", f"{share:.1%}") for share in shares))
        for layer, shares in enumerate(heads)
    ]
    return element("div", element("table", element("thead", head), element("tbody", *rows)), class_="scroll")


def _samples(samples: Sequence[Mapping[str, Any]]) -> Html:
    head = element("tr", *(element("th", name, scope="col") for name in ("prompt", "before", "after")))
    rows = []
    for sample in samples:
        texts = [str(sample.get(key, ""))[:MAX_CHARACTERS] for key in ("prompt", "before", "after")]
        rows.append(element("tr", *(element("td", text, class_="written") for text in texts)))
    return element("div", element("table", element("thead", head), element("tbody", *rows)), class_="scroll")
