"""gptsmith plan"""

from __future__ import annotations

import time
from typing import Annotated

import typer

from gptsmith.commands.options import Json, Set, count, minutes_of


def plan(
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Files, folders and patterns.")] = None,
    minutes: Annotated[float | None, typer.Option(help="How long training may take, all in all.")] = None,
    hours: Annotated[float | None, typer.Option(help="The same in hours.")] = None,
    preset: Annotated[str | None, typer.Option(help="smith, gpt1, gpt2, ..., gpt3-175b.")] = None,
    params: Annotated[str | None, typer.Option(help="Parameters of the blocks, such as 3M.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="bpe, characters, bytes, or a tokenizer's path.")] = None,
    validation: Annotated[list[str] | None, typer.Option(help="Text to validate on.")] = None,
    config: Annotated[str | None, typer.Option(metavar="FILE", help="A run.toml to take settings from.")] = None,
    settings: Set = None,
    json: Json = False,
) -> None:
    """Say what training for so many minutes would give, and train nothing."""
    from gptsmith.base import console
    from gptsmith.base.errors import UserError
    from gptsmith.base.machine import process_seconds
    from gptsmith.workflows.plan import plan as make_plan

    budget = minutes_of(minutes, hours)
    if budget is None:
        raise UserError("say how long: gptsmith plan TEXT --minutes 10")
    figures = make_plan(
        texts or [],
        minutes=budget,
        preset=preset,
        params=count(params) if params else None,
        tokenizer=tokenizer,
        validation=validation or [],
        config=config,
        settings=settings or [],
        started=time.monotonic() - process_seconds(),
    )
    if json:
        console.show_json(figures)
    else:
        console.show_figures("the plan", figures)
