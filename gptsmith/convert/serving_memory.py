"""The memory that it takes to talk to a model, before a weight of it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch

from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes
from gptsmith.base.hints import shell_command
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.device import DTYPES
from gptsmith.model.kv_cache import bytes_per_token
from gptsmith.model.linear.dense import DenseLinearSettings
from gptsmith.model.linear.int8 import Int8LinearSettings
from gptsmith.model.memory import PROCESS_BYTES, RUNTIME_BYTES, weight_bytes

FEWEST_TOKENS = 64
"""A model that can read no more is of no use."""
SHARE_WIDENED = 0.25
"""Weights of half the size become float32 if they then take no more than so much of the free memory."""


@dataclass(frozen=True)
class ServingMemory:
    """The memory of a model that is talked to.

    Attributes:
        weight_bytes: its weights.
        cache_bytes_per_token: the keys and values of one token, in all layers.
    """

    weight_bytes: int
    cache_bytes_per_token: int

    @classmethod
    def of(cls, config: GPTConfig, weights: torch.dtype, products: torch.dtype = torch.float32) -> Self:
        """That of a model of a shape, whose matrices are kept in the dtype `weights`, and which computes in
        `products`."""
        return cls(weight_bytes(config, weights), bytes_per_token(config, products))

    def added_bytes(self, num_tokens: int) -> int:
        """The bytes on top of those of a process that is ready to load it, with so many tokens in the KV cache."""
        return RUNTIME_BYTES + self.weight_bytes + num_tokens * self.cache_bytes_per_token

    def peak_bytes(self, num_tokens: int) -> int:
        """The memory of the whole process, with so many tokens in the KV cache."""
        return PROCESS_BYTES + self.added_bytes(num_tokens)


def kept_in_memory(
    config: GPTConfig, stored: Mapping[str, int], dtype: str, device: torch.device, free: int | None
) -> tuple[GPTConfig, torch.dtype]:
    """The shape that a model has in memory, which is dense where its blocks are dequantized, and the dtype of its
    matrices.

    Args:
        stored: the number of its parameters by the dtype that its files hold them in.
        dtype: the one that is requested. `auto` is float32 where that takes no more than a quarter of the free memory;
            otherwise bfloat16 stays what it is. float64 is for the products alone.
        free: the bytes of memory that are free; None if they are not known.
    """
    fits = torch.float32.itemsize * cost(config).num_parameters <= SHARE_WIDENED * (free or 0)
    linear = config.linear
    is_dequantized = linear.is_storage and (dtype in DTYPES or (fits and not linear.is_fast_on(device)))
    shape = config.model_copy(update={"linear": DenseLinearSettings()}) if is_dequantized else config
    if dtype in ("float32", "bfloat16"):
        return shape, DTYPES[dtype]
    comes_halved = stored.get("bfloat16", 0) > stored.get("float32", 0)
    stays_halved = comes_halved and (dtype != "auto" or not fits)
    return shape, torch.bfloat16 if stays_halved else torch.float32


def require_memory(place: str, config: GPTConfig, weights: torch.dtype, free: int | None) -> None:
    """Checks that there is memory for a model, before it is loaded.

    Args:
        place: its name, for the message.
        weights: the dtype that its matrices are kept in.

    Raises:
        UserError: there is not; the message says how much is needed, how much is free, and the nearest that fits.
    """
    num_tokens = min(FEWEST_TOKENS, config.context_length)
    needed = ServingMemory.of(config, weights).added_bytes(num_tokens)
    if free is None or needed <= free:
        return
    name = str(weights).removeprefix("torch.")
    raise UserError(
        f"{place} takes {readable_bytes(needed)} of memory in {name}, and {readable_bytes(free)} are free: "
        f"{nearest(place, config, weights, free)}"
    )


def nearest(place: str, config: GPTConfig, weights: torch.dtype, free: int) -> str:
    """The nearest way in which a model, which does not fit as it is, fits into memory."""
    num_tokens = min(FEWEST_TOKENS, config.context_length)

    def fitting(shape: GPTConfig) -> str | None:
        needed = ServingMemory.of(shape, torch.bfloat16).added_bytes(num_tokens)
        return readable_bytes(needed) if needed <= free else None

    if weights != torch.bfloat16 and not config.linear.is_storage and (size := fitting(config)):
        return f"give --dtype bfloat16, with which it takes {size}"
    is_dense = config.linear.kind == "dense"
    if is_dense and (size := fitting(config.model_copy(update={"linear": Int8LinearSettings()}))):
        command = shell_command("compress", place, "--to", "int8")
        return f"quantize it where there is more memory ({command}); that copy takes {size} with --dtype bfloat16"
    left = max(0, free - RUNTIME_BYTES) // torch.bfloat16.itemsize
    return f"end other programs, or take a smaller model: {left / 1e6:,.0f} million parameters fit in bfloat16"
