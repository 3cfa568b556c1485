"""gptsmith compress"""

from __future__ import annotations

from typing import Annotated

import typer

from gptsmith.commands.options import Device, Json


def compress(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    to: Annotated[str, typer.Option(metavar="KIND", help="int8: matrices of whole numbers, a quarter of the bytes.")],
    out: Annotated[str | None, typer.Option(metavar="RUN", help="The new run folder; RUN-KIND if not given.")] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Make a smaller run of a run, and say how far it is from the first."""
    from gptsmith.base import console
    from gptsmith.workflows.compress import compress as run_compress

    figures = run_compress(run, to=to, out=out, device=device)
    console.show_json(figures) if json else console.show_figures("", figures)
