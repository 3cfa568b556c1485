"""The keys and values of tokens that were read before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.model.config import GPTConfig

if TYPE_CHECKING:
    from gptsmith.model.attention import Attention
    from gptsmith.model.position import Positions


class KeysAndValues(Protocol):
    """What attention needs of a cache."""

    def attend(
        self,
        attention: Attention,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None,
        positions: Positions,
    ) -> Tensor:
        """Stores a layer's new keys and values (B, K, T, D), and mixes all that its queries (B, H, T, D) may look at:
        (B, H, T, D)."""


class Cache:
    """Room for the keys and values of `max_length` tokens in every layer. Whoever generates owns it.

    Attributes:
        length: how many tokens it holds. The trunk moves it on after each forward pass.
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
        shape = (batch_size, config.num_kv_heads, max_length, config.resolved_head_dim)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_layers)]
        self.values = [torch.zeros_like(keys) for keys in self.keys]
        self.max_length = max_length
        self.length = 0

    def attend(
        self,
        attention: Attention,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None,
        positions: Positions,
    ) -> Tensor:
        keys, values = self.append(attention.layer, keys, values)
        return attention.mix(queries, keys, values, mask, positions.bias)

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Stores a layer's new keys and values (B, H, T, D); returns all of them so far (B, H, S, D).

        Raises:
            UserError: the cache is full.
        """
        end = self.length + keys.shape[2]
        if end > self.max_length:
            raise UserError(f"{end} tokens do not fit in a cache for {self.max_length}")
        self.keys[layer][:, :, self.length : end] = keys
        self.values[layer][:, :, self.length : end] = values
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]
