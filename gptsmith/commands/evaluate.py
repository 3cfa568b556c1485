"""gptsmith evaluate"""

from __future__ import annotations

from typing import Annotated

import typer

from gptsmith.commands.options import Device, Json


def evaluate(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="Text to predict; the run's validation set if none.")
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure how well a model predicts a text: nats a token, bits a byte."""
    from gptsmith.base import console
    from gptsmith.workflows.evaluate import evaluate as run_evaluate

    figures = run_evaluate(run, texts or [], device=device)
    console.show_json(figures) if json else console.show_figures("", figures)
