"""Prints what a run can recite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NUM_SHOWN = 20
TEXT_CHARACTERS = 60


def show_recited(figures: Mapping[str, Any]) -> None:
    """Prints the passages of an audit as a table, its checkpoints, and what it says."""
    from gptsmith.base import console

    show_passages(figures["passages"][:NUM_SHOWN])
    if len(figures["checkpoints"]) > 1:
        show_checkpoints(figures["checkpoints"])
    console.results.print(figures["says"], style="bold", soft_wrap=True)
    for line in figures["remarks"]:
        console.results.print(console.harmless(line), soft_wrap=True)
    more = figures["num_passages"] - NUM_SHOWN
    listed = f"{more:,} more passages are" if more > 0 else "the audit is"
    console.note(f"{listed} in {figures['file']}, which only you can read: it holds what was found")


def show_passages(passages: Sequence[Mapping[str, Any]]) -> None:
    """Prints passages with their copies, tries and places."""
    from gptsmith.commands.trace import place_of
    from gptsmith.privacy.wording import tries_in_words

    rows = [
        (
            " ".join(each["text"].split())[:TEXT_CHARACTERS], f"{each['num_tokens']:,}", f"{each['num_copies']:,}",
            tries_in_words(each["tries"]), place_of(each),
        )
        for each in passages
    ]  # fmt: skip
    print_table(("passage", "tokens", "copies", "tries for an even chance", "where"), rows)


def show_checkpoints(checkpoints: Sequence[Mapping[str, Any]]) -> None:
    """Prints what each checkpoint that is kept recites."""
    rows = [
        (
            f"{each['step']:,}{' (served)' if each['is_served'] else ''}", f"{each['num_passages']:,}",
            f"{each['num_passage_tokens']:,}", f"{each['longest_tokens']:,}",
        )
        for each in checkpoints
    ]  # fmt: skip
    print_table(("checkpoint", "passages", "their tokens", "the longest"), rows)


def print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table

    from gptsmith.base import console

    if not rows:
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(console.harmless, row))
    console.results.print(table)
    console.results.print()
