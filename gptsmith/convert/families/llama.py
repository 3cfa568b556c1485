"""Llama 2 and 3, and what was built like them: TinyLlama, SmolLM (Touvron et al. 2023)."""

from __future__ import annotations

from gptsmith.convert.families import Family, GGUFArchitecture, Part, Setting, Weight
from gptsmith.convert.rope import RotaryPart

ACTIVATIONS = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu"}

SHAPE: tuple[Part, ...] = (
    #       theirs                    ours                       without it
    Setting("vocab_size", "vocab_size"),
    Setting("max_position_embeddings", "context_length"),
    Setting("hidden_size", "embed_dim"),
    Setting("num_hidden_layers", "num_layers"),
    Setting("num_attention_heads", "num_heads"),
    Setting("num_key_value_heads", "attention.num_kv_heads", None),
    Setting("intermediate_size", "feedforward.hidden_dim"),
    Setting("hidden_act", "feedforward.activation", "silu", ACTIVATIONS),
    Setting("rms_norm_eps", "norm.epsilon", 1e-6),
    Setting("tie_word_embeddings", "tie_embeddings", False),
    RotaryPart(),
)
"""The settings that Llama, Mistral and Qwen share."""

WEIGHTS = (
    #      ours                                theirs                                          GGUF
    Weight("embedding", "model.embed_tokens", "token_embd"),
    Weight("blocks.{layer}.attention_norm", "model.layers.{layer}.input_layernorm", "blk.{layer}.attn_norm"),
    Weight("blocks.{layer}.attention.query", "model.layers.{layer}.self_attn.q_proj", "blk.{layer}.attn_q"),
    Weight("blocks.{layer}.attention.key", "model.layers.{layer}.self_attn.k_proj", "blk.{layer}.attn_k"),
    Weight("blocks.{layer}.attention.value", "model.layers.{layer}.self_attn.v_proj", "blk.{layer}.attn_v"),
    Weight("blocks.{layer}.attention.output", "model.layers.{layer}.self_attn.o_proj", "blk.{layer}.attn_output"),
    Weight("blocks.{layer}.feedforward_norm", "model.layers.{layer}.post_attention_layernorm", "blk.{layer}.ffn_norm"),
    Weight("blocks.{layer}.feedforward.gate", "model.layers.{layer}.mlp.gate_proj", "blk.{layer}.ffn_gate"),
    Weight("blocks.{layer}.feedforward.input", "model.layers.{layer}.mlp.up_proj", "blk.{layer}.ffn_up"),
    Weight("blocks.{layer}.feedforward.output", "model.layers.{layer}.mlp.down_proj", "blk.{layer}.ffn_down"),
    Weight("final_norm", "model.norm", "output_norm"),
    Weight("head", "lm_head", "output"),
)

FIXED = {
    "attention": {"kind": "full", "qk_norm": False},
    "feedforward": {"kind": "gated"},
    "norm": {"kind": "rmsnorm"},
    "norm_placement": "pre",
}

EXTRA = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)

GGUF = GGUFArchitecture("llama", is_interleaved=True, scalings=("linear", "yarn", "llama3"))

FAMILY = Family(
    model_type="llama",
    architecture="LlamaForCausalLM",
    gguf=GGUF,
    preset="smith with attention.qk_norm=false",
    fixed=FIXED,
    settings=(
        *SHAPE,
        Setting("head_dim", "head_dim", None),
        Setting("attention_bias", "attention.bias", False),
        Setting("attention_bias", "attention.output_bias", False),
        Setting("mlp_bias", "feedforward.bias", False),
    ),
    weights=WEIGHTS,
    only={"pretraining_tp": 1},
    prefix="model.",
    extra=EXTRA,
)
