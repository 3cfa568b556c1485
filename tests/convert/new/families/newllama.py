"""A family for a test: Llama's layers under other names, with norms kept as their distance from 1."""

from __future__ import annotations

from torch import Tensor

from gptsmith.convert.families import Family, GGUFArchitecture, Setting, Weight
from gptsmith.convert.families.llama import FIXED, SHAPE, WEIGHTS
from gptsmith.model.config import GPTConfig


class DistanceFromOne:
    """(1 + w), as Gemma keeps its norms."""

    def __init__(self, shape: GPTConfig) -> None:
        """The same for every shape."""

    def to_ours(self, tensor: Tensor) -> Tensor:
        return tensor + 1

    def to_theirs(self, tensor: Tensor) -> Tensor:
        return tensor - 1


def renamed(weight: Weight) -> Weight:
    transform = DistanceFromOne if "norm" in weight.parts[0] else None
    return Weight(weight.ours, weight.theirs.replace("model.", "newllama."), weight.gguf, transform=transform)


FAMILY = Family(
    model_type="newllama",
    architecture="NewLlamaForCausalLM",
    gguf=GGUFArchitecture("llama", is_interleaved=True),
    preset="smith with attention.qk_norm=false",
    fixed=FIXED | {"attention": {"kind": "full", "qk_norm": False, "bias": False}},
    settings=(*SHAPE, Setting("head_dim", "head_dim", None)),
    weights=tuple(renamed(weight) for weight in WEIGHTS),
    prefix="newllama.",
)
