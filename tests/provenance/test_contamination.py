"""Contamination equals what a search word by word finds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptsmith.provenance import contamination as module
from gptsmith.provenance.contamination import contamination

WORDS = st.lists(st.sampled_from("abc"), max_size=40).map(" ".join)


def runs_of_words(text: str, length: int) -> set[tuple[str, ...]]:
    words = text.split()
    return (
        {tuple(words[start : start + length]) for start in range(max(1, len(words) - length + 1))} if words else set()
    )


def learned(monkeypatch: pytest.MonkeyPatch, *texts: list[str], missing: tuple[str, ...] = ()) -> Any:
    """A run that learnt from some texts, each of them in batches of its own."""
    parts = [(1, map(module._joined, module._batches(part))) for part in texts]
    monkeypatch.setattr(module, "of_each_training", lambda run, read: (parts, list(missing)))
    return None


@given(st.lists(WORDS, min_size=1, max_size=6), st.lists(WORDS, min_size=1, max_size=6))
@settings(max_examples=80, deadline=None)
def test_it_is_what_a_search_word_by_word_finds(texts: list[str], trained: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", 30)
        found = contamination(learned(patch, trained), texts)
    assert found.is_contaminated is not None
    known = set[tuple[str, ...]]().union(*(runs_of_words(text, found.num_words) for text in trained))
    assert found.is_contaminated.tolist() == [bool(runs_of_words(text, found.num_words) & known) for text in texts]


@pytest.mark.parametrize(("length", "num_words"), [(5, 8), (10, 10), (40, 13)])
def test_fewer_words_are_compared_of_short_texts(length: int, num_words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(f"w{place}" for place in range(length))] * 100 + ["x"] * 3
    assert contamination(learned(monkeypatch, ["w"]), texts).num_words == num_words


def test_case_and_punctuation_do_not_count_and_a_word_too_few_is_no_contamination(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [f"w{place}" for place in range(30)]
    trained = ["So: " + " ".join(words[:13]), "-- ".join(words[12:]).upper()]
    texts = [
        f"x {' '.join(words[:13])} y",
        " ".join(["x", *words[1:13], "y"]),
        ", ".join(words[14:]),
        " ".join(words[1:14]),
    ]
    found = contamination(learned(monkeypatch, trained[:1], trained[1:]), texts)
    assert found.is_contaminated is not None
    assert found.is_contaminated.tolist() == [True, False, True, False]


def test_nothing_is_known_of_a_text_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = contamination(learned(monkeypatch, missing=("it is gone",)), ["a text"])
    assert (found.is_contaminated, found.missing) == (None, ["it is gone"])
    found = contamination(learned(monkeypatch, ["!"], missing=("it is gone",)), ["?", "a"])
    assert found.is_contaminated is not None
    assert not found.is_contaminated.any()
