"""gptsmith export"""

from __future__ import annotations

from gptsmith.commands.options import Json, command
from gptsmith.workflows.model_requests import ExportRequest


@command(
    ExportRequest,
    arguments={"run": "RUN"},
    panels={"Format": ("to", "precision", "settings"), "Files": ("out",), "Hub": ("push", "public")},
    examples=("gptsmith export runs/mine --to huggingface", "gptsmith export runs/mine --to gguf --precision q8_0"),
)
def export(request: ExportRequest, json: Json = False) -> None:
    """Export a run for other programs, with a certificate that it is the same model."""
    from gptsmith.base import console
    from gptsmith.workflows.export import export as run_export

    figures = run_export(request)
    console.show_json(figures) if json else console.show_figures("", {**figures, "files": ", ".join(figures["files"])})
