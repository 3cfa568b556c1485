"""gptsmith chat"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gptsmith.commands.options import Device, Json, MinP, RepetitionPenalty, Seed, Temperature, TopK, TopP

BASE = (
    "[dim]This is a base model: it has only learnt to go on with text, not to answer. Begin a text and it goes on; "
    "an empty line lets it write more, /help says what else there is.[/dim]"
)
TUNED = "[dim]/help says what there is besides talking; /quit (or Ctrl-D) leaves.[/dim]"
HELP = """[dim]/new              starts afresh
/system WORDS     starts afresh with this system prompt; without words, with none
/regenerate       another reply to what was last said
/save FILE        writes the conversation: .jsonl as an example to tune on, any other name to be read
/quit, Ctrl-D     leaves
Ctrl-C            ends a reply[/dim]"""


def chat(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    system: Annotated[str | None, typer.Option(help="What the model is told before the conversation.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="The most tokens a turn.")] = 120,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Talk to a model in the terminal. A base model goes on with the text that you begin."""
    from gptsmith.base import console
    from gptsmith.base.errors import UserError
    from gptsmith.generate.continuous import Engine, EngineSettings
    from gptsmith.workflows.generate import figures_of
    from gptsmith.workflows.load import load
    from gptsmith.workflows.talk import Reply, Talk

    loaded = load(run, device=device)
    sampling = loaded.sampling(
        {
            "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
            "repetition_penalty": repetition_penalty,
        }
    )  # fmt: skip
    engine = Engine(loaded.model, loaded.tokenizer, settings=EngineSettings(max_streams=1))
    talk = Talk(engine, loaded.template, system=system, max_tokens=max_tokens, sampling=sampling, seed=seed)
    console.note(TUNED if loaded.template else BASE)

    def show(reply: Reply) -> None:
        try:
            for piece in reply:
                if not json:
                    sys.stdout.write(piece)
                    sys.stdout.flush()
        except KeyboardInterrupt:
            reply.finish_reason = "interrupted"
        if json:
            console.show_json(figures_of(reply, talk.prompt))
        else:
            sys.stdout.write("\n")
        talk.take_down(reply)

    while True:
        if sys.stdin.isatty():
            console.notes.print("[bold]> [/bold]", end="")
        try:
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            console.note("")
            continue
        command, _, words = line.strip().partition(" ")
        if not line or command == "/quit":
            engine.close()
            return
        try:
            if command == "/new":
                talk.start_afresh()
            elif command == "/system":
                talk.set_system(words.strip() or None)
            elif command == "/regenerate":
                show(talk.say_again())
            elif command == "/save":
                talk.save(Path(words.strip() or "conversation.md"))
                console.note(f"[dim]saved as {words.strip() or 'conversation.md'}[/dim]")
            elif command == "/help":
                console.note(HELP)
            else:
                show(talk.say(line.rstrip("\n")))
        except UserError as error:
            console.note(f"[red]{error}[/red]")
