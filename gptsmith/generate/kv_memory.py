"""The memory of a KV cache: the bytes that sequences take, and how long a sequence a bound holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes
from gptsmith.base.machine import free_memory_bytes
from gptsmith.generate.request import ContextOverflowError
from gptsmith.generate.settings import EngineSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import bytes_per_token
from gptsmith.text.tokenizer import TooManyTokensError


@dataclass(frozen=True)
class BlockGroup:
    """Layers that keep the keys and values of the same tokens, and so share a table of blocks.

    Attributes:
        layers: their numbers.
        window: the tokens that they see; None for all.
        block_bytes: the bytes of a block in all of them.
        most_blocks: the most blocks of one sequence.
    """

    layers: Sequence[int]
    window: int | None
    block_bytes: int
    most_blocks: int


@dataclass(frozen=True)
class KVCacheMemory:
    """How a model's keys and values are kept, and the bound on them.

    Attributes:
        groups: its layers.
        block_size: the tokens of a block.
        dtype: the numbers in a block.
        num_bytes: the most bytes of all blocks; None for no bound.
        model_context_length: the most tokens that the model reads.
    """

    groups: Sequence[BlockGroup]
    block_size: int
    dtype: torch.dtype
    num_bytes: int | None
    model_context_length: int

    @classmethod
    def of(cls, config: GPTConfig, dtype: torch.dtype, settings: EngineSettings) -> KVCacheMemory:
        """The memory of the KV cache of a model that computes in a dtype.

        Raises:
            UserError: hardly a sequence would fit.
        """
        dtype = torch.int8 if settings.kv_cache_dtype == "int8" else dtype
        size, num_bytes = settings.kv_block_size, settings.kv_cache_bytes
        layers: dict[int | None, list[int]] = {}
        for layer in range(config.num_layers):
            window = config.attention.visible_tokens(layer, config.context_length)
            layers.setdefault(window if window < config.context_length else None, []).append(layer)
        whole = -(-config.context_length // size)
        # One more than the tokens fill: those of a window and of a pass need not begin where a block does.
        in_pass = max(settings.max_prefill_tokens, 1 + settings.num_speculative_tokens)
        groups = [
            BlockGroup(
                numbers,
                window,
                size * bytes_per_token(config, dtype) * len(numbers) // config.num_layers,
                whole if window is None else min(whole, -(-(window + in_pass) // size) + 1),
            )
            for window, numbers in layers.items()
        ]
        memory = cls(groups, size, dtype, num_bytes, config.context_length)
        if not memory.context_length:
            raise UserError(
                f"a KV cache of {readable_bytes(num_bytes or 0)} holds no block of {size} tokens, which takes "
                f"{readable_bytes(memory.bytes_of(size))}: allow at least that, better "
                f"{readable_bytes(memory.bytes_of(config.context_length))} for a whole context (--kv-cache-memory)"
            )
        return memory

    def num_blocks(self, num_tokens: int) -> list[int]:
        """The most blocks that a sequence of so many tokens takes of each group."""
        return [min(-(-num_tokens // self.block_size), group.most_blocks) for group in self.groups]

    def bytes_of(self, num_tokens: int) -> int:
        """The most bytes that one sequence takes."""
        return self.block_bytes(self.num_blocks(num_tokens))

    def block_bytes(self, num_blocks: Sequence[int]) -> int:
        """The bytes of so many blocks of each group."""
        return sum(count * group.block_bytes for count, group in zip(num_blocks, self.groups, strict=True))

    def most_blocks(self, max_num_seqs: int) -> list[int]:
        """The most blocks of each group that there can be."""
        if self.num_bytes is None:
            return [max_num_seqs * group.most_blocks for group in self.groups]
        return [self.num_bytes // group.block_bytes for group in self.groups]

    @property
    def context_length(self) -> int:
        """The most tokens of one sequence."""
        if self.num_bytes is None or self.bytes_of(self.model_context_length) <= self.num_bytes:
            return self.model_context_length
        longest = self.model_context_length // self.block_size
        fitting = (count for count in range(longest, 0, -1) if self.bytes_of(count * self.block_size) <= self.num_bytes)
        return next(fitting, 0) * self.block_size

    @property
    def is_shorter(self) -> bool:
        """Whether it holds less than one whole context."""
        return self.context_length < self.model_context_length

    @property
    def bound(self) -> str:
        """The bound in words."""
        most = "without a bound" if self.num_bytes is None else f"of up to {readable_bytes(self.num_bytes)}"
        block = f"blocks of {self.block_size} tokens, {readable_bytes(self.bytes_of(self.block_size))} each"
        return f"KV cache {most}, in {block}"

    @property
    def limit(self) -> str:
        """The bound in words: what a whole context needs, and what fits."""
        return (
            f"a context of {self.model_context_length:,} tokens takes "
            f"{readable_bytes(self.bytes_of(self.model_context_length))} of KV cache, and "
            f"{readable_bytes(self.num_bytes or 0)} hold {self.context_length:,} tokens"
        )

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Adds to the error of a prompt that is too long that memory is the reason, where it is."""
        try:
            yield
        except (ContextOverflowError, TooManyTokensError) as error:
            if self.is_shorter:
                error.args = (f"{error}, or give the server a larger --kv-cache-memory: {self.limit}",)
            raise


def cache_dtype(model: GPT) -> torch.dtype:
    """The dtype of a model's keys and values."""
    return model.dtype


def free_bytes(device: torch.device) -> int | None:
    """The memory of a device that is free; None where it is not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_memory_bytes()
