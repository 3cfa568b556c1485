"""Gemma 2: soft caps of scores and logits, windows in every other layer, norms before and behind each half (Gemma team
2024)."""

from __future__ import annotations

from gptsmith.convert.families import Family, Setting
from gptsmith.convert.families.gemma3_text import Scales, renamed
from gptsmith.convert.families.llama import EXTRA, FIXED, SHAPE, WEIGHTS
from gptsmith.convert.families.olmo2 import OUTPUT_NORMS
from gptsmith.convert.window import EveryOtherLayer

FAMILY = Family(
    model_type="gemma2",
    architecture="Gemma2ForCausalLM",
    gguf=None,
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
