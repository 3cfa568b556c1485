"""Prints everything that a run holds of some words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NUM_SHOWN = 20
"""Findings that are printed; --out and --json have all."""


def show_found(figures: Mapping[str, Any]) -> None:
    """Prints the places of an `audit --find`, what the model says, and everything that holds the words."""
    from gptsmith.base import console

    show_mentions(figures["mentions"][:NUM_SHOWN])
    for words, text in figures["continuations"].items():
        console.results.print(console.harmless(f"after {words!r} it writes: {' '.join(text.split())}"), soft_wrap=True)
    console.results.print()
    for line in lines_of(figures):
        console.results.print(console.harmless(line), soft_wrap=True)
    show_artefacts("what holds it", figures["artefacts"])


def show_mentions(mentions: Sequence[Mapping[str, Any]]) -> None:
    """Prints places with how many tries the model needs to say the words there."""
    from gptsmith.commands.trace import place_of
    from gptsmith.privacy.wording import tries_in_words

    rows = [
        (each["text"], "at once" if each.get("is_greedy") else tries_in_words(each.get("tries")), place_of(each))
        for each in mentions
    ]
    print_table(("text", "tries", "where"), rows)


def show_artefacts(title: str, found: Sequence[Mapping[str, Any]]) -> None:
    """Prints a list of what holds the words."""
    from gptsmith.base import console

    if not found:
        return
    console.results.print(f"\n{title}:")
    for one in found:
        line = f"  {console.label_of(one['kind'])}: {one['path']} ({one['says']})"
        console.results.print(console.harmless(line), soft_wrap=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows of texts, if there are any, under the names of their columns."""
    from rich.table import Table

    from gptsmith.base import console

    if not rows:
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(console.harmless(" ".join(cell.split())) for cell in row))
    console.results.print(table)
    console.results.print()


def lines_of(figures: Mapping[str, Any]) -> list[str]:
    """What was found, in sentences."""
    mentions = figures["mentions"]
    at_once = sum(bool(each.get("is_greedy")) for each in mentions)
    documents = f"{figures['num_documents']:,} document{'' if figures['num_documents'] == 1 else 's'}"
    if mentions:
        places = f"{len(mentions):,} place{'' if len(mentions) == 1 else 's'}"
        lines = [f"{places} in {documents} that it learnt from; at {at_once:,} it writes the words by itself"]
    else:
        lines = ["it learnt from no text that has these words, in this spelling"]
    if figures["num_held_out"]:
        lines.append(f"places in text that only validated it: {figures['num_held_out']:,}")
    if figures["tokenizer_words"]:
        lines.append(f"tokens of its tokenizer, for anybody to read: {', '.join(figures['tokenizer_words'])}")
    if figures["other_spellings"]:
        alone = ", ".join(f"{word} {number:,}" for word, number in figures["other_spellings"].items())
        lines.append(f"each of its words, wherever it stands, also of others: {alone}")
    return [*lines, *figures["missing"]]
