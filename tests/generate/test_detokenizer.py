"""Text from bytes as they come: whole characters, also where a text is cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gptsmith.generate.detokenizer import Detokenizer


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
