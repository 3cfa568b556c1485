"""Text from bytes as they come: whole characters, up to a stop string, in a time that does not depend on its length."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gptsmith.generate.detokenizer import Detokenizer, StopMatcher

WORDS = st.text("abc", min_size=1, max_size=6)


def plain(pieces: list[str], stops: list[str]) -> str:
    """The twin: after each piece, all of the text is searched."""
    text = ""
    for piece in pieces:
        text += piece
        if found := [text.find(stop) for stop in stops if stop in text]:
            return text[: min(found)]
    return text


@settings(max_examples=500, derandomize=True, deadline=None)
@given(st.lists(WORDS, max_size=8), st.lists(WORDS, max_size=3))
def test_a_text_ends_before_its_first_stop_string(pieces: list[str], stops: list[str]) -> None:
    detokenizer = Detokenizer(stops)
    shown = ""
    for number, piece in enumerate(pieces, 1):
        shown += detokenizer.feed(piece.encode())
        whole = plain(pieces[:number], stops)
        assert whole.startswith(shown)
        if detokenizer.stop_string is None:
            # What is held back may be the beginning of a stop string, and nothing else is.
            held = whole[len(shown) :]
            assert held == "" or any(stop.startswith(held) for stop in stops)
    assert shown + detokenizer.feed(b"", final=True) == (cut := plain(pieces, stops))
    found = detokenizer.stop_string
    assert cut + (found or "") == "".join(pieces)[: len(cut + (found or ""))]
    assert (found is None) == (cut == "".join(pieces))


class CountedText(str):
    """A text that counts how often a character of it is looked at."""

    count = 0

    def __getitem__(self, key: Any) -> str:
        CountedText.count += 1
        return super().__getitem__(key)


def test_a_long_stop_string_costs_no_more_than_a_short_one() -> None:
    matcher = StopMatcher(CountedText("ab" * 2000 + "c"))
    CountedText.count = 0
    for _ in range(3000):
        assert matcher.feed("ab") is None
    assert CountedText.count < 5 * 6000
    assert matcher.num_matched == 4000
    assert matcher.feed("xc") is None
    assert matcher.feed("ab" * 2000 + "cd") == 4001


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.text(st.sampled_from("aé👩鍛\u2028\n")), st.integers(0, 60), st.integers(1, 5))
def test_a_text_that_is_cut_has_whole_characters(text: str, end: int, step: int) -> None:
    data = text.encode()[:end]
    detokenizer = Detokenizer()
    found = "".join(detokenizer.feed(data[start : start + step]) for start in range(0, len(data), step))
    found += detokenizer.feed(b"", final=True)
    assert found == data.decode(errors="ignore")
    assert text.startswith(found)


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert Detokenizer().feed(b"a\xff\xfeb", final=True) == "a\ufffd\ufffdb"
