"""gptsmith merge"""

from __future__ import annotations

from gptsmith.commands.options import Json, command
from gptsmith.workflows.model_requests import MergeRequest


@command(
    MergeRequest,
    arguments={"run": "RUN"},
    panels={"Run": ("same_format", "out"), "Machine": ("device",)},
    examples=("gptsmith merge runs/mine-lora", "gptsmith merge runs/mine-lora --out runs/merged --json"),
)
def merge(request: MergeRequest, json: Json = False) -> None:
    """Merge LoRA adapters, or the parts that several processes wrote, into a new run."""
    from gptsmith.base import console
    from gptsmith.workflows.merge import merge as run_merge

    figures = run_merge(request)
    console.show_json(figures) if json else console.show_figures("", figures)
