"""Sharding of models and tensors over several processes (FSDP2). A plain tensor passes through unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gptsmith.base.memory import give_back_freed_memory
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT, meta_model
from gptsmith.model.init import initialize


@dataclass(frozen=True)
class Part:
    """The place of a tensor in the whole one that it is a part of.

    Attributes:
        shape: of the whole.
        dim: the dimension along which it was divided.
        start: where it begins along that dimension.
        stop: where it ends.
    """

    shape: tuple[int, ...]
    dim: int
    start: int
    stop: int

    def of(self, whole: Tensor) -> Tensor:
        """The part of a whole tensor, in the same memory."""
        return whole.narrow(self.dim, self.start, self.stop - self.start)


def shard(model: GPT, device: torch.device, group_size: int | None = None) -> None:
    """Shards the parameters of a model over all processes, block by block, with this process's shard on `device`; with
    a group size, over the processes of each group, which holds the whole model. The shards of a model without memory
    are still to be filled in.

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
    if any(parameter.is_meta for parameter in model.parameters()):
        model.to_empty(device=device)
    register_fsdp_forward_method(model, "hidden")
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
            # The tensors that parameters are gathered into are made the first time: not in inference mode, because
            # those could not be trained with.
            module.unshard()
            module.reshard()
            give_back_freed_memory()


def new_sharded(
    config: GPTConfig, seed: int, device: torch.device, dtype: torch.dtype, group_size: int | None = None
) -> GPT:
    """A new model, sharded as `shard` does, with the first weights that one process would draw, bit for bit. No process
    has more in memory than its shard and one whole parameter.

    Args:
        dtype: of its products: weights are float64 if these are.
    """
    model = meta_model(config)
    if not all(parameter.is_floating_point() for parameter in model.parameters()):
        model = GPT(config, seed=seed)  # weights in blocks are rounded whole
    if dtype == torch.float64:
        model.double()
    model.compute_dtype = dtype
    is_drawn = not any(parameter.is_meta for parameter in model.parameters())
    shard(model, device, group_size)
    if not is_drawn:
        initialize(model, config, seed, put)
    return model


def sharded_from(model: GPT, device: torch.device, dtype: torch.dtype, group_size: int | None = None) -> GPT:
    """The shards of a model in the CPU's memory, or mapped into it from files, of which each process reads its shards
    alone. What is trained becomes float32, and all becomes float64 if products are.
    """
    is_floating = all(parameter.is_floating_point() for parameter in model.parameters())
    made = meta_model(model.config) if is_floating else model  # weights in blocks are divided as they are
    sources = dict(model.named_parameters())
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(sources[name].requires_grad)
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(sources[name].dtype)
    if dtype == torch.float64:
        made.double()
    made.compute_dtype = dtype
    shard(made, device, group_size)
    if made is not model:
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                put(parameter, sources[name])
    return made


@torch.no_grad()
def unsharded(model: GPT) -> GPT:
    """A whole model with the weights that a sharded one has now, on every process, which its passes make wait for no
    other. Blocks that compute in bfloat16 are in it. A model that is not sharded is returned as it is. All processes
    must call this.
    """
    if not is_sharded(model):
        return model
    reshard(model)
    whole, tensors = meta_model(model.config), {}
    for name, parameter in model.named_parameters():
        is_short = model.compute_dtype == torch.bfloat16 and name.startswith("blocks.")
        tensors[name] = full_tensor(
            parameter.to(torch.bfloat16) if is_short and parameter.is_floating_point() else parameter
        )
    whole.load_state_dict(tensors, strict=False, assign=True)
    if whole.config.tie_embeddings:  # of the two names of one tensor, one is enough
        whole.head.tie(whole.embedding.weight)
    whole.compute_dtype = model.compute_dtype
    return whole.requires_grad_(False)


def put(parameter: Tensor, whole: Tensor) -> None:
    """Gives a parameter the values of a whole tensor, of which a sharded one keeps its part."""
    part = part_of(parameter)
    local_tensor(parameter).copy_(whole if part is None else part.of(whole))


def is_sharded(thing: Tensor | nn.Module) -> bool:
    """Whether a tensor, or a model's parameters, are sharded over processes."""
    # Attributes that only PyTorch's sharded tensors and modules have: nobody else should pay for importing them.
    return hasattr(thing, "full_tensor") or hasattr(thing, "reshard")


def part_of(tensor: Tensor) -> Part | None:
    """The part that this process holds of a sharded tensor; None of one that it holds whole."""
    if not is_sharded(tensor):
        return None
    mesh_dim, placement = _shard_placement(tensor)
    mesh, length = _mesh(tensor), tensor.shape[placement.dim]
    longest = -(-length // mesh.size(mesh_dim))  # as torch.chunk divides
    start = min(mesh.get_local_rank(mesh_dim) * longest, length)
    return Part(tuple(tensor.shape), placement.dim, start, min(start + longest, length))


def shard_number(model: nn.Module) -> tuple[int, int, bool]:
    """The number of this process's shards of a model, from 0; the number of processes that hold a copy together; and
    whether that copy is the first one."""
    tensor = next(iter(model.parameters()))
    mesh_dim, _ = _shard_placement(tensor)
    mesh = _mesh(tensor)
    copies = [mesh.get_local_rank(dim) for dim in range(mesh.ndim) if dim != mesh_dim]
    return mesh.get_local_rank(mesh_dim), mesh.size(mesh_dim), not any(copies)


def local_tensor(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor that this process holds, in the same memory."""
    if not is_sharded(tensor):
        return tensor
    sharded: Any = tensor.detach()
    local: Tensor = sharded.to_local()
    return local


def with_local(part: Tensor, other: Tensor) -> Tensor:
    """The tensor of the shape and the placement of `other` of which this process holds a part."""
    part = part.to(other.device)
    if not is_sharded(other):
        return part
    from torch.distributed.tensor import DTensor

    sharded: Any = other
    return DTensor.from_local(
        part, sharded.device_mesh, sharded.placements, run_check=False, shape=other.shape, stride=other.stride()
    )


def full_tensor(tensor: Tensor) -> Tensor:
    """The full tensor of which `tensor` is a shard, on every process; all of them must call this."""
    if not is_sharded(tensor):
        return tensor
    sharded: Any = tensor
    full: Tensor = sharded.full_tensor()
    return full


def shard_like(full: Tensor, other: Tensor) -> Tensor:
    """This process's shard of a full tensor, on the device and with the placement of `other`."""
    part = part_of(other)
    return with_local(full if part is None else part.of(full), other)


def reshard(model: nn.Module) -> None:
    """Frees the full parameters that a forward pass of a sharded model left, so that its shards are seen again."""
    for module in model.modules():
        if is_sharded(module):
            sharded: Any = module
            sharded.reshard()


def _shard_placement(tensor: Any) -> tuple[int, Any]:
    """The dimension of the mesh over which a tensor is sharded, and its placement there."""
    return next((dim, placement) for dim, placement in enumerate(tensor.placements) if placement.is_shard())


def _mesh(tensor: Any) -> Any:
    return tensor.device_mesh
