"""Fewer layers, and narrower feed-forward halves: those that do least on some text go (Men et al. 2024, ShortGPT;
Muralidharan et al. 2024, Minitron)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gptsmith.base.errors import UserError
from gptsmith.base.hints import shell_command
from gptsmith.compress.material import Material
from gptsmith.compress.methods import MethodSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.linear import LinearLayer
from gptsmith.model.shared_copy import shared_copy
from gptsmith.model.transform import unfilled

WIDTH_MULTIPLE = 64
"""Of feed-forward widths: whole blocks for every format, and for the products of every processor."""


class PruneMethodSettings(MethodSettings):
    """The layers that change the residual stream most stay, and of each feed-forward half the units that add most."""

    kind: Literal["prune"] = "prune"
    num_layers: int | None = Field(default=None, gt=0)
    """Layers that stay; all if None."""
    feedforward: int | None = Field(default=None, gt=0)
    """The width between the two layers of a feed-forward half, a multiple of 64; as it is if None."""

    @property
    def name(self) -> str:
        layers = [] if self.num_layers is None else [f"{self.num_layers}-layers"]
        return "-".join([*layers, *([] if self.feedforward is None else [f"{self.feedforward}-wide"])])

    @classmethod
    def names(cls) -> Mapping[str, Mapping[str, Any]]:
        return {}  # --layers and --feedforward ask for it

    def require(self, config: GPTConfig, material: Material) -> GPTConfig:
        require_prunable(self, config)
        if self.num_layers is not None:
            config = of_layers(config, range(self.num_layers))  # whichever they are, they are as large
        return config if self.feedforward is None else of_width(config, self.feedforward)

    def compress(self, model: GPT, material: Material) -> GPT:
        text = material.calibration_windows()
        if self.num_layers is not None:
            influences = layer_influences(model, text)
            kept = largest(influences, self.num_layers).tolist()
            model = without_layers(model, kept)
            material.findings["layer_influences"] = influences.tolist()
            material.findings["kept_layers"] = kept
        if self.feedforward is not None:
            model = with_units(model, largest(unit_importances(model, text), self.feedforward))
        return model


def require_prunable(settings: PruneMethodSettings, config: GPTConfig) -> None:
    """Checks that a model of that shape can become as small as the settings say.

    Raises:
        UserError: it cannot.
    """
    if config.linear.has_adapters:
        raise UserError(f"this model has adapters: merge them first ({shell_command('merge', 'RUN')})")
    layers = settings.num_layers
    if layers is not None and layers >= config.num_layers:
        most = config.num_layers - 1
        allowed = f"from 1 to {most} can stay" if most else "no layer can go"
        raise UserError(f"--layers {layers}: this model has {config.num_layers}, so {allowed}")
    width = settings.feedforward
    if width is None:
        return
    if not config.feedforward.unit_layers:
        raise UserError(
            f"--feedforward {width}: feed-forward halves of the kind {config.feedforward.kind} cannot be made "
            "narrower: leave it out"
        )
    now = config.feedforward.width(config.dims)
    if width % WIDTH_MULTIPLE or width >= now:
        most = (now - 1) // WIDTH_MULTIPLE * WIDTH_MULTIPLE
        allowed = f"multiples of {WIDTH_MULTIPLE} up to {most}" if most else "nothing, it is narrow already"
        raise UserError(f"--feedforward {width}: this model's is {now} wide (allowed: {allowed})")


def of_layers(config: GPTConfig, kept: Sequence[int]) -> GPTConfig:
    """The shape of some of the layers of a model."""
    parts = {"attention": config.attention.of_layers(kept), "position": config.position.of_layers(kept)}
    return GPTConfig.parse({**config.plain(), **parts, "num_layers": len(kept)})


def of_width(config: GPTConfig, width: int) -> GPTConfig:
    """The shape of a model with feed-forward halves of that width."""
    return GPTConfig.parse({**config.plain(), "feedforward": {**config.feedforward.plain(), "hidden_dim": width}})


@torch.no_grad()
def without_layers(model: GPT, kept: Sequence[int]) -> GPT:
    """A new model of some of the layers of `model`, in their order; everything else is as it was.

    Args:
        kept: the numbers of the layers, from 0, rising.
    """
    made = unfilled(model, of_layers(model.config, kept))
    new_names = {f"blocks.{layer}.": f"blocks.{number}." for number, layer in enumerate(kept)}
    own = made.state_dict()
    for name, value in model.state_dict().items():
        prefix = next((each for each in new_names if name.startswith(each)), None)
        if prefix is not None:
            own[new_names[prefix] + name.removeprefix(prefix)].copy_(value)
        elif not name.startswith("blocks."):
            own[name].copy_(value)
    return made


@torch.no_grad()
def with_units(model: GPT, kept: Tensor) -> GPT:
    """A new model of some of the units of the feed-forward halves of `model`.

    Args:
        kept: the numbers of the units (L, units) of each layer, rising.
    """
    made = unfilled(model, of_width(model.config, kept.shape[1]))
    rows = {f"feedforward.{name}" for name in model.config.feedforward.unit_layers}
    own = made.state_dict()
    for name, value in model.state_dict().items():
        _, layer, place = (*name.split(".", 2), "", "")[:3]
        if place.rpartition(".")[0] in rows:
            value = value[kept[int(layer)]]
        elif place == "feedforward.output.weight":
            value = value[:, kept[int(layer)]]
        own[name].copy_(value)
    return made


@torch.no_grad()
def layer_influences(model: GPT, text: Iterable[Tensor]) -> Tensor:
    """How much each layer changes the residual stream (L): 1 - the mean cosine of its input and its output.

    Args:
        text: token ids (B, T), at least one batch.
    """
    totals, num_tokens = torch.zeros(len(model.blocks), dtype=torch.float64), 0

    def measure(layer: int, before: Tensor, after: Tensor) -> None:
        totals[layer] += functional.cosine_similarity(before.float(), after.float(), dim=-1).sum().item()

    watched = shared_copy(model)
    for layer, block in enumerate(watched.blocks):
        block.register_forward_hook(lambda _, inputs, output, layer=layer: measure(layer, inputs[0], output))
    for input_ids in text:
        watched.hidden(input_ids.to(model.device))
        num_tokens += input_ids.numel()
    return 1 - totals / num_tokens


@torch.no_grad()
def unit_importances(model: GPT, text: Iterable[Tensor]) -> Tensor:
    """How much each unit of each feed-forward half adds to the residual stream (L, units): the mean size of its
    activation times the norm of its column.

    Args:
        text: token ids (B, T), at least one batch.
    """
    watched = shared_copy(model)
    outputs = [block.get_submodule("feedforward.output") for block in watched.blocks]
    sizes = [torch.zeros(1) for _ in outputs]

    def measure(layer: int, units: Tensor) -> None:
        sizes[layer] = sizes[layer] + units.float().abs().flatten(0, -2).sum(dim=0).cpu()

    for layer, output in enumerate(outputs):
        output.register_forward_pre_hook(lambda _, inputs, layer=layer: measure(layer, inputs[0]))
    for input_ids in text:
        watched.hidden(input_ids.to(model.device))
    norms = [output.matrix().float().norm(dim=0).cpu() for output in outputs if isinstance(output, LinearLayer)]
    return torch.stack([size * norm for size, norm in zip(sizes, norms, strict=True)])


def largest(importances: Tensor, count: int) -> Tensor:
    """The places (..., count) of the largest of (..., N), rising; of equal ones the first."""
    order = importances.argsort(dim=-1, descending=True, stable=True)
    return order[..., :count].sort(dim=-1).values
