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
    root = write({"b.txt": "b", "a.md": "a", "c/d.PY": "d", ".git/x.txt": "x", ".hidden.txt": "h", "e.xyz": "e"})
    assert names([root], root) == ["a.md", "b.txt", "c/d.PY"]
    assert discover([root]).skipped == {str(root / "e.xyz"): "unknown extension .xyz"}


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
    assert names([root / "LICENSE"], root) == ["LICENSE"]
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


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"cells": [{"cell_type": "code", "source": ["1"]}], "nbformat": 4}', "ipynb"),
        (b"From: a@b.c\nTo: d@e.f\nSubject: s\n\nwords\n", "mail"),
        (b"From a@b.c Fri Nov 27 23:39:19 2026\nSubject: s\n\nwords\n", "mail"),
        (b"{\\rtf1 words}", "rtf"),
        (b"<!DOCTYPE html><p>words", "html"),
        (b'<?xml version="1.0"?><html><p>words</p></html>', "html"),
        (b'{"text": "words"}\n', "jsonl"),
        (b"%PDF-1.4", "pdf"),
        (b"\xef\xbb\xbfWEBVTT\n", "srt"),
        (b"% a comment\n\\documentclass{article}\n", "tex"),
        (b"From here on, the words are plain: text.\n", "txt"),
        (b"<3 is what they wrote", "txt"),
    ],
)
def test_a_named_file_of_no_known_extension_is_what_it_holds(
    content: bytes, kind: str, write: Callable[..., Path]
) -> None:
    (item,) = discover([write({"named": content}) / "named"]).candidates
    assert item.reader.kind == kind
    assert item.file.extension in item.reader.extensions or kind == "txt"


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b"\x89PNG\r\n\x1a\n", "an image: recognise its text"),
        (b"PK\x03\x04 cut", "an archive: unpack it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file"),
        (b'<?xml version="1.0"?><mediawiki>', "XML of a kind that no reader knows"),
        (b"<svg xmlns=''>", "XML of a kind that no reader knows"),
        (b"SQLite format 3\0", "a database: export"),
        (b"\x7fELF", "a program"),
        (b"GGUF\x03", "numbers or weights"),
        (b"ID3\x04", "sound or video"),
    ],
)
def test_a_named_file_that_no_reader_knows_is_refused_with_what_to_do(
    content: bytes, advice: str, write: Callable[..., Path]
) -> None:
    path = write({"named": content}) / "named"
    with pytest.raises(UserError, match=f"{path}: {advice}"):
        discover([path])


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="the system has no links")
def test_links_to_folders_are_read_once_and_loops_end(write: Callable[..., Path], tmp_path: Path) -> None:
    root = write({"a.txt": "a", "deep/b.txt": "b"})
    elsewhere = write({"c.txt": "c"}, folder="elsewhere")
    (root / "big").symlink_to(elsewhere)
    (root / "twice").symlink_to(elsewhere)
    (root / "deep" / "up").symlink_to(root)
    found = discover([root])
    assert [item.file.path.relative_to(root).as_posix() for item in found.candidates] == [
        "a.txt",
        "big/c.txt",
        "deep/b.txt",
    ]
    assert found.skipped == {
        str(root / "deep" / "up"): "a link to a folder that is read already",
        str(root / "twice"): "a link to a folder that is read already",
    }
