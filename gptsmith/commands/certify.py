"""gptsmith certify"""

from __future__ import annotations

import typer

from gptsmith.commands.options import Json, command
from gptsmith.workflows.model_requests import CertifyRequest

DIFFERENT = 1
"""The exit code if two models are not the same."""


@command(
    CertifyRequest,
    arguments={"one": "ONE", "other": "OTHER"},
    panels={"Certificate": ("precision", "out")},
    examples=(
        "gptsmith certify runs/mine exports/mine-huggingface",
        "gptsmith certify runs/mine mine.gguf --precision q8_0 --out certificate/",
    ),
)
def certify(request: CertifyRequest, json: Json = False) -> None:
    """Check, in numbers, whether two models with the same tokenizer are the same. Exit code 1 if they are not."""
    from gptsmith.base import console
    from gptsmith.workflows.certify import certify as run_certify

    figures = run_certify(request)
    if json:
        console.show_json(figures)
    else:
        for check in figures["checks"]:
            title = f"{check['name']}: {check['status']}" + (f" ({check['why']})" if check["why"] else "")
            console.show_figures(title, check["figures"])
    if figures["status"] == "failed":
        raise typer.Exit(DIFFERENT)
