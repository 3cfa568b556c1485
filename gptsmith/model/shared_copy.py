"""Copies of a model that share its weights."""

from __future__ import annotations

import copy
from collections.abc import MutableMapping
from typing import Any, TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def shared_copy(module: Module) -> Module:
    """A copy whose modules may be replaced, watched by hooks and set to another mode, without a change of `module`; the
    parameters are the same objects."""
    return _shared_copy(module, {})


def _shared_copy(module: Module, known: dict[int, nn.Module]) -> Module:
    if id(module) not in known:
        copied = known[id(module)] = copy.copy(module)
        for name, value in vars(module).items():  # parameters, buffers and hooks, by name or number
            if name.startswith("_") and isinstance(value, MutableMapping):
                table: Any = copy.copy(value)
                copied.__dict__[name] = table
        copied._modules = {
            name: None if child is None else _shared_copy(child, known) for name, child in module._modules.items()
        }
    return known[id(module)]  # type: ignore[return-value]
