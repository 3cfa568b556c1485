"""The words of a question: what it is about, and no syntax of the database."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.retrieval.terms import match_expression, question_terms, spaced


@pytest.mark.parametrize(
    ("question", "terms"),
    [
        ("Who opened the forge in 1873?", ["opened", "forge", "1873"]),
        ("What is the smith's price for 1,250 nails?", ["smith", "price", "1,250", "nails"]),
        ("Wie viele Nägel?", ["nägel"]),
        ("老铁匠叫什么名字？", ["老铁", "铁匠", "名字"]),
        ("剑？", ["剑"]),
        ("हिन्दी में लोहार?", ["हिन्दी", "में", "लोहार"]),
        ("Quye\u0302\u0300n tu\u031b\u0323 do", ["quyền", "tự"]),
        ("What is it about?", []),
        ('forge" OR text:* NEAR(a b', ["forge", "text", "near"]),
    ],
)
def test_terms_of_questions(question: str, terms: list[str]) -> None:
    assert question_terms(question) == terms


def test_writing_without_spaces_is_indexed_by_pairs() -> None:
    assert spaced("ein 老铁匠 und 剑").split() == ["ein", "老铁", "铁匠", "匠", "und", "剑", "剑"]


@given(st.text(max_size=30))
def test_no_question_is_syntax(question: str) -> None:
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE VIRTUAL TABLE words USING fts5 (text)")
        for term in question_terms(question.encode("utf-8", "replace").decode()):
            database.execute("SELECT count(*) FROM words WHERE words MATCH ?", (match_expression(term),)).fetchone()
