"""Files of tensors, whole or in the parts that several processes wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gptsmith.base.errors import CheckpointError
from gptsmith.run.sharding import Part
from gptsmith.run.stored_tensors import Piece, StoredTensors, save_tensors

WHOLE = {
    "matrix": torch.arange(35.0).reshape(7, 5),
    "vector": torch.arange(3).to(torch.bfloat16),
    "step": torch.tensor(3.0),
}


def divided(folder: Path, count: int, dim: int = 0) -> list[Path]:
    """The files of so many processes, each with its part of what has dimensions, and the first with the rest."""
    paths = []
    for number in range(count):
        tensors: dict[str, Tensor] = {} if number else {"step": WHOLE["step"]}
        parts = {}
        for name in ("matrix", "vector"):
            at = dim if name == "matrix" else 0
            length = WHOLE[name].shape[at]
            longest = -(-length // count)
            start, stop = min(number * longest, length), min((number + 1) * longest, length)
            parts[name] = Part(tuple(WHOLE[name].shape), at, start, stop)
            if stop > start:
                tensors[name] = parts[name].of(WHOLE[name]).contiguous()
        paths.append(folder / f"{number}.safetensors")
        save_tensors(paths[-1], tensors, parts)
    return paths


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("dim", [0, 1])
def test_parts_are_read_as_the_whole_and_as_any_other_parts(tmp_path: Path, count: int, dim: int) -> None:
    stored = StoredTensors(divided(tmp_path, count, dim))
    assert stored.keys() == WHOLE.keys()
    assert stored.shapes == {name: tuple(tensor.shape) for name, tensor in WHOLE.items()}
    assert stored.num_parameters() == {"float32": 36, "bfloat16": 3}
    for name, tensor in WHOLE.items():
        assert stored[name].dtype == tensor.dtype
        assert torch.equal(stored[name], tensor)
    for other in (0, 1):
        for start in range(WHOLE["matrix"].shape[other] + 1):
            for stop in range(start, WHOLE["matrix"].shape[other] + 1):
                part = Part((7, 5), other, start, stop)
                assert torch.equal(stored.read("matrix", part), part.of(WHOLE["matrix"]))
    assert stored.read("vector", Part((3,), 0, 3, 3)).dtype == torch.bfloat16  # of a process for which nothing is left


@pytest.mark.parametrize("count", [1, 4])
def test_stored_tensors_are_written_into_one_file_as_the_library_writes_them(tmp_path: Path, count: int) -> None:
    stored = StoredTensors(divided(tmp_path, count))
    save_tensors(tmp_path / "ours", stored)
    save_file(WHOLE, tmp_path / "theirs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert stored.num_bytes == sum(tensor.nbytes for tensor in WHOLE.values())
    assert all(torch.equal(value, WHOLE[name]) for name, value in load_file(tmp_path / "ours").items())


def test_a_part_that_is_missing_or_there_twice_is_noticed(tmp_path: Path) -> None:
    paths = divided(tmp_path, 3)
    for odd in (paths[:1], paths[:2], paths[1:], [paths[0], paths[2]], [*paths, paths[1]], []):
        with pytest.raises(CheckpointError, match="the parts of matrix do not make a whole"):
            StoredTensors(odd or paths[2:])


@pytest.mark.parametrize(
    "record",
    [
        {"shape": [7, 5], "dim": 2, "start": 0},
        {"shape": [7, 5], "dim": 0, "start": 1},
        {"shape": [7, 5], "dim": -1, "start": 0},
        {"shape": [10**30, 5], "dim": 0, "start": 0},
        {"shape": [7], "dim": 0, "start": 0},
        {"shape": "7", "dim": 0, "start": 0},
        {"dim": 0},
        7,
    ],
)
def test_records_that_anybody_wrote_are_checked(tmp_path: Path, record: Any) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"matrix": torch.ones(7, 5)}, path, metadata={"parts": json.dumps({"matrix": record})})
    with pytest.raises(CheckpointError, match=r"matrix"):
        StoredTensors([path])


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, "7"])
def test_a_table_of_parts_that_is_none_is_an_error_in_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"matrix": torch.ones(7, 5)}, path, metadata={"parts": text})
    with pytest.raises(CheckpointError):
        StoredTensors([path])


def test_only_the_part_that_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, read, plain = StoredTensors(divided(tmp_path, 4)), [], Piece.read

    def noting(piece: Piece, name: str, start: int, stop: int) -> Tensor:
        found = plain(piece, name, start, stop)
        read.append((piece.start, len(found)))
        return found

    monkeypatch.setattr(Piece, "read", noting)
    stored.read("matrix", Part((7, 5), 0, 3, 5))  # of files with two rows each
    assert read == [(2, 1), (4, 1)]
