"""The processor that functions are compiled for: its own one, unless numba's settings name another."""

from __future__ import annotations

import platform
from typing import Any, Literal

import numba
from llvmlite import binding

IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
Instructions = Literal["vnni 512", "vnni 256", "words 512", "words 256", "plain"]
"""How integers are multiplied: bytes four by four (VNNI), 16-bit words two by two, or as LLVM sees fit."""


def _features() -> frozenset[str]:
    """The names that LLVM has for what the processor can do."""
    configuration: Any = numba.config
    if configuration.CPU_FEATURES is not None:
        return frozenset(name[1:] for name in configuration.CPU_FEATURES.split(",") if name.startswith("+"))
    if configuration.CPU_NAME not in (None, "host"):
        return frozenset()
    return frozenset(name for name, is_there in binding.get_host_cpu_features().items() if is_there)


def _instructions() -> Instructions:
    if not IS_X86:
        return "plain"
    if "avx512vnni" in FEATURES:
        return "vnni 512"
    if "avxvnni" in FEATURES:
        return "vnni 256"
    if "avx512bw" in FEATURES:
        return "words 512"
    return "words 256" if "avx2" in FEATURES else "plain"


FEATURES = _features()
INSTRUCTIONS: Instructions = _instructions()
READS_HALVES = "f16c" in FEATURES or not IS_X86
"""Whether float16 becomes float32 by an instruction: without one, LLVM would call a function that may not be there."""
