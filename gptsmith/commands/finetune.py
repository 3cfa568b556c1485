"""gptsmith finetune"""

from __future__ import annotations

import signal
import time
from typing import Annotated, Any

import typer

from gptsmith.commands.options import STOPPED, Json, Set


def finetune(
    base: Annotated[str | None, typer.Argument(metavar="[RUN]", help="The trained run to start from.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DATA]...", help="Conversations, labelled texts or preferences; or plain text."),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="RUN", help="The new run's folder; beside the base if not given.")
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="sft, classification, dpo, reward_model, grpo, ...; by the data if not given."),
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="How often every example is read.")] = None,
    lora: Annotated[int | None, typer.Option(metavar="RANK", help="Train adapters of this rank only.")] = None,
    trials: Annotated[
        int | None, typer.Option(metavar="N", help="Search for better settings in so many trials, by validation data.")
    ] = None,
    validation: Annotated[list[str] | None, typer.Option(help="Examples to choose the best weights by.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="Examples to judge by, once, at the end.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out examples that cannot be learnt from.")
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show three examples as the model will see them, and train nothing.")
    ] = False,
    config: Annotated[str | None, typer.Option(metavar="FILE", help="A run.toml to take settings from.")] = None,
    settings: Set = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Go on with this run.")] = None,
    json: Json = False,
) -> None:
    """Tune a trained model: to chat, to classify, to be preferred."""
    from gptsmith.base import console
    from gptsmith.base.machine import process_seconds
    from gptsmith.train.objectives import KINDS
    from gptsmith.workflows.finetune import finetune as run_finetune
    from gptsmith.workflows.finetune import request_table
    from gptsmith.workflows.preview import preview as run_preview

    choices: dict[str, Any] = {
        "objective": objective,
        "epochs": epochs,
        "lora": lora,
        "trials": trials,
        "validation": validation or [],
        "test": test or [],
        "skip_bad": skip_bad,
        "config": config,
        "settings": settings or [],
    }
    if preview:
        shown = run_preview(request_table(base, data or [], **choices))
        console.show_json({"examples": shown}) if json else show_examples(shown)
        return
    figures = run_finetune(
        base, data or [], out=out, resume=resume, started=time.monotonic() - process_seconds(), **choices
    )
    if json:
        console.show_json(figures)
    else:
        console.show_figures("", figures)
    if figures["status"] == "stopped":
        raise typer.Exit(STOPPED + signal.Signals[figures["signal"]])
    if figures["status"] == "shared_search":
        return
    command = KINDS.settings(figures["objective"]).next_command
    console.note(f"\nnext: [bold]{command.format(run=figures['run'])}[/bold]")


def show_examples(examples: list[dict[str, Any]]) -> None:
    """Prints each example, what the model is trained to write in colour."""
    from rich.text import Text

    from gptsmith.base import console

    console.note("[dim]what the model is trained to write is [/dim][black on green]green[/black on green]")
    for example in examples:
        label = f", label {example['label']}" if "label" in example else ""
        console.results.print(f"\n[bold]{example['place']}[/bold]{label}")
        for sequence in example["sequences"]:
            styles = {True: "black on green", False: ""}
            console.results.print(Text.assemble(*((piece["text"], styles[piece["trained"]]) for piece in sequence)))
