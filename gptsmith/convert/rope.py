"""Rotary positions in a config.json: `rope_theta` with `rope_scaling`, or both as `rope_parameters`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.base.errors import ConversionError, did_you_mean, shown
from gptsmith.convert.families import Table
from gptsmith.model.config import GPTConfig
from gptsmith.model.position.rotary import RotaryPositionSettings

DEFAULT_BASE = 10_000.0
NAMES = {
    "linear": {},
    "llama3": {"low_freq_factor": "low_frequency_factor", "high_freq_factor": "high_frequency_factor"},
    "yarn": {
        "beta_fast": "fast_rotations", "beta_slow": "slow_rotations", "attention_factor": "attention_factor",
        "truncate": "truncate",
    },
}  # fmt: skip
"""The settings of each kind of scaling, under their names and ours."""
PARTIAL = "partial_rotary_factor"
UNKNOWN = ("mscale", "mscale_all_dim")


@dataclass(frozen=True)
class RotaryPart:
    """The base of the frequencies, and how they are scaled.

    Attributes:
        scalings: the kinds of scaling that the family knows.
        is_partial: whether the family knows heads of which a part is rotated.
        base: the base of a config that names none.
    """

    scalings: tuple[str, ...] = tuple(NAMES)
    is_partial: bool = False
    base: float = DEFAULT_BASE

    @property
    def keys(self) -> Sequence[str]:
        return ("rope_theta", "rope_scaling", "rope_parameters")

    def read(self, config: Mapping[str, Any]) -> Table:
        scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if not isinstance(scaling, Mapping):
            raise ConversionError(f"rope_scaling={shown(scaling)} is no table")
        base = scaling.get("rope_theta", config.get("rope_theta", self.base))
        position: Table = {"kind": "rotary", "base": base}
        if self.is_partial:
            position[PARTIAL] = scaling.get(PARTIAL, config.get(PARTIAL, 1.0))
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        unknown = UNKNOWN if self.is_partial else (*UNKNOWN, PARTIAL)
        if odd := [key for key in unknown if scaling.get(key) not in (None, 1, 1.0)]:
            raise ConversionError(f"rope_scaling: {odd[0]}={shown(scaling[odd[0]])} is not known")
        if kind == "default":
            return {"position": position}
        if kind not in self.scalings:
            known = did_you_mean(str(kind), ["default", *self.scalings])
            raise ConversionError(f"rope_scaling: rope_type={shown(kind)} is not known ({known})")
        position["scaling"] = {
            "kind": kind,
            "factor": scaling.get("factor"),
            **{ours: scaling[theirs] for theirs, ours in NAMES[kind].items() if scaling.get(theirs) is not None},
        }
        if kind != "linear":
            trained = scaling.get("original_max_position_embeddings", config.get("max_position_embeddings"))
            position["scaling"]["original_context_length"] = trained
        return {"position": position}

    def write(self, shape: GPTConfig) -> Table:
        position = shape.position
        if not isinstance(position, RotaryPositionSettings):
            return {}
        parameters: Table = {"rope_type": "default"}
        is_scaled = position.scaling is not None and position.scaling.kind in self.scalings
        if position.scaling is not None and is_scaled:
            scaling = position.scaling.plain()
            parameters = {
                "rope_type": position.scaling.kind,
                "factor": position.scaling.factor,
                **{theirs: scaling[ours] for theirs, ours in NAMES[position.scaling.kind].items() if ours in scaling},
            }
            if position.scaling.original_context_length is not None:
                parameters["original_max_position_embeddings"] = position.scaling.original_context_length
        if self.is_partial:
            parameters[PARTIAL] = position.partial_rotary_factor
        # Programs older than rope_parameters read the other two.
        return {
            "rope_theta": position.base,
            "rope_scaling": parameters if is_scaled else None,
            "rope_parameters": {"rope_theta": position.base, **parameters},
        }
