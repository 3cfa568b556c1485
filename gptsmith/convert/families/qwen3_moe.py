"""Qwen3 with experts (Yang et al. 2025): the family of our default model where `feedforward` is `experts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.convert.families import Family, GGUFArchitecture, Setting, Table, Weight
from gptsmith.convert.families.llama import EXTRA, FIXED, SHAPE, WEIGHTS
from gptsmith.convert.families.mixtral import DENSE, EXPERT_COUNTS
from gptsmith.convert.families.qwen3 import NORMS
from gptsmith.convert.window import EveryLayer
from gptsmith.model.config import GPTConfig

FEEDFORWARD = "blocks.{layer}.feedforward"
EXPERT = "model.layers.{layer}.mlp.experts.{expert}"
EXPERTS = (
    Weight(f"{FEEDFORWARD}.router", "model.layers.{layer}.mlp.gate", "blk.{layer}.ffn_gate_inp"),
    Weight(f"{FEEDFORWARD}.experts.{{expert}}.gate", f"{EXPERT}.gate_proj", "blk.{layer}.ffn_gate_exps"),
    Weight(f"{FEEDFORWARD}.experts.{{expert}}.input", f"{EXPERT}.up_proj", "blk.{layer}.ffn_up_exps"),
    Weight(f"{FEEDFORWARD}.experts.{{expert}}.output", f"{EXPERT}.down_proj", "blk.{layer}.ffn_down_exps"),
)


@dataclass(frozen=True)
class NumExperts:
    """The number of experts under Qwen's name and under Transformers' own, which it writes since version 5."""

    @property
    def keys(self) -> Sequence[str]:
        return ("num_experts", "num_local_experts")

    def read(self, config: Mapping[str, Any]) -> Table:
        named = [number for key in self.keys if (number := config.get(key)) is not None]
        return {"feedforward": {"num_experts": named[0] if named else 128}}

    def write(self, shape: GPTConfig) -> Table:
        return dict.fromkeys(self.keys, getattr(shape.feedforward, "num_experts", None))


@dataclass(frozen=True)
class SwitchedWindow(EveryLayer):
    """A window in every layer, where windows are switched on."""

    @property
    def keys(self) -> Sequence[str]:
        return (*super().keys, "use_sliding_window")

    def read(self, config: Mapping[str, Any]) -> Table:
        return super().read(config if config.get("use_sliding_window") else {})

    def write(self, shape: GPTConfig) -> Table:
        written = super().write(shape)
        return {**written, "use_sliding_window": written["sliding_window"] is not None}


FAMILY = Family(
    model_type="qwen3_moe",
    architecture="Qwen3MoeForCausalLM",
    gguf=GGUFArchitecture(
        "qwen3moe",
        fixed={"attention.output_bias": False, "feedforward.renormalize": True},
        settings=(Setting("expert_feed_forward_length", "feedforward.hidden_dim"), *EXPERT_COUNTS),
    ),
    preset="smith with feedforward=experts",
    fixed=FIXED | {"attention": {"kind": "full", "qk_norm": True}, "feedforward": {"kind": "experts", "bias": False}},
    settings=(
        SwitchedWindow(),
        *(part for part in SHAPE if "intermediate_size" not in part.keys),
        Setting("moe_intermediate_size", "feedforward.hidden_dim", 768),
        Setting("num_key_value_heads", "attention.num_kv_heads", 4),
        Setting("head_dim", "head_dim", None),
        Setting("attention_bias", "attention.bias", False),
        Setting("attention_bias", "attention.output_bias", False),
        NumExperts(),
        Setting("num_experts_per_tok", "feedforward.experts_per_token", 8),
        Setting("norm_topk_prob", "feedforward.renormalize", False),
        Setting("router_aux_loss_coef", "feedforward.balance_weight", 0.001),
    ),
    weights=(*(weight for weight in WEIGHTS if DENSE.isdisjoint(weight.parts)), *NORMS, *EXPERTS),
    only={"decoder_sparse_step": 1, "mlp_only_layers": []},
    prefix="model.",
    extra=EXTRA,
)
