"""Gemma 2: soft caps of scores and logits, windows in every other layer, norms before and behind each half (Gemma team
2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.convert.families import Family, GGUFArchitecture, Setting, Table, size_of
from gptsmith.convert.families.gemma3_text import WINDOW, GGUFScales, Scales, renamed, window_size
from gptsmith.convert.families.llama import EXTRA, FIXED, SHAPE, WEIGHTS
from gptsmith.convert.families.olmo2 import OUTPUT_NORMS
from gptsmith.convert.window import EveryOtherLayer
from gptsmith.model.config import GPTConfig
from gptsmith.model.dims import MOST_LAYERS

LAYERS_OF_27B = 46


@dataclass(frozen=True)
class GGUFLayers:
    """Windows in a GGUF file: llama.cpp has them in every other layer from the first on."""

    @property
    def keys(self) -> Sequence[str]:
        return (WINDOW,)

    def read(self, config: Mapping[str, Any]) -> Table:
        layers = list(range(0, size_of(config, "block_count", MOST_LAYERS), 2))
        return {"attention": {"kind": "sliding_window", "window_size": config.get(WINDOW, 4096), "layers": layers}}

    def write(self, shape: GPTConfig) -> Table:
        return {WINDOW: window_size(shape)}


FAMILY = Family(
    model_type="gemma2",
    architecture="Gemma2ForCausalLM",
    gguf=GGUFArchitecture(
        "gemma2",
        activation="geglu_tanh",
        scalings=("linear",),
        fixed={"attention.bias": False, "attention.output_bias": False, "tie_embeddings": True},
        settings=(
            GGUFLayers(),
            GGUFScales(LAYERS_OF_27B),
            Setting("attn_logit_softcapping", "attention.score_cap", 50.0),
            Setting("final_logit_softcapping", "logits_cap", 30.0),
        ),
    ),
    preset="smith with norm_placement=sandwich and attention.qk_norm=false",
    fixed=FIXED | {"feedforward": {"kind": "gated", "activation": "geglu_tanh"}, "norm_placement": "sandwich"},
    settings=(
        *(part for part in SHAPE if not {*part.keys} & {"hidden_act", "tie_word_embeddings"}),
        Setting("head_dim", "head_dim", 256),
        Setting(
            "hidden_activation", "feedforward.activation", "gelu_pytorch_tanh", {"gelu_pytorch_tanh": "geglu_tanh"}
        ),
        Setting("tie_word_embeddings", "tie_embeddings", True),
        Setting("attention_bias", "attention.bias", False),
        Setting("attention_bias", "attention.output_bias", False),
        Setting("attn_logit_softcapping", "attention.score_cap", 50.0),
        Setting("final_logit_softcapping", "logits_cap", 30.0),
        Scales(),
        EveryOtherLayer(),
    ),
    weights=tuple(renamed(weight) for weight in (*WEIGHTS, *OUTPUT_NORMS)),
    defaults={
        "vocab_size": 256_000, "max_position_embeddings": 8192, "hidden_size": 2304, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 9216, "sliding_window": 4096,
    },
    only={"use_bidirectional_attention": None},
    prefix="model.",
    extra=EXTRA,
)  # fmt: skip
