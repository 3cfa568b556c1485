"""gptsmith import"""

from __future__ import annotations

from gptsmith.commands.options import Json, command
from gptsmith.workflows.model_requests import ImportModelRequest


@command(
    ImportModelRequest,
    arguments={"source": "MODEL"},
    panels={"Run": ("out", "base"), "Hub": ("revision",)},
    examples=("gptsmith import models/SmolLM2-135M", "gptsmith import HuggingFaceTB/SmolLM2-135M --out runs/smol"),
)
def import_model(request: ImportModelRequest, json: Json = False) -> None:
    """Import another program's model as a run, with a certificate that it is the same model."""
    from gptsmith.base import console
    from gptsmith.workflows.import_model import import_model as run_import

    figures = run_import(request)
    console.show_json(figures) if json else console.show_figures("", figures)
