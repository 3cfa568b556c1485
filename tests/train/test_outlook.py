"""What a model can do is said by its size and by what it has read, whichever is less."""

from __future__ import annotations

from gptsmith.train.planning.outlook import OUTLOOKS, outlook


def test_the_smaller_of_size_and_text_decides() -> None:
    words, sentences, paragraphs, fluent = (one.sentence for one in OUTLOOKS)
    assert outlook(100_000, 10**9) == outlook(10**9, 10**6) == words
    assert outlook(4_360_000, 10**9) == outlook(10**9, 5 * 10**7) == sentences
    assert outlook(124_000_000, 10**10) == paragraphs
    assert outlook(350_000_000, 10**10) == fluent
