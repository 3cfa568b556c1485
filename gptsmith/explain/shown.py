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
from gptsmith.explain.wording import heading_of, label_of, rows_of

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
        parts += [Text(), Text("Identities of this model", "bold"), _checks(found.checks)]
    if found.claims:
        parts += [Text(), Text("Can I trust this?", "bold"), *(Text(f"  {harmless(line)}") for line in trust(found))]
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
    yield Text(heading_of(claim), "bold")
    yield Text(f"  {harmless(claim.says)}")
    if claim.by is not None and claim.by != "sentences":
        yield from _prompt(found, claim)
    if claim.items:
        yield _bars(rows_of(claim, MOST_ROWS))
    if claim.why:
        yield Text(f"  {harmless(claim.why)}", STYLES.get(claim.verdict, "dim"))


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
