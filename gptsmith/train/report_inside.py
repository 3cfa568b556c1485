"""The section of a report that says what was found inside the model: roles of heads, depth, and tested examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.files import read_table
from gptsmith.pages.shell import Html, element, section
from gptsmith.run.folder import INSIDE


def inside_section(folder: Path) -> list[Html]:
    """What was found inside the model of a run; nothing if it was not looked for, or cannot be read."""
    try:
        found = read_table(folder / INSIDE) if (folder / INSIDE).exists() else {}
    except UserError:
        return []
    if not found:
        return []
    depth = found.get("depth")
    return [
        section(
            "What was found inside",
            element("p", f"At step {found.get('step')}, on text that it was not trained on.", class_="soft"),
            *_claims(found.get("heads")),
            *([element("p", str(depth.get("says", "")))] if isinstance(depth, dict) else []),
            element("div", *(_example(one) for one in _tables(found.get("examples"))), class_="samples"),
            name="inside",
        )
    ]


def _example(one: Mapping[str, Any]) -> Html:
    """A word that the model would write after some text, and why."""
    word = element("strong", str(one.get("word", "")))
    return element(
        "div", element("blockquote", str(one.get("context", "")), word), *_claims(one.get("claims")), class_="sample"
    )


def _claims(claims: Any) -> list[Html]:
    """Claims, each with what became of its test."""
    return [
        element("p", str(claim.get("says", "")), " ", element("em", str(claim.get("why") or "")))
        for claim in _tables(claims)
    ]


def _tables(value: Any) -> Sequence[Mapping[str, Any]]:
    """The tables of a list; none of anything else."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
