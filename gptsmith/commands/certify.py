"""gptsmith certify"""

from __future__ import annotations

from typing import Annotated

import typer

from gptsmith.commands.options import Json

DIFFERENT = 1
"""The exit code where two models are not the same."""


def certify(
    one: Annotated[str, typer.Argument(help="A run, or a Hugging Face model folder.")],
    other: Annotated[str, typer.Argument(help="Another, or a GGUF file.")],
    precision: Annotated[
        str, typer.Option(help="How near they should be: float32, float16, bfloat16 or q8_0.")
    ] = "float32",
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where certificate.json and certificate.html are written.")
    ] = None,
    json: Json = False,
) -> None:
    """Say with numbers whether two models that share a tokenizer are the same. Exit code 1 if they are not."""
    from gptsmith.base import console
    from gptsmith.workflows.certify import certify as run_certify

    figures = run_certify(one, other, precision=precision, out=out)
    if json:
        console.show_json(figures)
    else:
        for check in figures["checks"]:
            title = f"{check['name']}: {check['status']}" + (f" ({check['why']})" if check["why"] else "")
            console.show_figures(title, check["figures"])
    if figures["status"] == "failed":
        raise typer.Exit(DIFFERENT)
