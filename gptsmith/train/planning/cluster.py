"""What training would take on many GPUs: memory, time and GPU hours, from a model of compute and network.

Nothing is measured here. Every number that is assumed has a name below, and docs/parallel.md compares the result with
published runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gptsmith.base.errors import ConfigurationError, did_you_mean
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.memory import PROCESS_BYTES, RUNTIME_BYTES

COMPUTE_SHARE = 0.45
"""Of the peak of dense products in 16 bits that a whole training step reaches, without waiting for the network."""
BACKWARD_SHARE = 2 / 3
"""Of a step, during which gradients can be sent."""
MEMORY_SHARE = 0.9
"""Of a GPU's memory, at most so much is planned with."""
RESERVED_BYTES = 2_000_000_000
"""CUDA's context and NCCL's buffers."""
FRAGMENTATION = 1.12
STATE_BYTES, GRADIENT_BYTES, WEIGHT_BYTES, BLOCK_WEIGHT_BYTES, ACTIVATION_SHARE = 16, 4, 4, 2, 0.5
"""Bytes per parameter of weights, gradients and Adam's two moments in float32; of the gradients that are summed; of the
weights that are gathered outside of blocks and in blocks, which compute in 16 bits; and activations in 16 bits, as a
share of float32."""
CHECKPOINT_BYTES = 12
"""Bytes per parameter of the copy that a checkpoint is written from: weights and moments."""
RECOMPUTED = 4 / 3
"""FLOPs of a step with gradient checkpointing, over those without."""
TOKENS_PER_PARAMETER = 20
"""Tokens to train on where nobody says (Hoffmann et al. 2022)."""
STEP_TOKENS = ((1e9, 500_000), (1e10, 1_000_000), (3e10, 2_000_000), (math.inf, 3_200_000))
"""Tokens of a step, by the most parameters that they are for, as in table 2.1 of Brown et al. 2020."""


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU, in hosts as they are usually sold.

    Attributes:
        flops_per_s: of dense products in 16 bits.
        host_bytes_per_s: one way between GPUs of a host.
        network_bytes_per_s: one way between hosts, for each GPU.
    """

    flops_per_s: float
    memory_bytes: float
    host_bytes_per_s: float
    network_bytes_per_s: float
    gpus_per_host: int = 8


GPUS = {
    "v100": Gpu(125e12, 32e9, 150e9, 3.1e9),
    "a100-40g": Gpu(312e12, 40e9, 300e9, 25e9),
    "a100": Gpu(312e12, 80e9, 300e9, 25e9),
    "h100": Gpu(989e12, 80e9, 450e9, 50e9),
    "h200": Gpu(989e12, 141e9, 450e9, 50e9),
    "b200": Gpu(2250e12, 180e9, 900e9, 50e9),
    "l40s": Gpu(362e12, 48e9, 32e9, 12.5e9),
    "rtx4090": Gpu(165e12, 24e9, 32e9, 3.1e9, gpus_per_host=4),
}
"""From their makers' data sheets; the networks are those that such hosts usually have."""


@dataclass(frozen=True)
class Way:
    """A way to divide a model among GPUs.

    Attributes:
        name: `ddp`, `fsdp` or `hsdp`.
        num_shards: GPUs that hold one copy together.
    """

    name: str
    num_shards: int


def plan_on_gpus(
    config: GPTConfig,
    *,
    gpu: str,
    num_gpus: int,
    num_tokens: float | None = None,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """What training a model on several GPUs takes, by each way to divide it.

    Args:
        gpu: one of `GPUS`.
        num_tokens: to train on; 20 per parameter if None.
        batch_size: sequences per step; as large as is usual for the model if None.

    Returns:
        num_parameters, num_tokens, tokens_per_step, num_steps, gpu, num_gpus; `best`, the name of the fastest way that
        fits, or None; and `ways`, each with its name, shard_size, fits, memory_bytes_per_gpu, host_memory_bytes_per_gpu
        (the most of a process), micro_batch_size, gradient_checkpointing, seconds_per_step, tokens_per_second, mfu,
        network_share (of the time, waiting for the network), hours and gpu_hours.

    Raises:
        ConfigurationError: there is no such GPU, or the GPUs cannot share a batch.
    """
    if gpu not in GPUS:
        raise ConfigurationError(f"no such GPU: {gpu} ({did_you_mean(gpu, GPUS)})")
    kind, figures = GPUS[gpu], cost(config)
    tokens = num_tokens or TOKENS_PER_PARAMETER * figures.num_parameters
    if batch_size is None:
        usual = next(tokens for most, tokens in STEP_TOKENS if figures.num_parameters < most)
        batch_size = max(1, round(usual / config.context_length / num_gpus)) * num_gpus
    elif batch_size % num_gpus:
        below = batch_size - batch_size % num_gpus
        nearest = " or ".join(str(size) for size in (below, below + num_gpus) if size)
        raise ConfigurationError(f"{num_gpus} GPUs cannot share a batch of {batch_size} evenly: make it {nearest}")
    tokens_per_step = batch_size * config.context_length
    num_steps = max(1, round(tokens / tokens_per_step))
    share = batch_size // num_gpus
    ways = [_planned(way, config, kind, num_gpus, share, num_steps) for way in _ways(config, kind, num_gpus, share)]
    fitting = [way for way in ways if way["fits"]]
    return {
        "num_parameters": figures.num_parameters,
        "num_tokens": num_steps * tokens_per_step,
        "tokens_per_step": tokens_per_step,
        "num_steps": num_steps,
        "gpu": gpu,
        "num_gpus": num_gpus,
        "best": min(fitting, key=lambda way: way["hours"])["name"] if fitting else None,
        "ways": ways,
    }


def _ways(config: GPTConfig, gpu: Gpu, num_gpus: int, sequences: int) -> Iterator[Way]:
    """Data parallel; sharded over all; and sharded over the fewest hosts that hold the model."""
    yield Way("ddp", 1)
    if num_gpus > 1:
        yield Way("fsdp", num_gpus)
    sizes = [size for size in range(gpu.gpus_per_host, num_gpus, gpu.gpus_per_host) if num_gpus % size == 0]
    if sizes:
        grouped = [Way("hsdp", size) for size in sizes]
        yield next((way for way in grouped if _fitted(way, config, gpu, sequences)[3]), grouped[-1])


def _planned(way: Way, config: GPTConfig, gpu: Gpu, num_gpus: int, sequences: int, num_steps: int) -> dict[str, Any]:
    """The figures of one way; each GPU reads `sequences` in a step."""
    size, checkpointing, memory_bytes, fits = _fitted(way, config, gpu, sequences)
    tokens = sequences * config.context_length
    flops = tokens * cost(config).training_flops_per_token
    compute_s = flops * (RECOMPUTED if checkpointing else 1.0) / (gpu.flops_per_s * COMPUTE_SHARE)
    waiting_s = _waiting_s(way, config, gpu, num_gpus, compute_s, math.ceil(sequences / size))
    step_s = compute_s + waiting_s
    hours = num_steps * step_s / 3600
    return {
        "name": way.name,
        "shard_size": way.num_shards,
        "fits": fits,
        "memory_bytes_per_gpu": int(memory_bytes),
        "host_memory_bytes_per_gpu": int(_host_memory_bytes(way, config)),
        "micro_batch_size": size,
        "gradient_checkpointing": checkpointing,
        "seconds_per_step": step_s,
        "tokens_per_second": num_gpus * tokens / step_s,
        "mfu": flops / step_s / gpu.flops_per_s,
        "network_share": waiting_s / step_s,
        "hours": hours,
        "gpu_hours": hours * num_gpus,
    }


def _fitted(way: Way, config: GPTConfig, gpu: Gpu, sequences: int) -> tuple[int, bool, float, bool]:
    """The largest micro-batch that fits, with gradient checkpointing if none fits without, the memory that it takes,
    and whether anything fits."""
    sizes = [sequences // parts for parts in range(1, sequences + 1) if sequences % parts == 0]
    for checkpointing in (False, True):
        for size in sizes:
            memory_bytes = _memory_bytes(way, config, size, checkpointing=checkpointing)
            if memory_bytes <= MEMORY_SHARE * gpu.memory_bytes:
                return size, checkpointing, memory_bytes, True
    return 1, True, memory_bytes, False


def _memory_bytes(way: Way, config: GPTConfig, micro_batch_size: int, *, checkpointing: bool) -> float:
    """The peak memory of a GPU."""
    figures = cost(config)
    states = figures.num_parameters * STATE_BYTES / way.num_shards
    outside = _outside_blocks(config)
    block = (figures.num_parameters - outside) / config.num_layers
    # Two blocks are gathered at once, one of them before it is needed, with gradients of their own dtype, one of which
    # is summed in float32; the embeddings stay gathered, with gradients.
    of_blocks = block * (2 * 2 * BLOCK_WEIGHT_BYTES + GRADIENT_BYTES)
    gathered = 0.0 if way.num_shards == 1 else of_blocks + outside * (WEIGHT_BYTES + GRADIENT_BYTES)
    per_token = figures.activation_bytes_per_token * ACTIVATION_SHARE
    if checkpointing:
        per_token = per_token / config.num_layers + 2 * config.embed_dim * config.num_layers
    activations = FRAGMENTATION * per_token * micro_batch_size * config.context_length
    return RESERVED_BYTES + states + gathered + activations


def _outside_blocks(config: GPTConfig) -> int:
    """The parameters of embedding and head."""
    return config.vocab_size * config.embed_dim * (1 if config.tie_embeddings else 2)


def _host_memory_bytes(way: Way, config: GPTConfig) -> float:
    """The most memory of a host that the process of a GPU takes: the copy that a checkpoint is written from, and before
    it the first weights, whole or, where they are sharded, one whole parameter at a time."""
    held = cost(config).num_parameters * CHECKPOINT_BYTES / way.num_shards
    largest = 0 if way.num_shards == 1 else config.vocab_size * config.embed_dim * WEIGHT_BYTES
    return PROCESS_BYTES + RUNTIME_BYTES + max(held, largest)


def _waiting_s(way: Way, config: GPTConfig, gpu: Gpu, num_gpus: int, compute_s: float, num_passes: int) -> float:
    """The part of a step in which GPUs wait for the network, since computing does not hide it.

    A ring sends (n - 1) / n of a tensor to gather it or to sum it into shards, twice that to sum it everywhere.
    """
    if num_gpus == 1:
        return 0.0
    num_parameters = cost(config).num_parameters
    between = gpu.network_bytes_per_s if num_gpus > gpu.gpus_per_host else gpu.host_bytes_per_s
    share = (num_gpus - 1) / num_gpus
    if way.num_shards == 1:  # gradients are summed once a step, behind the backward pass
        sent_s = 2 * share * num_parameters * GRADIENT_BYTES / between
        return max(0.0, sent_s - BACKWARD_SHARE * compute_s / num_passes)
    # Blocks are gathered before each forward and backward pass, and what is outside of them once for both; gradients
    # are summed into shards after the latter.
    outside = _outside_blocks(config)
    gathered = (num_parameters - outside) * 2 * BLOCK_WEIGHT_BYTES + outside * WEIGHT_BYTES
    sent = (gathered + num_parameters * GRADIENT_BYTES) * num_passes
    if way.num_shards == num_gpus:
        return max(0.0, share * sent / between - compute_s)
    shards = way.num_shards
    within = gpu.network_bytes_per_s if shards > gpu.gpus_per_host else gpu.host_bytes_per_s
    sent_s = (shards - 1) / shards * sent / within
    copies = num_gpus // shards
    summed_s = 2 * (copies - 1) / copies * num_parameters / shards * GRADIENT_BYTES / between
    return max(0.0, sent_s + summed_s - compute_s)
