"""GPT, the first (Radford et al. 2018): the norm comes after each half."""

from __future__ import annotations

from gptsmith.convert.families import Family, Setting, Weight
from gptsmith.convert.families.gpt2 import FIXED, QKV, SHAPE

FAMILY = Family(
    model_type="openai-gpt",
    architecture="OpenAIGPTLMHeadModel",
    gguf=None,
    preset="gpt1",
    fixed=FIXED | {"norm_placement": "post"},
    settings=(
        *SHAPE,
        # "gelu" is the approximation by tanh there.
        Setting(
            "afn", "feedforward.activation", "gelu", {"gelu": "gelu_tanh", "gelu_new": "gelu_tanh", "relu": "relu"}
        ),
    ),
    weights=(
        #      ours               theirs             GGUF
        Weight("embedding", "transformer.tokens_embed", ""),
        Weight("position.embedding", "transformer.positions_embed", ""),
        Weight(QKV, "transformer.h.{layer}.attn.c_attn", "", transposed=True),
        Weight("blocks.{layer}.attention.output", "transformer.h.{layer}.attn.c_proj", "", transposed=True),
        Weight("blocks.{layer}.attention_norm", "transformer.h.{layer}.ln_1", ""),
        Weight("blocks.{layer}.feedforward.input", "transformer.h.{layer}.mlp.c_fc", "", transposed=True),
        Weight("blocks.{layer}.feedforward.output", "transformer.h.{layer}.mlp.c_proj", "", transposed=True),
        Weight("blocks.{layer}.feedforward_norm", "transformer.h.{layer}.ln_2", ""),
        Weight("head", "lm_head", ""),
    ),
    prefix="transformer.",
    extra=(r"(transformer\.)?h\.\d+\.attn\.bias", r"(transformer\.)?position_ids"),
)
