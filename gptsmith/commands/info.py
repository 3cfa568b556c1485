"""gptsmith info"""

from __future__ import annotations

from gptsmith.commands.options import Json, command
from gptsmith.workflows.model_requests import InfoRequest


@command(
    InfoRequest,
    arguments={"run": "RUN"},
    panels={"Model": ("preset", "settings")},
    examples=(
        "gptsmith info runs/mine",
        "gptsmith info --preset gpt2-xl --set model.num_layers=6",
    ),
)
def info(request: InfoRequest, json: Json = False) -> None:
    """Show a model's shape and cost, and the memory that talking to it and tuning it will take."""
    from gptsmith.base import console
    from gptsmith.workflows.info import info as run_info

    figures = run_info(request)
    if json:
        return console.show_json(figures)
    memory = figures.pop("memory")
    console.show_figures("", figures)
    for remark in memory["remarks"]:
        console.results.print(console.harmless(remark), soft_wrap=True)
