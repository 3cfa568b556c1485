"""gptsmith compress"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptsmith.commands.options import Json, command
from gptsmith.workflows.model_requests import CompressRequest


@command(
    CompressRequest,
    arguments={"run": "RUN", "others": "[OTHERS]..."},
    panels={
        "Size": ("bits", "bytes", "to", "layers", "feedforward"),
        "Run": ("heal_minutes", "text", "out", "compare"),
        "Machine": ("device",),
    },
    examples=(
        "gptsmith compress runs/mine --bits 5",
        "gptsmith compress runs/mine --layers 6 --to q8_0 --heal-minutes 5",
    ),
)
def compress(request: CompressRequest, json: Json = False) -> None:
    """Make a smaller run of a run, and measure the difference."""
    from gptsmith.base import console
    from gptsmith.workflows.compress import compress as run_compress

    figures = run_compress(request)
    if json:
        console.show_json(figures)
    elif request.compare:
        show_compared(figures)
    else:
        console.show_figures("", figures)


def show_compared(figures: Mapping[str, Any]) -> None:
    """Writes a row for each run, and where the page is."""
    from rich.table import Table

    from gptsmith.base import console
    from gptsmith.compress.comparison import COLUMNS

    table = Table(box=None, padding=(0, 2, 0, 0))
    for label in COLUMNS.values():
        table.add_column(label, overflow="fold")
    for row in figures["runs"]:
        table.add_row(*(console.readable(row[key], key) for key in COLUMNS))
    console.results.print(table)
    console.note(f"page: {figures['page']}")
