"""Names from outside: confined, safe on every file system, and never the same for different files."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptsmith.base.errors import UserError
from gptsmith.serve.studio.data.names import (
    MAX_PART_BYTES,
    RESERVED,
    UNSAFE,
    collection_name,
    folder_name,
    stored_path,
)

SIGNS = st.one_of(st.characters(), st.sampled_from('/\\.:~ \0"<>|?*\u202e\u2066\ud800ABC'))
PARTS = st.one_of(
    st.text(SIGNS, max_size=12),
    st.sampled_from(["..", ".", "", "CON", "nul.txt", "com1", "a" * 300 + ".txt", "😀" * 90, "שלום.txt", " x. "]),
)
PATHS = st.lists(PARTS, max_size=5).map("/".join)


def put(path: str) -> Path | None:
    """Where a file lands; None if it is refused."""
    try:
        return Path("/home/files") / stored_path(path)
    except UserError:
        return None


@given(PATHS)
@example("../../etc/passwd")
@example("/etc/passwd")
@example("C:\\Windows\\x.txt")
@example("a/../../b")
@settings(max_examples=150, deadline=None)
def test_a_path_stays_inside_and_every_file_system_takes_it(path: str) -> None:
    found = put(path)
    if found is None:
        return
    inside = found.relative_to("/home/files")
    assert inside.parts
    for part in inside.parts:
        assert part not in ("", ".", "..")
        assert not UNSAFE.search(part)
        assert not RESERVED.fullmatch(part)
        assert not part.startswith(".")
        assert not part.endswith((".", " "))
        assert len(part.encode()) <= MAX_PART_BYTES


@given(PATHS, PATHS)
@example("a:b.txt", "a?b.txt")
@example("a:b.txt", "a_b.txt")
@example("x/../a.txt", "a.txt")
@example("a" * 300 + "1.txt", "a" * 300 + "2.txt")
@settings(max_examples=150, deadline=None)
def test_different_paths_never_meet(one: str, other: str) -> None:
    if unicodedata.normalize("NFC", one) != unicodedata.normalize("NFC", other) and put(one) is not None:
        assert put(one) != put(other)


@pytest.mark.parametrize("path", ["letters/1999/dear anna.txt", "日記.md", "שלום/😀.txt", "a.tar.gz", "über.txt"])
def test_a_good_path_stays_as_it_is(path: str) -> None:
    assert str(stored_path(path)) == path


@pytest.mark.parametrize("path", ["", "/", "a/", ".hidden", ".git/config", "a/.b/c.txt", "/".join("a" * 40)])
def test_what_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(UserError):
        stored_path(path)


@given(st.text(SIGNS, max_size=120))
@settings(max_examples=100, deadline=None)
def test_a_collection_has_a_name_that_can_be_read_and_a_folder_that_can_be_made(given_name: str) -> None:
    try:
        name = collection_name(given_name)
    except UserError:
        return
    assert name.isprintable()
    assert collection_name(name) == name
    folder = folder_name(name)
    assert stored_path(folder).parts == (folder,)
