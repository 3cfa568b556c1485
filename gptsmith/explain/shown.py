"""An explanation for people at a terminal: marked words, bars, plain sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gptsmith.base.console import harmless
from gptsmith.explain.claim import CHANCE, HOLDS, Claim, Explanation
from gptsmith.explain.trust import trust

BAR = 24
"""The width of the longest bar, in characters."""
MOST_ROWS = 8
STATE = re.compile(r"blocks\.\d+\.(input|output)")
"""The tap of a state of the residual stream."""
STYLES = {HOLDS: "green", CHANCE: "yellow"}


def shown(found: Explanation) -> RenderableType:
    """An explanation as rich renders it."""
    parts: list[RenderableType] = [] if found.target is None else [_reply(found)]
    for claim in found.claims:
        parts += [Text(), *_claim(found, claim)]
    if found.checks:
        parts += [Text(), Text("Identities of this model", "bold"), _checks(found.checks)]
    if found.claims:
        parts += [Text(), Text("Can I trust this?", "bold"), *(Text(f"  {line}") for line in trust(found))]
    return Group(*parts)


def _checks(checks: Sequence[dict[str, Any]]) -> Table:
    """A row for each identity: whether it holds, by how much it is off, by how much it may be."""
    table = Table(show_header=True, box=None, padding=(0, 1, 0, 2))
    for heading in ("identity", "off by (nats)", "at most", ""):
        table.add_column(heading, overflow="fold")
    for check in checks:
        if check["error"] is None:
            table.add_row(check["says"], "", "", Text(harmless(f"not for this model: {check['why']}"), "dim"))
            continue
        verdict = Text("holds", "green") if check["holds"] else Text("FAILS", "bold red")
        table.add_row(check["says"], f"{check['error']:.1e}", f"{check['bound']:.1e}", verdict)
    return table


def _reply(found: Explanation) -> Text:
    """The reply with the word in question marked."""
    text = Text(harmless(found.reply[: found.start]))
    text.append(harmless(found.reply[found.start : found.stop]), "bold reverse")
    text.append(harmless(found.reply[found.stop :]), "dim")
    return text


def _claim(found: Explanation, claim: Claim) -> Iterator[RenderableType]:
    yield Text(
        HEADINGS.get(claim.kind, claim.kind.replace("_", " ").capitalize()) + (f" ({claim.by})" if claim.by else ""),
        "bold",
    )
    yield Text(f"  {harmless(claim.says)}")
    if claim.by is not None and claim.by != "sentences":
        yield from _prompt(found, claim)
    if claim.items:
        yield _table(bars(claim, MOST_ROWS))
    if claim.why:
        yield Text(f"  {claim.why}", STYLES.get(claim.verdict, "dim"))


class Bar(NamedTuple):
    """A part of a claim, its value, and the value as people read it."""

    label: str
    value: float
    figure: str
    is_named: bool


def bars(claim: Claim, most: int) -> list[Bar]:
    """At most so many parts of a claim: alternatives with their probabilities; states by depth, up to the last; of all
    others the largest changes, the largest first."""
    if claim.kind == "alternatives":
        shares = [(item, math.exp(item.change)) for item in claim.items]
        return [Bar(_label(item.text), share, f"{100 * share:.1f} %", item.is_named) for item, share in shares]
    items, labels = claim.items, [_label(item.text) for item in claim.items]
    if claim.kind == "logit_lens":
        labels = [f"after {depth} blocks: {label}" for depth, label in enumerate(labels)]
    found = [
        Bar(label, item.change, f"{item.change:+.2f}", item.is_named) for label, item in zip(labels, items, strict=True)
    ]
    if all(item.part is not None and STATE.fullmatch(item.part) for item in items):
        return found[-most:]
    return sorted(found, key=lambda bar: -abs(bar.value))[:most]


def _label(text: str) -> str:
    shown = text.strip() or repr(text)
    return shown if len(shown) <= 90 else f"{shown[:87]}..."


HEADINGS = {
    "alternatives": "How sure it was",
    "leave_one_out": "Your words",
    "activation_patching": "Inside: between two prompts",
    "direct_logit_attribution": "Inside: what its parts wrote",
    "head_roles": "Inside: roles of heads",
    "logit_lens": "Inside: when it was decided",
}
"""The headings of methods whose names say little to people."""


def _prompt(found: Explanation, claim: Claim) -> Iterator[Text]:
    """The texts of the prompt, their important parts shaded."""
    largest = max((item.change for item in claim.items), default=0.0)
    messages = [found.prompt] if isinstance(found.prompt, str) else [turn["content"] for turn in found.prompt]
    for number, content in enumerate(messages):
        text = Text(harmless(content))
        items = [item for item in claim.items if item.message in (None, number)]
        if not items:
            continue
        for item in items:
            if item.start is not None and item.change >= 0.25 * largest > 0:
                start = (
                    item.start + len(content[item.start : item.stop]) - len(content[item.start : item.stop].lstrip())
                )
                text.stylize("bold reverse" if item.is_named else "underline", start, item.stop)
        text.pad_left(2)
        yield text


def _table(rows: Sequence[Bar]) -> Table:
    """A row for each part: its text, a bar, its figure."""
    table = Table(show_header=False, box=None, padding=(0, 1, 0, 2))
    table.add_column(overflow="fold", max_width=48)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    largest = max((abs(row.value) for row in rows), default=0.0) or 1.0
    for label, value, figure, is_named in rows:
        bar = "█" * max(1, round(BAR * abs(value) / largest)) if abs(value) >= 0.01 * largest else "▏"
        style = ("bold" if is_named else "") if value >= 0 else "dim"
        table.add_row(Text(harmless(label), style), Text(bar, style), figure)
    return table
