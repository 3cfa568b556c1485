"""Guesses of the next tokens. A pass checks several at once, and a guess is kept only where the model would have drawn
the same token itself: the text is the same with guesses and without, at every temperature."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache

LONGEST, SHORTEST = 4, 2
"""How many of the last tokens must have stood together before."""
LOOKED_AT = 2048


def prompt_lookup(ids: Sequence[int], num_tokens: int) -> list[int]:
    """What followed when the last tokens last stood together; nothing where they never did (Saxena 2023)."""
    text = list(ids[-LOOKED_AT:])
    for length in range(min(LONGEST, len(text) - 1), SHORTEST - 1, -1):
        tail = text[-length:]
        for start in range(len(text) - length - 1, -1, -1):
            if text[start : start + length] == tail:
                return text[start + length : start + length + num_tokens]
    return []


class Draft:
    """A smaller model of the same tokenizer that guesses the likeliest next tokens (Leviathan et al. 2023)."""

    def __init__(self, model: GPT) -> None:
        self.model = model.eval()
        self._ids: list[int] = []
        self._cache: Cache | None = None

    @torch.inference_mode()
    def guess(self, ids: Sequence[int], num_tokens: int) -> list[int]:
        """The likeliest tokens after `ids`, token by token; fewer where its own context is full."""
        context = self.model.config.context_length
        num_tokens = min(num_tokens, context - len(ids))
        if num_tokens <= 0:
            return []
        kept = 0
        while kept < min(len(self._ids), len(ids) - 1) and self._ids[kept] == ids[kept]:
            kept += 1
        if self._cache is None:
            dtype = self.model.compute_dtype or self.model.embedding.weight.dtype
            self._cache = Cache(self.model.config, 1, context, dtype=dtype, device=self.model.device)
        self._cache.length = kept
        unread, guesses = list(ids[kept:]), []
        for _ in range(num_tokens):
            hidden = self.model.hidden(torch.tensor([unread], device=self.model.device), cache=self._cache)
            unread = [int(self.model.head(hidden[:, -1]).argmax())]
            guesses += unread
        self._ids = [*ids, *guesses[:-1]]
        return guesses
