"""Contamination: texts that a model is evaluated on, and that stand in what it learnt from.

A text is contaminated if some words in a row of it stand in training text, where case, spaces and punctuation do not
count (Brown et al. 2020, appendix C): 13 words, or fewer, but at least 8, where one text of twenty is shorter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from gptsmith.base.console import meter
from gptsmith.convert.open import OpenedModel
from gptsmith.data.care.shingles import BLOCK_BYTES, blocks, shingles
from gptsmith.data.prepare import KeptData
from gptsmith.provenance.example_text import examples_of
from gptsmith.provenance.learned_texts import learnt_from_examples, of_each_training, plain_data
from gptsmith.run.lineage import Origin

FEWEST_WORDS, MOST_WORDS = 8, 13
SHORT_PERCENTILE = 5
"""Of the lengths of texts: so many of a hundred are shorter than the words that are compared."""
FILTER_BITS = 22
FILTER = np.uint64((1 << FILTER_BITS) - 1)
"""The bits of hashes by which nearly all training text is ruled out before any is looked for."""
Block = tuple[bytes, np.ndarray, np.ndarray]
"""UTF-8, and the first byte of each document in it and the one after its last."""


@dataclass(frozen=True)
class Contamination:
    """Which of some texts stand in what a model learnt from.

    Attributes:
        is_contaminated: (T,); None if nothing of what it learnt from is here.
        num_words: in a row, which are compared.
        missing: why other texts that it learnt from were not looked at, for a person.
    """

    is_contaminated: np.ndarray | None
    num_words: int
    missing: list[str]


def contamination(run: OpenedModel, texts: Sequence[str]) -> Contamination:
    """Which texts stand, if only in part, in what a run and its bases learnt from."""
    encoded = _joined(texts)
    counts = np.diff(shingles(*encoded, 1)[1])
    num_words = int(np.clip(np.percentile(counts, SHORT_PERCENTILE), FEWEST_WORDS, MOST_WORDS))
    learned, missing = of_each_training(run, _blocks_of)
    if not learned:
        return Contamination(None, num_words, missing)
    hashes, offsets = shingles(*encoded, num_words)
    sought = _Sought(hashes)
    with meter("comparing with the training text", sum(num_bytes for num_bytes, _ in learned), count=False) as bar:
        done = 0
        for block in chain.from_iterable(part for _, part in learned):
            sought.look_in(shingles(*block, num_words)[0])
            done += len(block[0])
            bar.update(done)
    before = np.concatenate([[0], np.cumsum(sought.are_found(hashes))])
    return Contamination(before[offsets[1:]] > before[offsets[:-1]], num_words, missing)


class _Sought:
    """Hashes that are looked for among many others."""

    def __init__(self, hashes: np.ndarray) -> None:
        self._hashes = np.unique(hashes)
        self._is_found = np.zeros(len(self._hashes), bool)
        self._may_be = np.zeros(1 << FILTER_BITS, bool)
        self._may_be[self._hashes & FILTER] = True

    def look_in(self, others: np.ndarray) -> None:
        """Notes which of the hashes are among these."""
        likely = others[self._may_be[others & FILTER]]
        at = np.searchsorted(self._hashes, likely)
        at = np.minimum(at, len(self._hashes) - 1)
        self._is_found[at[self._hashes[at] == likely]] = True

    def are_found(self, hashes: np.ndarray) -> np.ndarray:
        """Which of the hashes (N) were found anywhere."""
        return self._is_found[np.searchsorted(self._hashes, hashes)]


def _blocks_of(run: OpenedModel, training: Origin) -> tuple[int, Iterator[Block]]:
    """What a run was trained on, and about how many bytes it has.

    Raises:
        UserError: it is gone or has changed.
    """
    if learnt_from_examples(run):
        splits = examples_of(run, training).splits

        def texts() -> Iterator[str]:
            return (text for example in splits.own_train for text in example.every_text())

        return sum(map(len, texts())), map(_joined, _batches(texts()))
    _, data = plain_data(run, training)
    return data.train.num_bytes, _blocks_of_text(data)


def _blocks_of_text(data: KeptData) -> Iterator[Block]:
    """The documents that are trained on, or what of them is."""
    starts, stops = (data.train.documents[name].astype(np.int64) for name in ("start", "stop"))
    for begins, ends, _ in blocks(starts, stops):
        yield data.corpus.read(int(begins[0]), int(ends[-1])), begins - begins[0], ends - begins[0]


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts, some at once."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BLOCK_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _joined(texts: Sequence[str]) -> Block:
    """Texts as documents of one block. Between them stands what is no word."""
    encoded = [text.encode("utf-8", "replace") + b"\n" for text in texts]
    stops = np.cumsum([len(text) for text in encoded])
    return b"".join(encoded), np.concatenate([[0], stops[:-1]]), stops
