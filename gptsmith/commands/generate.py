"""gptsmith generate"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gptsmith.commands.options import Device, Json, MinP, RepetitionPenalty, Seed, Slide, Temperature, TopK, TopP


def generate(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    prompt: Annotated[
        str | None, typer.Argument(help="The text to go on from; - or a pipe reads it from standard input.")
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A .jsonl file with a prompt field a line: one JSON line out each."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="The most tokens to write.")] = 200,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    seed: Seed = 0,
    stop: Annotated[list[str] | None, typer.Option(help="End before this text. May be given again.")] = None,
    slide: Slide = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Write text that goes on from a prompt. Without one, start a new document."""
    from gptsmith.base import console
    from gptsmith.base.errors import UserError
    from gptsmith.base.terminal import visible
    from gptsmith.convert.load import load
    from gptsmith.generate.api import generate_with
    from gptsmith.generate.engine import Engine
    from gptsmith.generate.settings import EngineSettings
    from gptsmith.workflows.generate import figures_of, prompts_of

    if prompts is not None and prompt is not None:
        raise UserError("give one prompt, or a file of them by --prompts, not both")
    from_input = prompt == "-" or (prompt is None and prompts is None and not sys.stdin.isatty())
    rows = prompts_of(prompts) if prompts is not None else [sys.stdin.read() if from_input else prompt or ""]
    loaded = load(run, device=device)
    loaded.require_words()
    sampling = loaded.sampling(
        {
            "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
            "repetition_penalty": repetition_penalty,
        }
    )  # fmt: skip
    engine = Engine(loaded.model, loaded.tokenizer, settings=EngineSettings(max_num_seqs=1))
    for row in rows:
        generation = generate_with(
            engine, loaded.tokenizer, row,
            max_tokens=max_tokens, sampling=sampling, seed=seed, stop=stop or [], slide=slide,
        )  # fmt: skip
        quiet = json or prompts is not None
        if not quiet:
            sys.stdout.write(row)
        for piece in generation:
            if not quiet:
                sys.stdout.write(visible(piece))
                sys.stdout.flush()
        if quiet:
            console.show_json(figures_of(generation, row))
            continue
        sys.stdout.write("\n")
        if generation.finish_reason == "context":
            console.note(f"[dim]the context of {loaded.config.context_length} tokens is full: --slide goes on[/dim]")
