"""gptsmith trace"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from gptsmith.commands.options import Json, command
from gptsmith.workflows.requests import TraceRequest

UNMATCHED_CHARACTERS = 200
"""Of the traced text between two passages; the middle of a longer stretch is left out."""


@command(
    TraceRequest,
    arguments={"run": "RUN", "text": "TEXT"},
    panels={"Matches": ("min_tokens",), "Influence": ("forget", "prompt", "retrain", "seeds"), "Machine": ("device",)},
    examples=('gptsmith trace runs/mine "The old smith forges"', "gptsmith trace runs/mine reply.txt --forget"),
)
def trace(request: TraceRequest, json: Json = False) -> None:
    """Find where a text stands in what a model learnt from."""
    from gptsmith.base import console
    from gptsmith.workflows.trace import trace as run_trace

    if request.text == "-":
        request = request.model_copy(update={"text": sys.stdin.read()})
    figures = run_trace(request)
    if json:
        console.show_json(figures)
        return
    show_marked(figures["text"], figures["sources"])
    for number, passage in enumerate(figures["sources"], 1):
        show_passage(number, passage)
    for influence in figures.get("influences", ()):
        show_influence(influence)
    if retrained := figures.get("retrained"):
        console.results.print(f"\n{console.harmless(retrained['says'])}", soft_wrap=True)
    console.results.print()
    for line in (figures["says"], *figures["missing"]):
        console.results.print(console.harmless(line), soft_wrap=True)


def show_marked(text: str, passages: Sequence[Mapping[str, Any]]) -> None:
    """Prints a text with its passages marked and numbered."""
    from rich.text import Text

    from gptsmith.base import console

    marked, at = Text(), 0
    for number, passage in enumerate(passages, 1):
        start, stop = passage["text_start"], passage["text_stop"]
        marked.append(console.harmless(_shortened(text[at:start])))
        marked.append(f"[{number}: ", "dim").append(console.harmless(text[start:stop]), "bold").append("]", "dim")
        at = stop
    marked.append(console.harmless(_shortened(text[at:])))
    console.results.print(marked, soft_wrap=True)


def show_passage(number: int, passage: Mapping[str, Any]) -> None:
    """Prints where a passage stands, with its context there."""
    from rich.text import Text

    from gptsmith.base import console

    console.results.print(Text(f"\n[{number}] ", "bold").append(passage["says"]), soft_wrap=True)
    for source in (passage, *passage["other_sources"]):
        console.results.print(Text(f"    {console.harmless(place_of(source))}"), soft_wrap=True)
    show_context(passage)


def show_influence(influence: Mapping[str, Any]) -> None:
    """Prints a passage that was forgotten for one step, and what became of the text."""
    from rich.text import Text

    from gptsmith.base import console

    console.results.print(
        Text(f"\n{console.harmless(place_of(influence))}\n").append(influence["says"], "bold"), soft_wrap=True
    )
    show_context(influence)


def show_context(passage: Mapping[str, Any]) -> None:
    """Prints a passage between what stands before and after it."""
    from rich.text import Text

    from gptsmith.base import console

    context = Text("    …", "dim").append(_in_one_line(passage["before"]))
    context.append(_in_one_line(passage["passage"]), "bold not dim")
    console.results.print(context.append(_in_one_line(passage["after"])).append("…"), soft_wrap=True)


def place_of(source: Mapping[str, Any]) -> str:
    """`news.txt, line 12 (bytes 3,400 to 3,460)`, and what has become of the file."""
    where = source["where"] or (f"line {source['line']:,}" if source["line"] is not None else None)
    span = f" (bytes {source['start']:,} to {source['stop']:,})" if source["start"] is not None else ""
    now = {"unchanged": "", "changed": "; the file has changed since", "missing": "; the file is gone"}[source["state"]]
    return f"{source['file']}{f', {where}' if where else ''}{span}{now}"


def _shortened(text: str) -> str:
    if len(text) <= UNMATCHED_CHARACTERS:
        return text
    half = UNMATCHED_CHARACTERS // 2
    return f"{text[:half]} … {text[-half:]}"


def _in_one_line(text: str) -> str:
    from gptsmith.base import console

    return console.harmless(text.replace("\n", "⏎"))
