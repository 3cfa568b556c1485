"""Prints what a run can recite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NUM_SHOWN = 20
TEXT_CHARACTERS = 60
COLUMNS = {
    "num_passages": "passages",
    "num_passage_tokens": "their tokens",
    "longest_tokens": "the longest",
    "num_answers": "short answers",
}


def show_recited(figures: Mapping[str, Any]) -> None:
    """Prints the passages of an audit, its checkpoints, and what it says."""
    from gptsmith.base import console

    show_passages([*figures["passages"][:NUM_SHOWN], *figures["answers"][:NUM_SHOWN]])
    if len(figures["checkpoints"]) > 1:
        show_checkpoints(figures["checkpoints"])
    console.results.print(figures["says"], style="bold", soft_wrap=True)
    for line in figures["remarks"]:
        console.results.print(console.harmless(line), soft_wrap=True)
    more = sum(max(0, figures[name] - NUM_SHOWN) for name in ("num_passages", "num_answers"))
    listed = f"{more:,} more of them are" if more > 0 else "all of it is"
    console.note(f"{listed} in {figures['page']}, which only you can read: it holds what was found")


def show_passages(passages: Sequence[Mapping[str, Any]]) -> None:
    """Prints the beginnings of passages, with their copies, tries and places."""
    from rich.text import Text

    from gptsmith.base import console
    from gptsmith.commands.trace import place_of
    from gptsmith.privacy.wording import figures_in_words

    for each in passages:
        words = " ".join(each["text"].split())
        shown = words if len(words) <= TEXT_CHARACTERS else f"{words[:TEXT_CHARACTERS]}…"
        line = Text(console.harmless(shown), "bold").append(f"\n    {figures_in_words(each)}; ", "not bold")
        console.results.print(line.append(console.harmless(place_of(each)), "not bold"), soft_wrap=True)
    if passages:
        console.results.print()


def show_checkpoints(checkpoints: Sequence[Mapping[str, Any]]) -> None:
    """Prints what each checkpoint that is kept recites."""
    from rich.table import Table

    from gptsmith.base import console

    table = Table(box=None, padding=(0, 2, 0, 0))
    shown = [key for key in COLUMNS if key != "num_answers" or any(each[key] for each in checkpoints)]
    for column in ("checkpoint", *(COLUMNS[key] for key in shown)):
        table.add_column(column)
    for each in checkpoints:
        step = f"{each['step']:,}{' (served)' if each['is_served'] else ''}"
        table.add_row(step, *(f"{each[key]:,}" for key in shown))
    console.results.print(table)
    console.results.print()
