"""A text read by a model in one pass: of each token whether it would write it, and how probable it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.cross_entropy import BlockSizes
from gptsmith.text.tokenizer import Tokenizer

MIN_CONTEXT = 50
"""Tokens that a token is predicted from, if its document has so many before it and the model's context room for them
twice."""
MAX_WINDOW = 1_024
"""Tokens that are read at once: longer contexts take more time than they tell."""
TOKENS_PER_BATCH = 8_192
WINDOWS_SORTED = 1_024
"""Windows that are sorted by their length, so that batches have little padding."""


@dataclass(frozen=True)
class Scan:
    """What a model makes of a text.

    Attributes:
        tokens: (N,), the text, with a separator behind each document.
        log_probabilities: (N,) float32, ln p of each token after those before it in its document; NaN where it was not
            read.
        is_right: (N,), whether a token is the most likely one.
    """

    tokens: np.ndarray
    log_probabilities: np.ndarray
    is_right: np.ndarray

    @property
    def num_read(self) -> int:
        """The tokens that were read."""
        return int(np.count_nonzero(~np.isnan(self.log_probabilities)))

    def runs(self) -> tuple[np.ndarray, np.ndarray]:
        """The first token of each run of right ones (R,), and the place behind its last (R,)."""
        edges = np.diff(np.concatenate([[False], self.is_right, [False]]).astype(np.int8))
        return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)

    def log_probabilities_of(self, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
        """ln p of whole passages (R,), by prefix sums."""
        sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(self.log_probabilities), dtype=np.float64)])
        return sums[stops] - sums[starts]


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

    def prompt(self, document: np.ndarray, at: int) -> list[int]:
        """The ids from which a token of a document was predicted."""
        start = max(each for each in self.starts(len(document)) if not each or at >= each + self.overlap)
        return [*(self.bos if start else self.opening), *document[start:at].tolist()]


def scan(
    model: GPT,
    windows: Windows,
    tokens: np.ndarray,
    ends: np.ndarray,
    *,
    seed: int = 0,
    deadline: float = float("inf"),
    observe: Callable[[int], None] = lambda _: None,
) -> Scan:
    """What a model makes of documents.

    Args:
        tokens: (N,), with a separator behind each document.
        ends: (D,), the place behind the separator of each document.
        seed: of the order in which documents are read.
        deadline: when to stop, by `time.monotonic`: then some documents are not read, or not whole.
        observe: sees the number of tokens read so far.
    """
    log_probabilities = np.full(len(tokens), np.nan, np.float32)
    is_right = np.zeros(len(tokens), bool)
    num_read = 0
    with torch.inference_mode():
        for batch in _batches(windows, tokens, ends, seed):
            if time.monotonic() > deadline:
                break
            places, found, right = _read(model, batch)
            log_probabilities[places], is_right[places] = found, right
            num_read += len(places)
            observe(num_read)
    return Scan(tokens, log_probabilities, is_right)


@dataclass(frozen=True)
class _Window:
    """Ids to read, and the place in the text of each that is predicted: the last of them."""

    ids: np.ndarray
    places: range


def _batches(windows: Windows, tokens: np.ndarray, ends: np.ndarray, seed: int) -> Iterator[list[_Window]]:
    """All windows of all documents, in batches of windows of about one length. Documents come in random order, so that
    those that were read when time is up are a sample."""
    waiting: list[_Window] = []
    for document in np.random.Generator(np.random.PCG64(seed)).permutation(len(ends)):
        begin = int(ends[document - 1]) if document else 0
        waiting += _windows(windows, tokens[begin : int(ends[document]) - 1], begin)
        if len(waiting) >= WINDOWS_SORTED:
            yield from _of_one_length(waiting)
            waiting = []
    yield from _of_one_length(waiting)


def _windows(windows: Windows, document: np.ndarray, begin: int) -> Iterator[_Window]:
    if not len(document):
        return
    for start in windows.starts(len(document)):
        stop = min(start + windows.length, len(document))
        ids = np.concatenate([windows.bos if start else windows.opening, document[start:stop]]).astype(np.int64)
        yield _Window(ids, range(begin + start + (windows.overlap if start else 0), begin + stop))


def _of_one_length(windows: list[_Window]) -> Iterator[list[_Window]]:
    batch: list[_Window] = []
    for window in sorted(windows, key=lambda each: len(each.ids), reverse=True):
        if batch and (len(batch) + 1) * len(batch[0].ids) > TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _read(model: GPT, batch: list[_Window]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The places of the tokens that a batch predicts (P,), ln p of each, and whether it is the most likely one."""
    ids = np.zeros((len(batch), len(batch[0].ids)), np.int64)
    is_wanted = np.zeros(ids.shape, bool)
    for row, window in enumerate(batch):  # padding stands behind all that is read, so that nothing attends to it
        ids[row, : len(window.ids)] = window.ids
        is_wanted[row, len(window.ids) - len(window.places) : len(window.ids)] = True
    input_ids = torch.from_numpy(ids).to(model.device)
    wanted = torch.from_numpy(is_wanted[:, 1:]).to(model.device)
    hidden = model.hidden(input_ids[:, :-1])[wanted]  # (P, C)
    found, right = _predicted(model, hidden, input_ids[:, 1:][wanted])
    places = np.concatenate([np.arange(window.places.start, window.places.stop) for window in batch])
    return places, found.float().cpu().numpy(), right.cpu().numpy()


def _predicted(model: GPT, hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """ln p of each target (P,) by hidden states (P, C), and whether it is the most likely token; a part of the logits
    at a time."""
    part = BlockSizes.of(model.config.vocab_size, hidden.device).part
    found, right = [], []
    for some, wanted in zip(torch.split(hidden, part), torch.split(targets, part), strict=True):
        logits = model.logits(some).float()
        at_target = logits.gather(1, wanted[:, None])[:, 0]
        found.append(at_target - logits.logsumexp(1))
        right.append(logits.argmax(1) == wanted)
    return torch.cat(found), torch.cat(right)
