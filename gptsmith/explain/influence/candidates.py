"""Passages that share rare words and short sequences with a text: where to look for what it was learnt from.

As in BM25, what is rare counts more: a sequence of one to five tokens counts the logarithm of how rare it is, and at
each place of the text only the rarest that begins there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gptsmith.provenance.learned_text import LearnedText

LENGTHS = (1, 2, 3, 5)
"""The tokens of a sequence: single ones that are rare, parts of names, and 5-grams."""
MOST_COPIES = 200
"""What stands in more places says nothing of any of them."""
PASSAGE_TOKENS = 128


@dataclass(frozen=True)
class Candidate:
    """A passage that a model learnt from.

    Attributes:
        text: the text that it is in.
        place: its first token there.
        num_tokens: how long it is, within one document.
        score: the sum of the logarithms, in nats.
    """

    text: LearnedText
    place: int
    num_tokens: int
    score: float = 0.0

    @property
    def ids(self) -> list[int]:
        """Its tokens."""
        ids: list[int] = self.text.array.tokens[self.place : self.place + self.num_tokens].tolist()
        return ids

    def overlaps(self, other: Candidate) -> bool:
        """Whether both have a token in common."""
        is_apart = self.place >= other.place + other.num_tokens or other.place >= self.place + self.num_tokens
        return self.text is other.text and not is_apart


def find_candidates(texts: Sequence[LearnedText], ids: Sequence[int], limit: int) -> list[Candidate]:
    """The passages that share most with token ids (T,), the best first; none of them overlaps another."""
    found = [candidate for text in texts for candidate in _scored(text, np.array(ids, np.int64))]
    chosen: list[Candidate] = []
    for candidate in sorted(found, key=lambda each: (-each.score, -each.num_tokens)):
        if len(chosen) == limit:
            break
        if not any(candidate.overlaps(other) for other in chosen):
            chosen.append(candidate)
    return chosen


def _scored(text: LearnedText, ids: np.ndarray) -> list[Candidate]:
    """Every passage that shares something rare with ids (T,)."""
    best: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
    for length in LENGTHS:
        starts = np.arange(max(0, len(ids) - length + 1))
        first, stop = text.array.rows(ids, starts, np.full(len(starts), length))
        for start in np.flatnonzero((stop > first) & (stop - first <= MOST_COPIES)).tolist():
            rarity = math.log(len(text.array) / int(stop[start] - first[start]))
            for place in text.array.places[first[start] : stop[start]].tolist():
                for passage in passages_at(text, place):
                    scores = best[passage]
                    scores[start] = max(scores.get(start, 0.0), rarity)
    return [Candidate(text, place, size, sum(scores.values())) for (place, size), scores in best.items()]


def passages_at(text: LearnedText, place: int) -> list[tuple[int, int]]:
    """The first token and the number of tokens of the passages that a token is in. They begin at every half of their
    length in a document, so that what stands together is together in one of them."""
    begin, end = text.bounds(text.document_at(place))
    half = PASSAGE_TOKENS // 2
    last = (place - begin) // half
    starts = [begin + number * half for number in range(max(0, last - 1), last + 1)]
    return [(start, max(1, min(PASSAGE_TOKENS, end - start))) for start in starts]


def random_passages(
    texts: Sequence[LearnedText], but: Sequence[Candidate], count: int, generator: np.random.Generator
) -> list[Candidate]:
    """Passages at random places, each token as likely as any other, of other documents than some; or only of other
    passages, where there are too few documents. Fewer than `count` if there are not so many."""
    documents = {(id(each.text), each.text.document_at(each.place)) for each in but}
    sizes = np.array([len(text.array) for text in texts])
    found: dict[tuple[int, int], Candidate] = {(id(each.text), each.place): each for each in but}
    taken: list[Candidate] = []
    for attempt in range(20 * count):
        text = texts[int(generator.choice(len(texts), p=sizes / sizes.sum()))]
        start, size = passages_at(text, int(generator.integers(len(text.array))))[0]
        is_other = (id(text), text.document_at(start)) not in documents or attempt >= 10 * count
        if len(taken) < count and is_other and size > 1 and (id(text), start) not in found:
            found[id(text), start] = Candidate(text, start, size)
            taken.append(found[id(text), start])
    return taken
