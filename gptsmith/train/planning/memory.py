"""The memory that a run will need."""

from __future__ import annotations

from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost

RUNTIME_BYTES = 100_000_000
"""What PyTorch itself allocates once it computes."""
FRAGMENTATION = 1.12
"""Memory of activations, over what the backward pass needs: freed blocks leave gaps."""


def expected_peak_bytes(
    config: GPTConfig, micro_batch_tokens: int, bytes_now: int, optimizer_bytes_per_parameter: int, dtype_bytes: int
) -> int:
    """The peak memory of a run, in a process that has `bytes_now` before the model is made (LOG.md).

    Weights, gradients and optimizer states, with the copy that a checkpoint is written from and a copy of the
    gradients; and the activations that the backward pass needs of a micro-batch.
    """
    figures = cost(config)
    activations = figures.activation_bytes_per_token * dtype_bytes / 4 * micro_batch_tokens
    moving = figures.num_parameters * (4 * 4 + 2 * optimizer_bytes_per_parameter)
    return int(bytes_now + RUNTIME_BYTES + moving + FRAGMENTATION * activations)
