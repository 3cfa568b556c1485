"""gptsmith plan"""

from __future__ import annotations

from gptsmith.commands.options import Json, command
from gptsmith.train.request import PlanRequest


@command(
    PlanRequest,
    arguments={"sources": "TEXT"},
    panels={
        "Budget": ("minutes", "hours"),
        "Model": ("preset", "params", "context_length", "tokenizer"),
        "Training": ("batch_size", "seed", "device"),
        "Data": ("validation",),
        "Settings": ("config", "settings"),
    },
    omitted=("learning_rate", "max_steps", "report_to"),
    examples=("gptsmith plan my_texts/ --minutes 10", "gptsmith plan my_texts/ --hours 2 --preset gpt2"),
)
def plan(request: PlanRequest, json: Json = False) -> None:
    """Predict the result of training for a given time by a scaling law, without training."""
    from gptsmith.base import console
    from gptsmith.workflows.plan import plan as make_plan

    figures = make_plan(request)
    console.show_json(figures) if json else console.show_figures("the plan", figures)
