"""The scaling law: the expected loss of a run, fitted to runs of the default model (`bench/law.py`, LOG.md)."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np

TRAINING_SAMPLE_BYTES, VALIDATION_SAMPLE_BYTES = 1_000_000, 100_000
MAX_NGRAM = 5
WORDS = re.compile(rb"[^\W_]+|[^\s]")
WINDOW_WORDS = 64
COPYING = 0.7382
INTERVAL = 0.04
"""The relative error within which eight of ten runs end that the scaling law was not fitted to (LOG.md)."""
FITTED_TOKENS = 437_000
"""The tokens of the shortest run that it was fitted to."""
SHORT_RUN_INTERVAL = 0.04
"""By how much more a run may end above the expectation, for each time that it has half of those tokens (LOG.md)."""

FLOOR, SIZE, SIZE_EXPONENT, DATA, DATA_EXPONENT, REPEAT_HALF_LIFE = 0.09903, 0.05386, 0.2552, 0.6046, 0.123, 1.064


def difficulty(training: bytes, validation: bytes) -> float:
    """How hard a text is to predict, in bits per byte: by n-gram counts, less if words recur soon, which a model
    copies."""
    return bits_by_counts(training, validation) * math.exp(-COPYING * recurrence(training, validation) ** 2)


def recurrence(training: bytes, validation: bytes) -> float:
    """The share of the validation text's information that is in words which stood among the last 64 words. A word has
    the information of its frequency in the training text."""
    counts = Counter(WORDS.findall(training[:TRAINING_SAMPLE_BYTES]))
    total = sum(counts.values()) + len(counts)
    last: dict[bytes, int] = {}
    whole = again = 0.0
    for place, word in enumerate(WORDS.findall(validation[:VALIDATION_SAMPLE_BYTES])):
        information = math.log(total / (counts[word] + 1)) if total else 1.0
        whole += information
        again += information * (place - last.get(word, -WINDOW_WORDS - 1) <= WINDOW_WORDS)
        last[word] = place
    return again / whole if whole else 0.0


def bits_by_counts(training: bytes, validation: bytes) -> float:
    """Bits per byte of the validation text by byte n-gram counts of the training text (n up to five), with Witten and
    Bell's smoothing (1991, method C). A model of a few minutes does somewhat better."""
    seen = np.frombuffer(training[:TRAINING_SAMPLE_BYTES], np.uint8).astype(np.int64)
    predicted = np.frombuffer(validation[:VALIDATION_SAMPLE_BYTES], np.uint8).astype(np.int64)
    probability = np.full(max(len(predicted) - MAX_NGRAM + 1, 0), 1 / 256)
    for length in range(1, MAX_NGRAM + 1):
        runs, counts = np.unique(_runs(seen, length), return_counts=True)
        contexts, first, num_next = np.unique(runs >> 8, return_index=True, return_counts=True)
        totals = np.add.reduceat(counts, first)
        wanted = _runs(predicted, length)[MAX_NGRAM - length :]
        count = np.where(_at(runs, wanted) >= 0, counts[_at(runs, wanted)], 0)
        place = _at(contexts, wanted >> 8)
        total, distinct = np.where(place >= 0, totals[place], 0), np.where(place >= 0, num_next[place], 1)
        probability = (count + distinct * probability) / (total + distinct)
    return float(-np.log2(probability).mean())


def _runs(text: np.ndarray, length: int) -> np.ndarray:
    """All runs of so many bytes, each as one number whose lowest byte is the last."""
    number = np.zeros(len(text) - length + 1, np.int64)
    for place in range(length):
        number = number << 8 | text[place : place + len(number)]
    return number


def _at(ordered: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each number stands in an ordered list; -1 where it does not."""
    place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.where(ordered[place] == wanted, place, -1)


def worth_bytes(num_bytes_seen: float, num_bytes_unique: float) -> float:
    """Bytes of fresh text that are worth as much as these, of which later epochs repeat the first (Muennighoff et al.
    2023, equation 5)."""
    repeats = max(num_bytes_seen / num_bytes_unique - 1, 0.0)
    fresh = min(num_bytes_seen, num_bytes_unique)
    return fresh * (1 + REPEAT_HALF_LIFE * (1 - math.exp(-repeats / REPEAT_HALF_LIFE)))


def expected_bits_per_byte(
    difficulty: float, num_block_parameters: float, num_bytes_seen: float, num_bytes_unique: float
) -> float:
    """The validation bits per byte at the end of a run, as a share of the text's difficulty:
    floor + size term + data term (Hoffmann et al. 2022, equation 2)."""
    data = worth_bytes(num_bytes_seen, num_bytes_unique)
    share = FLOOR + SIZE * (1e6 / num_block_parameters) ** SIZE_EXPONENT + DATA * (1e7 / data) ** DATA_EXPONENT
    return difficulty * share
