"""gptsmith chat"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from gptsmith.commands.options import SAMPLING, Json, command, seed_of
from gptsmith.workflows.requests import ChatRequest

BASE = (
    "This is a base model: it continues text and was not tuned to answer. Type the beginning of a text; "
    "an empty line generates more, /help lists the commands."
)
TUNED = "/help lists the commands; /quit (or Ctrl-D) leaves."
HELP = """/new              start a new conversation
/system PROMPT    start a new conversation with this system prompt; without one if none is given
/regenerate       generate another reply to the last message
/save FILE        save the conversation: .jsonl as a fine-tuning example, any other name as text
/quit, Ctrl-D     leave
Ctrl-C            stop a reply"""

COMMANDS = ("/new", "/system", "/regenerate", "/save", "/help", "/quit")
NAME = re.compile("/[a-z]+")


@command(
    ChatRequest,
    arguments={"run": "RUN"},
    panels={"Conversation": ("system", "max_tokens"), **SAMPLING, "Machine": ("device",)},
    examples=(
        "gptsmith chat runs/mine-sft --temperature 0.7",
        'gptsmith chat runs/mine-sft --system "Answer in one sentence."',
    ),
)
def chat(request: ChatRequest, json: Json = False) -> None:
    """Chat with a model in the terminal. A base model continues your text."""

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

    loaded = load(request.run, device=request.device)
    loaded.require_words()
    sampling = loaded.sampling(request.sampling())
    seed = seed_of(request, sampling)
    thread = EngineThread()
    engine = Engine(loaded.model, loaded.tokenizer, settings=EngineSettings(max_num_seqs=1), thread=thread)
    talk = Conversation(
        engine, loaded.tokenizer, loaded.template,
        system=request.system, max_tokens=request.max_tokens, sampling=sampling, seed=seed,
    )  # fmt: skip
    console.note(TUNED if loaded.template else BASE, "dim")

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
        elif loaded.template and reply.num_tokens == request.max_tokens:
            console.note(f"cut off after {request.max_tokens} tokens: raise --max-tokens for longer replies", "dim")

    def obey(line: str) -> None:
        command, _, words = line.partition(" ")
        words = words.strip()
        if command == "/new":
            talk.reset()
            console.note("new conversation", "dim")
        elif command == "/system":
            talk.set_system(words or None)
            console.note(f"new conversation {'with this' if words else 'without a'} system prompt", "dim")
        elif command == "/regenerate":
            show(talk.regenerate())
        elif command == "/save":
            path = Path(words or "conversation.md").expanduser()
            talk.save(path)
            console.note(f"saved as {path}", "dim")
        elif command == "/help":
            console.note(HELP, "dim")
        elif NAME.fullmatch(command):
            raise UserError(
                f"no such command: {command} ({did_you_mean(command, COMMANDS)}); a space before it sends it as text"
            )
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
            console.note(str(error), "red")
    engine.close()
    thread.close()
