"""Mixtral: Mistral with experts (Jiang et al. 2024)."""

from __future__ import annotations

from gptsmith.convert.families import Family, Setting, Weight
from gptsmith.convert.families.llama import EXTRA, FIXED, SHAPE, WEIGHTS
from gptsmith.convert.window import EveryLayer

EXPERT = "model.layers.{layer}.block_sparse_moe.experts.{expert}"
EXPERTS = (
    Weight(
        "blocks.{layer}.feedforward.router", "model.layers.{layer}.block_sparse_moe.gate", "blk.{layer}.ffn_gate_inp"
    ),
    Weight("blocks.{layer}.feedforward.experts.{expert}.gate", f"{EXPERT}.w1", "blk.{layer}.ffn_gate.{expert}"),
    Weight("blocks.{layer}.feedforward.experts.{expert}.input", f"{EXPERT}.w3", "blk.{layer}.ffn_up.{expert}"),
    Weight("blocks.{layer}.feedforward.experts.{expert}.output", f"{EXPERT}.w2", "blk.{layer}.ffn_down.{expert}"),
)
DENSE = {f"blocks.{{layer}}.feedforward.{name}" for name in ("gate", "input", "output")}

FAMILY = Family(
    model_type="mixtral",
    architecture="MixtralForCausalLM",
    gguf=None,
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
