"""Files read within bounds."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from gptsmith.base import bounded
from gptsmith.base.bounded import read_bytes
from gptsmith.base.errors import UserError


@pytest.mark.parametrize("num_bytes", [0, 1, 9, 10])
def test_a_file_is_read_whole_up_to_its_bound(num_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "BLOCK_BYTES", 4)
    path = tmp_path / "file"
    path.write_bytes(b"0123456789"[:num_bytes])
    assert read_bytes(path, 10) == b"0123456789"[:num_bytes]
    if num_bytes:
        with pytest.raises(UserError, match="has more than"):
            read_bytes(path, num_bytes - 1)


def test_a_small_file_takes_little_memory_whatever_the_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"{}")
    tracemalloc.start()
    try:
        read_bytes(tmp_path / "file", 1 << 28)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4_000_000
