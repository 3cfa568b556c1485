"""gpt-oss, OpenAI's open GPT: sinks, windows in every other layer, experts with biases and a clamped gate (OpenAI
2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from gptsmith.convert.families import Family, GGUFArchitecture, Setting, Table, Weight
from gptsmith.convert.families.llama import EXTRA, SHAPE, WEIGHTS
from gptsmith.convert.families.mixtral import DENSE, EXPERT_COUNTS
from gptsmith.convert.rope import RotaryPart
from gptsmith.convert.window import EveryOtherLayer
from gptsmith.model.attention.sliding_window import SlidingWindowAttentionSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.feedforward.experts import ExpertsSettings
from gptsmith.model.feedforward.gated import OAI_ALPHA, OAI_LIMIT


class InterleavedGate:
    """Rows of gate and input that take turns, where ours are those of the gate, then those of the input."""

    def __init__(self, shape: GPTConfig) -> None:
        """The same for every shape."""

    def to_ours(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(-1, 2, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape)

    def to_theirs(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(2, -1, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape)


@dataclass(frozen=True)
class RouterLoss:
    """The weight of the load-balancing loss, which counts only where the router's logits are asked for: the published
    configs name 0.9, and switch it off."""

    @property
    def keys(self) -> Sequence[str]:
        return ("output_router_logits", "router_aux_loss_coef")

    def read(self, config: Mapping[str, Any]) -> Table:
        is_on = config.get("output_router_logits", False)
        return {"feedforward": {"balance_weight": config.get("router_aux_loss_coef", 0.001) if is_on else 0.0}}

    def write(self, shape: GPTConfig) -> Table:
        if not isinstance(shape.feedforward, ExpertsSettings):
            return {}
        weight = shape.feedforward.balance_weight
        return {"output_router_logits": weight > 0, "router_aux_loss_coef": weight}


WINDOW = "attention.sliding_window"


class GGUFSettings:
    """llama.cpp's gpt-oss has a window in every other layer, from the first on. It cuts the ramp of YaRN to whole
    dimensions, which the published models do not: a file is read as llama.cpp computes it."""

    keys: Sequence[str] = (WINDOW,)

    def read(self, config: Mapping[str, Any]) -> Table:
        layers = list(range(0, config["block_count"], 2))
        return {"attention": {"kind": "sliding_window", "window_size": config.get(WINDOW), "layers": layers}}

    def write(self, shape: GPTConfig) -> Table:
        attention = shape.attention
        if isinstance(attention, SlidingWindowAttentionSettings):
            return {WINDOW: attention.window_size}
        return {WINDOW: shape.context_length}


def _renamed(weight: Weight) -> Weight:
    """With llama.cpp's name of the norm before the feed-forward half."""
    return replace(weight, gguf=weight.gguf.replace("ffn_norm", "post_attention_norm"))


ATTENTION, MLP = "blocks.{layer}.attention", "model.layers.{layer}.mlp"
EXPERT = "blocks.{layer}.feedforward.experts.{expert}"
COMMON = (
    *(_renamed(weight) for weight in WEIGHTS if DENSE.isdisjoint(weight.parts)),
    Weight(f"{ATTENTION}.sinks", "model.layers.{layer}.self_attn.sinks", "blk.{layer}.attn_sinks.weight"),
    Weight("blocks.{layer}.feedforward.router", f"{MLP}.router", "blk.{layer}.ffn_gate_inp"),
)
"""The weights that are one tensor in either file."""

FAMILY = Family(
    model_type="gpt_oss",
    architecture="GptOssForCausalLM",
    gguf=GGUFArchitecture(
        "gpt-oss",
        activation="swiglu_oai",
        fixed={"attention.bias": True, "attention.output_bias": True, "tie_embeddings": False},
        settings=(
            Setting("expert_feed_forward_length", "feedforward.hidden_dim"), *EXPERT_COUNTS, GGUFSettings(),
        ),
        weights=(
            *COMMON,
            Weight(f"{EXPERT}.gate", "", "blk.{layer}.ffn_gate_exps"),
            Weight(f"{EXPERT}.input", "", "blk.{layer}.ffn_up_exps"),
            Weight(f"{EXPERT}.output", "", "blk.{layer}.ffn_down_exps"),
        ),
    ),
    preset="gpt-oss-20b",
    fixed={
        "attention": {"kind": "full", "qk_norm": False, "sinks": True},
        "position": {"kind": "rotary"},
        "feedforward": {"kind": "experts", "activation": "swiglu_oai", "bias": True, "renormalize": True},
        "norm": {"kind": "rmsnorm"},
        "norm_placement": "pre",
    },
    settings=(
        EveryOtherLayer(),
        *(part for part in SHAPE if not {*part.keys} & {"rope_theta", "hidden_act"}),
        Setting("num_key_value_heads", "attention.num_kv_heads", 8),
        Setting("head_dim", "head_dim", 64),
        Setting("rms_norm_eps", "norm.epsilon", 1e-5),
        Setting("attention_bias", "attention.bias", True),
        Setting("attention_bias", "attention.output_bias", True),
        Setting("num_local_experts", "feedforward.num_experts", 128),
        Setting("num_experts_per_tok", "feedforward.experts_per_token", 4),
        RouterLoss(),
        RotaryPart(base=150_000.0),
    ),
    weights=(
        *COMMON,
        Weight(
            (f"{EXPERT}.gate.weight", f"{EXPERT}.input.weight"), f"{MLP}.experts.gate_up_proj", "", transposed=True,
            transform=InterleavedGate,
        ),
        Weight(
            (f"{EXPERT}.gate.bias", f"{EXPERT}.input.bias"), f"{MLP}.experts.gate_up_proj_bias", "",
            transform=InterleavedGate,
        ),
        Weight(f"{EXPERT}.output.weight", f"{MLP}.experts.down_proj", "", transposed=True),
        Weight(f"{EXPERT}.output.bias", f"{MLP}.experts.down_proj_bias", ""),
    ),
    only={"hidden_act": "silu", "swiglu_alpha": OAI_ALPHA, "swiglu_limit": OAI_LIMIT},
    prefix="model.",
    extra=EXTRA,
)  # fmt: skip
