"""A model as an engine runs it, which leaves the model that it is made of as it is."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from gptsmith.model.gpt import GPT
from gptsmith.run.sharding import is_sharded

Module = TypeVar("Module", bound=nn.Module)


def inference_model(model: GPT, *, int8_matmul: bool = True) -> GPT:
    """A copy of `model` in evaluation mode that shares its weights. A sharded model cannot be copied, because its
    modules gather their weights together: it is taken itself, and stays in evaluation mode.

    Args:
        int8_matmul: whether an int8 model on a CPU quantizes the inputs of its linear layers too, and its head (dynamic
            quantization). Those layers are packed anew, unless the model has been converted already.
    """
    if is_sharded(model):
        return model.eval()
    shared = shared_copy(model).eval()
    if int8_matmul:
        shared.config.linear.prepare_for_decoding(shared)
    return shared


def has_hooks(module: nn.Module) -> bool:
    """Whether functions of others see or change what a module computes."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def shared_copy(module: Module) -> Module:
    """A copy whose modules may be replaced and whose mode may be changed; the parameters are the same objects."""
    return _shared_copy(module, {})


def _shared_copy(module: Module, known: dict[int, nn.Module]) -> Module:
    if id(module) not in known:
        copied = known[id(module)] = copy.copy(module)
        copied._parameters, copied._buffers = dict(module._parameters), dict(module._buffers)
        copied._modules = {
            name: None if child is None else _shared_copy(child, known) for name, child in module._modules.items()
        }
    return known[id(module)]  # type: ignore[return-value]
