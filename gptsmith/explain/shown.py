"""An explanation for people at a terminal: marked words, bars, plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gptsmith.base.console import harmless
from gptsmith.explain.claim import CHANCE, HOLDS, Claim, Explanation, Item
from gptsmith.explain.trust import trust
from gptsmith.explain.wording import (
    CHECK_COLUMNS,
    CHECKS_HEADING,
    TRUST_HEADING,
    check_row,
    heading_of,
    label_of,
    marked_texts,
    rows_of,
)

BAR = 24
"""The width of the longest bar, in characters."""
MOST_ROWS = 8
STYLES = {HOLDS: "green", CHANCE: "yellow"}


def shown(found: Explanation) -> RenderableType:
    """An explanation as rich renders it."""
    parts: list[RenderableType] = [] if found.target is None else [_reply(found)]
    for claim in found.claims:
        parts += [Text(), *_claim(found, claim)]
    if found.checks:
        parts += [Text(), Text(CHECKS_HEADING, "bold"), _checks(found.checks)]
    if lines := trust(found):
        parts += [Text(), Text(TRUST_HEADING, "bold"), *(Text(f"  {harmless(line)}") for line in lines)]
    return Group(*parts)


def _checks(checks: Sequence[dict[str, Any]]) -> Table:
    """A row for each identity."""
    table = Table(show_header=True, box=None, padding=(0, 1, 0, 2))
    for heading in CHECK_COLUMNS:
        table.add_column(heading, overflow="fold")
    for check in checks:
        style = "dim" if check["error"] is None else "green" if check["holds"] else "bold red"
        *figures, verdict = map(harmless, check_row(check))
        table.add_row(*figures, Text(verdict, style))
    return table


def _reply(found: Explanation) -> Text:
    """The reply with the word in question marked."""
    text = Text(harmless(found.reply[: found.start]))
    text.append(harmless(found.reply[found.start : found.stop]), "bold reverse")
    text.append(harmless(found.reply[found.stop :]), "dim")
    return text


def _claim(found: Explanation, claim: Claim) -> Iterator[RenderableType]:
    yield Text(heading_of(claim), "bold")
    yield Text(f"  {harmless(claim.says)}")
    if claim.by is not None and claim.by != "sentences":
        yield from _prompt(found, claim)
    if claim.items:
        yield _bars(rows_of(claim, MOST_ROWS))
    if claim.why:
        yield Text(f"  {harmless(claim.why)}", STYLES.get(claim.verdict, "dim"))


def _prompt(found: Explanation, claim: Claim) -> Iterator[Text]:
    """The texts of the prompt, their important parts marked."""
    largest = max((item.change for item in claim.items), default=0.0)
    for _, pieces in marked_texts(found, claim):
        text = Text()
        for piece, item in pieces:
            style = ""
            if item is not None and item.change >= 0.25 * largest > 0:
                style = "bold reverse" if item.is_named else "underline"
            text.append(harmless(piece), style)
        text.pad_left(2)
        yield text


def _bars(rows: Sequence[tuple[Item, float, str]]) -> Table:
    """A row for each part: its text, a bar, its figure."""
    table = Table(show_header=False, box=None, padding=(0, 1, 0, 2))
    table.add_column(overflow="fold", max_width=48)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    largest = max((abs(value) for _, value, _ in rows), default=0.0) or 1.0
    for item, value, figure in rows:
        bar = "█" * max(1, round(BAR * abs(value) / largest)) if abs(value) >= 0.01 * largest else "▏"
        style = ("bold" if item.is_named else "") if value >= 0 else "dim"
        label = label_of(item)
        table.add_row(
            Text(harmless(label if len(label) <= 90 else f"{label[:87]}..."), style), Text(bar, style), figure
        )
    return table
