"""Sliding windows in a config.json, which are the bands of `sliding_window` attention here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.base.errors import ConversionError
from gptsmith.convert.families import Table, size_of
from gptsmith.model.attention.sliding_window import SlidingWindowAttentionSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.dims import MOST_LAYERS

SLIDING, FULL = "sliding_attention", "full_attention"


@dataclass(frozen=True)
class EveryLayer:
    """Mistral's: where there is a window, all layers have it."""

    @property
    def keys(self) -> Sequence[str]:
        return ("sliding_window",)

    def read(self, config: Mapping[str, Any]) -> Table:
        window = config.get("sliding_window")
        if window is None or window >= config.get("max_position_embeddings", 0):
            return {"attention": {"kind": "full"}}
        return {"attention": {"kind": "sliding_window", "window_size": window, "layers": "all"}}

    def write(self, shape: GPTConfig) -> Table:
        attention = shape.attention
        return {
            "sliding_window": attention.window_size if isinstance(attention, SlidingWindowAttentionSettings) else None
        }


@dataclass(frozen=True)
class SomeLayers:
    """Qwen's: windows are switched on, and each layer is of one type or the other."""

    @property
    def keys(self) -> Sequence[str]:
        return ("use_sliding_window", "sliding_window", "max_window_layers", "layer_types")

    def read(self, config: Mapping[str, Any]) -> Table:
        if not config.get("use_sliding_window"):
            return {"attention": {"kind": "full"}}
        count = size_of(config, "num_hidden_layers", MOST_LAYERS)
        first = config.get("max_window_layers", count)
        types = config.get("layer_types") or [SLIDING if layer >= first else FULL for layer in range(count)]
        if len(types) != count or not set(types) <= {SLIDING, FULL}:
            raise ConversionError(f"layer_types names {len(types)} layers of {count}, or a type that is not known")
        layers = [layer for layer, kind in enumerate(types) if kind == SLIDING]
        return {"attention": {"kind": "sliding_window", "window_size": config["sliding_window"], "layers": layers}}

    def write(self, shape: GPTConfig) -> Table:
        attention = shape.attention
        if not isinstance(attention, SlidingWindowAttentionSettings):
            return {"use_sliding_window": False, "sliding_window": None, "layer_types": [FULL] * shape.num_layers}
        sliding_window = [attention.is_windowed(layer) for layer in range(shape.num_layers)]
        return {
            "use_sliding_window": True,
            "sliding_window": attention.window_size,
            "layer_types": [SLIDING if yes else FULL for yes in sliding_window],
            "max_window_layers": sliding_window.index(True) if True in sliding_window else shape.num_layers,
        }


@dataclass(frozen=True)
class EveryOtherLayer:
    """gpt-oss's and Gemma 2's: each layer is of one type or the other; without a list, every other one from the first
    on has a window."""

    @property
    def keys(self) -> Sequence[str]:
        return ("sliding_window", "layer_types")

    def read(self, config: Mapping[str, Any]) -> Table:
        count, window = size_of(config, "num_hidden_layers", MOST_LAYERS), config.get("sliding_window")
        types = config.get("layer_types") or [FULL if layer % 2 else SLIDING for layer in range(count)]
        if not isinstance(types, list) or len(types) != count or not {*map(str, types)} <= {SLIDING, FULL}:
            raise ConversionError(f"layer_types does not name {count} layers, each {SLIDING} or {FULL}")
        layers = [layer for layer, kind in enumerate(types) if kind == SLIDING]
        if window is None or not layers:
            return {"attention": {"kind": "full"}}
        return {"attention": {"kind": "sliding_window", "window_size": window, "layers": layers}}

    def write(self, shape: GPTConfig) -> Table:
        attention, layers = shape.attention, range(shape.num_layers)
        if not isinstance(attention, SlidingWindowAttentionSettings):
            # Transformers wants a window even of a model that has none.
            return {"sliding_window": shape.context_length, "layer_types": [FULL for _ in layers]}
        return {
            "sliding_window": attention.window_size,
            "layer_types": [SLIDING if attention.is_windowed(layer) else FULL for layer in layers],
        }
