"""Training by several processes that `torchrun` starts: what they tell each other.

Each process has a copy of the model and reads its share of every step's windows. Gradients are summed before the step,
so all copies move alike. Sharded, a process keeps only its part of parameters, gradients and optimizer (FSDP2).
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from gptsmith.base import console
from gptsmith.base.errors import UserError
from gptsmith.base.settings import Settings
from gptsmith.model.gpt import GPT
from gptsmith.run.sharding import is_divided

PATIENCE = timedelta(days=1)
"""How long a process waits for another: the first one prepares the data, which can take hours. One that died is noticed
at once, because its connections close."""
BUCKET_BYTES = 32 << 20
"""Gradients are sent this many bytes at a time: a message for each would be slow, and one for all a second copy."""


class ParallelSettings(Settings):
    """How several processes, started by torchrun, train one model. Means nothing to one process."""

    shard: bool = False
    """Divide parameters, gradients and optimizer over the processes (FSDP2), for models that are too large for one;
    otherwise each process has all of them."""


@dataclass(frozen=True)
class Processes:
    """The processes that train a model together, as one of them sees them.

    All of them must call a method that all of them answer to: `sums`, `largest`, `told`, `gathered`, `sum_gradients`.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def sums(self, values: Iterable[float]) -> list[float]:
        """Each value, summed over all processes: the same numbers on all of them."""
        return self._reduced(list(values), dist.ReduceOp.SUM)

    def largest(self, value: int) -> int:
        """The largest of all processes' values."""
        return int(self._reduced([value], dist.ReduceOp.MAX)[0])

    def _reduced(self, values: list[float], operation: Any) -> list[float]:
        if self.count == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, operation)
        return tensor.tolist()

    def told(self, value: Any) -> Any:
        """The first process's value, a JSON value, on all of them."""
        if self.count == 1:
            return value
        content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        length = torch.tensor(len(content))
        dist.broadcast(length, 0)
        if not self.is_first:
            content = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(content, 0)
        return json.loads(bytes(content.tolist()))

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """Every process's tensor, all of one shape, in the CPU's memory."""
        if self.count == 1:
            return [tensor]
        tensors = [torch.empty_like(tensor) for _ in range(self.count)]
        dist.all_gather(tensors, tensor)
        return tensors

    def sum_gradients(self, model: GPT) -> None:
        """Sums each gradient over all processes. A divided model has done so in its backward pass."""
        if self.count == 1 or is_divided(model):
            return
        for bucket in _buckets(p.grad for p in model.parameters() if p.grad is not None):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            dist.all_reduce(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in bucket])
            torch._foreach_copy_(bucket, [part.view_as(old) for part, old in zip(parts, bucket, strict=True)])

    def own_device(self, device: torch.device) -> torch.device:
        """This process's device of that type: a GPU each.

        Raises:
            UserError: there is no GPU left for this process, or processes cannot share this type of device.
        """
        if self.count == 1 or device.type == "cpu":
            return device
        if device.type != "cuda":
            raise UserError(f"several processes train on cpu or cuda, not on {device.type}: set train.device=cpu")
        place, there = int(os.environ.get("LOCAL_RANK", self.rank)), torch.cuda.device_count()
        if place >= there:
            raise UserError(
                f"{there} GPUs are not enough for {place + 1} processes: start torchrun --nproc-per-node={there}"
            )
        torch.cuda.set_device(place)
        return torch.device("cuda")

    def require_share(self, batch_size: int) -> None:
        """Checks that each process gets the same number of windows.

        Raises:
            UserError: it does not.
        """
        if batch_size % self.count:
            below = batch_size - batch_size % self.count
            allowed = " or ".join(str(size) for size in (below, below + self.count) if size)
            raise UserError(
                f"train.batch_size={batch_size} cannot be divided over {self.count} processes: "
                f"set it to {allowed}, or start a number of processes that divides it"
            )


ALONE = Processes()
_number_of_group = itertools.count()


@contextmanager
def joined() -> Iterator[Processes]:
    """All processes that `torchrun` started for this work, and this one alone where it started none. Those after the
    first are silent. None leaves before all have come to the end of the block."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield ALONE
        return
    store, rank, count = next(rendezvous("env://"))
    # torchrun keeps the store when it starts processes again: they must not read where those before them were.
    place = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}.{next(_number_of_group)}"
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE, store=PrefixStore(place, store), rank=rank, world_size=count)
    processes = Processes(rank, count)
    if not processes.is_first:
        console.be_silent()
    yield processes
    processes.largest(0)
    dist.destroy_process_group()


def divide(model: GPT, device: torch.device) -> None:
    """Divides the parameters of a model over all processes, block by block, and puts this process's part on `device`.

    Zhao et al. 2023, as PyTorch's `fully_shard` does it: a block's parameters are whole only while it computes.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    # The head is read after the forward pass: what is in no block stays whole from there to the backward pass.
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    register_fsdp_forward_method(model, "hidden")
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The gradients in their order, in lists of about BUCKET_BYTES and of one dtype."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        full = sum(other.nbytes for other in bucket) + gradient.nbytes > BUCKET_BYTES
        if bucket and (full or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket
