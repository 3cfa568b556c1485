"""gptsmith chat"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gptsmith.commands.options import Device, Json, Seed, Temperature, TopK, TopP

BASE = (
    "[dim]This is a base model: it has only learnt to go on with text, not to answer. Begin a text and it goes on; "
    "an empty line lets it write more, /new starts afresh, /quit (or Ctrl-D) leaves.[/dim]"
)
TUNED = "[dim]/new starts afresh, /quit (or Ctrl-D) leaves.[/dim]"


def chat(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    system: Annotated[str | None, typer.Option(help="What the model is told before the conversation.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="The most tokens a turn.")] = 120,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Talk to a model in the terminal. A base model goes on with the text that you begin."""
    from gptsmith.base import console
    from gptsmith.generate.engine import generate
    from gptsmith.workflows.generate import Talk, figures_of
    from gptsmith.workflows.load import load

    loaded = load(run, device=device)
    sampling = loaded.sampling({"temperature": temperature, "top_k": top_k, "top_p": top_p})
    talk = Talk(loaded.tokenizer, loaded.template, system)
    console.note(TUNED if loaded.template else BASE)
    turn, context = 0, loaded.config.context_length
    while True:
        if sys.stdin.isatty():
            console.notes.print("[bold]> [/bold]", end="")
        line = sys.stdin.readline()
        if not line or line.strip() == "/quit":
            return
        if line.strip() == "/new":
            talk.start_afresh()
            continue
        prompt_ids = talk.said(line.rstrip("\n"), max(context - max_tokens, context // 2))
        generation = generate(
            loaded.model, loaded.tokenizer, prompt_ids,
            max_tokens=max_tokens, sampling=sampling, seed=seed + turn, slide=True,
        )  # fmt: skip
        try:
            for piece in generation:
                if not json:
                    sys.stdout.write(piece)
                    sys.stdout.flush()
        except KeyboardInterrupt:
            generation.finish_reason = "interrupted"
        if json:
            console.show_json(figures_of(generation, talk.prompt))
        else:
            sys.stdout.write("\n")
        talk.answered(generation.text)
        turn += 1
