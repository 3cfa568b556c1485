"""Rotary positions in a GGUF file: keys, and for Llama 3 a tensor of what each frequency is divided by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gptsmith.base.errors import ConversionError, shown
from gptsmith.convert.families import Table
from gptsmith.model.config import GPTConfig
from gptsmith.model.position.rotary import RotaryPositionSettings
from gptsmith.model.rotary_scaling import RotaryScaling

DEFAULT_BASE = 10_000.0
DIVISORS = "rope_freqs.weight"
"""The tensor of Llama 3's divisors."""
USUAL_CONTEXTS = (8192, *(2**power for power in range(3, 21)))
LARGEST_GAP = 1e-4
YARN_KEYS = {"rope.scaling.yarn_beta_fast": "fast_rotations", "rope.scaling.yarn_beta_slow": "slow_rotations"}


@dataclass(frozen=True)
class GGUFRotary:
    """The base of the frequencies, and how they are scaled."""

    @property
    def keys(self) -> Sequence[str]:
        scaling = ("type", "factor", "original_context_length", "attn_factor", "yarn_beta_fast", "yarn_beta_slow")
        return ("rope.freq_base", *(f"rope.scaling.{name}" for name in scaling))

    def read(self, config: Mapping[str, Any]) -> Table:
        position: Table = {"kind": "rotary", "base": config.get("rope.freq_base", DEFAULT_BASE)}
        kind = config.get("rope.scaling.type", "none")
        if kind == "none":
            return {"position": position}
        if kind not in ("linear", "yarn"):
            raise ConversionError(f"rope.scaling.type={shown(kind)} is not known (known: none, linear, yarn)")
        factor = config.get("rope.scaling.factor")
        if not isinstance(factor, float) or not 1 <= factor < math.inf:
            raise ConversionError(f"rope.scaling.factor={shown(factor)} (allowed: numbers from 1)")
        position["scaling"] = {"kind": kind, "factor": factor}
        if kind == "yarn":
            trained = config.get("rope.scaling.original_context_length", config.get("context_length"))
            position["scaling"]["original_context_length"] = trained
            magnitude = config.get("rope.scaling.attn_factor", 1.0)
            if magnitude != 1.0:
                position["scaling"]["attention_factor"] = shortest(magnitude * _usual_magnitude(factor))
            position["scaling"] |= {ours: config[key] for key, ours in YARN_KEYS.items() if key in config}
        return {"position": position}

    def write(self, shape: GPTConfig) -> Table:
        position = shape.position
        if not isinstance(position, RotaryPositionSettings):
            return {}
        table: Table = {"rope.freq_base": float(position.base)}
        scaling = position.scaling
        if scaling is None or scaling.kind == "llama3":  # whose frequencies are a tensor
            return table
        table |= {"rope.scaling.type": scaling.kind, "rope.scaling.factor": float(scaling.factor)}
        if scaling.kind == "yarn":
            table["rope.scaling.original_context_length"] = scaling.original_context_length
            # llama.cpp multiplies this by the usual factor.
            table["rope.scaling.attn_factor"] = scaling.magnitude / _usual_magnitude(scaling.factor)
        return table


def divisors(shape: GPTConfig) -> Tensor | None:
    """(D/2), float32: Llama 3's divisor of each frequency; None if the model has another scaling or none."""
    position = shape.position
    if not isinstance(position, RotaryPositionSettings) or position.scaling is None:
        return None
    if position.scaling.kind != "llama3":
        return None
    frequencies = _frequencies(shape.resolved_head_dim, position.base)
    return frequencies / position.scaling.scale(frequencies, position.base)


def scaling_of(divided: Tensor, base: float) -> Table:
    """Llama 3's scaling that divides the frequencies by these numbers (D/2).

    Raises:
        ConversionError: none does.
    """
    frequencies = _frequencies(2 * len(divided), base)
    # The divisors were rounded after some arithmetic.
    factor = float(f"{float(divided.max()):.5g}")
    if factor >= 1 and float(divided.min()) >= 1:
        for low, high, context in _candidates(divided, frequencies, factor):
            table = {
                "kind": "llama3", "factor": factor, "original_context_length": context,
                "low_frequency_factor": low, "high_frequency_factor": high,
            }  # fmt: skip
            found = frequencies / RotaryScaling.parse(table).scale(frequencies, base)
            if bool(((found - divided).abs() <= LARGEST_GAP * divided).all()):
                return table
    raise ConversionError(
        f"{DIVISORS} divides frequencies as no scaling that is known does (known: llama3 with its factor, low and high "
        "frequency factor and first context)"
    )


def _candidates(divided: Tensor, frequencies: Tensor, factor: float) -> Iterator[tuple[float, float, int]]:
    """Low and high frequency factors with the first context: Llama's own, and what two divisors between 1 and the
    factor give where low is 1, since the three stretch together."""
    between = [i for i in range(len(divided)) if 1.001 < float(divided[i]) < 0.999 * factor]
    turns = [float(frequencies[i]) / (2 * math.pi) for i in between]
    kept = [(1 / float(divided[i]) - 1 / factor) / (1 - 1 / factor) for i in between]
    for turn, share in zip(turns, kept, strict=True):
        yield 1.0, 4.0, max(round((share * 3 + 1) / turn), 1)
    yield from ((1.0, 4.0, context) for context in USUAL_CONTEXTS)
    if len(between) > 1 and kept[0] != kept[-1]:
        slope = (kept[0] - kept[-1]) / (turns[0] - turns[-1])  # context / (high - low)
        low_share = slope * turns[0] - kept[0]  # low / (high - low)
        if slope > 0 and low_share > 0:
            span = 1 / low_share
            yield 1.0, shortest(1 + span), max(round(slope * span), 1)


def _frequencies(head_dim: int, base: float) -> Tensor:
    return 1.0 / base ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def _usual_magnitude(factor: float) -> float:
    return 0.1 * math.log(factor) + 1.0


def shortest(number: float) -> float:
    """The shortest decimal that is the same number in float32, in which a GGUF file keeps numbers."""
    return float(str(np.float32(number)))
