"""A text read by a model in one pass: of each token whether it would write it, and how probable it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.cross_entropy import BlockSizes
from gptsmith.privacy.readings import Reading, Window

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


def scan(
    model: GPT,
    reading: Reading,
    *,
    seed: int = 0,
    deadline: float = float("inf"),
    observe: Callable[[int], None] = lambda _: None,
) -> Scan:
    """What a model makes of a text.

    Args:
        seed: of the order in which its documents are read.
        deadline: when to stop, by `time.monotonic`: then some documents are not read, or not whole.
        observe: sees the number of tokens read so far.
    """
    log_probabilities = np.full(len(reading.tokens), np.nan, np.float32)
    is_right = np.zeros(len(reading.tokens), bool)
    num_read = 0
    with torch.inference_mode():
        for batch in _batches(reading.windows(seed)):
            if time.monotonic() > deadline:
                break
            places, found, right = _read(model, batch)
            log_probabilities[places], is_right[places] = found, right
            num_read += len(places)
            observe(num_read)
    return Scan(reading.tokens, log_probabilities, is_right)


def _batches(windows: Iterable[Window]) -> Iterator[list[Window]]:
    """All windows, in batches of windows of about one length."""
    windows = iter(windows)
    while some := list(islice(windows, WINDOWS_SORTED)):
        yield from _of_one_length(some)


def _of_one_length(windows: Iterable[Window]) -> Iterator[list[Window]]:
    batch: list[Window] = []
    for window in sorted(windows, key=lambda each: len(each.ids), reverse=True):
        if batch and (len(batch) + 1) * len(batch[0].ids) > TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _read(model: GPT, batch: list[Window]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The places of the tokens that a batch predicts (P,), ln p of each, and whether it is the most likely one."""
    ids = np.zeros((len(batch), len(batch[0].ids)), np.int64)
    is_wanted = np.zeros(ids.shape, bool)
    for row, window in enumerate(batch):  # padding stands behind all that is read, so that nothing attends to it
        ids[row, : len(window.ids)] = window.ids
        is_wanted[row, : len(window.ids)] = window.places >= 0
    input_ids = torch.from_numpy(ids).to(model.device)
    wanted = torch.from_numpy(is_wanted[:, 1:]).to(model.device)
    hidden = model.hidden(input_ids[:, :-1])[wanted]  # (P, C)
    found, right = _predicted(model, hidden, input_ids[:, 1:][wanted])
    places = np.concatenate([window.places[window.places >= 0] for window in batch])
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
