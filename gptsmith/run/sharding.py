"""Sharding of models and tensors over several processes (FSDP2), and back. A plain tensor passes through unchanged."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gptsmith.model.gpt import GPT


def shard(model: GPT, device: torch.device, group_size: int | None = None) -> None:
    """Shards the parameters of a model over all processes, block by block, with this process's shard on `device`; with
    a group size, over the processes of each group, which holds the whole model.

    Fully sharded data parallel training (Zhao et al. 2023) by PyTorch's `fully_shard`: a block's parameters are
    gathered only while it computes, and in bfloat16 if it computes in it. Gradients are summed in float32.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import (
        FSDPModule,
        MixedPrecisionPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )

    num_processes = dist.get_world_size()
    if group_size is None or group_size == num_processes:
        mesh = init_device_mesh(device.type, (num_processes,))
    else:
        mesh = init_device_mesh(
            device.type, (num_processes // group_size, group_size), mesh_dim_names=("replicate", "shard")
        )
    # What is outside of the blocks stays: a token's gradient is a sum over all its places, and logits are exact.
    short = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    policy = short if model.compute_dtype == torch.bfloat16 else MixedPrecisionPolicy()
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    # The head is read after the forward pass: what is in no block stays gathered from there to the backward pass.
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    register_fsdp_forward_method(model, "hidden")
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
            # The tensors that parameters are gathered into are made the first time: not in inference mode, because
            # those could not be trained with.
            module.unshard()
            module.reshard()


def is_sharded(thing: Tensor | nn.Module) -> bool:
    """Whether a tensor, or a model's parameters, are sharded over processes."""
    # Attributes that only PyTorch's sharded tensors and modules have: nobody else should pay for importing them.
    return hasattr(thing, "full_tensor") or hasattr(thing, "reshard")


def full_tensor(tensor: Tensor) -> Tensor:
    """The full tensor of which `tensor` is a shard, on every process; all of them must call this."""
    if not is_sharded(tensor):
        return tensor
    sharded: Any = tensor
    full: Tensor = sharded.full_tensor()
    return full


def gather(tensor: Tensor) -> Tensor:
    """The full tensor in the CPU's memory; of a sharded one only on the first process, and an empty one elsewhere.

    All processes must call this.
    """
    full = full_tensor(tensor.detach())
    if is_sharded(tensor) and _rank(tensor):
        full = full.new_empty(0)
    return full.cpu().contiguous()


def shard_like(full: Tensor, other: Tensor) -> Tensor:
    """This process's shard of a full tensor, on the device and with the placement of `other`."""
    full = full.to(other.device)
    if not is_sharded(other):
        return full
    from torch.distributed.tensor import DTensor, Replicate

    sharded: Any = other
    mesh = sharded.device_mesh
    replicated = DTensor.from_local(full, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return replicated.redistribute(placements=sharded.placements)


def reshard(model: nn.Module) -> None:
    """Frees the full parameters that a forward pass of a sharded model left, so that its shards are seen again."""
    for module in model.modules():
        if is_sharded(module):
            sharded: Any = module
            sharded.reshard()


def _rank(tensor: Any) -> int:
    rank: int = tensor.device_mesh.get_rank()
    return rank
