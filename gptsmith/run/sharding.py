"""Tensors that are divided over several processes, as whole ones and back. A plain tensor passes through as it is."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def is_divided(thing: Tensor | nn.Module) -> bool:
    """Whether a tensor, or a model's parameters, are divided over processes."""
    # What only PyTorch's divided tensors and modules have: nobody else should pay for importing them.
    return hasattr(thing, "full_tensor") or hasattr(thing, "reshard")


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; every process must ask for it."""
    if not is_divided(tensor):
        return tensor
    divided: Any = tensor
    full: Tensor = divided.full_tensor()
    return full


def kept(tensor: Tensor) -> Tensor:
    """All of a tensor in the CPU's memory; of a divided one only on the first process, and an empty one elsewhere."""
    full = whole(tensor.detach())
    if is_divided(tensor) and _rank(tensor):
        full = full.new_empty(0)
    return full.cpu().contiguous()


def divided_like(full: Tensor, other: Tensor) -> Tensor:
    """This process's part of a whole tensor, on the device and in the way in which `other` is divided."""
    full = full.to(other.device)
    if not is_divided(other):
        return full
    from torch.distributed.tensor import DTensor, Replicate

    divided: Any = other
    everywhere = DTensor.from_local(full, divided.device_mesh, [Replicate()], run_check=False)
    return everywhere.redistribute(placements=divided.placements)


def divide_again(model: nn.Module) -> None:
    """Drops the whole parameters that a forward pass of a divided model left, so that its own ones are seen."""
    for module in model.modules():
        if is_divided(module):
            divided: Any = module
            divided.reshard()


def _rank(tensor: Any) -> int:
    rank: int = tensor.device_mesh.get_rank()
    return rank
