"""gptsmith pretrain"""

from __future__ import annotations

from gptsmith.commands.options import Json, command, finish
from gptsmith.train.request import PretrainRequest


@command(
    PretrainRequest,
    arguments={"sources": "TEXT"},
    panels={
        "How long": ("minutes", "hours", "tokens", "target_loss"),
        "The model": ("preset", "params", "tokenizer"),
        "The text": ("validation", "encoding"),
        "The run": ("out", "resume", "config", "settings"),
    },
    examples=("gptsmith pretrain my_texts/ --minutes 10", "gptsmith pretrain --resume runs/my_texts --tokens 20M"),
)
def pretrain(request: PretrainRequest, json: Json = False) -> None:
    """Train a GPT on your own text, from its first weight."""
    from gptsmith.base import console
    from gptsmith.workflows.pretrain import pretrain as run_pretrain

    figures = run_pretrain(request)
    finish(figures, json)
    console.note(f'\nnext: [bold]gptsmith generate {figures["run"]} "your words"[/bold]')
