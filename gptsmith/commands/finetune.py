"""gptsmith finetune"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gptsmith.commands.options import Json, command, finish, show_next
from gptsmith.train.request import FinetuneRequest

Preview = Annotated[
    bool,
    typer.Option(
        "--preview",
        help="Show three examples as the model will see them, and train nothing.",
    ),
]


@command(
    FinetuneRequest,
    arguments={"base": "RUN", "sources": "DATA"},
    panels={
        "Training": (
            "objective", "minutes", "hours", "epochs", "max_steps", "learning_rate", "batch_size", "context_length",
            "lora", "lora_alpha", "private", "trials", "seed", "device", "report_to",
        ),
        "Data": (
            "validation", "test", "without", "redact", "redact_passages", "canaries", "me", "skip_bad", "encoding",
            "encoding_errors",
        ),
        "Run": ("out", "resume", "config", "settings", "ray", "workers"),
    },
    examples=(
        "gptsmith finetune runs/mine conversations.jsonl --minutes 20",
        "gptsmith finetune runs/mine reviews.csv --lora 8 --trials 20",
    ),
)  # fmt: skip
def finetune(request: FinetuneRequest, preview: Preview = False, json: Json = False) -> None:
    """Fine-tune a trained model: SFT, classification, DPO, reward models, GRPO, distillation."""
    from gptsmith.base import console
    from gptsmith.base.hints import shell_command

    if preview:
        from gptsmith.train.trust import trusting
        from gptsmith.train.tuning_start import requested_table
        from gptsmith.workflows.preview import preview as run_preview

        with trusting(request.settings):
            shown = run_preview(requested_table(request))
        console.show_json({"examples": shown}) if json else show_examples(shown)
        return
    from gptsmith.train.objectives import KINDS
    from gptsmith.workflows.finetune import finetune as run_finetune

    figures = run_finetune(request)
    finish(figures, json)
    if figures["status"] == "shared_search":
        return
    verb, *arguments = KINDS.settings(figures["objective"]).next_command
    show_next(shell_command(verb, figures["run"], *arguments))


def show_examples(examples: list[dict[str, Any]]) -> None:
    """Prints each example, with the tokens that count in the loss in colour."""
    from rich.text import Text

    from gptsmith.base import console

    console.note(console.styled("[dim]tokens that count in the loss are [/dim][black on green]green[/black on green]"))
    for example in examples:
        label = f", label {example['label']}" if "label" in example else ""
        console.results.print(console.styled("\n[bold]{}[/bold]{}", example["place"], label))
        for sequence in example["sequences"]:
            styles = {True: "black on green", False: ""}
            console.results.print(Text.assemble(*((piece["text"], styles[piece["trained"]]) for piece in sequence)))
