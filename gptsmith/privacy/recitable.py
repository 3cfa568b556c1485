"""The passages of a text that a model can recite, and how long they must be to be no chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gptsmith.data.suffix_array import SuffixArray
from gptsmith.privacy.scan import Scan
from gptsmith.privacy.tries import tries_of

MIN_TOKENS = 10
"""No passage is shorter, whatever the text that was held out says."""
MIN_RUN_TOKENS = 5
"""Shorter runs of right tokens are not looked at: any model that has learnt a language has many."""
MIN_HELD_OUT_TOKENS = 5_000
"""With fewer of them it is not known how long a passage can be by chance."""
CAUTIOUS_TOKENS, CAUTIOUS_BYTES = 25, 100
"""The shortest passage then: longer than what a small model was right about by chance in any text that we tried."""
NUM_TAIL = 30
"""The longest passages of held-out text, from which it is told how many would be longer."""
LEARNT_SHARE = 0.75
"""Of a run in held-out text: if so much of it stands in the training text, it was learnt there."""
MAX_PLACES = 1_000
"""Copies of a passage that are looked at to find out whether another passage is the same."""


@dataclass(frozen=True)
class Threshold:
    """How long a passage must be to count as recited.

    Attributes:
        num_tokens: its fewest tokens, without those that its prompt had already.
        longest_held_out: the most tokens of held-out text that the model was right about in a row; None if there is not
            enough of it.
        expected_by_chance: how many passages of the training text would be so long if it had never been seen, judged by
            held-out text; None as above.
    """

    num_tokens: int
    longest_held_out: int | None
    expected_by_chance: float | None


@dataclass(frozen=True)
class Passage:
    """A passage that a model can recite.

    Attributes:
        start, stop: its tokens in the text.
        num_copies: how often it, or the part of it that others share with it, stands in the text.
        log_probability: ln p of all of it after its prompt, of the copy where it is greatest.
    """

    start: int
    stop: int
    num_copies: int
    log_probability: float

    @property
    def num_tokens(self) -> int:
        return self.stop - self.start

    @property
    def tries(self) -> float:
        """How many texts must be sampled for an even chance of it."""
        return tries_of(self.log_probability)


@dataclass(frozen=True)
class Runs:
    """The places where a model is right about one token after the other.

    Attributes:
        starts, stops: (R,), the first token of each, and the place behind its last.
        lengths: (R,), how many of its tokens did not stand in its prompt already.
    """

    starts: np.ndarray
    stops: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, scan: Scan, is_repeated: np.ndarray) -> Runs:
        """Those of a text that was scanned, some tokens of which (N,) can be copied from the prompt."""
        starts, stops = scan.runs()
        is_long = stops - starts >= MIN_RUN_TOKENS
        starts, stops = starts[is_long], stops[is_long]
        before = np.concatenate([[0], np.cumsum(is_repeated)])
        return cls(starts, stops, stops - starts - (before[stops] - before[starts]))

    def at_least(self, num_tokens: int) -> Runs:
        """Those that are so long."""
        return self.where(self.lengths >= num_tokens)

    def where(self, kept: np.ndarray) -> Runs:
        """Those of which an array (R,) says so."""
        return Runs(self.starts[kept], self.stops[kept], self.lengths[kept])


def threshold_of(held_out: Scan, runs: Runs, array: SuffixArray, num_read: int, bytes_per_token: float) -> Threshold:
    """The shortest length that is never right by chance in text that was not learnt from.

    Args:
        held_out, runs: the text that was held out; runs that stand in the training text are not counted.
        array: the training text.
        num_read: how many tokens of the training text were read.
        bytes_per_token: of that text, for the length where nothing is known.
    """
    if held_out.num_read < MIN_HELD_OUT_TOKENS:
        return Threshold(max(CAUTIOUS_TOKENS, math.ceil(CAUTIOUS_BYTES / bytes_per_token)), None, None)
    lengths = np.sort(runs.lengths[~is_learnt(held_out.tokens, runs, array)])
    longest = int(lengths[-1]) if len(lengths) else 0
    num_tokens = max(MIN_TOKENS, longest + 1)
    tail = lengths[-NUM_TAIL:]
    if not len(tail) or not (excess := float((tail - tail[0]).mean())):
        return Threshold(num_tokens, longest, 0.0)
    # Beyond its beginning the tail falls as that of a geometric distribution with the same mean.
    share = (excess / (1 + excess)) ** (num_tokens - int(tail[0]))
    return Threshold(num_tokens, longest, len(tail) * share * num_read / held_out.num_read)


def is_learnt(tokens: np.ndarray, runs: Runs, array: SuffixArray) -> np.ndarray:
    """(R,): whether most of each run of a text stands in one piece in the training text: then the model knows it from
    there."""
    longest = [array.longest(tokens[start:stop]).max() for start, stop in zip(runs.starts, runs.stops, strict=True)]
    return np.array(longest, np.int64) >= LEARNT_SHARE * (runs.stops - runs.starts)


def passages_of(scan: Scan, runs: Runs, array: SuffixArray) -> list[Passage]:
    """The runs as passages, longest first, each once: a run whose middle stands in another one is the same passage.

    Args:
        array: the text that was scanned.
    """
    order = np.argsort(runs.starts - runs.stops, kind="stable")
    starts, stops = runs.starts[order], runs.stops[order]
    lengths = stops - starts
    trims = lengths // 4  # where one copy begins to be recited, another need not
    copies = np.diff(_rows(array, starts, lengths), axis=0)[0]
    first, stop = _rows(array, starts + trims, lengths - 2 * trims)
    log_probabilities = scan.log_probabilities_of(starts, stops)
    owner = np.full(len(array), -1, np.int32)
    members: list[list[int]] = []
    for number in range(len(starts)):
        places = array.places[first[number] : min(stop[number], first[number] + MAX_PLACES)].astype(np.int64)
        owners = owner[places]
        is_inside = (owners >= 0) & (owners == owner[places + lengths[number] - 2 * trims[number] - 1])
        if is_inside.any():
            members[owners[is_inside.argmax()]].append(number)
        else:
            owner[starts[number] : stops[number]] = len(members)
            members.append([number])
    return [
        Passage(int(starts[group[0]]), int(stops[group[0]]), int(copies[group].max()),
                float(log_probabilities[group].max()))
        for group in members
    ]  # fmt: skip


def single_passages(scan: Scan, runs: Runs) -> list[Passage]:
    """The runs as passages, each by itself."""
    log_probabilities = scan.log_probabilities_of(runs.starts, runs.stops)
    found = zip(runs.starts.tolist(), runs.stops.tolist(), log_probabilities.tolist(), strict=True)
    return [Passage(start, stop, 0, log_probability) for start, stop, log_probability in found]


def _rows(array: SuffixArray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(2, R): the first row where each passage of the text stands, and the one after its last."""
    if not len(starts):
        return np.zeros((2, 0), np.int64)
    query = np.concatenate(
        [array.tokens[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    )
    return np.stack(array.rows(query, np.cumsum(lengths) - lengths, lengths))
