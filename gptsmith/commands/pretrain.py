"""gptsmith pretrain"""

from __future__ import annotations

from gptsmith.commands.options import Json, command, finish, show_next
from gptsmith.train.request import PretrainRequest


@command(
    PretrainRequest,
    arguments={"sources": "TEXT"},
    panels={
        "Budget": ("minutes", "hours", "tokens", "max_steps", "target_loss"),
        "Model": ("preset", "params", "context_length", "tokenizer"),
        "Training": ("learning_rate", "batch_size", "private", "seed", "device", "report_to"),
        "Data": ("validation", "without", "redact", "redact_passages", "canaries", "encoding", "encoding_errors"),
        "Run": ("out", "resume", "config", "settings", "ray", "workers"),
    },
    examples=("gptsmith pretrain my_texts/ --minutes 10", "gptsmith pretrain --resume runs/my_texts --tokens 20M"),
)
def pretrain(request: PretrainRequest, json: Json = False) -> None:
    """Train a GPT from scratch on your own text."""
    from gptsmith.base import console
    from gptsmith.base.hints import shell_command
    from gptsmith.train.planning.outlook import LEAD, outlook
    from gptsmith.workflows.pretrain import pretrain as run_pretrain

    figures = run_pretrain(request)
    finish(figures, json)
    console.note(f"\nA model of this size and text {outlook(figures['num_parameters'], figures['num_tokens'])}. {LEAD}")
    show_next(shell_command("generate", figures["run"], "your prompt"))
