"""Every initial weight of every model, in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gptsmith.model.gpt import GPT


def initialize(model: GPT, seed: int) -> None:
    """Draws all weights in place, from a generator of their own.

    `gpt2` is GPT-2's: normal with deviation 0.02, the maps back to the stream smaller by sqrt(2 L).
    `smith` starts the maps back to the stream at zero and the head near zero, so that the first loss is ln V and the
    first steps are large; the other maps are uniform with deviation 1 / sqrt(C), embeddings normal with deviation 1.
    """
    config = model.config
    if model.device.type == "meta":
        return
    generator = torch.Generator().manual_seed(seed)

    def normal(weight: Tensor, deviation: float) -> None:
        weight.copy_(torch.randn(weight.shape, generator=generator) * deviation)

    def uniform(weight: Tensor, deviation: float) -> None:
        weight.copy_((torch.rand(weight.shape, generator=generator) * 2 - 1) * 3**0.5 * deviation)

    smith = config.init == "smith"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm = "norm" in name
            back_to_stream = name.endswith(("attention.output.weight", "feedforward.output.weight"))
            if name.endswith("bias"):
                parameter.zero_()
            elif is_norm:
                parameter.fill_(1.0)
            elif name == "embedding.weight":
                normal(parameter, 1.0 if smith and not config.tie_embeddings else 0.02)
            elif not smith:
                normal(parameter, 0.02 / (2 * config.num_layers) ** 0.5 if back_to_stream else 0.02)
            elif back_to_stream:
                parameter.zero_()
            elif name == "head.weight":
                normal(parameter, 0.001)
            elif name.startswith("position"):
                normal(parameter, 0.02)
            else:
                uniform(parameter, config.embed_dim**-0.5)
