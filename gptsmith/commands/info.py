"""gptsmith info"""

from __future__ import annotations

from typing import Annotated

import typer

from gptsmith.commands.options import Json, Set


def info(
    run: Annotated[str | None, typer.Argument(help="A run folder.")] = None,
    preset: Annotated[str | None, typer.Option(help="A preset instead of a run, such as gpt2-xl.")] = None,
    settings: Set = None,
    json: Json = False,
) -> None:
    """Show a model's shape and cost: parameters, FLOPs a token, bytes."""
    from gptsmith.base import console
    from gptsmith.workflows.info import info as run_info

    figures = run_info(run, preset=preset, settings=tuple(settings or ()))
    console.show_json(figures) if json else console.show_figures("", figures)
