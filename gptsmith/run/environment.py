"""The environment: everything that a run's numbers depend on besides its settings."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from gptsmith.version import __version__

SWITCHES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR")
"""Variables that change which instructions a processor's libraries use."""


def environment(device: torch.device, dtype: torch.dtype, num_processes: int, sharded: bool = False) -> dict[str, Any]:
    """Everything that decides the last bits of a sum: two runs in the same environment give the same numbers."""
    on_gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "gptsmith": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": on_gpu or device.type,
        "dtype": str(dtype).removeprefix("torch."),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "num_threads": torch.get_num_threads(),
        "num_processes": num_processes,
        **({"sharded": True} if sharded else {}),
        **{name: os.environ[name] for name in SWITCHES if name in os.environ},
    }


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The differences of two environments, each as `num_threads was 2 and is 4`."""
    return [
        f"{key} was {then.get(key, 'not set')} and is {now.get(key, 'not set')}"
        for key in sorted({*then, *now} - {"python"})
        if then.get(key) != now.get(key)
    ]
