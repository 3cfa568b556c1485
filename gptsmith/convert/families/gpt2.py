"""GPT-2 (Radford et al. 2019)."""

from __future__ import annotations

from gptsmith.convert.families import Family, GGUFArchitecture, Part, Setting, Weight

QKV = ("blocks.{layer}.attention.query", "blocks.{layer}.attention.key", "blocks.{layer}.attention.value")

SHAPE: tuple[Part, ...] = (
    #       theirs               ours                     without it
    Setting("vocab_size", "vocab_size"),
    Setting("n_positions", "context_length"),
    Setting("n_embd", "embed_dim"),
    Setting("n_layer", "num_layers"),
    Setting("n_head", "num_heads"),
    Setting("layer_norm_epsilon", "norm.epsilon", 1e-5),
    Setting("tie_word_embeddings", "tie_embeddings", True),
)
"""The settings that GPT-1 and GPT-2 share."""

ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "relu2": "relu2",
}

FIXED = {
    "attention": {"kind": "full", "bias": True},
    "position": {"kind": "learned"},
    "feedforward": {"kind": "mlp", "bias": True},
    "norm": {"kind": "layernorm"},
    "norm_placement": "pre",
    "init": "gpt2",
}

FAMILY = Family(
    model_type="gpt2",
    architecture="GPT2LMHeadModel",
    gguf=GGUFArchitecture("gpt2", activation="gelu_tanh", epsilon="attention.layer_norm_epsilon"),
    preset="gpt2",
    fixed=FIXED,
    settings=(
        *SHAPE,
        Setting("n_inner", "feedforward.hidden_dim", None),
        Setting("activation_function", "feedforward.activation", "gelu_new", ACTIVATIONS),
    ),
    weights=(
        #      ours               theirs             GGUF
        Weight("embedding", "transformer.wte", "token_embd"),
        Weight("position.embedding", "transformer.wpe", "position_embd"),
        Weight("blocks.{layer}.attention_norm", "transformer.h.{layer}.ln_1", "blk.{layer}.attn_norm"),
        Weight(QKV, "transformer.h.{layer}.attn.c_attn", "blk.{layer}.attn_qkv", transposed=True),
        Weight(
            "blocks.{layer}.attention.output",
            "transformer.h.{layer}.attn.c_proj",
            "blk.{layer}.attn_output",
            transposed=True,
        ),
        Weight("blocks.{layer}.feedforward_norm", "transformer.h.{layer}.ln_2", "blk.{layer}.ffn_norm"),
        Weight(
            "blocks.{layer}.feedforward.input", "transformer.h.{layer}.mlp.c_fc", "blk.{layer}.ffn_up", transposed=True
        ),
        Weight(
            "blocks.{layer}.feedforward.output",
            "transformer.h.{layer}.mlp.c_proj",
            "blk.{layer}.ffn_down",
            transposed=True,
        ),
        Weight("final_norm", "transformer.ln_f", "output_norm"),
        Weight("head", "lm_head", "output"),
    ),
    only={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
    prefix="transformer.",
    extra=(r"(transformer\.)?h\.\d+\.attn\.(masked_)?bias",),
)
