"""Embeddings: the mean of the last layer's states over the tokens of a text, read chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import torch

from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache


def embedding_chunks(
    model: GPT, ids: Sequence[int], chunk_size: Callable[[int], int]
) -> Generator[None, None, list[float]]:
    """Reads tokens, and stops after each chunk, so that its caller can do something else in between; returns the mean.

    Args:
        chunk_size: how many tokens may be read at once from a position on.
    """
    dtype = model.dtype
    cache = Cache(model.config, 1, len(ids), dtype=dtype, device=model.device)
    total = torch.zeros(model.config.embed_dim, device=model.device)
    while cache.length < len(ids):
        with torch.inference_mode():
            chunk = list(ids[cache.length : cache.length + chunk_size(cache.length)])
            hidden = model.hidden(torch.tensor([chunk], device=model.device), cache=cache)[0]  # (T, C)
            total = total + hidden.float().sum(dim=0)
        yield
    mean: list[float] = (total / len(ids)).tolist()
    return mean
