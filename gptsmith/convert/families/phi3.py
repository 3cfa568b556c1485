"""Phi-3: Llama with queries, keys and values in one matrix, and gate and input in one (Abdin et al. 2024).

Its long contexts scale each rotary frequency by a factor of its own ("longrope"), which no rotary position of ours
does, and Phi-4-mini rotates a part of each head: both are refused.
"""

from __future__ import annotations

from gptsmith.convert.families import Family, GGUFArchitecture, Setting, Weight
from gptsmith.convert.families.gpt2 import QKV
from gptsmith.convert.families.llama import EXTRA, FIXED, SHAPE, WEIGHTS
from gptsmith.convert.rope import RotaryPart
from gptsmith.convert.window import EveryLayer

GATE_UP = ("blocks.{layer}.feedforward.gate", "blocks.{layer}.feedforward.input")
FUSED = {*QKV, *GATE_UP}

FAMILY = Family(
    model_type="phi3",
    architecture="Phi3ForCausalLM",
    gguf=GGUFArchitecture("phi3", scalings=()),
    preset="smith with attention.qk_norm=false",
    fixed=FIXED | {"attention": {"kind": "full", "qk_norm": False, "bias": False}},
    settings=(
        EveryLayer(),
        *(part for part in SHAPE if not isinstance(part, RotaryPart)),
        Setting("rms_norm_eps", "norm.epsilon", 1e-5),
        Setting("head_dim", "head_dim", None),
        RotaryPart(scalings=()),
    ),
    weights=(
        *(weight for weight in WEIGHTS if FUSED.isdisjoint(weight.parts)),
        Weight(QKV, "model.layers.{layer}.self_attn.qkv_proj", "blk.{layer}.attn_qkv"),
        Weight(GATE_UP, "model.layers.{layer}.mlp.gate_up_proj", "blk.{layer}.ffn_up"),
    ),
    only={"partial_rotary_factor": 1.0},
    prefix="model.",
    extra=EXTRA,
)
