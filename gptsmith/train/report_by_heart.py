"""The section of a report that says what the model knows by heart: figures without a passage, that can be shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gptsmith.base.console import readable
from gptsmith.base.errors import UserError
from gptsmith.base.files import read_table
from gptsmith.pages.compression import comparison
from gptsmith.pages.shell import Html, element, section

AUDIT = "audit.json"
"""Where a run keeps its audit, for its owner alone."""


def by_heart_section(folder: Path) -> list[Html]:
    """What the model of a run knows by heart; nothing if it was not audited, or the audit cannot be read."""
    try:
        found = read_table(folder / AUDIT, with_names=True) if (folder / AUDIT).exists() else {}
    except UserError:
        return []
    return [section("What it knows by heart", *by_heart(found), name="by-heart")] if found else []


def by_heart(found: Mapping[str, Any]) -> list[Html]:
    """The figures of an audit, without a passage."""
    return [
        element("p", element("strong", str(found.get("says", "")))),
        element("p", f"At step {readable(found.get('step', ''))}.", class_="soft"),
        *_table("By copies in the text", _by_copies(_tables(found.get("by_copies")))),
        *_table("Within so many tries", _within(_tables(found.get("learned")))),
        *_table("Checkpoints that are kept", _checkpoints(_tables(found.get("checkpoints")))),
        *(element("p", str(line), class_="soft") for line in found.get("remarks") or ()),
    ]


def _table(heading: str, rows: Sequence[Mapping[str, str]]) -> list[Html]:
    return [element("h3", heading), comparison(rows, {name: name for name in rows[0]})] if rows else []


def _by_copies(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "copies": _span(row.get("least_copies"), row.get("most_copies")),
            "passages": readable(row.get("num_passages", "")),
            "tokens (median)": readable(row.get("median_tokens")),
            "tries for an even chance (median)": _tries(row.get("median_tries")),
        }
        for row in rows
        if row.get("num_passages")
    ]


def _within(texts: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """For each text, how much of it and of what was held out can be had within some tries."""
    return [
        {
            **({"text of": Path(str(text.get("run", ""))).name} if len(texts) > 1 else {}),
            "tries": readable(row.get("tries", "")),
            "of its text": _share(row.get("num_tokens"), text.get("num_tokens_read")),
            "of text that it never saw": _share(row.get("num_held_out_tokens"), text.get("num_held_out_tokens_read")),
        }
        for text in texts
        for row in _tables(text.get("within_tries"))
    ]


def _checkpoints(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "step": f"{readable(row.get('step', ''))}{' (served)' if row.get('is_served') else ''}",
            "passages": readable(row.get("num_passages", "")),
            "their tokens": readable(row.get("num_passage_tokens", "")),
            "longest": readable(row.get("longest_tokens", "")),
            "short answers": readable(row.get("num_answers", "")),
            "of text that it never saw": readable(row.get("num_held_out_passages", "")),
        }
        for row in rows
    ]


def _span(least: Any, most: Any) -> str:
    return f"{least} and more" if most is None else f"{least}" if least == most else f"{least} to {most}"


def _share(number: Any, of: Any) -> str:
    if not isinstance(number, int | float) or not isinstance(of, int | float) or not of:
        return "not known"
    return f"{number / of:.3%}" if number else "nothing"


def _tries(tries: Any) -> str:
    if not isinstance(tries, int | float) or tries > 1e9:
        return "more than 1e9"
    return f"{tries:,.0f}"


def _tables(value: Any) -> Sequence[Mapping[str, Any]]:
    """The tables of a list; none of anything else."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
