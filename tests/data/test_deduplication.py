"""Exact deduplication."""

from __future__ import annotations

import numpy as np

from gptsmith.data.deduplication import ExactDeduplication, not_among


def test_the_first_of_equal_documents_is_kept() -> None:
    deduplication = ExactDeduplication()
    assert [deduplication.keep(sha256) for sha256 in (b"a", b"b", b"a")] == [True, True, False]
    deduplication.commit()
    assert not deduplication.keep(b"b")


def test_documents_of_an_unreadable_file_are_taken_back() -> None:
    deduplication = ExactDeduplication()
    deduplication.keep(b"a")
    deduplication.commit()
    deduplication.keep(b"b")
    deduplication.roll_back()
    assert deduplication.keep(b"b")
    assert not deduplication.keep(b"a")


def test_hashes_that_another_corpus_lacks() -> None:
    hashes, others = (np.array(some, "V2") for some in ([b"ab", b"cd", b"ef"], [b"cd"]))
    assert not_among(hashes, others).tolist() == [True, False, True]
    assert not_among(hashes, others[:0]).all()
