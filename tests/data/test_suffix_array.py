"""The suffix array finds what a search token by token finds, and nothing across documents."""

from __future__ import annotations

import json
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptsmith.base.errors import MissingExtraError, UserError
from gptsmith.data import suffix_array as module
from gptsmith.data.cache import MANIFEST
from gptsmith.data.suffix_array import PLACES_FILE, TOKENS_FILE, SuffixArray, kept_suffix_array, suffix_array

SEPARATOR = 0
DTYPES = (np.dtype("<u2"), np.dtype("<u4"))
LARGE = {np.dtype("<u2"): 65_000, np.dtype("<u4"): 3_000_000_000}
"""Added to some tokens, so that all bytes of a token count."""


def documents_of(texts: list[list[int]], dtype: np.dtype) -> np.ndarray:
    tokens = [token for text in texts for token in [*text, SEPARATOR]]
    return np.array(tokens, dtype)


def copies(texts: list[list[int]], wanted: list[int]) -> int:
    return sum(
        text[start : start + len(wanted)] == wanted for text in texts for start in range(len(text) - len(wanted) + 1)
    )


def longest_by_hand(texts: list[list[int]], query: list[int], start: int) -> int:
    length = 0
    while start + length < len(query) and copies(texts, query[start : start + length + 1]):
        length += 1
    return length


@settings(max_examples=60)
@given(st.data(), st.sampled_from(DTYPES))
def test_it_finds_what_a_search_by_hand_finds(data: st.DataObject, dtype: np.dtype) -> None:
    # Few tokens and long runs, so that matches are long, overlap and end with the text.
    token = st.sampled_from([1, 2, 3, 256, LARGE[dtype]])
    run = st.builds(lambda each, times: [each] * times, token, st.integers(1, 20))
    text = st.lists(st.one_of(run, st.lists(token, max_size=4)), max_size=6).map(lambda parts: [*chain(*parts)])
    texts = data.draw(st.lists(text, max_size=5))
    query = data.draw(st.one_of(text, st.sampled_from([*texts, []]).map(lambda each: each + each)))
    array = suffix_array(documents_of(texts, dtype), SEPARATOR)

    lengths = array.longest(np.array(query))
    assert lengths.tolist() == [longest_by_hand(texts, query, start) for start in range(len(query))]

    starts = np.flatnonzero(lengths)
    first, stop = array.rows(np.array(query), starts, lengths[starts])
    for start, length, begin, end in zip(starts, lengths[starts], first, stop, strict=True):
        wanted = query[start : start + length]
        assert end - begin == copies(texts, wanted)
        for place in array.places[begin:end]:
            assert array.tokens[place : place + length].tolist() == wanted


def test_nothing_is_found_across_documents() -> None:
    array = suffix_array(documents_of([[1, 2], [3, 4]], DTYPES[0]), SEPARATOR)
    assert array.longest(np.array([1, 2, 3, 4])).tolist() == [2, 1, 2, 1]
    # A query that has the separator itself, as a conversation may, is divided there.
    assert array.longest(np.array([1, 2, SEPARATOR, 3, 4])).tolist() == [2, 1, 0, 2, 1]


def test_a_long_query_is_searched_for_in_blocks(tokens: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    array = suffix_array(tokens, SEPARATOR)
    at_once = array.longest(tokens[1_000:1_100])
    monkeypatch.setattr(module, "SEARCHED_AT_ONCE", 7)
    assert array.longest(tokens[1_000:1_100]).tolist() == at_once.tolist() == [*range(100, 0, -1)]


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(0))
    return generator.integers(1, 50, 5_000).astype("<u2")


def kept(target: Path, tokens: np.ndarray) -> SuffixArray:
    return kept_suffix_array(target, lambda _: tokens, SEPARATOR, "a.txt")


def same_as_fresh(array: SuffixArray, tokens: np.ndarray) -> bool:
    return array.places.tolist() == suffix_array(tokens, SEPARATOR).places.tolist()


def test_it_is_made_once_and_mapped_into_memory(
    tmp_path: Path, tokens: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert same_as_fresh(kept(tmp_path / "it", tokens), tokens)
    monkeypatch.setattr(module, "suffix_array", pytest.fail)
    again = kept(tmp_path / "it", tokens)
    assert again.tokens.base is not None  # a view of the file
    assert (tmp_path / "it" / PLACES_FILE).stat().st_size == 4 * len(tokens)


def _shorten(folder: Path) -> None:
    (folder / PLACES_FILE).write_bytes((folder / PLACES_FILE).read_bytes()[:-4])


def _disorder(folder: Path) -> None:
    places = np.fromfile(folder / PLACES_FILE, "<u4")
    places[1_000:4_000] = places[1_000:4_000][::-1]
    places.tofile(folder / PLACES_FILE)


def _point_outside(folder: Path) -> None:
    np.full(len(np.fromfile(folder / PLACES_FILE, "<u4")), 1 << 31, "<u4").tofile(folder / PLACES_FILE)


def _overwrite_tokens(folder: Path) -> None:
    tokens = np.fromfile(folder / TOKENS_FILE, "<u2")
    np.random.Generator(np.random.PCG64(1)).permutation(tokens).tofile(folder / TOKENS_FILE)


def _of_another_version(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps({**manifest, "format_version": 99}), encoding="utf-8")


def _without_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("{", encoding="utf-8")


@pytest.mark.parametrize(
    "damage", [_shorten, _disorder, _point_outside, _overwrite_tokens, _of_another_version, _without_manifest]
)
def test_a_damaged_or_foreign_one_is_made_again(tmp_path: Path, tokens: np.ndarray, damage: object) -> None:
    kept(tmp_path / "it", tokens)
    assert callable(damage)
    damage(tmp_path / "it")
    assert not module.is_whole(tmp_path / "it")
    assert same_as_fresh(kept(tmp_path / "it", tokens), tokens)


def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, tokens: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(UserError, match="the index of the text needs"):
        kept(tmp_path / "it", tokens)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_too_little_memory_is_said(tokens: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_memory_bytes", lambda: 100)
    with pytest.raises(UserError, match="takes 120 kB of memory while it is made, and 100 bytes are free"):
        suffix_array(tokens, SEPARATOR)


def test_the_extra_is_named_where_the_library_is_not_installed(
    tokens: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydivsufsort", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gptsmith\[explain\]'"):
        suffix_array(tokens, SEPARATOR)
