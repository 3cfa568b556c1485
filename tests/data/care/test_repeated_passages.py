"""Repeated passages: what a search by hand finds, with their places, and when they are not looked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gptsmith
from gptsmith.data.care.near_duplicates import Documents
from gptsmith.data.care.repeated_passages import repeated_passages
from gptsmith.workflows import audit as audit_module
from tests.data.care.test_near_duplicates import heap

PASSAGE = " ".join(["Whoever finds this letter “under the old oak” should bring it to the miller of Marrowgate."] * 3)


@given(st.lists(st.text("ab", min_size=1, max_size=20), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_they_cover_what_an_earlier_document_has_and_nothing_else(texts: list[str]) -> None:
    documents, length = Documents([heap(texts)]), 4
    found = repeated_passages(documents, np.arange(len(texts)), length)
    covered = {(one.document, place) for one in found for place in range(one.start, one.stop)}
    by_hand = {
        (later, start + offset)
        for later, text in enumerate(texts)
        for start in range(len(text) - length + 1)
        if any(text[start : start + length] in earlier for earlier in texts[:later])
        for offset in range(length)
    }
    assert covered == by_hand
    for one in found:
        shared = texts[one.document][one.start : one.start + length]
        assert texts[one.of][one.of_start : one.of_start + length] == shared
    sizes = [one.stop - one.start for one in found]
    assert sizes == sorted(sizes, reverse=True)


def test_the_audit_says_where_they_stand(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    letters = [" ".join(f"{name}{place}{name}" for place in range(60)) for name in "abcd"]
    record = json.dumps({"text": f"{letters[1]}\n{PASSAGE}"}) + "\n"
    root = write(
        {
            "a.txt": f"{letters[0]}\n{PASSAGE} {letters[2]}",
            "b.jsonl": json.dumps({"text": letters[3]}) + "\n" + record,
            "near.txt": f"{letters[0]}\n{PASSAGE} {letters[2]} and",  # a near duplicate of the first
        }
    )
    figures = gptsmith.audit(root)
    (found,) = figures["repeated_passages"]
    places = [(Path(one["file"]).name, one["line"]) for one in (found, found["of"])]
    assert places == [("b.jsonl", 2), ("a.txt", 1)]
    assert found["num_bytes"] == len(("\n" + PASSAGE).encode())
    assert (root / "a.txt").read_bytes()[found["of"]["start"] :].startswith(b"\nWhoever")
    assert found["text"].startswith("\nWhoever finds this letter “under")
    assert gptsmith.audit(root, passages=1000)["repeated_passages"] == []
    monkeypatch.setattr(audit_module, "MAX_BYTES", 100)
    skipped = gptsmith.audit(root)
    assert skipped["repeated_passages"] == []
    assert "--passages 200" in skipped["passages_not_searched"]
    assert gptsmith.audit(root, passages=200)["repeated_passages"] == figures["repeated_passages"]


def test_without_the_library_it_is_said(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "find_spec", lambda name: None)
    figures = gptsmith.audit(write({"a.txt": PASSAGE}))
    assert figures["passages_not_searched"] == "they are found with: pip install 'gptsmith[explain]'"
