"""gptsmith chat"""

from __future__ import annotations

import re
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

COMMANDS = ("/new", "/system", "/regenerate", "/save", "/help", "/quit")
NAME = re.compile("/[a-z]+")


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
    from rich.markup import escape

    from gptsmith.base import console
    from gptsmith.base.errors import UserError, did_you_mean
    from gptsmith.base.terminal import read_line, visible
    from gptsmith.convert.load import load
    from gptsmith.generate.api import Generation
    from gptsmith.generate.conversation import Conversation
    from gptsmith.generate.engine import Engine
    from gptsmith.generate.engine_thread import EngineThread
    from gptsmith.generate.settings import EngineSettings
    from gptsmith.workflows.generate import figures_of

    loaded = load(run, device=device)
    loaded.require_words()
    sampling = loaded.sampling(
        {
            "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
            "repetition_penalty": repetition_penalty,
        }
    )  # fmt: skip
    thread = EngineThread()
    engine = Engine(loaded.model, loaded.tokenizer, settings=EngineSettings(max_num_seqs=1), thread=thread)
    talk = Conversation(
        engine, loaded.tokenizer, loaded.template,
        system=system, max_tokens=max_tokens, sampling=sampling, seed=seed,
    )  # fmt: skip
    console.note(TUNED if loaded.template else BASE)

    def show(reply: Generation) -> None:
        try:
            for piece in reply:
                if not json:
                    sys.stdout.write(visible(piece))
                    sys.stdout.flush()
        except KeyboardInterrupt:
            reply.finish_reason = "interrupted"
        finally:
            talk.add_reply(reply)
            if not json:
                sys.stdout.write("\n")
        if json:
            console.show_json(figures_of(reply, talk.prompt))
        elif loaded.template and reply.num_tokens == max_tokens:
            console.note(f"[dim]it was cut off after {max_tokens} tokens: --max-tokens lets it say more[/dim]")

    def obey(line: str) -> None:
        command, _, words = line.partition(" ")
        words = words.strip()
        if command == "/new":
            talk.reset()
            console.note("[dim]begun afresh[/dim]")
        elif command == "/system":
            talk.set_system(words or None)
            console.note(f"[dim]begun afresh {'with this' if words else 'without a'} system prompt[/dim]")
        elif command == "/regenerate":
            show(talk.regenerate())
        elif command == "/save":
            path = Path(words or "conversation.md").expanduser()
            talk.save(path)
            console.note(f"[dim]saved as {escape(str(path))}[/dim]")
        elif command == "/help":
            console.note(HELP)
        elif NAME.fullmatch(command):
            raise UserError(f"there is no {command} ({did_you_mean(command, COMMANDS)}); a space before it says it")
        elif line.strip() or loaded.template is None:
            show(talk.send(line))

    while True:
        try:
            line = read_line()
            if line is None or line.strip() == "/quit":
                break
            obey(line)
        except KeyboardInterrupt:
            console.note("")
        except UserError as error:
            console.note(f"[red]{escape(str(error))}[/red]")
    engine.close()
    thread.close()
