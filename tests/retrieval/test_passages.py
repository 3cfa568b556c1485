"""Passages follow the headings and paragraphs of a document, lose nothing of it, and cut no sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.retrieval.passages import ENOUGH_WORDS, MAX_WORDS, Splitter, count_words, passages_of

from .conftest import FORGE

SENTENCE = "The smith of the seventh village forged a nail that day. "


def test_a_passage_knows_the_headings_that_it_stands_under() -> None:
    found = passages_of(FORGE)
    assert [passage.headings for passage in found] == [
        ("The forge",), ("The forge", "Steel"), ("The forge", "Prices"),
    ]  # fmt: skip
    assert found[2].text.startswith("## Prices\n\nA horseshoe")
    assert FORGE[found[2].start :] == found[2].text


@pytest.mark.parametrize(
    ("text", "headings"),
    [
        ("Tools\n=====\n\nHammers.\n\nSharp ones\n----------\n\nChisels.\n", [("Tools",), ("Tools", "Sharp ones")]),
        ("# A\n\nOne.\n\n### B\n\nTwo.\n\n## C\n\nThree.\n", [("A",), ("A", "B"), ("A", "C")]),
        ("# A\n\n```\n# no heading\n\nx = 1\n```\n\nOne.\n", [("A",)]),
        ("#hashtag and 3 # signs\n", [()]),
        ("# Only a title\n\n## And a part\n\nText.\n", [("Only a title", "And a part")]),
        ("Chapter One\n\nIt rained that day, and the next.\n", [("Chapter One",)]),
        ("It rained.\n\nThen it snowed.\n", [()]),
    ],
)
def test_headings_are_known_by_their_marks_or_by_their_look(text: str, headings: list[tuple[str, ...]]) -> None:
    assert [passage.headings for passage in passages_of(text)] == headings


def test_long_paragraphs_are_cut_between_sentences_only() -> None:
    found = passages_of(SENTENCE * 100)
    assert len(found) > 3
    assert all(passage.text.strip().endswith("that day.") for passage in found)
    assert all(150 <= count_words(passage.text) <= MAX_WORDS for passage in found[:-1])


def test_a_sentence_that_is_too_long_is_cut_between_lines_and_else_between_words() -> None:
    lines = passages_of("\n".join("word " * 50 for _ in range(20)))
    assert all(passage.text.endswith("\n") for passage in lines[:-1])
    assert max(count_words(passage.text) for passage in passages_of("word " * 2000)) == ENOUGH_WORDS
    chinese = passages_of("老铁匠打造三把剑" * 200)
    assert len(chinese) > 1
    assert max(count_words(passage.text) for passage in chinese) <= MAX_WORDS


def test_chinese_sentences_stay_whole() -> None:
    found = passages_of("老铁匠名叫王大锤，他每天打造三把剑。" * 60)
    assert len(found) > 1
    assert all(passage.text.endswith("。") for passage in found)


LINES = st.sampled_from(
    [
        "# Head",
        "## Under",
        "Title",
        "=====",
        "---",
        "```",
        "",
        "",
        "Some text. And more!",
        "word " * 330,
        "老铁匠。" * 200,
    ]
)


@given(st.lists(LINES, max_size=12).map("\n".join))
def test_the_passages_of_a_document_are_the_document(text: str) -> None:
    found = passages_of(text)
    assert "".join(passage.text for passage in found) == text
    assert all(text[passage.start :].startswith(passage.text) for passage in found)
    assert all(count_words(passage.text) <= MAX_WORDS for passage in found)


@given(st.lists(LINES, max_size=8).map("\n".join), st.integers(1, 40))
def test_a_document_that_comes_in_pieces_is_lost_nowhere(text: str, size: int) -> None:
    pieces = [text[at : at + size * 25] for at in range(0, len(text), size * 25)] or [""]
    splitter = Splitter()
    found = [one for number, piece in enumerate(pieces, 1) for one in splitter.feed(piece, last=number == len(pieces))]
    assert "".join(passage.text for passage in found) == text
    assert all(text[passage.start :].startswith(passage.text) for passage in found)
