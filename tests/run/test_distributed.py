"""What several processes decide together, with the others played by a few numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.run import distributed as parallel
from gptsmith.run.distributed import ALONE, Processes, joined
from gptsmith.run.sharding import divide_again, divided_like, is_divided, kept, whole
from gptsmith.run.train_state import TrainState
from gptsmith.train import loop, optimizers
from gptsmith.train.batch import Batch
from gptsmith.train.loop import Hooks, train
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.settings import CheckpointSettings, TrainSettings
from gptsmith.train.step import accumulate

SHAPE = {"num_layers": 1, "embed_dim": 32, "vocab_size": 20, "num_heads": 2, "head_dim": 16, "context_length": 8}


@dataclass(frozen=True)
class Two(Processes):
    """The second of two processes. What the other one adds to each sum, and has as its value, stands in `other`."""

    rank: int = 1
    count: int = 2
    other: dict[int, list[float]] = field(default_factory=dict)
    largest_of_other: int = 0
    calls: itertools.count = field(default_factory=itertools.count)

    def sums(self, values: Iterable[float]) -> list[float]:
        values = list(values)
        theirs = self.other.get(next(self.calls), [0.0] * len(values))
        return [a + b for a, b in zip(values, theirs, strict=True)]

    def largest(self, value: int) -> int:
        return max(value, self.largest_of_other)

    def sum_gradients(self, model: GPT) -> None:
        pass


def a_batch() -> Batch:
    ids = torch.randint(20, (2, 9), generator=torch.Generator().manual_seed(1))
    return Batch(ids[:, :-1], ids[:, 1:])


def trained(processes: Processes, **settings: object) -> tuple[TrainState, list[str], list[tuple[int, int, int]]]:
    """The state after two steps, what was done, and what was read."""
    did: list[str] = []
    asked: list[tuple[int, int, int]] = []
    state = TrainState()
    model = GPT(preset("smith", **SHAPE))

    def read(first: int, count: int, micro_batch_size: int) -> list[Batch]:
        asked.append((first, count, micro_batch_size))
        return [a_batch()]

    hooks = Hooks(
        read=read,
        validation_loss=lambda whole: None,
        sample=lambda: None,
        save=lambda: did.append(f"save {state.step}"),
        observe=lambda step: None,
        should_stop=lambda: False,
        num_steps=lambda: 2,
        refused=lambda verdict, problem: did.append(f"{verdict} {state.step}"),
        roll_back=lambda: False,
        diagnosis=lambda batches: "a diagnosis",
    )
    parsed = TrainSettings.parse({"num_steps": 2, "batch_size": 8, **settings})
    optimizer = optimizers.KINDS.validate("adamw").build(model)
    train(model, optimizer, state, parsed, CheckpointSettings(every_minutes=1000), hooks, processes)
    return state, did, asked


def test_a_process_reads_its_share_and_counts_what_all_read() -> None:
    state, did, asked = trained(Two(other={1: [1.0, 0, 5], 3: [1.0, 0, 7]}), micro_batch_size=3)
    assert asked == [(4, 4, 3), (12, 4, 3)]
    assert (state.num_samples, state.num_tokens) == (16, 2 * 16 + 5 + 7)
    assert did == ["save 2"]
    assert trained(ALONE)[2] == [(0, 8, 8), (8, 8, 8)]


def test_the_loss_is_over_the_items_of_all_processes() -> None:
    model, other = GPT(preset("smith", **SHAPE)), GPT(preset("smith", **SHAPE))
    mine = accumulate(model, NextTokenSettings(), [a_batch()])
    shared = accumulate(other, NextTokenSettings(), [a_batch()], Two(other={0: [48.0]}))
    assert shared == pytest.approx(mine / 4)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad * 4)


def test_memory_that_runs_out_elsewhere_halves_the_micro_batch_here() -> None:
    state, did, asked = trained(Two(other={1: [0.0, 1, 16]}))
    assert did == ["out_of_memory 0", "save 2"]
    assert asked == [(4, 4, 4), (4, 4, 2), (12, 4, 2)]
    assert (state.step, state.micro_batch_size) == (2, 2)


def test_a_clock_that_is_late_elsewhere_saves_here() -> None:
    assert trained(Two(largest_of_other=1))[1] == ["save 1", "save 2"]


def test_a_divided_model_that_is_too_large_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> float:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(loop, "accumulate", fails)
    monkeypatch.setattr(loop, "is_divided", lambda model: True)
    with pytest.raises(UserError, match=r"too small for 4 windows at a time: set a smaller train\.micro_batch_size"):
        trained(Two())


@pytest.mark.parametrize(("batch_size", "allowed"), [(8, "6 or 9"), (2, "3"), (1, "3")])
def test_a_batch_must_be_divided_equally(batch_size: int, allowed: str) -> None:
    with pytest.raises(UserError, match=f"train.batch_size={batch_size} .* 3 processes: set it to {allowed},"):
        Processes(0, 3).require_share(batch_size)
    Processes(0, 3).require_share(9)


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Processes(5, 8).own_device(torch.device("cuda")) == torch.device("cuda")
    assert taken == [1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="2 GPUs are not enough for 3 processes"):
        Processes(2, 8).own_device(torch.device("cuda"))
    with pytest.raises(UserError, match=r"set train\.device=cpu"):
        Processes(0, 2).own_device(torch.device("mps"))
    assert ALONE.own_device(torch.device("mps")) == torch.device("mps")


def test_gradients_are_sent_in_buckets_of_one_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "BUCKET_BYTES", 100)
    sizes = [10, 10, 10, 50, 1]
    gradients = [torch.zeros(size) for size in sizes] + [torch.zeros(1, dtype=torch.float64)]
    assert [[g.numel() for g in bucket] for bucket in parallel._buckets(gradients)] == [[10, 10], [10], [50], [1], [1]]
    assert list(parallel._buckets([])) == []


def test_one_process_joins_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with joined() as processes:
        assert processes is ALONE
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    with joined() as processes:
        assert processes is ALONE
    assert not torch.distributed.is_initialized()
    assert (ALONE.sums([1, 2.5]), ALONE.largest(3), ALONE.told({"a": 1})) == ([1, 2.5], 3, {"a": 1})
    tensor = torch.ones(2)
    assert ALONE.gathered(tensor) == [tensor]


def test_plain_tensors_are_whole() -> None:
    tensor, model = torch.ones(2, 3), GPT(preset("smith", **SHAPE))
    assert not is_divided(tensor)
    assert not is_divided(model)
    assert whole(tensor) is tensor
    assert divided_like(tensor, tensor) is tensor
    assert torch.equal(kept(tensor), tensor)
    divide_again(model)
