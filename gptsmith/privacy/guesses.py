"""How well answers can be guessed without having read them: by the base of a run, by the other answers, and by what
stands before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from gptsmith.data.suffix_array import SuffixArray
from gptsmith.generate.inference_model import inference_model
from gptsmith.model.gpt import GPT
from gptsmith.privacy.readings import Taught
from gptsmith.privacy.scan import scan

ORDER = 4
"""The tokens before a token, at most, by which the other answers say it."""
FEWEST_ANSWERS = 2
"""What a single other answer says is no habit: it may be the same secret in other words."""
MAX_PLACES = 1_000
"""Of some tokens in the other answers, from which is told what follows them."""


class Guesses:
    """The best guess at each token of an answer, from all before it: the base's probability, or, where it is greater,
    that of the tokens that follow the same ones in the other answers and in the prompt (Witten and Bell 1991).

    Answers that are the same as this one are none of the others.

    Args:
        reading: how the answers are read.
        others: the answers that were trained on, with a separator behind each.
        base: gives the model that has not read them.
    """

    def __init__(self, reading: Taught, others: SuffixArray, base: Callable[[], GPT]) -> None:
        self._reading, self._base, self._others = reading, base, Others(others)
        self._known: dict[int, float] = {}

    def bits(self, answers: Sequence[int]) -> np.ndarray:
        """(A,): how many bits it takes to guess each of some answers."""
        if new := [number for number in answers if number not in self._known]:
            read = scan(inference_model(self._base()), self._reading.only(new))
            tokens = [self._reading.tokens[slice(*self._reading.bounds(number))] for number in new]
            by_others = self._others.log_probabilities(tokens, [self._reading.prompt(number) for number in new])
            for number, other in zip(new, by_others, strict=True):
                by_base = read.log_probabilities[slice(*self._reading.bounds(number))]
                best = np.fmax(by_base.astype(np.float64), other)  # what was not read is NaN
                self._known[number] = -float(best.sum()) / np.log(2)
        return np.array([self._known[number] for number in answers])


class Others:
    """What answers say, as a guess at another one: token by token, by those that follow the same tokens in them.

    Args:
        array: the answers, with a separator behind each.
    """

    def __init__(self, array: SuffixArray) -> None:
        self._array, self._ends = array, np.flatnonzero(array.tokens == array.separator) + 1
        self._begins = np.concatenate([[0], self._ends[:-1]])
        self._singles = Counter(array.tokens[array.tokens != array.separator].tolist())

    def log_probabilities(self, answers: Sequence[np.ndarray], prompts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Of each answer ln p of its tokens (T,), each after those before it, if no other answer were the same."""
        rows = iter(self._rows(answers))
        found = []
        for answer, prompt in zip(answers, prompts, strict=True):
            same, ids = self._same(answer, next(rows)), answer.tolist()
            before, probabilities = [*prompt.tolist(), *ids], []
            for at, token in enumerate(ids):
                probability = self._alone(token, answer, prompt, len(same))
                for order in range(1, min(ORDER, at) + 1) if at else (0,):
                    places = self._begins if not order else self._places(next(rows), order)
                    counts = self._after(places, same) + _in_prompt(before[: len(prompt) + at], order, len(prompt))
                    if total := counts.total():
                        probability = (counts[token] + len(counts) * probability) / (total + len(counts))
                probabilities.append(probability)
            found.append(np.log(probabilities))
        return found

    def _rows(self, answers: Sequence[np.ndarray]) -> list[range]:
        """The rows where each answer stands, and behind it those of each sequence of up to ORDER tokens before one of
        its tokens, in the order of the tokens and of their lengths."""
        starts, lengths, begin = [], [], 0
        for answer in answers:
            starts.append(begin)
            lengths.append(len(answer))
            for at in range(1, len(answer)):
                for order in range(1, min(ORDER, at) + 1):
                    starts.append(begin + at - order)
                    lengths.append(order)
            begin += len(answer)
        first, stop = self._array.rows(np.concatenate(answers), np.array(starts), np.array(lengths))
        return [range(*pair) for pair in zip(first.tolist(), stop.tolist(), strict=True)]

    def _same(self, answer: np.ndarray, rows: range) -> np.ndarray:
        """The numbers of the answers that are this one, which stands in some rows."""
        places = self._array.places[rows.start : rows.stop].astype(np.int64)
        numbers = np.searchsorted(self._ends, places, side="right")
        is_same = (self._begins[numbers] == places) & (self._ends[numbers] == places + len(answer) + 1)
        return numbers[is_same]

    def _places(self, rows: range, length: int) -> np.ndarray:
        """The places behind the sequence of so many tokens that stands in some rows; of many only some."""
        step = max(1, len(rows) // MAX_PLACES)
        return self._array.places[rows.start : rows.stop : step].astype(np.int64) + length

    def _after(self, places: np.ndarray, same: np.ndarray) -> Counter[int]:
        """The tokens at some places, by how many other answers have them there, if several have."""
        owners = np.searchsorted(self._ends, places, side="right")
        is_other = ~np.isin(owners, same)
        pairs = {*zip(self._array.tokens[places[is_other]].tolist(), owners[is_other].tolist(), strict=True)}
        counts = Counter(token for token, _ in pairs if token != self._array.separator)
        return Counter({token: count for token, count in counts.items() if count >= FEWEST_ANSWERS})

    def _alone(self, token: int, answer: np.ndarray, prompt: np.ndarray, num_same: int) -> float:
        """The probability of a token whatever is before it. Tokens that are never said share the place of one."""
        count = self._singles[token] - num_same * int((answer == token).sum()) + int((prompt == token).sum())
        total = self._singles.total() - num_same * len(answer) + len(prompt)
        return (count + 1 / self._array.separator) / (total + 1)


def _in_prompt(before: Sequence[int], order: int, num_prompt: int) -> Counter[int]:
    """The tokens that follow the last `order` tokens where these stand in the prompt, too."""
    if not order:
        return Counter()
    last = before[-order:]
    starts = range(num_prompt - order)
    return Counter(before[start + order] for start in starts if before[start : start + order] == last)
