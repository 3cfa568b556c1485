"""A model's shape in the keys of a GGUF file: one table, read in both directions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gptsmith.base.errors import ConversionError, UserError, shown
from gptsmith.base.settings import changed_keys
from gptsmith.convert.families import (
    Family,
    Part,
    Setting,
    Table,
    at_path,
    families,
    layered,
    nested,
    resolved,
    without_followers,
)
from gptsmith.convert.gguf_layout import architecture_of, gguf_tensors
from gptsmith.convert.gguf_rope import GGUFRotary, shortest
from gptsmith.model.config import GPTConfig

ARCHITECTURE = "general.architecture"
EMBEDDING, HEAD = "token_embd.weight", "output.weight"
SIZES: tuple[Part, ...] = (
    #       theirs                   ours
    Setting("vocab_size", "vocab_size"),
    Setting("context_length", "context_length"),
    Setting("embedding_length", "embed_dim"),
    Setting("block_count", "num_layers"),
    Setting("feed_forward_length", "feedforward.hidden_dim"),
    Setting("attention.head_count", "num_heads"),
    Setting("attention.head_count_kv", "attention.num_kv_heads", None),
)
HEAD_SIZES: tuple[Part, ...] = (
    Setting("attention.key_length", "head_dim", None),
    Setting("attention.value_length", "head_dim", None),
    Setting("rope.dimension_count", "head_dim", None),
)
BIASES = {
    "attention.bias": "blocks.{layer}.attention.query",
    "attention.output_bias": "blocks.{layer}.attention.output",
    "feedforward.bias": "blocks.{layer}.feedforward.input",
}
"""The settings that no key names: a tensor is there, or is not."""
FOR_TRAINING = "feedforward.balance_weight"
"""A setting that only training knows."""
NEUTRAL: Mapping[str, Any] = {
    "expert_count": 0, "expert_shared_count": 0, "expert_shared_feed_forward_length": 0, "expert_gating_func": 1,
    "expert_weights_scale": 1.0, "attention.causal": True, "attention.scale": 0.0, "attention.clamp_kqv": 0.0,
    "attention.max_alibi_bias": 0.0, "embedding_scale": 1.0, "residual_scale": 1.0, "logit_scale": 1.0,
    "attn_logit_softcapping": 0.0, "final_logit_softcapping": 0.0, "use_parallel_residual": False,
}  # fmt: skip
"""Keys that make another model of it, and the value that does not; a family's own table may read them."""

SAMPLING = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repetition_penalty": "general.sampling.penalty_repeat",
}
"""Our sampling defaults, and their keys."""


def _head_sizes(family: Family) -> tuple[Part, ...]:
    return HEAD_SIZES if _is_rotary(family) and architecture_of(family).has_head_dim else ()


def _is_rotary(family: Family) -> bool:
    return at_path(family.fixed, "position.kind") in (None, "rotary", "local_rotary")


def _parts(family: Family) -> tuple[Part, ...]:
    architecture = architecture_of(family)
    positions = (*_head_sizes(family), GGUFRotary()) if _is_rotary(family) else ()
    return (*SIZES, Setting(architecture.epsilon, "norm.epsilon"), *positions, *architecture.settings)


def written_keys(family: Family, shape: GPTConfig) -> Table:
    """The keys of a shape, without the architecture's name before them."""
    table: Table = {}
    for part in _parts(family):
        table |= part.write(shape)
    return {key: value for key, value in table.items() if value is not None}


def unsaid(family: Family, shape: GPTConfig) -> dict[str, tuple[Any, Any]]:
    """The settings of a shape that a file of the family does not say, and so llama.cpp computes otherwise: the shape's
    value and llama.cpp's."""
    written = {
        key: shortest(value) if isinstance(value, float) else value
        for key, value in written_keys(family, shape).items()
    }
    tensors = {tensor.name: tensor.shape for tensor in gguf_tensors(family, shape)}
    own, back = resolved(shape), resolved(_shape(family, written, tensors))
    if at_path(own, "position.scaling.kind") == "llama3":  # which a tensor says
        back["position"]["scaling"] = own["position"]["scaling"]
    if at_path(own, "feedforward.activation") in architecture_of(family).near:
        back["feedforward"]["activation"] = own["feedforward"]["activation"]
    # The model's own first: others may follow from them.
    keys = sorted(without_followers(changed_keys(own, back)), key=lambda key: key.count("."))
    changed = {key: (at_path(own, key), at_path(back, key)) for key in keys}
    return {key: values for key, values in changed.items() if key != FOR_TRAINING and not _is_rounded(*values)}


def _is_rounded(one: Any, other: Any) -> bool:
    """Whether two values are numbers that float32 does not keep apart."""
    return isinstance(one, float) and isinstance(other, float) and math.isclose(one, other, rel_tol=1e-6)


def read_shape(keys: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> tuple[Family, GPTConfig]:
    """The family and the shape that the keys and the tensors of a file say.

    Raises:
        ConversionError: the architecture is not known, or no shape of ours is what they say.
    """
    name = keys.get(ARCHITECTURE)
    known = [family for family in families() if family.gguf is not None]
    found = [family for family in known if architecture_of(family).name == name]
    if not found:
        names = ", ".join(sorted({architecture_of(family).name for family in known}))
        raise ConversionError(f"{ARCHITECTURE}={shown(name)} is not known (known: {names})")
    if EMBEDDING not in shapes:
        raise ConversionError(f"{EMBEDDING} is missing")
    config = {
        key.removeprefix(f"{name}."): shortest(value) if isinstance(value, float) else value
        for key, value in keys.items()
        if key.startswith(f"{name}.")
    }
    errors: list[UserError] = []
    for family in found:
        try:
            return family, _shape(family, config, shapes)
        except UserError as error:
            errors.append(error)
    raise errors[0]


def _shape(family: Family, config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> GPTConfig:
    architecture, parts = architecture_of(family), _parts(family)
    config = {**config, "vocab_size": shapes[EMBEDDING][0]}
    known = {key for part in parts for key in part.keys}
    for key, neutral in NEUTRAL.items():
        if key in config and key not in known and config[key] != neutral:
            raise ConversionError(f"{key}={shown(config[key])} is not known of {architecture.name}")
    heads = {config[part.keys[0]] for part in _head_sizes(family) if part.keys[0] in config}
    if len(heads) > 1:
        raise ConversionError(
            f"heads of {shown(sorted(heads, key=str))}: values of another width, and rotary positions of a part of a "
            "head, are not known"
        )
    table = layered({"feedforward": {"activation": architecture.activation}}, _present(family, shapes))
    said = (nested(ours, value) for ours, value in architecture.fixed.items())
    for known_part in (family.fixed, *said, *(part.read(config) for part in parts)):
        table = layered(table, known_part)
    return GPTConfig.parse(table, ARCHITECTURE + "=" + architecture.name)


def _present(family: Family, shapes: Mapping[str, Sequence[int]]) -> Table:
    """The settings that the presence of tensors says."""
    table: Table = {"tie_embeddings": HEAD not in shapes}
    for weight in family.weights:
        for ours, place in BIASES.items():
            if place in weight.parts:
                table = layered(table, nested(ours, f"{weight.gguf.format(layer=0)}.bias" in shapes))
    return table
