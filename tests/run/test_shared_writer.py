"""Several processes write one checkpoint, played by threads: all or nothing, and all know which."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import UserError
from gptsmith.base.files import sha256_of
from gptsmith.run import shared_writer
from gptsmith.run.checkpoint import Checkpoint, Retention, list_checkpoints
from gptsmith.run.distributed import Processes
from gptsmith.run.shared_writer import SharedCheckpointWriter


@dataclass
class Table:
    """What the threads of one group put down for each other."""

    count: int
    values: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.count, timeout=30)

    def exchanged(self, rank: int, value: Any) -> list[Any]:
        self.barrier.wait()
        self.values[rank] = json.loads(json.dumps(value))
        self.barrier.wait()
        return [self.values[other] for other in range(self.count)]


@dataclass(frozen=True)
class Threads(Processes):
    """One of several threads as one of several processes."""

    table: Any = None

    def all_reduce_sum(self, values: Any) -> list[float]:
        return [sum(each) for each in zip(*self.table.exchanged(self.rank, list(values)), strict=True)]

    def broadcast(self, value: Any) -> Any:
        return self.table.exchanged(self.rank, value)[0]

    def all_gather_values(self, value: Any) -> list[Any]:
        return list(self.table.exchanged(self.rank, value))


Fill = Callable[[int, Path], list[Path]]


def write(rank: int, folder: Path) -> list[Path]:
    name = f"model-{rank + 1:05d}-of-00003.safetensors"
    (folder / name).write_bytes(bytes([rank]) * 1000)
    return [folder / name]


def saved(checkpoints: Path, fills: list[Fill], places: list[Path] | None = None) -> list[list[str]]:
    """What each of three processes is warned of, after a checkpoint for each way to fill it."""
    table, warnings = Table(3), [[], [], []]

    def run(rank: int) -> None:
        place = (places or [checkpoints] * 3)[rank]
        processes = Threads(rank, 3, table=table)
        with SharedCheckpointWriter(place, Retention(2), warnings[rank].append, processes) as writer:
            for step, fill in enumerate(fills, 1):
                writer.save(step, 3000, lambda folder, fill=fill: fill(rank, folder), None)
            writer.wait()

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(run, rank) for rank in range(3)]:
            done.result()
    return warnings


def test_all_write_into_one_folder_whose_manifest_has_what_each_has_hashed(tmp_path: Path) -> None:
    assert saved(tmp_path, [write, write, write]) == [[], [], []]
    assert [checkpoint.step for checkpoint in list_checkpoints(tmp_path)] == [3, 2]  # two are kept
    newest = list_checkpoints(tmp_path)[0]
    assert newest.problem() is None
    manifest = json.loads((newest.folder / "MANIFEST.json").read_text(encoding="utf-8"))
    assert (manifest["format_version"], len(manifest["files"])) == (4, 3)
    for path in newest.files("model.safetensors"):
        assert manifest["files"][path.name] == {"bytes": 1000, "sha256": sha256_of(path)}


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_where_one_fails_there_is_no_checkpoint_and_all_know_it(tmp_path: Path, odd: int) -> None:
    def fails(rank: int, folder: Path) -> list[Path]:
        paths = write(rank, folder)
        if rank == odd:
            raise UserError("no room here")
        return paths

    warnings = saved(tmp_path, [write, fails, write])
    assert warnings == [["a checkpoint is skipped, training continues: no room here"]] * 3
    assert [checkpoint.step for checkpoint in list_checkpoints(tmp_path)] == [3, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000001", "step-000000003"]


def test_a_disk_that_the_first_one_finds_full_is_said_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed: list[int] = []

    def full(folder: Path, num_bytes: int, what: str) -> None:
        needed.append(num_bytes)
        raise UserError("the disk is full")

    monkeypatch.setattr(shared_writer, "require_room", full)
    assert saved(tmp_path, [write]) == [["a checkpoint is skipped, training continues: the disk is full"]] * 3
    assert needed == [3 * 3000 + shared_writer.SPARE_BYTES]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_one_does_not_see_is_named(tmp_path: Path) -> None:
    for name in ("shared", "own"):
        (tmp_path / name).mkdir()
    places = [tmp_path / "shared", tmp_path / "shared", tmp_path / "own"]
    for (said,) in saved(tmp_path, [write], places):
        assert "is not there: the run must lie on a disk that all processes see" in said
    assert list_checkpoints(tmp_path / "shared") == []


def test_three_failures_in_a_row_end_training_everywhere(tmp_path: Path) -> None:
    def fails(rank: int, folder: Path) -> list[Path]:
        raise UserError("no room here")

    with pytest.raises(UserError, match="3 checkpoints in a row could not be written: no room here"):
        saved(tmp_path, [fails] * 4)


def test_a_part_that_is_gone_is_noticed(tmp_path: Path) -> None:
    saved(tmp_path, [write])
    (checkpoint,) = list_checkpoints(tmp_path)
    checkpoint.files("model.safetensors")[1].unlink()
    assert "00002-of-00003" in (Checkpoint(checkpoint.folder, 1).problem() or "")
