"""gptsmith pretrain"""

from __future__ import annotations

import signal
import time
from typing import Annotated

import typer

from gptsmith.commands.options import STOPPED, Json, Set, count, minutes_of


def pretrain(
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Files, folders and patterns.")] = None,
    out: Annotated[str | None, typer.Option(metavar="RUN", help="The run folder; runs/NAME if not given.")] = None,
    preset: Annotated[str | None, typer.Option(help="smith, gpt1, gpt2, ..., gpt3-175b.")] = None,
    minutes: Annotated[float | None, typer.Option(help="How long it may take, all in all.")] = None,
    hours: Annotated[float | None, typer.Option(help="The same in hours.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Tokens to train on, such as 5M.")] = None,
    params: Annotated[str | None, typer.Option(help="Parameters of the blocks, such as 3M.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="bpe, characters, bytes, or a tokenizer's path.")] = None,
    validation: Annotated[
        list[str] | None, typer.Option(help="Text to validate on, instead of a share of the text.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="The encoding of text that is not UTF-8.")] = None,
    target_loss: Annotated[float | None, typer.Option(help="Stop at this validation loss, in nats a token.")] = None,
    config: Annotated[str | None, typer.Option(metavar="FILE", help="A run.toml to take settings from.")] = None,
    settings: Set = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Go on with this run.")] = None,
    json: Json = False,
) -> None:
    """Train a GPT on your own text, from its first weight."""
    from gptsmith.base import console
    from gptsmith.base.machine import process_seconds
    from gptsmith.workflows.pretrain import pretrain as run_pretrain

    encodings = [f'data.encoding="{encoding}"'] if encoding else []
    figures = run_pretrain(
        texts or [],
        out=out,
        preset=preset,
        minutes=minutes_of(minutes, hours),
        tokens=count(tokens) if tokens else None,
        params=count(params) if params else None,
        tokenizer=tokenizer,
        validation=validation or [],
        target_loss=target_loss,
        config=config,
        settings=[*encodings, *(settings or [])],
        resume=resume,
        started=time.monotonic() - process_seconds(),
    )
    if json:
        console.show_json(figures)
    else:
        console.show_figures("", figures)
    if figures["status"] == "stopped":
        raise typer.Exit(STOPPED + signal.Signals[figures["signal"]])
    console.note(f'\nnext: [bold]gptsmith generate {figures["run"]} "your words"[/bold]')
