"""gptsmith prepare"""

from __future__ import annotations

from gptsmith.commands.options import Json, command
from gptsmith.train.prepare_request import PrepareRequest


@command(
    PrepareRequest,
    arguments={"sources": "TEXT"},
    panels={
        "Place and workers": ("out", "workers", "executor"),
        "Data": ("validation", "without", "redact", "redact_passages", "canaries", "encoding", "encoding_errors"),
        "Settings": ("tokenizer", "seed", "config", "settings"),
    },
    examples=(
        "gptsmith prepare my_texts/ --out prepared/my_texts",
        "gptsmith prepare my_texts/ --out s3://my-bucket/my_texts --workers 16",
    ),
)
def prepare(request: PrepareRequest, json: Json = False) -> None:
    """Prepare text once for many trainings, by many workers."""
    from gptsmith.base import console
    from gptsmith.base.hints import shell_command
    from gptsmith.commands.options import show_next
    from gptsmith.data.skipped_files import skipped_in_words
    from gptsmith.workflows.prepare import prepare as run_prepare

    figures = run_prepare(request)
    if json:
        console.show_json(figures)
        return
    files = {name: figures.pop(name) for name in ("skipped", "remarks")}
    console.show_figures("", figures)
    for line in skipped_in_words(files, "--json"):
        console.note(line)
    show_next(shell_command("pretrain", figures["prepared"], "--minutes", 10))
