"""A frozen layer and a trained change of low rank: W0 x + (alpha / r) B A x (Hu et al. 2021, equation 3)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.hints import shell_command
from gptsmith.base.kinds import Kinds
from gptsmith.base.randomness import derived_seed
from gptsmith.model import linear
from gptsmith.model.dims import LARGEST_DIM
from gptsmith.model.kernels.dropout import Dropout
from gptsmith.model.linear import DrawWeight, LinearLayer, LinearSettings, Put, layer_name, linear_layers

SCORE_HEAD = "score_head"


class BaseKinds(Kinds[LinearSettings]):
    """Every kind of linear layer but LoRA itself."""

    def names(self) -> list[str]:
        return [name for name in super().names() if name != "lora"]

    def validate(self, value: object) -> LinearSettings:
        settings = super().validate(value)
        self.settings(settings.kind)
        return settings

    def settings(self, name: str) -> type[LinearSettings]:
        if name == "lora":
            raise ConfigurationError(
                f"the base of adapters cannot have adapters itself: merge them first ({shell_command('merge', 'RUN')})"
            )
        return super().settings(name)


BASES = BaseKinds(linear.__name__, LinearSettings, default="dense")


class LoraLinearSettings(LinearSettings):
    """y = base(x) + (alpha / rank) B A x. Everything in the model but A and B is frozen."""

    has_adapters: ClassVar[bool] = True

    kind: Literal["lora"] = "lora"
    base: Annotated[LinearSettings, BASES] = BASES.field("dense")
    """The kind of the layers that are adapted."""
    rank: int = Field(default=8, gt=0, le=LARGEST_DIM)
    """Rank of the adapters: rows of A, columns of B."""
    alpha: float = Field(default=16.0, gt=0)
    """Scale of the adapters: B A is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of A's input that is dropped in training; none for the head, whose loss is computed from its matrix."""
    targets: list[str] = Field(default=["attention.*", "feedforward.*"], min_length=1)
    """The layers to adapt: names, such as attention.query, or patterns. The head matches only by its own name."""

    def build(self, in_dim: int, out_dim: int, bias: bool, name: str) -> LinearLayer:
        base = self.base.build(in_dim, out_dim, bias, name)
        if not any(_matches(target, name) for target in self.targets):
            return base
        return LoraLinear(
            base, in_dim, out_dim, self.rank, self.alpha / self.rank, 0.0 if name == "head" else self.dropout
        )

    def complete(self, model: nn.Module) -> None:
        """Freezes all of a model but its adapters.

        Raises:
            ConfigurationError: a target names none of the model's linear layers.
        """
        names = sorted({name for name in map(layer_name, linear_layers(model)) if name != SCORE_HEAD})
        for target in self.targets:
            if not any(_matches(target, name) for name in names):
                raise ConfigurationError(
                    f"linear.targets: {target} is no linear layer of this model (allowed: {', '.join(names)}, "
                    "or patterns such as attention.*; the head only by its own name)"
                )
        self.base.complete(model)
        freeze_all_but_adapters(model)

    def prepare_for_decoding(self, model: nn.Module) -> None:
        if self.base.is_storage:
            self.base.prepare_for_decoding(model)

    def initialize_extras(self, model: nn.Module, seed: int, put: Put) -> None:
        initialize_adapters(model, seed, put)


class LoraLinear(LinearLayer):
    """A frozen base and its adapter.

    Attributes:
        base: the layer that is adapted.
        lora_a: (rank, in).
        lora_b: (out, rank), zero at first, so that nothing changes before it is trained.
        of_rows: A (B, rank, in) and B (B, out, rank) of each row of a batch, to be used in their place; None mostly.
    """

    of_rows: tuple[Tensor, Tensor] | None = None

    def __init__(self, base: LinearLayer, in_dim: int, out_dim: int, rank: int, factor: float, dropout: float) -> None:
        super().__init__()
        self.base, self.factor = base, factor
        self.lora_a = nn.Parameter(torch.empty(rank, in_dim))
        self.lora_b = nn.Parameter(torch.empty(out_dim, rank))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        if self.of_rows is not None:
            a, b = self.of_rows
            change_of_rows: Tensor = self.dropout(x) @ a.to(x.dtype).mT @ b.to(x.dtype).mT  # (B, T, out)
            return self.base(x) + self.factor * change_of_rows
        inner = functional.linear(self.dropout(x), self.lora_a.to(x.dtype))  # (..., rank)
        change: Tensor = self.factor * functional.linear(inner, self.lora_b.to(x.dtype))
        return self.base(x) + change

    def matrix(self) -> Tensor:
        return self.base.matrix() + self.factor * (self.lora_b @ self.lora_a)

    def tie(self, weight: Tensor) -> None:
        self.base.tie(weight)

    def initialize(self, draw: DrawWeight) -> None:
        """Draws the base alone: the adapters of a model are drawn together, by `initialize_adapters`."""
        self.base.initialize(draw)


@torch.no_grad()
def initialize_adapters(model: nn.Module, seed: int, put: Put = Tensor.copy_) -> None:
    """Draws each adapter's A uniform with deviation 1 / sqrt(3 in) (He et al. 2015) and sets its B to zero, in place,
    from a generator of its own: nothing else that is drawn depends on adapters."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "lora"))
    for module in model.modules():
        if isinstance(module, LoraLinear):
            a = module.lora_a
            put(a, (torch.rand(a.shape, generator=generator) * 2 - 1) * a.shape[1] ** -0.5)
            module.lora_b.zero_()


def freeze_all_but_adapters(model: nn.Module) -> None:
    """Lets gradients reach A and B of each adapted layer, and no other parameter but those of a score head: it is no
    part of what is adapted, and knows nothing before it is trained."""
    for place, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(isinstance(module, LoraLinear) or place == SCORE_HEAD)


def _matches(target: str, name: str) -> bool:
    return name == target or (name != "head" and fnmatchcase(name, target))
