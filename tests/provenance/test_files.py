"""Passages are pointed at in the files of today."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptsmith.data import passages as module
from gptsmith.provenance.files import SourceFiles
from gptsmith.run.paths import RunPaths

LINES = [f"line {number}: " + "x" * (number % 7) for number in range(1, 60)]


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
def test_lines_are_counted_in_blocks(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_BYTES", block)
    path = tmp_path / "a.txt"
    content = "\n".join(LINES).encode()
    path.write_bytes(content)
    files = SourceFiles(RunPaths(tmp_path / "run"), {})
    for number, line in enumerate(LINES, 1):
        at = content.index(line.encode())
        for begin, end in ((0, len(content)), (at, at + len(line))):
            found = files.find(path, line, begin, end, at)
            assert found is not None
            assert (found.start, found.stop, found.line) == (at, at + len(line), number)
    path.write_bytes(b"a\n\n" + content)  # counted anew
    moved = files.find(path, LINES[-1], 0, 1 << 20, 0)
    assert moved is not None
    assert moved.line == len(LINES) + 2
    assert files.find(path, "nowhere", 0, 1 << 20, 0) is None


def test_the_nearest_copy_is_pointed_at(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("nail\n" * 50, encoding="utf-8")
    found = SourceFiles(RunPaths(tmp_path / "run"), {}).find(path, "nail", 0, 250, 151)
    assert found is not None
    assert (found.start, found.line) == (150, 31)
