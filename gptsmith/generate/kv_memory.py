"""The memory of a KV cache: how many bytes a token takes, and how many tokens a bound holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf

import torch

from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes
from gptsmith.base.machine import free_memory_bytes
from gptsmith.generate.request import ContextOverflowError
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import bytes_per_token
from gptsmith.text.tokenizer import TooManyTokensError

FEWEST_TOKENS = 64
"""A cache that holds fewer, and not the whole context, is of no use."""


@dataclass(frozen=True)
class KVCacheMemory:
    """The bound on a KV cache.

    Attributes:
        num_bytes: the most bytes of all keys and values; None for no bound.
        bytes_per_token: the bytes of one token's keys and values in all layers.
        model_context_length: the most tokens that the model reads.
    """

    num_bytes: int | None
    bytes_per_token: int
    model_context_length: int

    @classmethod
    def of(cls, model: GPT, num_bytes: int | None) -> KVCacheMemory:
        """The bound for a model.

        Raises:
            UserError: hardly a sequence would fit.
        """
        config: GPTConfig = model.config
        memory = cls(num_bytes, bytes_per_token(config, cache_dtype(model)), config.context_length)
        if memory.max_tokens < min(FEWEST_TOKENS, config.context_length):
            raise UserError(
                f"a KV cache of {readable_bytes(num_bytes or 0)} holds {memory.max_tokens} tokens, of "
                f"{readable_bytes(memory.bytes_per_token)} each: allow at least "
                f"{readable_bytes(FEWEST_TOKENS * memory.bytes_per_token)}, better "
                f"{readable_bytes(config.context_length * memory.bytes_per_token)} for a whole context "
                "(--kv-cache-memory)"
            )
        return memory

    @property
    def max_tokens(self) -> float:
        """The most tokens of all sequences together."""
        return inf if self.num_bytes is None else self.num_bytes // self.bytes_per_token

    @property
    def context_length(self) -> int:
        """The most tokens of one sequence."""
        return int(min(self.model_context_length, self.max_tokens))

    @property
    def is_shorter(self) -> bool:
        """Whether it holds less than one whole context."""
        return self.context_length < self.model_context_length

    @property
    def limit(self) -> str:
        """The bound in words: what a whole context needs, and what fits."""
        needed = self.model_context_length * self.bytes_per_token
        return (
            f"a context of {self.model_context_length:,} tokens takes {readable_bytes(needed)} of KV cache, and "
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
