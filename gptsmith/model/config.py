"""The shape of a GPT."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.settings import Settings
from gptsmith.model import attention, feedforward, linear, norm, position
from gptsmith.model.attention import AnyAttention
from gptsmith.model.dims import LARGEST_CONTEXT, LARGEST_DIM, MOST_HEADS, MOST_LAYERS, LayerDims
from gptsmith.model.feedforward import AnyFeedForward
from gptsmith.model.linear import AnyLinear
from gptsmith.model.norm import AnyNorm
from gptsmith.model.position import AnyPosition


class GPTConfig(Settings):
    """The shape of a model. The defaults are Qwen3's shape."""

    vocab_size: int = Field(gt=0, le=LARGEST_DIM)
    """Tokens in the vocabulary: rows of the embedding."""
    context_length: int = Field(default=1024, gt=0, le=LARGEST_CONTEXT)
    """Length of the context window, in tokens."""
    embed_dim: int = Field(gt=0, le=LARGEST_DIM)
    """Width of the residual stream."""
    num_layers: int = Field(gt=0, le=MOST_LAYERS)
    """Number of blocks, each with an attention and a feed-forward half."""
    num_heads: int = Field(gt=0, le=MOST_HEADS)
    """Number of query heads."""
    head_dim: int | None = Field(default=None, gt=0, le=LARGEST_DIM)
    """Width of a head; embed_dim / num_heads if None."""
    attention: AnyAttention = attention.KINDS.field("full", qk_norm=True)
    position: AnyPosition = position.KINDS.field("rotary")
    feedforward: AnyFeedForward = feedforward.KINDS.field("gated")
    norm: AnyNorm = norm.KINDS.field("rmsnorm")
    linear: AnyLinear = linear.KINDS.field("dense")
    norm_placement: Literal["pre", "post", "output", "sandwich"] = "pre"
    """pre normalises the input of each half (GPT-2 and later), post its sum with the residual stream (GPT-1), output
    its output before it is added (OLMo 2), sandwich both input and output (Gemma 3)."""
    parallel_residual: bool = False
    """Whether both halves of a block read the same residual stream, and are added to it together (GPT-NeoX), instead
    of the feed-forward half reading what attention added."""
    embedding_multiplier: float = Field(default=1.0, gt=0)
    """The embeddings are multiplied by it; a tied head is not (Gemma, Granite)."""
    residual_multiplier: float = Field(default=1.0, gt=0)
    """The output of each half is multiplied by it before it is added to the residual stream (Granite)."""
    logits_scaling: float = Field(default=1.0, gt=0)
    """The logits are divided by it (Granite)."""
    logits_cap: float | None = Field(default=None, gt=0)
    """The soft cap c of logits, each of which becomes c tanh(logit / c); none if None (Gemma 2)."""
    tie_embeddings: bool = False
    """Whether the head shares the embedding's weights."""
    num_labels: int | None = Field(default=None, gt=0, le=LARGEST_DIM)
    """Outputs of a second head, on the last hidden state: a classifier's labels, or the one score of a reward model."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the embedding and of each half's output that is dropped in training."""
    init: Literal["zero_output", "gpt2"] = "zero_output"
    """Weight initialization: see `gptsmith.model.init`."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.head_dim is None and self.embed_dim % self.num_heads:
            raise ConfigurationError(
                f"num_heads={self.num_heads} does not divide embed_dim={self.embed_dim}: "
                f"choose a width that is a multiple of {self.num_heads}, other heads, or set head_dim"
            )
        if self.num_heads % self.num_kv_heads:
            raise ConfigurationError(
                f"attention.num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}: "
                "each key head serves the same number of query heads"
            )
        return self

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # lists and tables within have no hash of their own

    @property
    def resolved_head_dim(self) -> int:
        """Width of a head."""
        return self.head_dim or self.embed_dim // self.num_heads

    @property
    def dims(self) -> LayerDims:
        """The dimensions that the layers are built from."""
        return LayerDims(
            embed_dim=self.embed_dim,
            num_heads=self.num_heads,
            head_dim=self.resolved_head_dim,
            context_length=self.context_length,
            linear=self.linear,
            norm=self.norm,
        )

    @property
    def num_kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.attention.num_kv_heads or self.num_heads
