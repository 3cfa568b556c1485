"""The device and the dtype that a model runs in."""

from __future__ import annotations

import functools
import time

import torch

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.machine import num_cpus

DEVICES = ("cpu", "cuda", "mps")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
PROBE_SIZE, PROBE_ROUNDS = 384, 10
"""A product of this size cubed takes well under a millisecond; so many are timed in each dtype."""
WORTH_FLOAT32 = 1.25
"""How many times as long products of bfloat16 must take before they are left: near 1, noise would decide."""


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; for `auto` a GPU if there is one. On a processor, PyTorch gets no more threads than
    the share of it that this process may use.

    Raises:
        ConfigurationError: there is no such device here.
    """
    if torch.get_num_threads() > num_cpus():
        torch.set_num_threads(num_cpus())
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if there["cuda"] else "mps" if there["mps"] else "cpu")
    if not there.get(name.partition(":")[0]):
        available = ", ".join(device for device in DEVICES if there[device])
        raise ConfigurationError(f"no device {name} on this machine (there is: {available}; or auto)")
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of that name; for `auto` bfloat16 where its products are the faster ones, float32 elsewhere.

    Raises:
        ConfigurationError: there is no such dtype.
    """
    if name == "auto":
        return torch.bfloat16 if is_bfloat16_faster(device) else torch.float32
    if name not in DTYPES:
        raise ConfigurationError(f"no dtype {name} (allowed: auto, {', '.join(DTYPES)})")
    return DTYPES[name]


def choose_model_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype that a trained model computes in: the one of that name; float32 for `auto`, whatever its weights are
    kept in, and where the hardware does not multiply bfloat16.

    Raises:
        ConfigurationError: there is no such dtype.
    """
    wanted = torch.float32 if name == "auto" else choose_dtype(name, device)
    return torch.float32 if wanted == torch.bfloat16 and not multiplies_bfloat16(device) else wanted


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the hardware has bfloat16 products; without them they are emulated, many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def is_bfloat16_faster(device: torch.device) -> bool:
    """Whether training is to compute in bfloat16: its products take no longer than those of float32, or hardly so, and
    half the memory. On a GPU they never take longer. A processor is measured: without AMX, Intel's multiply float32 at
    twice the rate of bfloat16, AMD's at half of it."""
    return multiplies_bfloat16(device) and (device.type != "cpu" or _slowdown_of_bfloat16() < WORTH_FLOAT32)


@functools.cache
def _slowdown_of_bfloat16() -> float:
    """How many times as long a product of bfloat16 takes as one of float32 on this processor: the best of some of each,
    in turns, after a first one that prepares the library's code."""
    matrices = {dtype: torch.ones(PROBE_SIZE, PROBE_SIZE, dtype=dtype) for dtype in (torch.bfloat16, torch.float32)}
    best = dict.fromkeys(matrices, float("inf"))
    for attempt in range(1 + PROBE_ROUNDS):
        for dtype, matrix in matrices.items():
            started = time.perf_counter()
            matrix @ matrix
            if attempt:
                best[dtype] = min(best[dtype], time.perf_counter() - started)
    return best[torch.bfloat16] / best[torch.float32]
