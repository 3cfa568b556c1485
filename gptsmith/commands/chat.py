"""gptsmith chat"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gptsmith.commands.options import SAMPLING, Json, command, show_drawn_seed
from gptsmith.workflows.requests import ChatRequest

if TYPE_CHECKING:
    from gptsmith.generate.api import Generation
    from gptsmith.generate.conversation import Conversation
    from gptsmith.retrieval.grounding import Grounding

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
SHOWN_CHARACTERS = 160
"""Of a passage below an answer."""


@command(
    ChatRequest,
    arguments={"run": "RUN"},
    panels={
        "Conversation": ("system", "documents", "max_tokens", "no_recital"),
        **SAMPLING,
        "Machine": ("engine", "device", "dtype"),
    },
    examples=(
        'gptsmith chat runs/mine-sft --system "Answer in one sentence."',
        "gptsmith chat runs/mine-sft --documents notes/",
    ),
)
def chat(request: ChatRequest, json: Json = False) -> None:
    """Chat with a model in the terminal. A base model continues your text."""
    from gptsmith.base import console
    from gptsmith.base.errors import UserError
    from gptsmith.base.interrupts import answered_at_once
    from gptsmith.base.terminal import read_line
    from gptsmith.generate.engine_thread import EngineThread
    from gptsmith.workflows.chat import conversation

    thread = EngineThread()
    talk = conversation(request, thread)
    show_drawn_seed(request)
    console.note(TUNED if talk.template else BASE, "dim")
    with answered_at_once(None):
        while True:
            try:
                line = read_line()
                if line is None or line.strip() == "/quit":
                    break
                obey(line, talk, json=json)
            except KeyboardInterrupt:
                console.note("")
            except UserError as error:
                console.note(str(error), "red")
    talk.engine.close()
    thread.close()


def obey(line: str, talk: Conversation, *, json: bool) -> None:
    """Does what a line says: a command, or a message to send.

    Raises:
        UserError: there is no such command, or it cannot be done.
    """
    from gptsmith.base import console
    from gptsmith.base.errors import UserError, did_you_mean

    command, _, words = line.partition(" ")
    words = words.strip()
    if command == "/new":
        talk.reset()
        console.note("new conversation", "dim")
    elif command == "/system":
        talk.set_system(words or None)
        console.note(f"new conversation {'with this' if words else 'without a'} system prompt", "dim")
    elif command == "/regenerate":
        show(talk.regenerate(), talk, json=json)
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
    elif line.strip() or talk.template is None:
        show(talk.send(line), talk, json=json)


def show(reply: Generation, talk: Conversation, *, json: bool) -> None:
    """Prints a reply as it is written, and takes it into the conversation. Ctrl-C ends it early."""
    from gptsmith.base import console
    from gptsmith.base.terminal import visible
    from gptsmith.text.thoughts import with_thoughts_marked
    from gptsmith.workflows.generate import figures_of

    try:
        for piece, is_thought in with_thoughts_marked(reply):
            if not json:
                sys.stdout.write(visible(piece, is_dim=is_thought))
                sys.stdout.flush()
    except KeyboardInterrupt:
        reply.finish_reason = "interrupted"
    finally:
        talk.add_reply(reply)
        if not json:
            sys.stdout.write("\n")
    if json:
        grounding = {} if talk.grounding is None else {"documents": talk.grounding.fields()}
        console.show_json({**figures_of(reply, talk.prompt), **grounding})
    elif talk.template and reply.num_tokens == talk.max_tokens:
        console.note(f"cut off after {talk.max_tokens} tokens: raise --max-tokens for longer replies", "dim")
    if talk.grounding is not None:
        show_grounding(talk.grounding)


def show_grounding(grounding: Grounding) -> None:
    """Prints the sources of an answer, numbered, or that there are none."""
    from gptsmith.base import console

    for number, source in enumerate(grounding.sources, 1):
        words = " ".join(source.text.split())
        more = "…" if len(words) > SHOWN_CHARACTERS else ""
        console.note(f"[{number}] {source.place}: {words[:SHOWN_CHARACTERS]}{more}", "dim")
    if grounding.note:
        console.note(grounding.note, "dim")
