"""Files, folders and globs to the files that are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gptsmith.base.errors import UserError
from gptsmith.data.discover import discover


def names(sources: list[str | Path], root: Path) -> list[str]:
    return [item.file.path.relative_to(root).as_posix() for item in discover(sources).candidates]


def test_a_folder_is_searched_to_its_depths_in_order(write: Callable[..., Path]) -> None:
    root = write({"b.txt": "b", "a.md": "a", "c/d.PY": "d", ".git/x.txt": "x", ".hidden.txt": "h", "e.png": "e"})
    assert names([root], root) == ["a.md", "b.txt", "c/d.PY"]
    assert discover([root]).skipped == {str(root / "e.png"): "unknown extension .png"}


def test_globs(write: Callable[..., Path]) -> None:
    root = write({"a.txt": "a", "b.txt": "b", "c/d.txt": "d", "c/e.bin": "e"})
    assert names([root / "*.txt"], root) == ["a.txt", "b.txt"]
    assert names([f"{root}/**/*.txt"], root) == ["a.txt", "b.txt", "c/d.txt"]
    assert names([root / "c*"], root) == ["c/d.txt"]
    with pytest.raises(UserError, match=r"no file matches"):
        discover([root / "*.nothing"])


def test_a_file_is_read_once_and_counts_as_named(write: Callable[..., Path]) -> None:
    root = write({"a.txt": "a", "b.txt": "b"})
    found = discover([root, root / "b.txt"])
    assert sorted((item.file.path.name, item.named) for item in found.candidates) == [
        ("a.txt", False),
        ("b.txt", True),
    ]


def test_a_named_file_of_any_extension_is_text(write: Callable[..., Path]) -> None:
    root = write({"LICENSE": "free", "notes.xyz": "x", "a[1].txt": "brackets"})
    (item,) = discover([root / "notes.xyz"]).candidates
    assert item.reader.kind == "txt"
    assert item.named
    assert names([root / "a[1].txt"], root) == ["a[1].txt"]


def test_an_extension_is_that_of_the_inner_file(write: Callable[..., Path]) -> None:
    root = write({"news.JSONL.gz": b""})
    (item,) = discover([root]).candidates
    assert (item.file.extension, item.reader.kind) == (".jsonl", "jsonl")


def test_nothing_to_read_lists_what_is_read(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"nothing to read; supported formats: .*\.md.*\.txt"):
        discover([tmp_path / "empty"])
    with pytest.raises(UserError, match="nothing to read"):
        discover([write({"a.png": "a"})])
    with pytest.raises(UserError, match="no such file or folder"):
        discover([tmp_path / "nowhere"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with a name")
def test_what_is_no_file_is_skipped(write: Callable[..., Path]) -> None:
    root = write({"a.txt": "a"})
    os.mkfifo(root / "pipe.txt")
    (root / "link.txt").symlink_to(root / "nowhere")
    assert discover([root]).skipped == {
        str(root / "pipe.txt"): "not a regular file",
        str(root / "link.txt"): "a link to nothing",
    }
    with pytest.raises(UserError, match="not a regular file"):
        discover([root / "pipe.txt"])
