"""gptsmith merge"""

from __future__ import annotations

from typing import Annotated

import typer

from gptsmith.commands.options import Device, Json


def merge(
    run: Annotated[str, typer.Argument(help="The folder of a run with adapters.")],
    out: Annotated[str | None, typer.Option(metavar="RUN", help="The new run folder; RUN-merged if not given.")] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Make a run whose adapters are part of its weights, and say how far it is from the first."""
    from gptsmith.base import console
    from gptsmith.workflows.merge import merge as run_merge

    figures = run_merge(run, out=out, device=device)
    console.show_json(figures) if json else console.show_figures("", figures)
