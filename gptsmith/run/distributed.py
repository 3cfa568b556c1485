"""The process group of a training run that `torchrun` starts, and its collective operations.

Each process has a replica of the model and reads its share of every step's windows. Gradients are summed over all
processes before the step, so that the replicas stay equal. `gptsmith.run.sharding` shards the model instead.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from gptsmith.base import console
from gptsmith.base.errors import ConfigurationError, UserError
from gptsmith.base.json_text import json_text
from gptsmith.base.settings import Settings
from gptsmith.model.gpt import GPT
from gptsmith.run.sharding import is_sharded
from gptsmith.run.torchrun import agreed_name, end_with_torchrun

T = TypeVar("T")
TIMEOUT = timedelta(days=1)
"""How long a process waits for another: the first one prepares the data, which can take hours. One that died is noticed
at once, because its connections close."""
BUCKET_BYTES = 32 << 20
"""Gradients are reduced in buckets of this size: one message each is slow, and one for all needs a second copy."""
GLOO_CONNECTION = "gloo/transport/tcp/pair"
"""In the error of a collective operation whose other side is gone."""


class LostProcessError(UserError):
    """Another process of a training has ended, so that this one cannot go on."""


class ParallelSettings(Settings):
    """How several processes, started by torchrun, train one model. Without effect in one process."""

    shard: bool = False
    """Shard parameters, gradients and optimizer states over the processes (FSDP2), for models that are too large for
    one; otherwise each process holds all of them."""
    shard_size: int | None = Field(default=None, gt=1)
    """With `shard`, processes that hold a copy of the model together (HSDP), such as those of one host, so that little
    is sent between hosts; all processes if not given."""

    def num_shards(self, num_processes: int) -> int:
        """The processes, of so many, that hold a copy of the model together."""
        return (self.shard_size or num_processes) if self.shard and num_processes > 1 else 1


@dataclass(frozen=True)
class Processes:
    """The processes that train a model together, as one of them sees them.

    `all_reduce_sum`, `all_reduce_max`, `broadcast`, `all_gather` and `all_reduce_gradients` are collective: all
    processes must call them, in the same order.
    """

    rank: int = 0
    world_size: int = 1
    memory: Any = field(default=None, repr=False, compare=False)
    """The store of torchrun, which outlives these processes where it restarts them; None of a single process."""
    group: Any = field(default=None, repr=False, compare=False)
    """The process group that they talk in; that of all if None."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def all_reduce_sum(self, values: Iterable[float]) -> list[float]:
        """The sum of each value over all processes: the same numbers on all of them."""
        return self._all_reduce(list(values), dist.ReduceOp.SUM)

    def all_reduce_max(self, value: int) -> int:
        """The largest value of all processes."""
        return int(self._all_reduce([value], dist.ReduceOp.MAX)[0])

    def _all_reduce(self, values: list[float], operation: Any) -> list[float]:
        if self.world_size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, operation, group=self.group)
        return tensor.tolist()

    def broadcast(self, value: Any) -> Any:
        """The first process's value (any JSON value), on all processes."""
        if self.world_size == 1:
            return value
        content = torch.frombuffer(bytearray(json_text(value).encode()), dtype=torch.uint8)
        length = torch.tensor(len(content))
        dist.broadcast(length, 0, group=self.group)
        if not self.is_first:
            content = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(content, 0, group=self.group)
        return json.loads(bytes(content.tolist()))

    def all_gather_values(self, value: Any) -> list[Any]:
        """The values (any JSON values) of all processes, by rank."""
        content = torch.frombuffer(bytearray(json_text(value).encode()), dtype=torch.uint8)
        lengths = [int(length) for length in self.all_gather(torch.tensor(len(content)))]
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: len(content)] = content
        gathered = zip(self.all_gather(padded), lengths, strict=True)
        return [json.loads(bytes(each[:length].tolist())) for each, length in gathered]

    def all_gather_made(self, make: Callable[[], Any]) -> list[Any]:
        """What `make` returns (any JSON value) in each process, by rank.

        Raises:
            UserError: it raised that in one of them.
        """
        made, problem = None, None
        try:
            made = make()
        except UserError as error:
            problem = str(error)
        outcomes = self.all_gather_values([made, problem])
        if problems := [problem for _, problem in outcomes if problem is not None]:
            raise UserError(problems[0])
        return [made for made, _ in outcomes]

    @contextmanager
    def in_background(self) -> Iterator[Processes]:
        """The same processes in a group of their own while the block runs: their threads can talk there while they
        themselves talk about something else."""
        if self.world_size == 1:
            yield self
            return
        group = dist.new_group(backend="gloo", timeout=TIMEOUT)
        yield replace(self, group=group)
        dist.destroy_process_group(group)

    def remember(self, name: str, value: str) -> None:
        """Keeps a text for the processes that come after these, if torchrun restarts them."""
        if self.memory is not None and self.is_first:
            self.memory.set(name, value)

    def remembered(self, name: str) -> str | None:
        """A text that the processes before these have kept; None if they have not, or there were none."""
        found = None
        if self.memory is not None and self.is_first and self.memory.check([name]):
            found = self.memory.get(name).decode()
        remembered: str | None = self.broadcast(found)
        return remembered

    def share(self, items: Sequence[T]) -> tuple[list[T], int]:
        """This process's share of some items, and how many of it count. All shares are equally long, because a sharded
        model computes in all processes or in none: where the items do not suffice, the last one is there again."""
        own = list(items[self.rank :: self.world_size])
        longest = -(-len(items) // self.world_size)
        return [*own, *[items[-1]] * (longest - len(own))] if items else [], len(own)

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, by rank; all of one shape and in the CPU's memory."""
        if self.world_size == 1:
            return [tensor]
        tensors = [torch.empty_like(tensor) for _ in range(self.world_size)]
        dist.all_gather(tensors, tensor, group=self.group)
        return tensors

    def all_reduce_gradients(self, model: GPT) -> None:
        """Sums each gradient over all processes. A sharded model has done so in its backward pass."""
        if self.world_size == 1 or is_sharded(model):
            return
        for bucket in _buckets(p.grad for p in model.parameters() if p.grad is not None):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            dist.all_reduce(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in bucket])
            torch._foreach_copy_(bucket, [part.view_as(old) for part, old in zip(parts, bucket, strict=True)])

    def local_device(self, device: torch.device) -> torch.device:
        """This process's device of a type: one GPU per process.

        Raises:
            ConfigurationError: there is no GPU left for this process, or processes cannot share this type of device.
        """
        if self.world_size == 1 or device.type == "cpu":
            return device
        if device.type != "cuda":
            raise ConfigurationError(
                f"several processes train on cpu or cuda, not on {device.type}: set train.device=cpu"
            )
        local_rank, num_gpus = int(os.environ.get("LOCAL_RANK", self.rank)), torch.cuda.device_count()
        if local_rank >= num_gpus:
            raise ConfigurationError(
                f"{num_gpus} GPUs are not enough for {local_rank + 1} processes: "
                f"start torchrun --nproc-per-node={num_gpus}"
            )
        torch.cuda.set_device(local_rank)
        return torch.device("cuda")

    def require_share(self, batch_size: int) -> None:
        """Checks that the processes can share a batch evenly.

        Raises:
            ConfigurationError: it does not.
        """
        if batch_size % self.world_size:
            below = batch_size - batch_size % self.world_size
            allowed = " or ".join(str(size) for size in (below, below + self.world_size) if size)
            raise ConfigurationError(
                f"train.batch_size={batch_size} is not divisible by the {self.world_size} processes: "
                f"set it to {allowed}, or start a number of processes that divides it"
            )

    def require_groups(self, shard_size: int | None) -> None:
        """Checks that the processes make groups of a size.

        Raises:
            ConfigurationError: they do not.
        """
        if shard_size is not None and self.world_size % shard_size:
            allowed = [size for size in range(2, self.world_size + 1) if self.world_size % size == 0]
            raise ConfigurationError(
                f"parallel.shard_size={shard_size} does not divide the {self.world_size} processes: set it to "
                f"{', '.join(map(str, allowed))}, or leave it out"
            )


SINGLE_PROCESS = Processes()
_group_numbers = itertools.count()


@contextmanager
def init_process_group() -> Iterator[Processes]:
    """The group of all processes that `torchrun` started, or `SINGLE_PROCESS` if it started none. A group that is
    there already, made by the program that calls us, is joined, and left as it is.

    Processes after the first write no messages. None leaves the block before all have reached its end.

    Raises:
        ConfigurationError: the group that is there cannot sum what is in the CPU's memory.
        LostProcessError: another process ended while this one was in the block.
    """
    if dist.is_initialized():
        if "gloo" not in str(dist.get_backend_config()):
            raise ConfigurationError(
                f"the process group that is there ({dist.get_backend()}) reaches GPUs alone: make it with "
                'init_process_group("cpu:gloo,cuda:nccl")'
            )
        with _as_one_of(Processes(dist.get_rank(), dist.get_world_size())) as processes:
            yield processes
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield SINGLE_PROCESS
        return
    store, rank, count = next(rendezvous("env://"))
    end_with_torchrun()
    name = agreed_name(store, rank, count)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT, store=PrefixStore(name, store), rank=rank, world_size=count)
    with _as_one_of(Processes(rank, count, PrefixStore(f"remembered.{next(_group_numbers)}", store))) as processes:
        yield processes
    dist.destroy_process_group()


@contextmanager
def _as_one_of(processes: Processes) -> Iterator[Processes]:
    if not processes.is_first:
        console.be_silent()
    try:
        yield processes
        processes.all_reduce_max(0)
    except RuntimeError as error:
        if GLOO_CONNECTION not in str(error):
            raise
        raise LostProcessError(
            "another process of this training has ended, and so does this one: with --max-restarts=3, torchrun starts "
            "all of them again, from the latest checkpoint"
        ) from None


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The gradients in their order, in lists of about BUCKET_BYTES and one dtype."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        full = sum(other.nbytes for other in bucket) + gradient.nbytes > BUCKET_BYTES
        if bucket and (full or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket
