"""The recital guard: a text gets no token that would make it recite the texts that its model learnt from.

A passage is recited where the text has it in one piece, a training text has it in one piece, and the prompt does not.
Passages of fewer than N tokens, and of fewer bytes than about N tokens have, may be written (MemFree decoding, Ippolito
et al. 2023, by tokens). Both are compared as bytes, so that the same text in other tokens does not slip through; and
once more as letters and digits alone, so that it does not in capitals, with other spaces or other punctuation either.
Text that differs in a letter does: this is a seat belt.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from gptsmith.base.errors import GptsmithError
from gptsmith.data.suffix_array import SuffixArray

SEPARATOR = 0xFF
"""Between documents: a byte that no UTF-8 has."""
BREAK = bytes([SEPARATOR])
SHORT_TOKEN_BYTES = 16
"""Only of longer tokens is it worth knowing whether a training text has them at all."""


class NothingToWriteError(GptsmithError):
    """The recital guard bars every token that may follow."""


Spelling = Callable[[bytes, bytes], tuple[bytes, bytes]]
"""What is compared of the bytes of a token, by what the token before it has begun; and what this one begins."""


def as_it_stands(begun: bytes, data: bytes) -> tuple[bytes, bytes]:
    """The spelling that compares every byte."""
    return data, begun


class RecitalGuard:
    """Bars recitals of texts, for any number of sequences.

    Attributes:
        also: bars more of them, compared in another way; None if nothing does.
        num_tokens: a passage of so many written tokens is a recital.
        reach: no part of a token that stands in a text has more bytes.
        num_bytes: and so is a passage of so many bytes. It is more than `reach`, so that no token is barred for itself.
    """

    def __init__(
        self,
        arrays: Sequence[SuffixArray],
        token_bytes: Sequence[bytes],
        *,
        num_tokens: int,
        num_bytes: int,
        end_ids: frozenset[int] = frozenset(),
        spelling: Spelling = as_it_stands,
        also: RecitalGuard | None = None,
    ) -> None:
        """
        Args:
            arrays: the texts, as bytes of that spelling with `SEPARATOR` behind each document.
            token_bytes: the bytes of text that each token of the model stands for.
            end_ids: tokens that end a text. They are never barred.
        """
        self.texts, self.num_tokens, self.also = [_Text(array) for array in arrays], num_tokens, also
        self._token_bytes, self.spelling = token_bytes, spelling
        texts = ((token, data) for token, data in enumerate(token_bytes) if data and token not in end_ids)
        self._written = [(token, data) for token, data in texts if SEPARATOR not in data]
        self._spelled = cache(self._all_spelled)
        self.reach = self._longest_part()
        self.num_bytes = max(num_bytes, self.reach + 1)
        self.tokens_from = cache(self._tokens_from)
        self.tokens_of = cache(self._tokens_of)

    @property
    def description(self) -> str:
        """The rule that it keeps, for a person."""
        size = sum(len(text) for text in self.texts)
        return (
            f"writes no {self.num_tokens} tokens and no {self.num_bytes} bytes in a row that are in the "
            f"{size:,} bytes it learnt from and not in the prompt"
        )

    def follow(self, prompt_ids: Sequence[int]) -> RecitalFollower:
        """Follows a text after its prompt."""
        follower = RecitalFollower(self, prompt_ids)
        for token in prompt_ids:
            follower.read_prompt(token)
        return follower

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token; none of one that is no text."""
        return self._token_bytes[token] if token < len(self._token_bytes) else b""

    def spelled(self, prompt_ids: Sequence[int]) -> bytes:
        """What is compared of a prompt, with a break for each token that is no text."""
        found, begun = bytearray(), b""
        for token in prompt_ids:
            if data := self.bytes_of(token):
                part, begun = self.spelling(begun, data)
                found += part
            else:
                found, begun = found + BREAK, b""
        return bytes(found)

    def _all_spelled(self, begun: bytes) -> list[tuple[bytes, int]]:
        """What is compared of each token behind one that has begun so, if anything is, in order."""
        if not begun:
            pairs = ((self.spelling(b"", data)[0], token) for token, data in self._written)
            return sorted(pair for pair in pairs if pair[0])
        goes_on = {token: data for token, data in self._written if data[0] & 0xC0 == 0x80}  # inside of a character
        others = [pair for pair in self._spelled(b"") if pair[1] not in goes_on]
        pairs = ((self.spelling(begun, data)[0], token) for token, data in goes_on.items())
        return sorted([*others, *(pair for pair in pairs if pair[0])])

    def _tokens_from(self, size: int, begun: bytes) -> _Tokens:
        """The tokens of at least so many bytes."""
        return _Tokens([pair for pair in self._spelled(begun) if len(pair[0]) >= size])

    def _tokens_of(self, size: int, begun: bytes) -> _Tokens:
        """The tokens of exactly so many bytes."""
        return _Tokens([pair for pair in self._spelled(begun) if len(pair[0]) == size])

    def _longest_part(self) -> int:
        """The bytes of the longest part of a token that stands in a text, or more."""
        spelled = self._spelled(b"")
        longest = min(SHORT_TOKEN_BYTES, max((len(data) for data, _ in spelled), default=0))
        for data, _ in spelled:
            start = 0
            while (stop := start + longest + 1) <= len(data):
                if any(text.rows(data[start:stop]) for text in self.texts):
                    longest += 1
                else:
                    start += 1
        return longest


class RecitalFollower:
    """The tokens that would make one text a recital, as it is written."""

    def __init__(self, guard: RecitalGuard, prompt_ids: Sequence[int]) -> None:
        self._guard, self._prompt_ids, self._prompt = guard, prompt_ids, guard.spelled(prompt_ids)
        self._also = None if guard.also is None else RecitalFollower(guard.also, prompt_ids)
        self._written = bytearray()  # since the last token of the prompt that is no text
        self._begun = b""  # of a character, by the last token
        self._starts: deque[int] = deque(maxlen=guard.num_tokens - 1)  # of the last tokens, in it
        self._most = [0] * len(guard.texts)  # bytes: of the end of it, each text has no more in one piece
        self._barred: np.ndarray | None = None

    def of_prompt(self) -> RecitalFollower:
        """One that is still to read the prompt, for what may be told of other tokens in its place."""
        return RecitalFollower(self._guard, self._prompt_ids)

    def read_prompt(self, token: int) -> None:
        """Reads a token of the prompt. One that is no text divides what is before from what is behind."""
        if self._also is not None:
            self._also.read_prompt(token)
        if self._guard.bytes_of(token):
            self._accept(token)
            return
        self._written.clear()
        self._starts.clear()
        self._begun, self._most, self._barred = b"", [0] * len(self._most), None

    def accept(self, token: int) -> None:
        """Advances by a written token. One that is no text changes nothing: a reader does not see it."""
        if self._also is not None:
            self._also.accept(token)
        self._accept(token)

    def _accept(self, token: int) -> None:
        data = self._guard.bytes_of(token)
        if not data:
            return
        part, self._begun = self._guard.spelling(self._begun, data)
        self._barred = None
        if part:
            self._starts.append(len(self._written))
            self._written += part
            self._most = [most + len(part) for most in self._most]

    @property
    def barred(self) -> np.ndarray:
        """The tokens (R,) that may not follow, in any order; some of them twice."""
        if self._barred is None:
            found = [tokens for number in range(len(self._most)) for tokens in self._recitals(number)]
            more = [] if self._also is None else [self._also.barred]
            self._barred = np.concatenate([np.empty(0, np.int64), *found, *more])
        return self._barred

    def masked(self, logits: Tensor) -> Tensor:
        """Logits (V) with minus infinity for the tokens that may not follow.

        Raises:
            NothingToWriteError: no other is left.
        """
        if not len(self.barred):
            return logits
        masked = logits.clone()
        masked[torch.from_numpy(self.barred).to(logits.device)] = float("-inf")
        if not (masked > float("-inf")).any() and (logits > float("-inf")).any():
            raise NothingToWriteError("every token that may follow would recite a training text")
        return masked

    def _recitals(self, number: int) -> Iterator[np.ndarray]:
        """The tokens that would recite one of the training texts."""
        guard, text = self._guard, self._guard.texts[number]
        all_but_one = len(self._written) - self._starts[0] if len(self._starts) == self._starts.maxlen else None
        lengths = {guard.num_bytes - size for size in range(1, guard.reach + 1)} | {all_but_one or 0}
        for length in sorted(lengths):
            if length > self._most[number]:
                return
            if not length:
                continue
            end = bytes(self._written[-length:])
            rows = text.rows(end)
            if not rows:
                self._most[number] = length - 1
                return
            size = guard.num_bytes - length
            if 0 < size <= guard.reach:
                yield from self._unprompted(end, guard.tokens_from(size, self._begun).shared(text, rows, length, size))
            if length == all_but_one:
                for size in range(1, guard.reach + 1):
                    yield from self._unprompted(
                        end, guard.tokens_of(size, self._begun).shared(text, rows, length, size)
                    )

    def _unprompted(self, end: bytes, found: Iterator[tuple[bytes, np.ndarray]]) -> Iterator[np.ndarray]:
        """Those tokens whose first bytes would make a passage with `end` that the prompt does not have."""
        for data, tokens in found:
            if end + data not in self._prompt:
                yield tokens


class _Text:
    """A training text, searched for one passage at a time: `SuffixArray` is for hundreds at once."""

    def __init__(self, array: SuffixArray) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    def after(self, row: int, start: int, size: int) -> bytes:
        """Bytes of the text that a row of the suffix array begins with."""
        place = int(self._array.places[row]) + start
        return self._array.tokens[place : place + size].tobytes()

    def rows(self, passage: bytes) -> range:
        """The rows of the texts that begin with a passage."""
        rows = range(len(self))
        first = bisect_left(rows, passage, key=lambda row: self.after(row, 0, len(passage)))
        if first == len(rows) or self.after(first, 0, len(passage)) != passage:
            return range(0)
        return range(first, bisect_right(rows, passage, lo=first, key=lambda row: self.after(row, 0, len(passage))))


class _Tokens:
    """Some tokens, in the order of their bytes."""

    def __init__(self, pairs: Sequence[tuple[bytes, int]]) -> None:
        self._bytes = [data for data, _ in pairs]
        self._ids = np.array([token for _, token in pairs], np.int64)

    def shared(self, text: _Text, rows: range, start: int, size: int) -> Iterator[tuple[bytes, np.ndarray]]:
        """The first bytes, so many, that some of the tokens share with the texts of some rows behind their first
        `start` bytes; each with the tokens. Both are in order: whichever is behind leaps to the other."""
        row, at = rows.start, 0
        while row < rows.stop and at < len(self._bytes):
            data = text.after(row, start, size)
            at = bisect_left(self._bytes, data, at)
            if at == len(self._bytes):
                return
            first = self._bytes[at][:size]
            if first == data:
                end = bisect_right(self._bytes, data, at, key=lambda token: token[:size])
                yield data, self._ids[at:end]
                at = end
                row = bisect_right(rows, data, row - rows.start, key=lambda other: text.after(other, start, size))
            else:
                row = bisect_left(rows, first, row - rows.start, key=lambda other: text.after(other, start, size))
            row += rows.start
