"""gptsmith import"""

from __future__ import annotations

from typing import Annotated

import typer

from gptsmith.commands.options import Json


def import_model(
    source: Annotated[
        str,
        typer.Argument(
            help="A Hugging Face model folder, a folder of PEFT's with adapters, or a model's name on the Hub."
        ),
    ],
    out: Annotated[str | None, typer.Option(metavar="RUN", help="The new run folder; runs/NAME if not given.")] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="What adapters are laid over; the base that they name if not given."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Which version of a model on the Hub.")] = None,
    json: Json = False,
) -> None:
    """Make a run of another program's model, with a certificate that it is the same model."""
    from gptsmith.base import console
    from gptsmith.workflows.import_model import import_model as run_import

    figures = run_import(source, out=out, base=base, revision=revision)
    console.show_json(figures) if json else console.show_figures("", figures)
