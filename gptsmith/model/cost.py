"""The cost of a model: parameters, floating-point operations, bytes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import shaped_model
from gptsmith.model.linear import parameter_counts


@dataclass(frozen=True)
class Cost:
    """A model's cost. FLOPs count a multiplication and an addition as two."""

    num_parameters: int
    num_active_parameters: int
    """Those that compute one token: without those of the experts that are not chosen for it, and without an embedding
    that is not the head too, of which it reads one row."""
    num_trained_parameters: int
    """All but the frozen ones: quantized matrices, and everything below adapters."""
    num_matrix_parameters: int
    """Parameters that are multiplied with a token: all but the embeddings, norms and biases; the head counts."""
    training_flops_per_token: int
    """Forward and backward at full context: 6 per active matrix parameter, 4 if it is frozen, and the attention's
    products with the keys that a token sees."""
    decoding_flops_per_token: int
    """One more token behind a full context."""
    weight_bytes: int
    """Weights as float32, quantized ones in their own bytes."""
    cache_bytes_per_token: int
    """Keys and values of one token, as float32."""
    activation_bytes_per_token: int
    """Kept for the backward pass for each token of a step, as float32: an estimate from the shapes."""


@lru_cache(maxsize=16)
def cost(config: GPTConfig) -> Cost:
    """The cost of a model of this shape, without making it: it is built on the meta device, once."""
    model = shaped_model(config, "the settings of the model")
    parameters = dict(model.named_parameters())
    counts = parameter_counts(model)
    active = {name: count * config.feedforward.active_share(name) for name, count in counts.items()}
    multiplied = {
        name
        for name, parameter in parameters.items()
        if parameter.dim() == 2 and (config.tie_embeddings or name != "embedding.weight")
        if not name.startswith("position")
    }
    num_multiplied = int(sum(active[name] for name in multiplied))
    num_trained = int(sum(active[name] for name in multiplied if parameters[name].requires_grad))
    if not config.tie_embeddings:
        active["embedding.weight"] = Fraction(0)
    attended_dim = config.num_heads * config.resolved_head_dim
    # Scores and weighted sums are 2 x 2 FLOPs per dimension and key. A token sees the last w keys; of a whole text of T
    # tokens it sees w - w^2 / 2T on average, which is half of them if w is T.
    context = config.context_length
    seen = [config.attention.visible_tokens(layer, context) for layer in range(config.num_layers)]
    training_attention = 3 * 4 * attended_dim * sum(w - Fraction(w * w, 2 * context) for w in seen)
    hidden_dim = config.feedforward.active_width(config.dims)
    kept = config.num_layers * (8 * config.embed_dim + 3 * hidden_dim) + 3 * config.num_layers * attended_dim
    cached = config.attention.cache_shape(config.dims)
    return Cost(
        num_parameters=model.num_parameters,
        num_active_parameters=int(sum(active.values())),
        num_trained_parameters=sum(counts[name] for name, each in parameters.items() if each.requires_grad),
        num_matrix_parameters=num_multiplied,
        training_flops_per_token=4 * num_multiplied + 2 * num_trained + int(training_attention),
        decoding_flops_per_token=2 * num_multiplied + 4 * attended_dim * sum(seen),
        weight_bytes=sum(parameter.nbytes for parameter in parameters.values()),
        cache_bytes_per_token=4 * config.num_layers * sum(heads * width for heads, width in cached),
        activation_bytes_per_token=4 * (kept + 2 * config.vocab_size),
    )
