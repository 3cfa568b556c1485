"""The keys and values of tokens that were read before."""

from __future__ import annotations

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.model.config import GPTConfig
from gptsmith.model.layout import Layout


class Cache:
    """Room for the keys and values of `max_length` tokens in every layer. Whoever generates owns it.

    Attributes:
        keys: one tensor a layer, (B, K, S, D), in the shape that the attention's settings give.
        values: the same.
        length: how many tokens it holds.
    """

    def __init__(
        self,
        config: GPTConfig,
        batch_size: int,
        max_length: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.keys, self.values = empty_layers(config, batch_size, max_length, dtype, device)
        self.max_length = max_length
        self.length = 0

    def layout(self, num_tokens: int, attention_mask: Tensor | None) -> Layout:
        return Layout.causal(num_tokens, self.keys[0].device, past=self.length, attention_mask=attention_mask)

    def update(self, layer: int, keys: Tensor, values: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Stores a layer's new keys and values (B, K, T, D); returns all of them so far (B, K, S, D).

        Raises:
            UserError: the cache is full.
        """
        end = self.length + keys.shape[2]
        if end > self.max_length:
            raise UserError(f"{end} tokens do not fit in a cache for {self.max_length}")
        self.keys[layer][:, :, self.length : end] = keys
        self.values[layer][:, :, self.length : end] = values
        return [(self.keys[layer][:, :, :end], self.values[layer][:, :, :end])]

    def advance(self, num_tokens: int) -> None:
        self.length += num_tokens


def empty_layers(
    config: GPTConfig, num_rows: int, num_tokens: int, dtype: torch.dtype, device: torch.device | str
) -> tuple[list[Tensor], list[Tensor]]:
    """Zeros for the keys and for the values of every layer, (num_rows, K, num_tokens, D) each. Zeros cost no memory
    before they are written to; anything else might hold what is no number."""
    shape = config.attention.cache_shape(config.dims)
    keys, values = (
        [torch.zeros(num_rows, heads, num_tokens, width, dtype=dtype, device=device) for _ in range(config.num_layers)]
        for heads, width in (shape.keys, shape.values)
    )
    return keys, values
