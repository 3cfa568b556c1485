"""A prompt as a model reads it, and where in it the texts stand that a person wrote."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

from gptsmith.explain.units import Passage
from gptsmith.text.chat_template import ChatTemplate, Message
from gptsmith.text.masking import Masking
from gptsmith.text.tokenizer import Tokenizer

FIRST_MARK = 0xF8000
"""The marks around texts are characters of a private plane, two for each message."""


@dataclass(frozen=True)
class Prompt:
    """The tokens before a reply.

    Attributes:
        ids: all of them: what a person wrote, and what a tokenizer or a chat template put around it.
        passages: the texts that a person wrote.
    """

    ids: tuple[int, ...]
    passages: tuple[Passage, ...]

    @classmethod
    def of_text(cls, tokenizer: Tokenizer, text: str) -> Prompt:
        """A text that is continued. An empty one has no passage."""
        ids = tuple(tokenizer.prompt_ids(text))
        if not text:
            return cls(ids, ())
        first = len(tokenizer.bos_ids)
        return cls(ids, (Passage(tokenizer.decode(ids[first:], keep_special=True), first, ids[first:]),))

    @classmethod
    def of_messages(
        cls,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        messages: Sequence[Message],
        variables: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """A conversation, and the beginning of the reply's turn. What the template writes belongs to no passage.

        Args:
            variables: further variables of the template.

        Raises:
            DataError: the template does not take the conversation.
        """
        ids = tuple(template.prompt_ids(tokenizer, messages, variables))
        return cls.of_conversation(tokenizer, template, messages, ids, open_turn=True, variables=variables)

    @classmethod
    def of_conversation(
        cls,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        messages: Sequence[Message],
        ids: tuple[int, ...],
        *,
        open_turn: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """A conversation whose tokens are known, with the beginning of the reply's turn (`open_turn`) or without."""
        pieces = [tokenizer.decode_bytes([number], keep_special=True) for number in ids]
        starts = [0, *accumulate(map(len, pieces))]
        spelt = b"".join(pieces)
        passages = []
        render = partial(template.render, tokenizer=tokenizer, open_turn=open_turn, variables=variables)
        for number, (start, stop) in _contents(tokenizer, render, messages, spelt).items():
            first, last = (bisect_left(starts, edge) for edge in (start, stop))
            if starts[first] > start and not spelt[starts[first - 1] : start].strip(b" "):
                first -= 1  # the tokenizer put a space before the text, which is one with its first word
            if last > first:
                text = spelt[max(start, starts[first]) : starts[last]].decode("utf-8", "replace")
                content = str(messages[number]["content"])
                offset = len(content) - len(content.lstrip())
                passages.append(Passage(text, first, ids[first:last], number, offset))
        return cls(ids, tuple(passages))


def _contents(
    tokenizer: Tokenizer, render: Callable[[Sequence[Message]], str], messages: Sequence[Message], spelt: bytes
) -> dict[int, tuple[int, int]]:
    """The bytes from and to which each message's text stands in what the prompt's tokens spell: where the template, by
    which messages are rendered, puts marks that stand around it."""
    texts = [str(message["content"]).strip() for message in messages]
    marked = [
        {**message, "content": str(message["content"]).replace(text, f"{_mark(2 * n)}{text}{_mark(2 * n + 1)}", 1)}
        if text
        else message
        for n, (message, text) in enumerate(zip(messages, texts, strict=True))
    ]
    masking = Masking(tokenizer, marked)
    rendered = render(masking.masked(marked))
    for character, spelling in masking.hidden.items():
        rendered = rendered.replace(character, spelling)
    plain = rendered
    for number in range(2 * len(messages)):
        plain = plain.replace(_mark(number), "")
    found: dict[int, tuple[int, int]] = {}
    done = 0
    for number, text in enumerate(texts):
        content = text.encode()
        if not content or (at := rendered.find(_mark(2 * number))) < 0:
            continue
        before = "".join(letter for letter in rendered[:at] if not FIRST_MARK <= ord(letter) < FIRST_MARK + 0x1000)
        # A tokenizer may put a token of its own before all, which the template's text does not show.
        start = len(before.encode()) + len(spelt) - len(plain.encode())
        if spelt[start : start + len(content)] != content:
            start = spelt.find(content, done)  # the tokenizer writes some characters otherwise
        if start >= 0:
            done = start + len(content)
            found[number] = start, done
    return found


def _mark(number: int) -> str:
    return chr(FIRST_MARK + number)
