"""GPT-NeoX and Pythia: both halves of a block read the same residual stream, and a part of each head is rotated (Black
et al. 2022; Biderman et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gptsmith.base.errors import ConversionError, shown
from gptsmith.convert.families import Family, GGUFArchitecture, Setting, Table, Weight, size_of
from gptsmith.convert.families.gpt2 import ACTIVATIONS, QKV
from gptsmith.convert.rope import PARTIAL, RotaryPart
from gptsmith.model.config import GPTConfig
from gptsmith.model.position.rotary import RotaryPositionSettings


class InterleavedHeads:
    """Rows of queries, keys and values head by head (H, 3, D), where ours are all queries, all keys, all values."""

    def __init__(self, shape: GPTConfig) -> None:
        self.num_heads = shape.num_heads

    def to_ours(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(self.num_heads, 3, -1, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape)

    def to_theirs(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(3, self.num_heads, -1, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape)


@dataclass(frozen=True)
class NeoXRotary(RotaryPart):
    """Rotary positions under the older names of the base and of the part of a head, too."""

    is_partial: bool = True

    @property
    def keys(self) -> Sequence[str]:
        return (*super().keys, "rotary_emb_base", "rotary_pct")

    def read(self, config: Mapping[str, Any]) -> Table:
        older = {"rope_theta": config.get("rotary_emb_base", self.base), PARTIAL: config.get("rotary_pct", 0.25)}
        return super().read(older | dict(config))

    def write(self, shape: GPTConfig) -> Table:
        written = super().write(shape)
        if not written:
            return {}
        return written | {
            "rotary_emb_base": written["rope_theta"],
            "rotary_pct": written["rope_parameters"][PARTIAL],
        }


@dataclass(frozen=True)
class RotaryDimensions:
    """The part of a head that is rotated, as its number of dimensions in a GGUF file."""

    @property
    def keys(self) -> Sequence[str]:
        return ("rope.dimension_count",)

    def read(self, config: Mapping[str, Any]) -> Table:
        head_dim = size_of(config, "embedding_length") // size_of(config, "attention.head_count")
        rotated = config.get("rope.dimension_count", head_dim)
        if not isinstance(rotated, int) or not 0 < rotated <= head_dim:
            raise ConversionError(
                f"rope.dimension_count={shown(rotated)} (allowed: 1 to {head_dim}, a head's dimensions)"
            )
        return {"position": {PARTIAL: rotated / head_dim}}

    def write(self, shape: GPTConfig) -> Table:
        position = shape.position
        if not isinstance(position, RotaryPositionSettings):
            return {}
        return {"rope.dimension_count": int(shape.resolved_head_dim * position.partial_rotary_factor)}


FAMILY = Family(
    model_type="gpt_neox",
    architecture="GPTNeoXForCausalLM",
    gguf=GGUFArchitecture(
        "gptneox",
        activation="gelu_tanh",
        near=("gelu",),
        epsilon="attention.layer_norm_epsilon",
        has_head_dim=False,
        fixed={"attention.bias": True, "attention.output_bias": True, "tie_embeddings": False},
        settings=(Setting("use_parallel_residual", "parallel_residual", True), RotaryDimensions()),
    ),
    preset="gpt2 with position=rotary",
    fixed={
        "attention": {"kind": "full"},
        "position": {"kind": "rotary"},
        "feedforward": {"kind": "mlp", "bias": True},
        "norm": {"kind": "layernorm"},
        "norm_placement": "pre",
        "init": "gpt2",
    },
    settings=(
        #       theirs                     ours                      without it
        Setting("vocab_size", "vocab_size"),
        Setting("max_position_embeddings", "context_length"),
        Setting("hidden_size", "embed_dim"),
        Setting("num_hidden_layers", "num_layers"),
        Setting("num_attention_heads", "num_heads"),
        Setting("intermediate_size", "feedforward.hidden_dim"),
        Setting("hidden_act", "feedforward.activation", "gelu", ACTIVATIONS),
        Setting("layer_norm_eps", "norm.epsilon", 1e-5),
        Setting("use_parallel_residual", "parallel_residual", True),
        Setting("attention_bias", "attention.bias", True),
        Setting("tie_word_embeddings", "tie_embeddings", False),
        NeoXRotary(),
    ),
    weights=(
        #      ours               theirs             GGUF
        Weight("embedding", "gpt_neox.embed_in", "token_embd"),
        Weight("blocks.{layer}.attention_norm", "gpt_neox.layers.{layer}.input_layernorm", "blk.{layer}.attn_norm"),
        Weight(
            QKV,
            "gpt_neox.layers.{layer}.attention.query_key_value",
            "blk.{layer}.attn_qkv",
            transform=InterleavedHeads,
        ),
        Weight("blocks.{layer}.attention.output", "gpt_neox.layers.{layer}.attention.dense", "blk.{layer}.attn_output"),
        Weight(
            "blocks.{layer}.feedforward_norm",
            "gpt_neox.layers.{layer}.post_attention_layernorm",
            "blk.{layer}.ffn_norm",
        ),
        Weight("blocks.{layer}.feedforward.input", "gpt_neox.layers.{layer}.mlp.dense_h_to_4h", "blk.{layer}.ffn_up"),
        Weight(
            "blocks.{layer}.feedforward.output", "gpt_neox.layers.{layer}.mlp.dense_4h_to_h", "blk.{layer}.ffn_down"
        ),
        Weight("final_norm", "gpt_neox.final_layer_norm", "output_norm"),
        Weight("head", "embed_out", "output"),
    ),
    prefix="gpt_neox.",
    modules={"embed_out": "lm_head"},
    extra=(
        r"gpt_neox\.layers\.\d+\.attention\.(masked_)?bias",
        r"gpt_neox\.layers\.\d+\.attention\.rotary_emb\.inv_freq",
    ),
)
