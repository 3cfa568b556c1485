"""gptsmith plan"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptsmith.commands.options import Json, command
from gptsmith.train.plan_request import PlanRequest

WAY_COLUMNS = (
    "way", "memory\na GPU", "host\nmemory", "sequences\na pass", "tokens\na second", "MFU", "waiting", "hours",
    "GPU hours",
)  # fmt: skip


@command(
    PlanRequest,
    arguments={"sources": "[RUN] DATA"},
    panels={
        "Budget": ("minutes", "hours", "gpus", "gpu", "tokens"),
        "Model and training": (
            "preset", "params", "context_length", "tokenizer", "batch_size", "private", "seed", "device",
        ),
        "Fine-tuning": ("objective", "epochs", "lora", "test", "me", "skip_bad"),
        "Data and settings": (
            "validation", "without", "redact", "redact_passages", "encoding", "encoding_errors", "config", "settings",
        ),
    },
    omitted=("canaries", "learning_rate", "lora_alpha", "max_steps", "report_to"),
    examples=(
        "gptsmith plan my_texts/ --minutes 10",
        "gptsmith plan --preset gpt3-13b --gpus 64 --gpu h100",
    ),
)  # fmt: skip
def plan(request: PlanRequest, json: Json = False) -> None:
    """Predict the time, memory and result of training or fine-tuning, without training."""
    from gptsmith.base import console
    from gptsmith.commands.found import print_table
    from gptsmith.data.skipped_files import skipped_in_words
    from gptsmith.workflows.plan import plan as make_plan

    figures = make_plan(request)
    if json:
        console.show_json(figures)
        return
    files = {name: figures.pop(name, {}) for name in ("skipped", "remarks")}
    advice, ways = figures.pop("advice", []), figures.pop("ways", [])
    figures.pop("notices", None)
    console.show_figures("the plan", figures)
    if ways:
        print_table(WAY_COLUMNS, [_row_of(way) for way in ways])
        if any(way["gradient_checkpointing"] for way in ways):
            console.note("* with gradient checkpointing")
    for line in advice:
        console.note(line, "yellow")
    for line in skipped_in_words(files, "--json"):
        console.note(line)


def _row_of(way: Mapping[str, Any]) -> list[str]:
    """A way to divide a model among GPUs: over how many, if not all of them hold it."""
    from gptsmith.base.files import readable_bytes

    name = way["name"] if way["shard_size"] == 1 else f"{way['name']}, {way['shard_size']:,}"
    memory = readable_bytes(way["memory_bytes_per_gpu"])
    return [
        name,
        memory if way["fits"] else f"{memory} (too much)",
        readable_bytes(way["host_memory_bytes_per_gpu"]),
        f"{way['micro_batch_size']}{' *' if way['gradient_checkpointing'] else ''}",
        f"{way['tokens_per_second']:,.0f}",
        f"{way['mfu']:.0%}",
        f"{way['network_share']:.0%}",
        f"{way['hours']:,.1f}",
        f"{way['gpu_hours']:,.0f}",
    ]
