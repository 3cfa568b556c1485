"""Many changed forms of one context, read together: what they begin with in common is read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache, bytes_per_token

TOKENS_AT_ONCE = 2048
CACHE_BYTES = 128 << 20
SAME_LENGTH = 0.8
"""Rows are read together if none is shorter than this share of the longest."""

Observe = Callable[[int, int], None]


def seen_by_nobody(num_read: int, num_asked: int) -> None:
    """Does nothing."""


class Reader:
    """Reads changed forms of one context.

    A token that is taken away is deleted, so that those behind it move up: this is right for every kind of attention
    and position, and reads less than a mask would.

    Attributes:
        ids: the context as it is.
    """

    def __init__(self, model: GPT, ids: Sequence[int], observe: Observe = seen_by_nobody) -> None:
        """
        Raises:
            UserError: it is longer than the model's context.
        """
        if len(ids) > model.config.context_length:
            raise UserError(
                f"{len(ids):,} tokens do not fit in the model's context of {model.config.context_length:,}: explain a "
                "shorter prompt or an earlier word"
            )
        self.model, self.ids = model, tuple(ids)
        self._cache: Cache | None = None
        self._observe, self._num_read, self._num_asked = observe, 0, 0

    @torch.inference_mode()
    def last_states(self, rows: Sequence[Sequence[int]], num_last: int = 1) -> Tensor:
        """The last hidden states (N, num_last, C) of each of N contexts, at least one, in order."""
        self._num_asked += len(rows)
        found: list[Tensor] = [torch.empty(0)] * len(rows)
        for numbers, prefix in self._batches(rows, num_last):
            suffixes = [rows[number][prefix:] for number in numbers]
            ids = torch.zeros(len(numbers), max(map(len, suffixes)), dtype=torch.long)
            for row, suffix in enumerate(suffixes):
                ids[row, : len(suffix)] = torch.tensor(suffix)  # causal: padding on the right is seen by none
            hidden = self.model.hidden(ids.to(self.model.device), cache=self._beginning(len(numbers), prefix, ids))
            for row, (number, suffix) in enumerate(zip(numbers, suffixes, strict=True)):
                found[number] = hidden[row, len(suffix) - num_last : len(suffix)].clone()
            self._num_read += len(numbers)
            self._observe(self._num_read, self._num_asked)
        return torch.stack(found)

    def _batches(self, rows: Sequence[Sequence[int]], num_last: int) -> Iterator[tuple[list[int], int]]:
        """The numbers of rows that are read together, and how many tokens they have in common with the context."""
        shared = {}
        for number, row in enumerate(rows):
            common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(row, self.ids, strict=False)))
            shared[number] = min(common, len(row) - num_last)
        rest = sorted(shared, key=lambda number: len(rows[number]) - shared[number], reverse=True)
        most_rows = CACHE_BYTES // (bytes_per_token(self.model.config, self.model.dtype) * len(self.ids) or 1)
        while rest:
            longest = len(rows[rest[0]]) - shared[rest[0]]
            num_rows = max(1, min(TOKENS_AT_ONCE // longest, most_rows))
            some = [n for n in rest[:num_rows] if len(rows[n]) - shared[n] >= SAME_LENGTH * longest]
            prefix = min(shared[number] for number in some)
            yield some, prefix
            rest = rest[len(some) :]

    def _beginning(self, num_rows: int, prefix: int, ids: Tensor) -> Cache | None:
        """A cache for some rows that begin with so many tokens of the context; None if with none."""
        if not prefix:
            return None
        whole = self._whole()
        made = Cache(
            self.model.config, num_rows, prefix + ids.shape[1], dtype=self.model.dtype, device=self.model.device
        )
        for layer in range(self.model.config.num_layers):
            made.keys[layer][:, :, :prefix] = whole.keys[layer][:, :, :prefix]
            made.values[layer][:, :, :prefix] = whole.values[layer][:, :, :prefix]
        made.length = prefix
        return made

    def _whole(self) -> Cache:
        """The keys and values of the context, computed once."""
        if self._cache is None:
            model = self.model
            self._cache = Cache(model.config, 1, len(self.ids), dtype=model.dtype, device=model.device)
            model.hidden(torch.tensor([self.ids], device=model.device), cache=self._cache)
        return self._cache
