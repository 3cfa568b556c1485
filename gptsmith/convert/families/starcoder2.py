"""StarCoder 2: LayerNorm, biases and a GELU, with rotary positions and a sliding window (Lozhkov et al. 2024)."""

from __future__ import annotations

from gptsmith.convert.families import Family, GGUFArchitecture, Setting, Weight
from gptsmith.convert.families.gpt2 import ACTIVATIONS
from gptsmith.convert.families.llama import EXTRA, SHAPE, WEIGHTS
from gptsmith.convert.window import EveryLayer

OTHERS = {"rms_norm_eps", "hidden_act", "num_key_value_heads", "tie_word_embeddings"}
FEEDFORWARD = (
    Weight("blocks.{layer}.feedforward.input", "model.layers.{layer}.mlp.c_fc", "blk.{layer}.ffn_up"),
    Weight("blocks.{layer}.feedforward.output", "model.layers.{layer}.mlp.c_proj", "blk.{layer}.ffn_down"),
)

FAMILY = Family(
    model_type="starcoder2",
    architecture="Starcoder2ForCausalLM",
    gguf=GGUFArchitecture(
        "starcoder2",
        activation="gelu_tanh",
        epsilon="attention.layer_norm_epsilon",
        has_head_dim=False,
        fixed={"attention.bias": True, "attention.output_bias": True, "feedforward.bias": True},
    ),
    preset="gpt2 with position=rotary",
    fixed={
        "attention": {"kind": "full"},
        "position": {"kind": "rotary"},
        "feedforward": {"kind": "mlp"},
        "norm": {"kind": "layernorm"},
        "norm_placement": "pre",
        "init": "gpt2",
    },
    settings=(
        EveryLayer(),
        *(part for part in SHAPE if OTHERS.isdisjoint(part.keys)),
        Setting("num_key_value_heads", "attention.num_kv_heads", 2),
        Setting("head_dim", "head_dim", None),
        Setting("hidden_act", "feedforward.activation", "gelu_pytorch_tanh", ACTIVATIONS),
        Setting("norm_epsilon", "norm.epsilon", 1e-5),
        Setting("use_bias", "attention.bias", True),
        Setting("use_bias", "attention.output_bias", True),
        Setting("use_bias", "feedforward.bias", True),
        Setting("tie_word_embeddings", "tie_embeddings", True),
    ),
    weights=(*(weight for weight in WEIGHTS if ".feedforward." not in weight.parts[0]), *FEEDFORWARD),
    prefix="model.",
    extra=EXTRA,
)
