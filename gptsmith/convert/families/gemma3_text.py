"""Gemma 3, text: norms before and behind each half, local layers with a base of their own, scaled embeddings (Gemma
team 2025).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from gptsmith.base.errors import ConversionError, shown
from gptsmith.convert.families import Family, GGUFArchitecture, Setting, Table, Weight, size_of
from gptsmith.convert.families.llama import EXTRA, FIXED, SHAPE, WEIGHTS
from gptsmith.convert.families.olmo2 import OUTPUT_NORMS
from gptsmith.convert.families.qwen3 import NORMS
from gptsmith.convert.gguf_rope import GGUFRotary
from gptsmith.convert.rope import RotaryPart
from gptsmith.convert.window import FULL, SLIDING
from gptsmith.model.attention.sliding_window import SlidingWindowAttentionSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.dims import MOST_LAYERS
from gptsmith.model.position.local_rotary import LocalRotaryPositionSettings
from gptsmith.model.position.rotary import RotaryPositionSettings

EVERY_SIXTH, LOCAL_BASE, QUERY_SCALAR = 6, 10_000.0, 256
GLOBAL = RotaryPart(base=1_000_000.0)
LAYERS_OF_27B = 62
WINDOW, PATTERN = "attention.sliding_window", "attention.sliding_window_pattern"
LOCAL = "rope.freq_base_swa"


class DistanceFromOne:
    """A norm's gain as its distance from 1."""

    def __init__(self, shape: GPTConfig) -> None:
        """The same for every shape."""

    def to_ours(self, tensor: Tensor) -> Tensor:
        return tensor + 1

    def to_theirs(self, tensor: Tensor) -> Tensor:
        return tensor - 1


@dataclass(frozen=True)
class Layers:
    """Windows and bases: a layer has a window and the small base, or neither."""

    @property
    def keys(self) -> Sequence[str]:
        return ("sliding_window", "layer_types", "sliding_window_pattern", "rope_local_base_freq", *GLOBAL.keys)

    def read(self, config: Mapping[str, Any]) -> Table:
        count, every = (
            size_of(config, "num_hidden_layers", MOST_LAYERS),
            config.get("sliding_window_pattern", EVERY_SIXTH),
        )
        if not isinstance(every, int) or every < 1:
            raise ConversionError(f"sliding_window_pattern={shown(every)} is not a number of layers above 0")
        types = config.get("layer_types") or [FULL if (layer + 1) % every == 0 else SLIDING for layer in range(count)]
        if not isinstance(types, list) or len(types) != count or not {*map(str, types)} <= {SLIDING, FULL}:
            raise ConversionError(f"layer_types does not name {count} layers, each {SLIDING} or {FULL}")
        local = [layer for layer, kind in enumerate(types) if kind == SLIDING]
        window = config.get("sliding_window", 4096)
        return {
            "attention": {"kind": "sliding_window", "window_size": window, "layers": local} if local else {},
            "position": {**_bases(config), "kind": "local_rotary", "local_layers": local},
        }

    def write(self, shape: GPTConfig) -> Table:
        position = shape.position
        if not isinstance(position, LocalRotaryPositionSettings):
            return {}
        every = RotaryPositionSettings(base=position.base, scaling=position.scaling)
        written = GLOBAL.write(shape.model_copy(update={"position": every}))
        local = {"rope_type": "default", "rope_theta": position.local_base}
        return {
            "sliding_window": window_size(shape),
            "layer_types": [SLIDING if layer in position.local_layers else FULL for layer in range(shape.num_layers)],
            "rope_parameters": {"full_attention": written["rope_parameters"], "sliding_attention": local},
        }


def window_size(shape: GPTConfig) -> int:
    """That of local layers, which see the whole context where attention is full."""
    attention = shape.attention
    return attention.window_size if isinstance(attention, SlidingWindowAttentionSettings) else shape.context_length


def _bases(config: Mapping[str, Any]) -> Table:
    """Both bases, and the scaling of the large one: by type of layer, or under the older names."""
    by_type = config.get("rope_parameters") or {}
    if not isinstance(by_type, Mapping) or not {*map(str, by_type)} <= {FULL, SLIDING}:
        raise ConversionError(f"rope_parameters={shown(by_type)} is no table of {FULL} and {SLIDING}")
    local = by_type.get(SLIDING) or {}
    if not isinstance(local, Mapping) or local.get("rope_type", "default") != "default":
        raise ConversionError(f"rope_parameters: {SLIDING}={shown(local)} is not known (allowed: rope_type default)")
    of_all = GLOBAL.read({**config, "rope_parameters": by_type.get(FULL)})["position"]
    return {**of_all, "local_base": local.get("rope_theta", config.get("rope_local_base_freq", LOCAL_BASE))}


@dataclass(frozen=True)
class Scales:
    """The scales of embeddings, which is sqrt(C), and of scores, which need not be 1 / sqrt(D)."""

    @property
    def keys(self) -> Sequence[str]:
        return ("query_pre_attn_scalar",)

    def read(self, config: Mapping[str, Any]) -> Table:
        scalar, width = config.get("query_pre_attn_scalar", QUERY_SCALAR), config.get("hidden_size")
        for key, value in (("query_pre_attn_scalar", scalar), ("hidden_size", width)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ConversionError(f"{key}={shown(value)} is not a number above 0")
        return {"attention": {"scale": scalar**-0.5}, "embedding_multiplier": width**0.5}  # type: ignore[operator]

    def write(self, shape: GPTConfig) -> Table:
        scale = shape.attention.scale
        return {"query_pre_attn_scalar": shape.resolved_head_dim if scale is None else round(scale**-2)}


@dataclass(frozen=True)
class GGUFLayers:
    """Windows and bases in a GGUF file."""

    @property
    def keys(self) -> Sequence[str]:
        return (WINDOW, PATTERN, LOCAL)

    def read(self, config: Mapping[str, Any]) -> Table:
        count, window = size_of(config, "block_count", MOST_LAYERS), config.get(WINDOW, 0)
        pattern = config.get(PATTERN, EVERY_SIXTH)
        if isinstance(pattern, int) and not isinstance(pattern, bool) and pattern > 0:
            pattern = [(layer + 1) % pattern != 0 for layer in range(count)]
        if not isinstance(pattern, list) or len(pattern) < count or not all(yes in (0, 1) for yes in pattern):
            raise ConversionError(f"{PATTERN} is no number above 0, and does not say yes or no of {count:,} layers")
        local = [layer for layer in range(count) if window and pattern[layer]]
        return {
            "attention": {"kind": "sliding_window", "window_size": window, "layers": local} if local else {},
            "position": {
                "kind": "local_rotary", "local_layers": local, "local_base": config.get(LOCAL, LOCAL_BASE),
            },
        }  # fmt: skip

    def write(self, shape: GPTConfig) -> Table:
        position = shape.position
        if not isinstance(position, LocalRotaryPositionSettings):
            return {}
        every = RotaryPositionSettings(base=position.base, scaling=position.scaling)
        return {
            **GGUFRotary().write(shape.model_copy(update={"position": every})),
            LOCAL: position.local_base,
            WINDOW: window_size(shape),
            PATTERN: [layer in position.local_layers for layer in range(shape.num_layers)],
        }


@dataclass(frozen=True)
class GGUFScales:
    """The scales of embeddings and of scores, which llama.cpp knows without a key."""

    layers_of_27b: int

    @property
    def keys(self) -> Sequence[str]:
        return ()

    def read(self, config: Mapping[str, Any]) -> Table:
        width, num_heads = size_of(config, "embedding_length"), size_of(config, "attention.head_count")
        sizes = {"attention.key_length": width // num_heads, **config}
        head_dim = size_of(sizes, "attention.key_length")
        # The model of 27B alone scales by the width of a head that its 32 heads would have if they filled the model's.
        queries = width // num_heads if config["block_count"] == self.layers_of_27b else head_dim
        return {"attention": {"scale": max(queries, 1) ** -0.5}, "embedding_multiplier": width**0.5}

    def write(self, shape: GPTConfig) -> Table:
        return {}


def renamed(weight: Weight) -> Weight:
    """With Gemma's name of the norm before the feed-forward half, and gains as it keeps them."""
    if "norm" not in weight.parts[0]:
        return weight
    is_feedforward = weight.ours == "blocks.{layer}.feedforward_norm"
    theirs = "model.layers.{layer}.pre_feedforward_layernorm" if is_feedforward else weight.theirs
    return replace(weight, theirs=theirs, transform=DistanceFromOne)


FAMILY = Family(
    model_type="gemma3_text",
    architecture="Gemma3ForCausalLM",
    gguf=GGUFArchitecture(
        "gemma3",
        activation="geglu_tanh",
        scalings=("linear",),
        fixed={"attention.bias": False, "attention.output_bias": False},
        settings=(GGUFLayers(), GGUFScales(LAYERS_OF_27B)),
    ),
    preset="smith with norm_placement=sandwich and position=local_rotary",
    fixed=FIXED
    | {
        "attention": {"kind": "full", "qk_norm": True},
        "position": {"kind": "local_rotary"},
        "feedforward": {"kind": "gated", "activation": "geglu_tanh"},
        "norm_placement": "sandwich",
    },
    settings=(
        *(part for part in SHAPE if not {*part.keys} & {"rope_theta", "hidden_act", "tie_word_embeddings"}),
        Setting("num_key_value_heads", "attention.num_kv_heads", 4),
        Setting("head_dim", "head_dim", 256),
        Setting(
            "hidden_activation", "feedforward.activation", "gelu_pytorch_tanh", {"gelu_pytorch_tanh": "geglu_tanh"}
        ),
        Setting("tie_word_embeddings", "tie_embeddings", True),
        Setting("attention_bias", "attention.bias", False),
        Setting("attention_bias", "attention.output_bias", False),
        Scales(),
        Layers(),
    ),
    weights=tuple(renamed(weight) for weight in (*WEIGHTS, *OUTPUT_NORMS, *NORMS)),
    defaults={
        "vocab_size": 262_208, "max_position_embeddings": 131_072, "hidden_size": 2304, "num_hidden_layers": 26,
        "num_attention_heads": 8, "intermediate_size": 9216,
    },
    only={"attn_logit_softcapping": None, "final_logit_softcapping": None, "use_bidirectional_attention": False},
    prefix="model.",
    extra=EXTRA,
)  # fmt: skip
