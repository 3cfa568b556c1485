"""The keys and values of tokens that were read before."""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.model.config import GPTConfig
from gptsmith.model.layout import Layout

SMALL_BYTES = 1_000_000


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
    """Zeros for the keys and for the values of every layer, (num_rows, K, num_tokens, D) each; anything else might hold
    what is no number.

    Raises:
        UserError: there is too little memory.
    """
    shape = config.attention.cache_shape(config.dims)
    keys, values = (
        [lazy_zeros((num_rows, heads, num_tokens, width), dtype, device) for _ in range(config.num_layers)]
        for heads, width in (shape.keys, shape.values)
    )
    return keys, values


def lazy_zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """Zeros that on a CPU take up memory only where they are written to, page by page: PyTorch's own are written at
    once.

    Raises:
        UserError: there is too little memory.
    """
    num_bytes = math.prod(shape) * dtype.itemsize
    try:
        if torch.device(device).type != "cpu" or num_bytes < SMALL_BYTES:
            return torch.zeros(*shape, dtype=dtype, device=device)
        private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        memory = mmap.mmap(-1, num_bytes, **private)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            with suppress(OSError):  # a kernel without huge pages
                memory.madvise(mmap.MADV_NOHUGEPAGE)  # one would take up 2 MiB at the first byte
        if hasattr(mmap, "MADV_DONTFORK"):
            memory.madvise(mmap.MADV_DONTFORK)  # or no process could be forked, for which there is not as much again
        return torch.frombuffer(memory, dtype=dtype).view(*shape)
    except (OSError, MemoryError, RuntimeError):
        raise UserError(
            f"there is too little memory: {num_bytes / 1e9:.1f} GB for the keys or values of one layer cannot be had: "
            "allow fewer sequences at once, such as --max-num-seqs 1"
        ) from None


def bytes_per_token(config: GPTConfig, dtype: torch.dtype) -> int:
    """The bytes of one token's keys and values in all layers; those of integers have a float32 scale for each head."""
    scale_bytes = 0 if dtype.is_floating_point else torch.float32.itemsize
    shape = config.attention.cache_shape(config.dims)
    heads = sum(heads * (width * dtype.itemsize + scale_bytes) for heads, width in (shape.keys, shape.values))
    return config.num_layers * heads


def discard(values: Tensor) -> None:
    """Writes zeros, and gives the memory back to the system as far as it can take it: on Linux, whole pages of what
    `lazy_zeros` made on a CPU. `values` lie one behind the other."""
    begin = values.data_ptr()
    end = begin + values.nbytes
    first, last = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    is_given = (
        sys.platform == "linux"
        and values.device.type == "cpu"
        and first < last
        and ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED) == 0
    )
    if is_given:  # those pages are zeros now
        size = values.element_size()
        flat = values.view(-1)
        flat[: -(-(first - begin) // size)] = 0
        flat[(last - begin) // size :] = 0
    else:
        values.zero_()
