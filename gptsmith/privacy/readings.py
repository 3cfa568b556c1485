"""How a model reads a text: documents as they stand, or replies, each after its question."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gptsmith.privacy.repeats import repeated
from gptsmith.provenance.replies import TaughtSequences
from gptsmith.text.tokenizer import Tokenizer

MIN_CONTEXT = 50
"""Tokens that a token is predicted from, if its document has so many before it and the model's context room for them
twice."""
MAX_WINDOW = 1_024
"""Tokens that are read at once: longer contexts take more time than they tell."""


@dataclass(frozen=True)
class Window:
    """What a model reads at once.

    Attributes:
        ids: (T,).
        places: (T,), the place in the text of each token that is to be predicted; -1 for the others. The first is none.
    """

    ids: np.ndarray
    places: np.ndarray


class Reading(ABC):
    """A text that a model is to read.

    Attributes:
        tokens: (N,), the text, with a separator behind each document.
    """

    tokens: np.ndarray

    @abstractmethod
    def windows(self, seed: int) -> Iterator[Window]:
        """All of it, each token to be predicted once. Documents come in random order, so that those that were read when
        time is up are a sample."""

    @property
    @abstractmethod
    def is_repeated(self) -> np.ndarray:
        """(N,): whether a token can be copied from what stands before it, and need not be known."""


@dataclass(frozen=True)
class Windows:
    """How documents are cut into what a model reads at once.

    The first window of a document begins as a new document does, and each later one repeats `overlap` tokens, from
    which its own are predicted: a person who knows these can have the model write what follows.

    Attributes:
        opening: the ids before the first window of a document.
        bos: those before each later one, as before any prompt.
        length: tokens of the document in a window.
        overlap: tokens of a window that the one before it has too.
    """

    opening: Sequence[int]
    bos: Sequence[int]
    length: int
    overlap: int

    @classmethod
    def of(cls, tokenizer: Tokenizer, context_length: int) -> Windows:
        """Those for a model with so long a context."""
        opening = tokenizer.prompt_ids("")
        length = min(context_length, MAX_WINDOW) - len(opening)  # so that the model can write all of it
        return cls(opening, tokenizer.bos_ids, length, min(MIN_CONTEXT, length // 2))

    def starts(self, num_tokens: int) -> range:
        """Where the windows of a document begin."""
        return range(0, max(1, num_tokens - self.overlap), self.length - self.overlap)

    def of_document(self, document: np.ndarray, begin: int) -> Iterator[Window]:
        """A document whose first token stands at a place in the text."""
        if not len(document):
            return
        for start in self.starts(len(document)):
            part = document[start : start + self.length]
            before = self.bos if start else self.opening
            ids = np.concatenate([before, part]).astype(np.int64)
            places = np.concatenate([np.full(len(before), -1), np.arange(begin + start, begin + start + len(part))])
            if start:
                places[: len(before) + self.overlap] = -1
            yield Window(ids, places)

    def prompt(self, document: np.ndarray, at: int) -> list[int]:
        """The ids from which a token of a document was predicted."""
        start = max(each for each in self.starts(len(document)) if not each or at >= each + self.overlap)
        return [*(self.bos if start else self.opening), *document[start:at].tolist()]


class Documents(Reading):
    """Documents one by one.

    Args:
        ends: (D,), the place behind the separator of each document.
        cut: how they are cut.
    """

    def __init__(self, tokens: np.ndarray, ends: np.ndarray, cut: Windows) -> None:
        self.tokens, self._ends, self._cut = tokens, ends, cut

    def windows(self, seed: int) -> Iterator[Window]:
        for document in np.random.Generator(np.random.PCG64(seed)).permutation(len(self._ends)):
            begin = int(self._ends[document - 1]) if document else 0
            yield from self._cut.of_document(self.tokens[begin : int(self._ends[document]) - 1], begin)

    @cached_property
    def is_repeated(self) -> np.ndarray:
        return repeated(self.tokens, self._ends, self._cut.length)


class Taught(Reading):
    """Replies, each after all that stands before it in its conversation.

    Args:
        chosen: the numbers of the sequences to be read; None for all of them.
    """

    def __init__(self, sequences: TaughtSequences, separator: int, chosen: np.ndarray | None = None) -> None:
        self.tokens, self._sequences, self._separator = sequences.replies(separator), sequences, separator
        self._chosen = np.arange(len(sequences.ends)) if chosen is None else chosen
        self.ends = np.flatnonzero(self.tokens == separator) + 1

    def windows(self, seed: int) -> Iterator[Window]:
        ids, places, ends = self._sequences.ids, self._sequences.places, self._sequences.ends
        for number in np.random.Generator(np.random.PCG64(seed)).permutation(self._chosen):
            own = slice(int(ends[number - 1]) if number else 0, int(ends[number]))
            if self._sequences.is_target[own].any():
                yield Window(ids[own], places[own])

    def only(self, replies: Sequence[int]) -> Taught:
        """The same, of which only the sequences that have some of the replies are read."""
        firsts = self._sequences.firsts[np.array(replies, np.int64)]
        chosen = np.unique(np.searchsorted(self._sequences.ends, firsts, side="right"))
        return Taught(self._sequences, self._separator, chosen)

    def bounds(self, reply: int) -> tuple[int, int]:
        """The first token of a reply, and the place of its separator."""
        return int(self.ends[reply - 1]) if reply else 0, int(self.ends[reply]) - 1

    def prompt(self, reply: int) -> np.ndarray:
        """The tokens before a reply in its conversation."""
        first = int(self._sequences.firsts[reply])
        return self._sequences.ids[self._sequences.bounds(first)[0] : first]

    @cached_property
    def is_repeated(self) -> np.ndarray:
        found = np.zeros(len(self.tokens), bool)
        sequences = self._sequences
        again = repeated(sequences.ids, sequences.ends, int(np.diff(sequences.ends, prepend=0).max(initial=0)))
        found[sequences.places[sequences.is_target]] = again[sequences.is_target]
        return found
