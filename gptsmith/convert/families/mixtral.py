"""Mixtral: Mistral with experts (Jiang et al. 2024)."""

from __future__ import annotations

from dataclasses import replace

from gptsmith.convert.families import Family, Part, Setting, Weight
from gptsmith.convert.families.llama import EXTRA, FIXED, GGUF, SHAPE, WEIGHTS
from gptsmith.convert.window import EveryLayer

EXPERT = "model.layers.{layer}.block_sparse_moe.experts.{expert}"
EXPERTS = (
    Weight(
        "blocks.{layer}.feedforward.router", "model.layers.{layer}.block_sparse_moe.gate", "blk.{layer}.ffn_gate_inp"
    ),
    Weight("blocks.{layer}.feedforward.experts.{expert}.gate", f"{EXPERT}.w1", "blk.{layer}.ffn_gate_exps"),
    Weight("blocks.{layer}.feedforward.experts.{expert}.input", f"{EXPERT}.w3", "blk.{layer}.ffn_up_exps"),
    Weight("blocks.{layer}.feedforward.experts.{expert}.output", f"{EXPERT}.w2", "blk.{layer}.ffn_down_exps"),
)
DENSE = {f"blocks.{{layer}}.feedforward.{name}" for name in ("gate", "input", "output")}
EXPERT_COUNTS: tuple[Part, ...] = (
    Setting("expert_count", "feedforward.num_experts"),
    Setting("expert_used_count", "feedforward.experts_per_token"),
)
"""In a GGUF file."""

FAMILY = Family(
    model_type="mixtral",
    architecture="MixtralForCausalLM",
    gguf=replace(GGUF, settings=EXPERT_COUNTS),
    preset="smith with attention.qk_norm=false and feedforward=experts",
    fixed=FIXED
    | {
        "attention": {"kind": "full", "qk_norm": False, "bias": False},
        "feedforward": {"kind": "experts", "renormalize": True},
    },
    settings=(
        EveryLayer(),
        *SHAPE,
        Setting("rms_norm_eps", "norm.epsilon", 1e-5),
        Setting("head_dim", "head_dim", None),
        Setting("num_local_experts", "feedforward.num_experts", 8),
        Setting("num_experts_per_tok", "feedforward.experts_per_token", 2),
        Setting("router_aux_loss_coef", "feedforward.balance_weight", 0.001),
    ),
    weights=(*(weight for weight in WEIGHTS if DENSE.isdisjoint(weight.parts)), *EXPERTS),
    only={"router_jitter_noise": 0.0},
    prefix="model.",
    extra=EXTRA,
)
