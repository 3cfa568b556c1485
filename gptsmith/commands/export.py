"""gptsmith export"""

from __future__ import annotations

from typing import Annotated

import typer

from gptsmith.commands.options import Json


def export(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    to: Annotated[str, typer.Option(metavar="FORMAT", help="huggingface, gguf, ollama, or peft for adapters alone.")],
    out: Annotated[str | None, typer.Option(metavar="FOLDER", help="The new folder; RUN-FORMAT if not given.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="What weights are kept in: float32, float16, bfloat16 or q8_0.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the format. May be given again."),
    ] = None,
    json: Json = False,
) -> None:
    """Write a run for other programs, with a certificate that it is the same model."""
    from gptsmith.base import console
    from gptsmith.workflows.export import export as run_export

    figures = run_export(run, to=to, out=out, precision=precision, settings=tuple(settings or ()))
    console.show_json(figures) if json else console.show_figures("", {**figures, "files": ", ".join(figures["files"])})
