"""Log-probabilities of tokens, as OpenAI's endpoints write them."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from gptsmith.generate.request import TokenLogprob, TopLogprob
from gptsmith.text.tokenizer import Tokenizer


def token_bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """The bytes of a token; of a special token, its spelling."""
    return tokenizer.decode_bytes([token], keep_special=True)


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """A token as completions spell it: text, or `bytes:\\xe2\\x80` if it is a part of a character."""
    data = token_bytes(tokenizer, token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def chat_logprob(tokenizer: Tokenizer, token: TokenLogprob) -> dict[str, Any]:
    """A token as chat completions and responses write it."""
    return {**_one(tokenizer, token), "top_logprobs": [_one(tokenizer, top) for top in token.top_logprobs]}


def _one(tokenizer: Tokenizer, token: TopLogprob) -> dict[str, Any]:
    data = token_bytes(tokenizer, token.id)
    return {"token": data.decode("utf-8", "replace"), "bytes": list(data), "logprob": token.logprob}


class TextOffsets:
    """Where tokens begin in the text that is sent. One that goes on with a character begins where the character does;
    one that is not in the text, such as a special token, where the text goes on."""

    def __init__(self, tokenizer: Tokenizer, *, keep_special: bool = False) -> None:
        """With `keep_special`, the text has special tokens in it."""
        self.tokenizer, self.keep_special = tokenizer, keep_special
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._length = 0

    def add(self, token: int) -> int:
        """The offset of the next token, in characters."""
        begin = self._length
        data = self.tokenizer.decode_bytes([token], keep_special=self.keep_special)
        self._length += len(self._decoder.decode(data))
        return begin


def completion_logprobs(
    tokenizer: Tokenizer, tokens: Sequence[TokenLogprob], text_offsets: TextOffsets
) -> dict[str, Any]:
    """Tokens as completions write them, in four lists."""
    spelled, values, tops, offsets = [], [], [], []
    for token in tokens:
        text = token_text(tokenizer, token.id)
        spelled.append(text)
        values.append(token.logprob)
        offsets.append(text_offsets.add(token.id))
        top = {token_text(tokenizer, one.id): one.logprob for one in token.top_logprobs}
        tops.append(None if token.logprob is None else {**top, text: token.logprob})
    return {"tokens": spelled, "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets}


class LogprobBuffer:
    """Tokens that wait for the chunk that carries their text, by the number of their sequence."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[TokenLogprob]] = {}

    def release(self, number: int, tokens: Sequence[TokenLogprob], is_ready: bool) -> list[TokenLogprob]:
        """The tokens that go with the next text of a sequence; none until it `is_ready`."""
        waiting = [*self._waiting.pop(number, []), *tokens]
        if is_ready:
            return waiting
        self._waiting[number] = waiting
        return []
