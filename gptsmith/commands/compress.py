"""gptsmith compress"""

from __future__ import annotations

from gptsmith.commands.options import Json, command
from gptsmith.workflows.requests import CompressRequest


@command(
    CompressRequest,
    arguments={"run": "RUN"},
    panels={
        "Size": ("bits", "bytes", "to", "layers", "feedforward"),
        "Run": ("heal_minutes", "out"),
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
    console.show_json(figures) if json else console.show_figures("", figures)
