"""What a request asks about: what the model had read, what it wrote, and which word of that."""

from __future__ import annotations

from gptsmith.explain.explaining import Messages
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.units import token_starts
from gptsmith.serve.chat.messages import flatten_messages
from gptsmith.serve.errors import refused
from gptsmith.serve.explain.schemas import ContextFields
from gptsmith.serve.served_model import ServedModel
from gptsmith.text.tokenizer import Tokenizer


def read_prompt(served: ServedModel, body: ContextFields) -> tuple[str | Messages, Prompt]:
    """What the model had read: as it was asked, and as tokens.

    Raises:
        ApiError: neither or both of prompt and messages are given, or they cannot be read.
        UserError: the template does not take the messages.
    """
    if (body.prompt is None) == (body.messages is None):
        raise refused("prompt", "give a prompt or messages, and not both")
    if body.messages is None:
        return body.prompt or "", Prompt.of_text(served.tokenizer, body.prompt or "")
    messages = flatten_messages(body.messages)
    return messages, Prompt.of_messages(served.tokenizer, served.template(), messages, body.chat_template_kwargs)


def place_in(
    tokenizer: Tokenizer, reply: str, start: int | None, number: int | None = None
) -> tuple[tuple[int, ...], int]:
    """The tokens of a reply, and which of them a word begins with. Where the reply's own tokens have no boundary there,
    it is cut there first.

    Raises:
        ApiError: there is no such place in the reply.
    """
    if (start is None) == (number is None):
        raise refused("start", "give start or token, and not both")
    ids = tuple(tokenizer.encode_inside(reply))
    if number is not None:
        if number >= len(ids):
            raise refused("token", f"the reply has {len(ids)} tokens, numbered from 0")
        return ids, number
    assert start is not None
    if start >= len(reply):
        raise refused("start", f"the reply has {len(reply)} characters, numbered from 0")
    starts = token_starts(reply, ids, tokenizer, keep_special=False)
    if start in starts:
        return ids, starts.index(start)
    before = tokenizer.encode_inside(reply[:start])
    return (*before, *tokenizer.encode_inside(reply[start:])), len(before)
