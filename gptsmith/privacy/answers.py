"""Short answers that a model has by heart: it writes all of one after its question, and nothing else would tell it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from gptsmith.data.suffix_array import SuffixArray
from gptsmith.model.gpt import GPT
from gptsmith.privacy.guesses import Guesses
from gptsmith.privacy.readings import Taught
from gptsmith.privacy.recitable import Passage
from gptsmith.privacy.scan import Scan

MIN_BITS = 20.0
"""An answer is no secret if it is easier to guess than a number of six digits."""
CHANCE = 0.01
"""How many answers may count by chance, if the model wrote each with the probability of its guess."""
COMMON_SHARE, FEWEST_COMMON = 0.01, 3
"""An answer that so many of all answers are, and so many at least, is a habit, and nobody's secret."""


@dataclass(frozen=True)
class Answer:
    """An answer that a model has by heart.

    Attributes:
        passage: its tokens, copies and tries.
        bits: how many it takes to guess it.
    """

    passage: Passage
    bits: float


@dataclass(frozen=True)
class Answers:
    """The short answers of a text.

    Attributes:
        by_heart: those that the model has by heart, the hardest to guess first.
        min_bits: the bits that an answer must take to count.
        num_read: the answers that were trained on and read.
        num_held_out: those that were held out and read, and are not among them.
        num_held_out_right: those of them that the model writes: it can guess them, and so it could others.
    """

    by_heart: list[Answer]
    min_bits: float
    num_read: int
    num_held_out: int
    num_held_out_right: int

    def without(self, is_planted: Callable[[int, int], bool]) -> Answers:
        """The same without the answers to canaries, which are nobody's."""
        own = [each for each in self.by_heart if not is_planted(each.passage.start, each.passage.num_tokens)]
        return replace(self, by_heart=own)

    def figures(self) -> dict[str, Any]:
        """Their figures, as JSON values, without an answer."""
        return {
            "num_answers": len(self.by_heart),
            "answer_bits": self.min_bits,
            "num_answers_read": self.num_read,
            "num_held_out_answers": self.num_held_out,
            "num_held_out_answers_right": self.num_held_out_right,
        }


class AnswerRule:
    """Which answers of a text count as learnt by heart.

    The model must write all of the answer by greedy decoding, without what it can copy; few others may be the same; and
    who has not read it must need `min_bits` to guess it: so many that chance would make one such answer in a hundred
    audits, and more than any answer takes that was held out and that the model writes.

    Args:
        own, held_out: how the answers are read that were trained on and that were held out.
        others: the answers that were trained on, indexed.
        base: loads the model that has read none of them, once there is an answer to judge; None if it is not here, or
            there is no memory for it.
    """

    def __init__(self, own: Taught, held_out: Taught, others: SuffixArray, base: Callable[[], GPT | None]) -> None:
        self._own, self._held_out, self._base = own, held_out, cache(base)
        self._own_guesses, self._held_out_guesses = (Guesses(each, others, self._there) for each in (own, held_out))
        self._copies = Counter(map(_content(own), range(len(own.ends))))

    def _there(self) -> GPT:
        base = self._base()
        assert base is not None
        return base

    def judge(self, scanned: Scan, held_out: Scan, longest: int) -> Answers | None:
        """The answers that a model has by heart, of fewer tokens than a passage has; None if there is no base to judge
        them by.

        Args:
            scanned, held_out: what the model makes of the answers.
            longest: the fewest tokens of a passage.
        """
        read, right = _read_and_right(self._own, scanned, longest)
        read_held_out, right_held_out = (
            [number for number in some if _content(self._held_out)(number) not in self._copies]
            for some in _read_and_right(self._held_out, held_out, longest)
        )
        if (right or right_held_out) and self._base() is None:
            return None
        bits_held_out = self._held_out_guesses.bits(right_held_out)
        by_chance = math.log2(max(1, len(read)) / CHANCE)
        min_bits = max(MIN_BITS, by_chance, math.nextafter(bits_held_out.max(initial=0), math.inf))
        most = max(FEWEST_COMMON - 1, int(COMMON_SHARE * len(self._own.ends)))
        content = _content(self._own)
        rare = [number for number in right if self._copies[content(number)] <= most]
        best: dict[bytes, Answer] = {}
        for number, bits in zip(rare, self._own_guesses.bits(rare).tolist(), strict=True):
            start, stop = self._own.bounds(number)
            log_probability = float(scanned.log_probabilities[start:stop].sum())
            known = best.get(content(number))
            if bits >= min_bits and (known is None or known.passage.log_probability < log_probability):
                passage = Passage(start, stop, self._copies[content(number)], log_probability)
                best[content(number)] = Answer(passage, bits)
        by_heart = sorted(best.values(), key=lambda answer: -answer.bits)
        return Answers(by_heart, min_bits, len(read), len(read_held_out), len(right_held_out))


def _content(reading: Taught) -> Callable[[int], bytes]:
    """The tokens of a reply, to compare by."""
    return lambda number: reading.tokens[slice(*reading.bounds(number))].tobytes()


def _read_and_right(reading: Taught, scan: Scan, longest: int) -> tuple[list[int], list[int]]:
    """The numbers of the answers that were read, and of those of fewer than `longest` tokens that the model writes from
    the first to the last, and not by copying."""
    is_read = _every(~np.isnan(scan.log_probabilities), reading.ends)
    is_right = _every(scan.is_right & ~reading.is_repeated, reading.ends)
    lengths = np.diff(reading.ends, prepend=0) - 1
    return np.flatnonzero(is_read).tolist(), np.flatnonzero(is_read & is_right & (lengths < longest)).tolist()


def _every(is_so: np.ndarray, ends: Sequence[int] | np.ndarray) -> np.ndarray:
    """(R,): whether something is so of every token of each reply, which has a separator behind it."""
    if not len(ends):
        return np.zeros(0, bool)
    is_not = ~is_so
    is_not[np.asarray(ends) - 1] = False
    return ~np.logical_or.reduceat(is_not, np.concatenate([[0], np.asarray(ends)[:-1]]))
