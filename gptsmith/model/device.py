"""The device and the dtype that a model runs in."""

from __future__ import annotations

import functools

import torch

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.machine import num_cpus, processor_name

DEVICES = ("cpu", "cuda", "mps")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


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
    """Whether training is to compute in bfloat16: where the hardware multiplies it, but for Intel's processors without
    AMX, whose products of float32 are twice as fast (LOG.md). It is told by the processor and not measured, so that
    all processes of a run decide alike, and so does one that resumes it."""
    is_slow = device.type == "cpu" and _is_intel() and not torch.cpu._is_amx_tile_supported()
    return multiplies_bfloat16(device) and not is_slow


@functools.cache
def _is_intel() -> bool:
    return "Intel" in processor_name()
