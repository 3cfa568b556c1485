"""SmolLM3: Llama with layers that do not rotate, usually every fourth (Hugging Face 2025; Yang et al. 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.base.errors import ConversionError
from gptsmith.convert.families import Family, GGUFArchitecture, Setting, Table, size_of
from gptsmith.convert.families.llama import EXTRA, FIXED, SHAPE, WEIGHTS
from gptsmith.convert.rope import RotaryPart
from gptsmith.convert.window import FULL, SLIDING, SomeLayers
from gptsmith.model.config import GPTConfig
from gptsmith.model.dims import MOST_LAYERS
from gptsmith.model.position.rotary import RotaryPositionSettings


@dataclass(frozen=True)
class RotatedLayers:
    """`no_rope_layers`, which says 1 of a layer that rotates, and 0 of one that does not."""

    @property
    def keys(self) -> Sequence[str]:
        return ("no_rope_layers", "no_rope_layer_interval")

    def read(self, config: Mapping[str, Any]) -> Table:
        rotates = _rotates(config)
        layers = [layer for layer, yes in enumerate(rotates) if yes]
        return {"position": {"layers": "all" if all(rotates) else layers}}

    def write(self, shape: GPTConfig) -> Table:
        if not isinstance(shape.position, RotaryPositionSettings):
            return {}
        layers = shape.position.layers
        return {"no_rope_layers": [int(layers == "all" or layer in layers) for layer in range(shape.num_layers)]}


def _rotates(config: Mapping[str, Any]) -> list[int]:
    """1 or 0 for each layer."""
    count, interval = size_of(config, "num_hidden_layers", MOST_LAYERS), config.get("no_rope_layer_interval", 4)
    if not isinstance(interval, int) or interval < 1:
        raise ConversionError(f"no_rope_layer_interval={interval!r} is not a number of layers above 0")
    rotates = config.get("no_rope_layers") or [int((layer + 1) % interval != 0) for layer in range(count)]
    if not isinstance(rotates, list) or len(rotates) < count or not set(rotates) <= {0, 1}:
        raise ConversionError(f"no_rope_layers is not a list of 0 and 1 for each of {count:,} layers")
    return rotates[:count]


@dataclass(frozen=True)
class Windows(SomeLayers):
    """Windows in the layers that do not rotate, unless `layer_types` names others."""

    def read(self, config: Mapping[str, Any]) -> Table:
        if config.get("sliding_window") is None:
            return {"attention": {"kind": "full"}}
        types = [FULL if rotates else SLIDING for rotates in _rotates(config)]
        return super().read({**config, "layer_types": config.get("layer_types") or types})


class EveryFourthDoesNotRotate:
    """llama.cpp's own choice of layers, which no key of a GGUF file says."""

    keys: Sequence[str] = ()

    def read(self, config: Mapping[str, Any]) -> Table:
        return RotatedLayers().read({"num_hidden_layers": size_of(config, "block_count", MOST_LAYERS)})

    def write(self, shape: GPTConfig) -> Table:
        return {}


FAMILY = Family(
    model_type="smollm3",
    architecture="SmolLM3ForCausalLM",
    gguf=GGUFArchitecture("smollm3", is_interleaved=True, settings=(EveryFourthDoesNotRotate(),)),
    preset="smith with attention.qk_norm=false",
    fixed=FIXED,
    settings=(
        Windows(),
        *(part for part in SHAPE if not isinstance(part, RotaryPart)),
        Setting("num_key_value_heads", "attention.num_kv_heads", 4),
        Setting("tie_word_embeddings", "tie_embeddings", True),
        Setting("head_dim", "head_dim", None),
        Setting("attention_bias", "attention.bias", False),
        Setting("attention_bias", "attention.output_bias", False),
        Setting("mlp_bias", "feedforward.bias", False),
        RotaryPart(base=2_000_000.0),
        RotatedLayers(),
    ),
    weights=WEIGHTS,
    prefix="model.",
    extra=EXTRA,
    extends="llama",
)
