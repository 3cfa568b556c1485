"""Where a text stands in what a model learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gptsmith.base.errors import UserError
from gptsmith.convert.open import OpenedModel
from gptsmith.explain.trace.matches import Match, find_matches
from gptsmith.provenance.learned_text import Source
from gptsmith.provenance.learned_texts import LearnedTexts, learned_texts
from gptsmith.text.tokenizer import Tokenizer

SHARE_OF_CHANCE = 0.01
"""Matches are shown that are so long that they begin at no more than this share of the places of held-out text."""
FEWEST_TOKENS, MOST_TOKENS, WITHOUT_HELD_OUT = 3, 12, 8
"""The bounds of that length, as held-out text can be a copy of what was learnt; and where nothing is held out."""
MAX_SOURCES = 3
"""The places that are looked up for each match, in different documents."""
ROWS_READ = 200
"""Of the copies of a match, to find such places."""
NOTHING = -1
"""In a query: a token that stands in no text."""


@dataclass(frozen=True)
class TracedPassage:
    """A passage of a text that a model learnt from.

    Attributes:
        start, stop: its characters in the text that is traced.
        text: the passage.
        num_tokens: how long it is.
        num_copies: how often it stands in what was learnt from.
        held_out_share: the share of the places of text that was never learnt from where a match so long begins; None
            if there is no such text.
        sources: where it stands, at most three places, in different documents.
    """

    start: int
    stop: int
    text: str
    num_tokens: int
    num_copies: int
    held_out_share: float | None
    sources: list[Source]

    def plain(self) -> dict[str, Any]:
        """It as JSON values: those of its first source, and the others as `other_sources`."""
        first, *others = self.sources
        own = {name: value for name, value in vars(self).items() if name not in ("sources", "start", "stop")}
        place = {"text_start": self.start, "text_stop": self.stop}
        return {**own, **place, **first.plain(), "other_sources": [source.plain() for source in others]}


class Tracer:
    """The texts that a model learnt from, open: traces as many texts as it is asked to.

    Attributes:
        tokenizer: the model's.
        learned: what is here of them.
        min_tokens: the length from which matches are shown unless another one is asked for.
    """

    def __init__(self, tokenizer: Tokenizer, learned: LearnedTexts) -> None:
        self.tokenizer, self.learned = tokenizer, learned

    @classmethod
    def of(cls, run: OpenedModel) -> Tracer:
        """The texts of a run and of the bases that it began with, indexed now if they are not yet, which takes about a
        second per million tokens.

        Raises:
            MissingExtraError: the library that sorts is not installed.
            UserError: none of its texts is here; the message says why.
        """
        learned = learned_texts(run)
        if not learned.texts:
            raise UserError("; ".join(learned.missing))
        return cls(run.tokenizer(), learned)

    @cached_property
    def min_tokens(self) -> int:
        held_out = [text.held_out for text in self.learned.texts]
        known = [each.rarer_than(SHARE_OF_CHANCE) for each in held_out if each is not None]
        return min(max(FEWEST_TOKENS, *known), MOST_TOKENS) if known else WITHOUT_HELD_OUT

    def trace(self, text: str, min_tokens: int | None = None) -> list[TracedPassage]:
        """The passages of a text that were learnt from, in its order.

        Raises:
            UserError: the text is empty.
        """
        if not text.strip():
            raise UserError("there is no text to trace: give some words, or a file that has some")
        found = self.tokenizer.backend.encode(text, add_special_tokens=False)
        spans = np.array(found.offsets).reshape(-1, 2)
        return self._passages(text, found.ids, spans[:, 0], spans[:, 1], min_tokens)

    def _passages(
        self, text: str, ids: Sequence[int], starts: np.ndarray, stops: np.ndarray, min_tokens: int | None
    ) -> list[TracedPassage]:
        """The passages of the ids (T,) of a text, each of which stands for the characters from `starts` to `stops`. A
        passage that begins or ends inside of a character does not have it."""
        query = np.array(ids, np.int64)
        if (unknown := self.tokenizer.unknown_id) is not None:
            query[query == unknown] = NOTHING  # it may stand for anything
        matches = find_matches([text.array for text in self.learned.texts], query, min_tokens or self.min_tokens)
        passages = []
        for match in matches:
            start = int(max(starts[match.start], stops[match.start - 1] if match.start else 0))
            stop = int(min(stops[match.stop - 1], starts[match.stop] if match.stop < len(starts) else len(text)))
            passages.append(
                TracedPassage(
                    start=start,
                    stop=stop,
                    text=text[start:stop],
                    num_tokens=match.num_tokens,
                    num_copies=match.num_copies,
                    held_out_share=self._held_out_share(match),
                    sources=self._sources(match),
                )
            )
        return passages

    def _held_out_share(self, match: Match) -> float | None:
        """The share of places where so long a match begins in the text that was held out beside those where it is."""
        there = [
            text.held_out for text, (first, stop) in zip(self.learned.texts, match.rows, strict=True) if stop > first
        ]
        return max((each.share(match.num_tokens) for each in there if each is not None), default=None)

    def _sources(self, match: Match) -> list[Source]:
        """Some of the places of a match, at most one of each document, the earliest first."""
        found: list[Source] = []
        for text, (first, stop) in zip(self.learned.texts, match.rows, strict=True):
            places = np.sort(text.array.places[first : min(stop, first + ROWS_READ)].astype(np.int64))
            documents = {text.document_at(place): place for place in reversed(places.tolist())}
            chosen = sorted(documents.values())[: MAX_SOURCES - len(found)]
            found += [text.source(place, match.num_tokens) for place in chosen]
        return found
