"""A text in its place: with all that stands before it where a model learnt it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from gptsmith.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class InPlace:
    """A text in the tokens that a model read at once.

    Attributes:
        ids: (T,), all of them.
        stops: (T,), the number of bytes up to the end of each.
        start: the byte at which the text begins.
    """

    ids: np.ndarray
    stops: np.ndarray
    start: int = 0

    @classmethod
    def of(cls, ids: np.ndarray, tokenizer: Tokenizer) -> Self:
        """All of some tokens as a text."""
        return cls(ids, np.cumsum(tokenizer.num_bytes_per_token[ids.astype(np.int64)]))

    def tokens(self, first_byte: int, stop_byte: int) -> slice:
        """The tokens that some bytes of the text stand in."""
        last = len(self.ids) - 1
        first = min(int(np.searchsorted(self.stops, self.start + first_byte, side="right")), last)
        stop = min(max(int(np.searchsorted(self.stops, self.start + stop_byte)), first), last) + 1
        return slice(first, stop)

    def opening(self, first_byte: int, tokenizer: Tokenizer) -> str:
        """The text before a byte in the first token that it stands in: a space, mostly."""
        first = self.tokens(first_byte, first_byte + 1).start
        before = int(self.stops[first - 1]) if first else 0
        spelled = tokenizer.decode_bytes(self.ids[first : first + 1].tolist())
        return spelled[: self.start + first_byte - before].decode("utf-8", "ignore")


def texts_in_place(
    texts: Iterable[bytes], sequences: Sequence[np.ndarray], tokenizer: Tokenizer
) -> list[InPlace | None]:
    """Where the texts of an example stand in the sequences that it was trained as: one after the other, each in the
    first sequence that has it behind those before; None for a text that no sequence has, because the context had no
    room for it or a template has changed it."""
    whole = [InPlace.of(ids, tokenizer) for ids in sequences]
    spelled = [tokenizer.decode_bytes(ids.tolist()) for ids in sequences]
    ends = [0] * len(sequences)
    found: list[InPlace | None] = []
    for text in texts:
        place = None
        words = text.strip()  # a template may strip a turn
        for number, sequence in enumerate(spelled):
            at = sequence.find(words, ends[number]) if words else -1
            if at < 0:
                continue
            ends[number] = at + len(words)
            if place is None:
                start = at - text.index(words)
                place = InPlace(whole[number].ids, whole[number].stops, start)
        found.append(place)
    return found
