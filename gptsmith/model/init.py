"""Every initial weight of every model, in one place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gptsmith.model.config import GPTConfig
from gptsmith.model.linear import DrawsItself, Put


@torch.no_grad()
def initialize(model: nn.Module, config: GPTConfig, seed: int, put: Put = Tensor.copy_) -> None:
    """Draws all weights in place, from a generator of their own.

    `gpt2` is GPT-2's: normal with deviation 0.02, the output projections smaller by sqrt(2 L).
    `zero_output` starts the output projections at zero (unless a norm follows them) and the head near zero, so that the
    first loss is ln V and the first steps are large; the other layers are uniform with deviation 1 / sqrt(C),
    embeddings normal with deviation 1.
    Linear layers of every kind begin with the weights of dense ones, as far as they can hold them.

    Args:
        put: gives a parameter its values. One after the other is drawn whole, also where a parameter is a shard.
    """
    if all(parameter.is_meta for parameter in model.parameters()):
        return
    generator = torch.Generator().manual_seed(seed)

    def draw_module(place: str, module: nn.Module) -> None:
        if isinstance(module, DrawsItself):
            module.initialize(lambda part, weight: _draw(f"{place}.{part}", weight, config, generator, put))
            return
        for part, parameter in module.named_parameters(place, recurse=False):
            _draw(part, parameter, config, generator, put)
        for name, child in module.named_children():
            draw_module(f"{place}.{name}" if place else name, child)

    draw_module("", model)
    config.linear.initialize_extras(model, seed, put)


def _draw(name: str, weight: Tensor, config: GPTConfig, generator: torch.Generator, put: Put) -> None:
    """Draws the parameter of a name, such as `blocks.0.attention.query.weight`."""

    def normal(deviation: float) -> None:
        put(weight, torch.randn(weight.shape, generator=generator).mul_(deviation))

    def uniform(deviation: float) -> None:
        drawn = torch.rand(weight.shape, generator=generator)
        put(weight, drawn.mul_(2).sub_(1).mul_(3**0.5).mul_(deviation))

    zero_output = config.init == "zero_output"
    is_output = name.startswith("blocks.") and name.endswith(".output.weight")
    # A norm behind them would divide zero by its epsilon.
    starts_at_zero = is_output and zero_output and config.norm_placement in ("pre", "post")
    if name.endswith("bias"):
        weight.zero_()
    elif "norm" in name:
        weight.fill_(1.0)
    elif name == "score_head.weight":
        weight.zero_()
    elif name == "head.weight" and config.tie_embeddings:
        pass  # the embedding, which is drawn already
    elif name == "embedding.weight":
        normal(1.0 if zero_output and not config.tie_embeddings else 0.02)
    elif not zero_output:
        normal(0.02 / (2 * config.num_layers) ** 0.5 if is_output else 0.02)
    elif starts_at_zero:
        weight.zero_()
    elif name == "head.weight":
        normal(0.001)
    elif name.startswith("position"):
        normal(0.02)
    else:
        uniform(config.embed_dim**-0.5)
