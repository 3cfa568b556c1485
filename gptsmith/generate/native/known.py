"""The models that compiled code knows: kinds and settings by name. What is not named is left as it is by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from gptsmith.base.settings import Settings
from gptsmith.generate.native import rows
from gptsmith.generate.native.errors import UnsupportedModelError
from gptsmith.generate.native.products import GROUP
from gptsmith.generate.native.vectors import LANES
from gptsmith.model.gpt import GPT
from gptsmith.model.packed_linear import PackedLinear
from gptsmith.model.taps import is_tapped

ACTIVATIONS = {
    "swiglu": rows.SILU,
    "swiglu_oai": rows.SILU_OAI,
    "geglu": rows.GELU,
    "geglu_tanh": rows.GELU_TANH,
    "gelu": rows.GELU,
    "gelu_tanh": rows.GELU_TANH,
    "relu": rows.RELU,
    "relu2": rows.RELU2,
}
ATTENTION = frozenset({"num_kv_heads", "qk_norm", "scale", "bias", "output_bias", "score_cap", "sinks"})
FEED_FORWARD = frozenset({"hidden_dim", "bias", "activation"})
EXPERTS = FEED_FORWARD | {"num_experts", "experts_per_token", "num_shared_experts", "shared_gate", "renormalize"}
KINDS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "attention": {"full": ATTENTION, "sliding_window": ATTENTION | {"window_size", "layers"}},
    "position": {
        "none": frozenset(),
        "alibi": frozenset(),
        "learned": frozenset(),
        "sinusoidal": frozenset(),
        "rotary": frozenset({"base", "scaling", "partial_rotary_factor", "layers"}),
    },
    "feedforward": {
        "gated": FEED_FORWARD,
        "mlp": FEED_FORWARD,
        "experts": EXPERTS | {"balance_weight", "balance_rate"},
    },
    "norm": {"layernorm": frozenset({"epsilon"}), "rmsnorm": frozenset({"epsilon"})},
}
"""For each group of kinds, those that are known, with the settings that may have any value."""
FREE = {"vocab_size", "context_length", "embed_dim", "num_layers", "num_heads", "head_dim", "linear", "dropout", *KINDS}
FREE |= {"embedding_multiplier", "residual_multiplier", "logits_scaling", "logits_cap", "tie_embeddings", "num_labels"}
FREE |= {"init", "norm_placement", "parallel_residual"}
"""Settings of the model that may have any value."""


def require_known(model: GPT) -> None:
    """
    Raises:
        UnsupportedModelError: compiled code would not compute what the model does.
    """
    config = model.config
    if unknown := list(_unknown(model)):
        raise UnsupportedModelError(", ".join(unknown))
    widths = [config.embed_dim, config.feedforward.width(config.dims), config.num_heads * config.dims.head_dim]
    if any(width % GROUP for width in widths) or config.dims.head_dim % LANES:
        raise UnsupportedModelError(f"widths that are no multiples of {GROUP}, or heads of {LANES}")


def _unknown(model: GPT) -> Iterator[str]:
    if any(isinstance(module, PackedLinear) for module in model.modules()):
        yield "weights that are packed for PyTorch already"
    if is_tapped(model):
        yield "modules with hooks or taps"
    yield from _changed(model.config, FREE, "model")
    for group, kinds in KINDS.items():
        settings = getattr(model.config, group)
        kind = settings.kind
        if kind not in kinds:
            yield f"model.{group}={kind}"
        else:
            yield from _changed(settings, kinds[kind] | {"kind"}, f"model.{group}")


def _changed(settings: Settings, free: Set[str], name: str) -> Iterator[str]:
    """Settings that are not as they are by default, without those that may have any value."""
    for key, field in type(settings).model_fields.items():
        if key not in free and getattr(settings, key) != field.get_default(call_default_factory=True):
            yield f"{name}.{key}={getattr(settings, key)}"
