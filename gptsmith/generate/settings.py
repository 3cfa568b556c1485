"""The bounds of an engine."""

from __future__ import annotations

import sys
from math import inf
from typing import Literal

from pydantic import Field

from gptsmith.base.settings import Settings

EngineName = Literal["auto", "torch", "native"]
KVCacheDtype = Literal["auto", "int8"]


class EngineSettings(Settings):
    """The bounds of an engine."""

    engine: EngineName = "torch"
    """The decoder: PyTorch, or compiled code (native), which only some models and processors have; auto takes it where
    it can be had."""
    max_num_seqs: int = Field(default=16, gt=0)
    """Sequences that run at the same time; others wait."""
    max_queue_size: int = Field(default=256, ge=0)
    """Sequences that may wait; more are refused."""
    kv_cache_bytes: int | None = Field(default=None, gt=0)
    """The most memory for the keys and values of all sequences. One that does not fit beside the others waits; by
    default they take what they need."""
    kv_cache_dtype: KVCacheDtype = "auto"
    """The numbers in which keys and values are kept: those in which the model computes, or integers of 8 bits with a
    scale for each token and head."""
    kv_block_size: int = Field(default=64, gt=0)
    """Tokens of a block of the KV cache."""
    max_prefill_tokens: int = Field(default=512, gt=0)
    """The most prompt tokens that one step reads (chunked prefill)."""
    max_prefill_slowdown: float = Field(default=2.8, gt=1)
    """While sequences are decoded, a step that also reads a prompt may take this many times as long as one without."""
    num_speculative_tokens: int = Field(default=4, ge=0)
    """The most tokens of a sequence that are proposed and verified in one step; 0 turns speculative decoding off."""
    speculative_max_batch_size: int = Field(default=2, ge=0)
    """Nothing is proposed while more sequences than this are decoded: then a step has enough to do."""


BATCH = EngineSettings(max_num_seqs=64, max_queue_size=sys.maxsize, max_prefill_tokens=2048, max_prefill_slowdown=inf)
"""Those of an engine for many texts, of which nobody reads one as it grows."""
