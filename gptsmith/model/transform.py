"""Models made of other models: with adapters, with adapters merged, rounded."""

from __future__ import annotations

from typing import Any

import torch

from gptsmith.base.errors import ConfigurationError, UserError
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT, empty_model
from gptsmith.model.init import initialize_adapters
from gptsmith.model.kernels.int8_matmul import WholeProduct
from gptsmith.model.linear import maps_of
from gptsmith.model.linear.dense import DenseLinearSettings
from gptsmith.model.linear.int8 import Int8Linear, Int8LinearSettings
from gptsmith.model.linear.lora import LoraLinear, LoraLinearSettings

READ_ONE_INPUT = (("query", "key", "value"), ("gate", "input"))
"""Maps of one module that are multiplied with the same."""


@torch.no_grad()
def with_adapters(model: GPT, settings: LoraLinearSettings, *, seed: int = 0) -> GPT:
    """A new model with adapters over the weights of `model`, which is plain or rounded: its logits are the same until
    it is trained.

    Raises:
        ConfigurationError: the model has adapters already, its maps are not of the kind that `settings` asks for as the
            base, or a target names none of them.
    """
    base = model.config.linear
    if base.kind == "lora":
        raise ConfigurationError("this model has adapters already: merge them first (gptsmith merge RUN)")
    if "base" in settings.model_fields_set and settings.base != base:
        raise ConfigurationError(
            f"linear.base={settings.base.kind}, and the maps of this model are {base.kind}: leave it out"
        )
    made = _copy(model, linear=settings.model_copy(update={"base": base}))
    initialize_adapters(made, seed)
    return made


@torch.no_grad()
def begun_from(model: GPT, config: GPTConfig, *, seed: int) -> GPT:
    """A new model of `config` that begins with every weight of `model` that it has too. Others, such as those of
    adapters or of a score head, are drawn.

    Raises:
        ConfigurationError: its maps are neither of the kind of the model's nor adapt that kind.
    """
    asked, has = config.linear, model.config.linear
    if asked != has and not (isinstance(asked, LoraLinearSettings) and asked.base == has):
        adapted = f" over {asked.base.kind}" if isinstance(asked, LoraLinearSettings) else ""
        raise ConfigurationError(f"model.linear={asked.kind}{adapted}, and the maps that it begins with are {has.kind}")
    made = GPT(config, seed=seed)
    _take_over(made, model)
    return made


@torch.no_grad()
def merged(model: GPT) -> GPT:
    """A new plain model that computes what `model` computes with its adapters. A head of its own replaces a tied one
    that was adapted.

    Raises:
        ConfigurationError: the model has no adapters.
    """
    if model.config.linear.kind != "lora":
        raise ConfigurationError(f"this model has no adapters to merge: its maps are {model.config.linear.kind}")
    tied = model.config.tie_embeddings and not isinstance(model.head, LoraLinear)
    made = _copy(model, linear=DenseLinearSettings(), tie_embeddings=tied)
    _take_matrices(made, model)
    return made


@torch.no_grad()
def without_adapters(model: GPT) -> GPT:
    """A new model of the maps below the adapters of `model`: what it computed before they were trained.

    Raises:
        ConfigurationError: the model has no adapters.
    """
    settings = model.config.linear
    if not isinstance(settings, LoraLinearSettings):
        raise ConfigurationError(f"this model has no adapters: its maps are {settings.kind}")
    return _copy(model, linear=settings.base)


@torch.no_grad()
def rounded(model: GPT) -> GPT:
    """A new model whose blocks multiply with the weights of `model`, which is plain, rounded to int8.

    Raises:
        ConfigurationError: the model is not plain, or a weight is not finite.
    """
    kind = model.config.linear.kind
    if kind == "lora":
        raise ConfigurationError("this model has adapters: merge them first (gptsmith merge RUN)")
    if kind != "dense":
        raise ConfigurationError(f"only plain weights can be rounded, and those of this model are {kind} already")
    made = _copy(model, linear=Int8LinearSettings())
    _take_matrices(made, model)
    return made


@torch.no_grad()
def use_integer_products(model: GPT) -> None:
    """Makes a rounded model on a processor compute faster, in place: its maps round their inputs too, and the head is
    rounded as well. For writing only: no gradient passes."""
    head = Int8Linear(model.config.embed_dim, model.config.vocab_size, bias=False)
    head.take(model.head_weight.float())
    model.head = head
    for parent in list(model.modules()):
        maps = {name: module for name, module in parent.named_children() if isinstance(module, Int8Linear)}
        groups = [group for group in READ_ONE_INPUT if maps.keys() >= set(group)]
        alone = [(name,) for name in maps if not any(name in group for group in groups)]
        for names in (*groups, *alone):
            for name, whole in zip(names, WholeProduct([maps[name] for name in names]).maps(), strict=True):
                setattr(parent, name, whole)


def _copy(model: GPT, **changes: Any) -> GPT:
    """A model of a changed config, with every parameter that both have."""
    config = GPTConfig.parse({**model.config.plain(), **changes})
    made = empty_model(config, model.device).to(model.embedding.weight.dtype)
    _take_over(made, model)
    made.compute_dtype = model.compute_dtype
    return made.train(model.training)


def _take_over(made: GPT, model: GPT) -> None:
    there = {_plain_name(name): parameter for name, parameter in model.named_parameters()}
    for name, parameter in made.named_parameters():
        known = there.get(_plain_name(name))
        if known is not None:
            parameter.copy_(known)


def _plain_name(name: str) -> str:
    """What a parameter is called in a model without adapters."""
    return name.replace(".base.", ".")


def _take_matrices(made: GPT, model: GPT) -> None:
    there = maps_of(model)
    for place, own in maps_of(made).items():
        try:
            own.take(there[place].matrix())
        except UserError as error:
            raise ConfigurationError(f"{place}: {error}") from None
