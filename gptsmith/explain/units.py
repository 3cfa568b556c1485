"""The parts of a prompt that can be taken away: sentences, words, tokens, each with the tokens that it is made of."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, get_args

from gptsmith.base.errors import ConfigurationError, did_you_mean
from gptsmith.text.sentences import SENTENCE_END
from gptsmith.text.tokenizer import Tokenizer

Grain = Literal["sentences", "words", "tokens"]
GRAINS: tuple[str, ...] = get_args(Grain)

SENTENCE = re.compile(rf"\s*\S.*?(?:{SENTENCE_END}|(?=\n)|$)", re.DOTALL)
"""Matches a sentence with the white space before it: up to its full stop, or the end of its line."""
WORD = re.compile(r"\s*(?:[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+)")
"""Matches a word with the white space before it; in Chinese and Japanese, which write none, a character."""


@dataclass(frozen=True)
class Passage:
    """A text in a prompt that a person wrote.

    Attributes:
        text: the text, as its tokens spell it.
        first: the place of its first token in the prompt.
        ids: its tokens.
        message: which message of the conversation it is, from 0.
        offset: the place of its first character in that message, whose white space a template may take away.
    """

    text: str
    first: int
    ids: tuple[int, ...]
    message: int | None = None
    offset: int = 0


@dataclass(frozen=True)
class Unit:
    """A part of a passage.

    Attributes:
        start: its first character in the prompt, or in the message.
        stop: the character after its last.
        text: the characters, with the white space before them.
        first: the place of its first token in the prompt.
        last: the place after that of its last token.
        message: which message of a conversation it is a part of.
    """

    start: int
    stop: int
    text: str
    first: int
    last: int
    message: int | None = None

    @property
    def places(self) -> range:
        """The places of its tokens in the prompt."""
        return range(self.first, self.last)


def units_of(passages: Sequence[Passage], tokenizer: Tokenizer, by: str) -> list[Unit]:
    """The parts of some passages, in order. Those that share a token are one part.

    Raises:
        ConfigurationError: `by` is not `sentences`, `words` or `tokens`.
    """
    if by not in GRAINS:
        raise ConfigurationError(f"no such parts of a text: {by} ({did_you_mean(by, GRAINS)})")
    return [unit for passage in passages for unit in _of_passage(passage, tokenizer, by)]


def _of_passage(passage: Passage, tokenizer: Tokenizer, by: str) -> Iterator[Unit]:
    """Each part takes the tokens that begin in it; one in which no token begins is a part of the one before."""
    starts = token_starts(passage.text, passage.ids, tokenizer)
    cuts = _cuts(passage.text, starts, by)
    token, begin = 0, 0
    for stop in [*cuts[1:], len(passage.text)]:
        last = len(starts) if stop == len(passage.text) else _first_from(starts, stop)
        if last > token:
            yield Unit(
                passage.offset + begin, passage.offset + stop, passage.text[begin:stop],
                passage.first + token, passage.first + last, passage.message,
            )  # fmt: skip
            token, begin = last, stop


def _first_from(starts: Sequence[int], character: int) -> int:
    """The number of the tokens that begin before a character."""
    return bisect_right(starts, character - 1)


def _cuts(text: str, starts: Sequence[int], by: str) -> list[int]:
    """Where the parts of a text begin, in characters; the first is 0."""
    if by == "tokens":
        return sorted({0, *starts})
    pattern = SENTENCE if by == "sentences" else WORD
    return sorted({0, *(match.start() for match in pattern.finditer(text))})


def token_starts(text: str, ids: Sequence[int], tokenizer: Tokenizer, *, keep_special: bool = True) -> list[int]:
    """The character in which each token of a text begins; special tokens have some where the text keeps them."""
    sizes = [len(tokenizer.decode_bytes([number], keep_special=keep_special)) for number in ids]
    hidden = max(0, sum(sizes) - len(text.encode("utf-8", "surrogatepass")))  # a space that is not shown
    begins = list(accumulate(len(letter.encode("utf-8", "surrogatepass")) for letter in text))
    return [bisect_right(begins, max(0, at - hidden)) for at in accumulate([0, *sizes[:-1]])]
