"""Models made of other models: with adapters, with adapters merged, quantized."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gptsmith.base.errors import ConfigurationError, UserError
from gptsmith.base.hints import shell_command
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT, empty_model
from gptsmith.model.linear import LinearSettings, linear_layers
from gptsmith.model.linear.dense import DenseLinearSettings
from gptsmith.model.linear.int8 import Int8LinearSettings
from gptsmith.model.linear.lora import LoraLinear, LoraLinearSettings, initialize_adapters


@torch.no_grad()
def with_adapters(model: GPT, settings: LoraLinearSettings, *, seed: int = 0) -> GPT:
    """A new model with adapters over the weights of `model`, which is dense or quantized: its logits are the same until
    it is trained.

    Raises:
        ConfigurationError: the model has adapters already, its layers are not of the kind that `settings` names as
            the base, or a target names none of them.
    """
    base = model.config.linear
    if base.has_adapters:
        raise ConfigurationError(f"this model has adapters already: merge them first ({shell_command('merge', 'RUN')})")
    if "base" in settings.model_fields_set and settings.base != base:
        raise ConfigurationError(
            f"linear.base={settings.base.kind}, and the linear layers of this model are {base.kind}: leave it out"
        )
    made = _copy(model, linear=settings.model_copy(update={"base": base}))
    initialize_adapters(made, seed)
    return made


@torch.no_grad()
def initialize_from(model: GPT, config: GPTConfig, *, seed: int, shares_all: bool = False) -> GPT:
    """A new model of `config`, initialized from every weight of `model` that it has too. Others, such as those of
    adapters or of a score head, are drawn. Below adapters, weights that are not trained are those of `model` itself,
    in the dtype that they are in; all that are trained are float32.

    Args:
        shares_all: whether those that are trained are those of `model` itself, too: for a model that is not trained in
            their place, but in shards made of it.

    Raises:
        ConfigurationError: its linear layers are neither of the kind of the model's nor adapt that kind.
    """
    wanted, has = config.linear, model.config.linear
    if wanted != has and not (isinstance(wanted, LoraLinearSettings) and wanted.base == has):
        adapted = f" over {wanted.base.kind}" if isinstance(wanted, LoraLinearSettings) else ""
        raise ConfigurationError(
            f"model.linear={wanted.kind}{adapted}, but the linear layers it begins with are {has.kind}"
        )
    if not wanted.has_adapters and not shares_all:
        made = GPT(config, seed=seed)
        _copy_parameters(made, model)
        return made
    made = empty_model(config, model.device)
    if made.score_head is not None:
        for parameter in made.score_head.parameters():
            parameter.zero_()
    initialize_adapters(made, seed)
    _copy_parameters(made, model, shares=lambda parameter: shares_all or not parameter.requires_grad)
    return made


@torch.no_grad()
def merge_lora(model: GPT) -> GPT:
    """A new dense model that computes what `model` computes with its adapters. A head of its own replaces a tied one
    that was adapted.

    Raises:
        ConfigurationError: the model has no adapters.
    """
    if not model.config.linear.has_adapters:
        raise ConfigurationError(
            f"this model has no adapters to merge: its linear layers are {model.config.linear.kind}"
        )
    tied = model.config.tie_embeddings and not isinstance(model.head, LoraLinear)
    made = _copy(model, linear=DenseLinearSettings(), tie_embeddings=tied)
    _load_matrices(made, model)
    return made


def merge_lora_in_format(model: GPT) -> GPT:
    """A new model that computes nearly what `model` computes with its adapters, rounded to the nearest that the kind of
    the layers below them can hold: a small change of a weight is lost.

    Raises:
        ConfigurationError: the model has no adapters, or the layers below them are dense or in a format that nothing is
            rounded to.
    """
    made = merge_lora(model)
    settings = model.config.linear
    assert isinstance(settings, LoraLinearSettings), "it had adapters to merge"
    if settings.base.kind == "dense":
        raise ConfigurationError("the weights below the adapters are in no format to round to: merge them as they are")
    return quantize(made, settings.base)


@torch.no_grad()
def dequantize(model: GPT) -> GPT:
    """A new dense model that computes what `model` computes, whose layers are quantized and have no adapters."""
    assert not model.config.linear.has_adapters, "adapters would be lost"
    made = _copy(model, linear=DenseLinearSettings())
    _load_matrices(made, model)
    return made


@torch.no_grad()
def without_adapters(model: GPT) -> GPT:
    """A new model of the layers below the adapters of `model`: the one that they were trained on.

    Raises:
        ConfigurationError: the model has no adapters.
    """
    settings = model.config.linear
    if not isinstance(settings, LoraLinearSettings):
        raise ConfigurationError(f"this model has no adapters: its linear layers are {settings.kind}")
    return _copy(model, linear=settings.base)


@torch.no_grad()
def quantize(model: GPT, linear: LinearSettings | None = None) -> GPT:
    """A new model that multiplies with the weights of `model`, which is dense, quantized.

    Args:
        linear: the kind of its linear layers, with what that quantizes; int8 by rows if None.

    Raises:
        ConfigurationError: the model is not dense, or a weight is not finite.
    """
    require_dense(model.config)
    made = _copy(model, linear=linear or Int8LinearSettings())
    _load_matrices(made, model)
    return made


def require_dense(config: GPTConfig) -> None:
    """Checks that the weights of a model of that shape can be quantized.

    Raises:
        ConfigurationError: they cannot.
    """
    if config.linear.has_adapters:
        raise ConfigurationError(f"this model has adapters: merge them first ({shell_command('merge', 'RUN')})")
    if config.linear.kind != "dense":
        raise ConfigurationError(
            f"only dense weights can be quantized, and those of this model are {config.linear.kind} already"
        )


def unfilled(model: GPT, config: GPTConfig) -> GPT:
    """A new model of another shape on the device, in the dtypes and in the mode of `model`, whose weights are still to
    be filled in."""
    made = empty_model(config, model.device)
    if model.embedding.weight.is_floating_point():
        made = made.to(model.embedding.weight.dtype)
    made.compute_dtype = model.compute_dtype
    return made.train(model.training)


def _copy(model: GPT, **changes: Any) -> GPT:
    """A model of a changed config, with every parameter that both have."""
    made = unfilled(model, GPTConfig.parse({**model.config.plain(), **changes}))
    _copy_parameters(made, model)
    return made


def _copy_parameters(made: GPT, model: GPT, *, shares: Callable[[Tensor], bool] = lambda _: False) -> None:
    there = {_dense_name(name): parameter for name, parameter in model.named_parameters()}
    for name, parameter in made.named_parameters():
        known = there.get(_dense_name(name))
        if known is not None and shares(parameter):
            parameter.data = known.data
        elif known is not None and known.is_floating_point() == parameter.is_floating_point():
            parameter.copy_(known)


def _dense_name(name: str) -> str:
    """The name of a parameter in a model without adapters."""
    return name.replace(".base.", ".")


def _load_matrices(made: GPT, model: GPT) -> None:
    made.embedding.load_dense_weight(model.embedding.matrix())
    there = linear_layers(model)
    for place, own in linear_layers(made).items():
        if getattr(own, "weight", None) is made.embedding.weight:
            continue  # a tied head
        try:
            own.load_dense_weight(there[place].matrix())
        except UserError as error:
            raise ConfigurationError(f"{place}: {error}") from None
