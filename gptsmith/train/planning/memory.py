"""The memory that a run will need."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch

from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.kernels.cross_entropy import BlockSizes
from gptsmith.model.memory import PROCESS_BYTES, RUNTIME_BYTES, KeptBytes, weight_bytes

TOKENS_PER_PASS, ADAPTERS_TOKENS_PER_PASS = 2048, 512
"""Micro-batches have about so many tokens: more take memory, and are no faster on a processor. Where adapters alone are
trained, activations are most of the memory, and a pass of few tokens has no large gradient to add."""
MEMORY_SHARE = 0.9
"""Of the memory that is free, at most so much is planned with."""
TRAINER_BYTES = 250_000_000
"""What a process that tunes has beside PyTorch and the model: examples, and what measuring the base leaves."""
PROGRAM_BYTES = 350_000_000
"""What PyTorch comes to hold on a processor for products in bfloat16: a program for each of their shapes, and examples,
evaluations and samples of many lengths have many shapes."""
FRAGMENTATION = 1.12
"""Memory of activations, over what the backward pass needs: freed blocks leave gaps."""


def expected_peak_bytes(
    config: GPTConfig,
    micro_batch_tokens: int,
    bytes_now: int,
    optimizer_bytes_per_parameter: int,
    dtype_bytes: int,
    num_shards: int = 1,
) -> int:
    """The peak memory of a run, in a process that has `bytes_now` before the model is made (LOG.md).

    Weights, gradients and optimizer states, with the copy that a checkpoint is written from and a copy of the
    gradients; and the activations that the backward pass needs of a micro-batch. Of a model that `num_shards` processes
    hold together the former are shards, but for what is gathered to compute.
    """
    figures = cost(config)
    activations = figures.activation_bytes_per_token * dtype_bytes / 4 * micro_batch_tokens
    moving = figures.num_parameters * (4 * 4 + 2 * optimizer_bytes_per_parameter)
    gathered = 4 * gathered_parameters(config) if num_shards > 1 else 0
    return int(bytes_now + RUNTIME_BYTES + moving / num_shards + gathered + FRAGMENTATION * activations)


def gathered_parameters(config: GPTConfig) -> float:
    """The numbers that are gathered at once of a sharded model: weights and gradients of two blocks, one of them before
    it is needed, and of the embeddings, which stay gathered from the forward to the backward pass."""
    outside = config.vocab_size * config.embed_dim * (1 if config.tie_embeddings else 2)
    block = (cost(config).num_parameters - outside) / config.num_layers
    return 2 * (2 * block + outside)


def samples_per_pass(config: GPTConfig, longest_sample: int) -> int:
    """The samples of a micro-batch, where nobody sets them."""
    tokens = ADAPTERS_TOKENS_PER_PASS if config.linear.has_adapters else TOKENS_PER_PASS
    return max(1, tokens // longest_sample)


def head_bytes(config: GPTConfig, longest_sample: int, dtype: torch.dtype, device: torch.device) -> int:
    """The logits, or their gradients, that stand in memory at once, with the gradient of the head's weight."""
    rows = min(BlockSizes.of(config.vocab_size, device).block, longest_sample)
    return config.vocab_size * (rows + config.embed_dim) * dtype.itemsize


def program_bytes(dtype: torch.dtype, device: torch.device) -> int:
    """What PyTorch keeps for the shapes of products in a dtype on a device."""
    return PROGRAM_BYTES if dtype == torch.bfloat16 and device.type == "cpu" else 0


@dataclass(frozen=True)
class TuningMemory:
    """The memory that fine-tuning takes, from what was measured of it, or from the shape of the model.

    Attributes:
        bytes_now: those of the process, with the model and without anything that training adds.
        num_trained: parameters that are trained.
        state_bytes_per_parameter: what the optimizer keeps for each.
        head_bytes: the logits, or their gradients, that stand in memory at once.
        program_bytes: what PyTorch keeps for the shapes of products.
        kept: what stands between the forward and the backward pass.
        longest_sample: tokens of the longest sample.
    """

    bytes_now: int
    num_trained: int
    state_bytes_per_parameter: int
    head_bytes: int
    program_bytes: int
    kept: KeptBytes
    longest_sample: int

    @classmethod
    def of_shape(
        cls,
        config: GPTConfig,
        sample_tokens: int,
        kept: KeptBytes,
        *,
        state_bytes_per_parameter: int,
        dtype: torch.dtype,
        frozen_dtype: torch.dtype,
    ) -> Self:
        """That of a process that tunes a model of this shape on a processor, before the model is loaded.

        Args:
            sample_tokens: of the longest sample.
            dtype: of the products.
            frozen_dtype: of the matrices that are not trained. Those that are trained are float32.
        """
        figures = cost(config)
        is_whole = figures.num_trained_parameters == figures.num_parameters
        return cls(
            bytes_now=PROCESS_BYTES + TRAINER_BYTES + weight_bytes(config, torch.float32 if is_whole else frozen_dtype),
            num_trained=figures.num_trained_parameters,
            state_bytes_per_parameter=state_bytes_per_parameter,
            head_bytes=head_bytes(config, sample_tokens, dtype, torch.device("cpu")),
            program_bytes=program_bytes(dtype, torch.device("cpu")),
            kept=kept,
            longest_sample=sample_tokens,
        )

    @property
    def fixed_bytes(self) -> int:
        """What does not depend on the micro-batch: gradients and states, with the copy that a checkpoint is written
        from."""
        moving = self.num_trained * 2 * (4 + self.state_bytes_per_parameter)
        return self.bytes_now + RUNTIME_BYTES + moving + self.head_bytes + self.program_bytes

    def peak_bytes(self, micro_batch_size: int) -> int:
        """The peak memory with micro-batches of so many samples."""
        activations = FRAGMENTATION * self.kept.per_token * micro_batch_size * self.longest_sample
        return int(self.fixed_bytes + self.kept.of_weights + activations)

    def largest_micro_batch(self, limit_bytes: float, at_most: int) -> int | None:
        """The largest of `at_most` samples, half of them, a quarter, ... that fits; None if none does."""
        size = at_most
        while size >= 1:
            if self.peak_bytes(size) <= limit_bytes:
                return size
            size //= 2
        return None

    def longest_fitting(self, limit_bytes: float) -> int:
        """The longest sample that fits alone, as a power of two of tokens; 0 if none does."""
        left = (limit_bytes - self.fixed_bytes - self.kept.of_weights) / (FRAGMENTATION * max(self.kept.per_token, 1))
        return 2 ** math.floor(math.log2(left)) if left >= 1 else 0
