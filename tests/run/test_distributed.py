"""What several processes decide together, with the others played by a few numbers."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch.distributed import HashStore

from gptsmith.base.errors import UserError
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.run import distributed
from gptsmith.run.distributed import SINGLE_PROCESS, Processes, init_process_group
from gptsmith.run.sharding import full_tensor, is_sharded, local_tensor, part_of, put, reshard, shard_like, unsharded
from gptsmith.run.torchrun import agreed_name
from gptsmith.run.train_state import TrainState
from gptsmith.train import step
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.step import accumulate
from tests.train.fakes import SHAPE, World, a_batch


@dataclass(frozen=True)
class Two(Processes):
    """The second of two processes. `other` holds what the first one adds to each sum, by the number of the call."""

    rank: int = 1
    world_size: int = 2
    other: dict[int, list[float]] = field(default_factory=dict)
    max_of_other: int = 0
    calls: itertools.count = field(default_factory=itertools.count)

    def all_reduce_sum(self, values: Iterable[float]) -> list[float]:
        values = list(values)
        theirs = self.other.get(next(self.calls), [0.0] * len(values))
        return [a + b for a, b in zip(values, theirs, strict=True)]

    def all_reduce_max(self, value: int) -> int:
        return max(value, self.max_of_other)

    def all_reduce_gradients(self, model: GPT) -> None:
        pass


def trained(
    folder: Path, processes: Processes, **train: object
) -> tuple[TrainState, list[str], list[tuple[int, int, int]]]:
    """The state after two steps, what was done, and what was read."""
    world = World(folder, make_batches=lambda first, count: [a_batch()])
    world.run(processes, **{"num_steps": 2, "batch_size": 8, **train})
    return world.state, world.did, world.read


def test_a_process_reads_its_share_and_counts_what_all_read(tmp_path: Path) -> None:
    state, did, read = trained(tmp_path, Two(other={1: [1.0, 0, 5], 3: [1.0, 0, 7]}), micro_batch_size=3)
    assert read == [(4, 4, 3), (12, 4, 3)]
    assert (state.num_samples, state.num_tokens) == (16, 2 * 16 + 5 + 7)
    assert did == ["save 2"]
    assert trained(tmp_path, SINGLE_PROCESS)[2] == [(0, 8, 8), (8, 8, 8)]


def test_the_loss_is_over_the_items_of_all_processes() -> None:
    model, other = GPT(preset("smith", **SHAPE)), GPT(preset("smith", **SHAPE))
    mine = accumulate(model, NextTokenSettings(), [a_batch()])
    shared = accumulate(other, NextTokenSettings(), [a_batch()], Two(other={0: [48.0]}))
    assert shared == pytest.approx(mine / 4)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad * 4)


def test_memory_that_runs_out_elsewhere_halves_the_micro_batch_here(tmp_path: Path) -> None:
    state, did, asked = trained(tmp_path, Two(other={1: [0.0, 1, 16]}))
    assert did == ["out_of_memory 0", "save 2"]
    assert asked == [(4, 4, 4), (4, 4, 2), (12, 4, 2)]
    assert (state.step, state.micro_batch_size) == (2, 2)


def test_a_clock_that_is_late_elsewhere_saves_here(tmp_path: Path) -> None:
    assert trained(tmp_path, Two(max_of_other=1))[1] == ["save 1", "save 2"]


def test_a_sharded_model_that_is_too_large_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> float:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(step, "accumulate", fails)
    monkeypatch.setattr(step, "is_sharded", lambda model: True)
    with pytest.raises(UserError, match=r"too small for 4 windows at a time: set a smaller train\.micro_batch_size"):
        trained(tmp_path, Two())


@pytest.mark.parametrize(("batch_size", "allowed"), [(8, "6 or 9"), (2, "3"), (1, "3")])
def test_the_batch_size_must_be_divisible_by_the_world_size(batch_size: int, allowed: str) -> None:
    with pytest.raises(UserError, match=f"train.batch_size={batch_size} .* 3 processes: set it to {allowed},"):
        Processes(0, 3).require_share(batch_size)
    Processes(0, 3).require_share(9)


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Processes(5, 8).local_device(torch.device("cuda")) == torch.device("cuda")
    assert taken == [1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="2 GPUs are not enough for 3 processes"):
        Processes(2, 8).local_device(torch.device("cuda"))
    with pytest.raises(UserError, match=r"set train\.device=cpu"):
        Processes(0, 2).local_device(torch.device("mps"))
    assert SINGLE_PROCESS.local_device(torch.device("mps")) == torch.device("mps")


def test_gradients_are_sent_in_buckets_of_one_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "BUCKET_BYTES", 100)
    sizes = [10, 10, 10, 50, 1]
    gradients = [torch.zeros(size) for size in sizes] + [torch.zeros(1, dtype=torch.float64)]
    assert [[g.numel() for g in bucket] for bucket in distributed._buckets(gradients)] == [
        [10, 10],
        [10],
        [50],
        [1],
        [1],
    ]
    assert list(distributed._buckets([])) == []


def test_a_single_process_needs_no_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with init_process_group() as processes:
        assert processes is SINGLE_PROCESS
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    with init_process_group() as processes:
        assert processes is SINGLE_PROCESS
    assert not torch.distributed.is_initialized()
    assert (
        SINGLE_PROCESS.all_reduce_sum([1, 2.5]),
        SINGLE_PROCESS.all_reduce_max(3),
        SINGLE_PROCESS.broadcast({"a": 1}),
    ) == ([1, 2.5], 3, {"a": 1})
    tensor = torch.ones(2)
    assert SINGLE_PROCESS.all_gather(tensor) == [tensor]


def test_a_group_that_reaches_gpus_alone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "nccl")
    monkeypatch.setattr(torch.distributed, "get_backend_config", lambda: "cuda:nccl")
    with (
        pytest.raises(UserError, match=r"\(nccl\) reaches GPUs alone: make it with .*cpu:gloo,cuda:nccl"),
        init_process_group(),
    ):
        pass


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_processes_agree_on_a_name_that_none_had_before_them(order: tuple[int, ...]) -> None:
    store = HashStore()
    store.set("asks.1", "one that died before it was told")
    names = []
    for _ in range(2):
        told: dict[int, str] = {}

        def tell(rank: int, told: dict[int, str] = told) -> None:
            told[rank] = agreed_name(store, rank, 3)

        threads = [threading.Thread(target=tell, args=(rank,)) for rank in order]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(told) == 3
        assert len(set(told.values())) == 1
        names.append(told[0])
    assert names[0] != names[1]


def test_a_process_that_another_leaves_says_so_in_one_line() -> None:
    with (
        pytest.raises(UserError, match=r"another process of this training has ended.*--max-restarts"),
        distributed._as_one_of(SINGLE_PROCESS),
    ):
        raise RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), distributed._as_one_of(SINGLE_PROCESS):
        raise RuntimeError("shapes differ")


def test_plain_tensors_are_not_sharded() -> None:
    tensor, model = torch.ones(2, 3), GPT(preset("smith", **SHAPE))
    assert not is_sharded(tensor)
    assert not is_sharded(model)
    assert full_tensor(tensor) is tensor
    assert shard_like(tensor, tensor) is tensor
    assert local_tensor(tensor) is tensor
    assert part_of(tensor) is None
    put(tensor, torch.zeros(2, 3))
    assert not tensor.any()
    reshard(model)
    assert unsharded(model) is model
