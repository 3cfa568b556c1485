"""Every initial weight of every model, in one place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gptsmith.base.randomness import derived_seed
from gptsmith.model.config import GPTConfig
from gptsmith.model.linear.int8 import Int8Linear
from gptsmith.model.linear.lora import LoraLinear


def initialize(model: nn.Module, config: GPTConfig, seed: int) -> None:
    """Draws all weights in place, from a generator of their own.

    `gpt2` is GPT-2's: normal with deviation 0.02, the maps back to the stream smaller by sqrt(2 L).
    `smith` starts the maps back to the stream at zero and the head near zero, so that the first loss is ln V and the
    first steps are large; the other maps are uniform with deviation 1 / sqrt(C), embeddings normal with deviation 1.
    A rounded map gets what a plain one would get, rounded, and one with an adapter what it would get without.
    """
    if all(parameter.is_meta for parameter in model.parameters()):
        return
    generator = torch.Generator().manual_seed(seed)

    def normal(weight: Tensor, deviation: float) -> None:
        weight.copy_(torch.randn(weight.shape, generator=generator) * deviation)

    def uniform(weight: Tensor, deviation: float) -> None:
        weight.copy_((torch.rand(weight.shape, generator=generator) * 2 - 1) * 3**0.5 * deviation)

    zero_output = config.init == "zero_output"

    def draw(name: str, weight: Tensor) -> None:
        back_to_stream = name.endswith(("attention.output.weight", "feedforward.output.weight"))
        if name.endswith("bias"):
            weight.zero_()
        elif "norm" in name:
            weight.fill_(1.0)
        elif name == "score_head.weight":
            weight.zero_()
        elif name == "embedding.weight":
            normal(weight, 1.0 if zero_output and not config.tie_embeddings else 0.02)
        elif not zero_output:
            normal(weight, 0.02 / (2 * config.num_layers) ** 0.5 if back_to_stream else 0.02)
        elif back_to_stream:
            weight.zero_()
        elif name == "head.weight":
            normal(weight, 0.001)
        elif name.startswith("position"):
            normal(weight, 0.02)
        else:
            uniform(weight, config.embed_dim**-0.5)

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            place, _, part = name.rpartition(".")
            module, plain_name = model.get_submodule(place), name.replace(".base.", ".")
            if isinstance(module, LoraLinear):
                continue
            if not isinstance(module, Int8Linear) or part == "bias":
                draw(plain_name, parameter)
            elif part == "weight":
                weight = torch.empty(parameter.shape)
                draw(plain_name, weight)
                module.take(weight)
    initialize_adapters(model, seed)


@torch.no_grad()
def initialize_adapters(model: nn.Module, seed: int) -> None:
    """Draws each adapter's A uniform with deviation 1 / sqrt(3 in) (He et al. 2015) and sets its B to zero, in place,
    from a generator of its own: nothing else that is drawn depends on adapters."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "lora"))
    for module in model.modules():
        if isinstance(module, LoraLinear):
            a = module.lora_a
            a.copy_((torch.rand(a.shape, generator=generator) * 2 - 1) * a.shape[1] ** -0.5)
            module.lora_b.zero_()
