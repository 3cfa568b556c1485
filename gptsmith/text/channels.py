"""Channels, in which gpt-oss writes thoughts, calls and answers as messages apart (OpenAI's harmony format):

    <|channel|>analysis<|message|>thoughts<|end|><|start|>assistant<|channel|>final<|message|>answer<|return|>

While they are generated they become the one form that everything here reads: thoughts as `<think>` before the answer,
calls as `<tool_call>` around a JSON object. Chat templates write them out again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gptsmith.text.thoughts import CHANNEL, THOUGHTS_CLOSE, THOUGHTS_OPEN
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tool_calls import FUNCTIONS, CallFrame

START, CONSTRAIN, MESSAGE, END = "<|start|>", "<|constrain|>", "<|message|>", "<|end|>"
THINKING, FINAL = "analysis", "final"
RECIPIENT = re.compile(rf"\bto={re.escape(FUNCTIONS)}([^\s<]+)")
OPENED, CLOSED = f"{THOUGHTS_OPEN}\n", f"\n{THOUGHTS_CLOSE}\n\n"


@dataclass(frozen=True)
class Channels:
    """The special tokens of a tokenizer that has channels.

    Attributes:
        tokens: their names by id.
        final_header: the ids that open an answer behind the beginning of the assistant's turn.
    """

    tokens: dict[int, str]
    final_header: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Channels | None:
        """Those of a tokenizer; None if it has none."""
        special = tokenizer.special_tokens
        if not {START, CHANNEL, MESSAGE, END} <= special.keys():
            return None
        header = (special[CHANNEL], *tokenizer.encode_inside(FINAL), special[MESSAGE])
        return cls(
            {special[name]: name for name in (START, CHANNEL, CONSTRAIN, MESSAGE, END) if name in special}, header
        )

    def reader(self, prompt_ids: Sequence[int], tokenizer: Tokenizer) -> ChannelReader:
        """A reader of what is generated behind a prompt."""
        reader = ChannelReader(self)
        start = next(
            (at for at in range(len(prompt_ids) - 1, -1, -1) if self.tokens.get(prompt_ids[at]) == START), None
        )
        for number in [] if start is None else prompt_ids[start:]:
            reader.read(number, tokenizer.decode_bytes([number]))
        return reader


class ChannelReader:
    """The bytes of generated tokens, where messages and their headers have become tags.

    Thoughts that follow each other are one block; those behind words, which nothing here would take for thoughts, are
    left out.
    """

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self._header: bytes | None = None
        """What was read of a header; None within a message, and where there are no messages."""
        self._after = b""
        """What stands behind the message that is read."""
        self._is_thinking = self._is_hidden = self._has_words = False

    def read(self, token: int, data: bytes) -> bytes:
        """What a token adds, whose own text is `data`."""
        name = self._channels.tokens.get(token)
        if name is None:
            if self._header is not None:
                self._header += data
                return b""
            return b"" if self._is_hidden else data
        if name == MESSAGE:
            header, self._header = (self._header or b"").decode("utf-8", "replace"), None
            return self._open(header)
        closed = self._close() if self._header is None else b""
        # What is between two messages belongs to none.
        self._header = (self._header or b"") + (b" " if name in (CHANNEL, CONSTRAIN) else b"")
        return closed

    def end(self) -> bytes:
        """What the token that ends a text adds."""
        return self._close() + self._end_thoughts()

    def _open(self, header: str) -> bytes:
        if THINKING in header.split() and RECIPIENT.search(header) is None:
            self._is_hidden = self._has_words
            opened = b"" if self._is_hidden else b"\n\n" if self._is_thinking else OPENED.encode()
            self._is_thinking = not self._is_hidden
            return opened
        self._has_words = True
        opened = self._end_thoughts()
        if (called := RECIPIENT.search(header)) is None:
            return opened
        frame = CallFrame(called[1], is_custom=False)
        self._after = frame.after.encode()
        return opened + frame.before.encode()

    def _close(self) -> bytes:
        after, self._after, self._is_hidden = self._after, b"", False
        return after

    def _end_thoughts(self) -> bytes:
        was_thinking, self._is_thinking = self._is_thinking, False
        return CLOSED.encode() if was_thinking else b""
