"""gptsmith plan"""

from __future__ import annotations

from gptsmith.commands.options import Json, command
from gptsmith.train.request import PlanRequest


@command(
    PlanRequest,
    arguments={"sources": "[RUN] DATA"},
    panels={
        "Budget": ("minutes", "hours"),
        "Model": ("preset", "params", "context_length", "tokenizer"),
        "Training": ("batch_size", "private", "seed", "device"),
        "Fine-tuning": ("objective", "epochs", "lora", "test", "me", "skip_bad"),
        "Data": ("validation", "without", "redact", "redact_passages", "canaries", "encoding", "encoding_errors"),
        "Settings": ("config", "settings"),
    },
    omitted=("learning_rate", "lora_alpha", "max_steps", "report_to"),
    examples=("gptsmith plan my_texts/ --minutes 10", "gptsmith plan runs/mine conversations.jsonl --lora 8"),
)
def plan(request: PlanRequest, json: Json = False) -> None:
    """Predict the time, memory and result of training or fine-tuning, without training."""
    from gptsmith.base import console
    from gptsmith.data.skipped_files import skipped_in_words
    from gptsmith.workflows.plan import plan as make_plan

    figures = make_plan(request)
    if json:
        console.show_json(figures)
        return
    files = {name: figures.pop(name, {}) for name in ("skipped", "remarks")}
    advice = figures.pop("advice", [])
    console.show_figures("the plan", figures)
    for line in advice:
        console.note(line, "yellow")
    for line in skipped_in_words(files, "--json"):
        console.note(line)
