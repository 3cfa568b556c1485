"""Each text of an example is found where it stands in what was trained on, with the tokens that spell it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.provenance.in_place import texts_in_place
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings

TOKENIZER = BytesTokenizerSettings().train(list, 0)
TEXTS = ("Yes", "Yes, sir", "no\n", " spaced ", "Ärger", "user", "\U0001f600")


def sequence(texts: list[str]) -> np.ndarray:
    """Texts between special tokens and the words of a template, which strips them."""
    end = TOKENIZER.eos_token_id
    return np.array([token for text in texts for token in (end, *TOKENIZER.encode("role:" + text.strip()), end)])


@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=5))
def test_each_text_is_found_in_its_place(texts: list[str]) -> None:
    found = texts_in_place([text.encode() for text in texts], [sequence(texts)], TOKENIZER)
    before = ""
    for text, place in zip(texts, found, strict=True):
        assert place is not None
        lead = len(text) - len(text.lstrip())
        tokens = place.tokens(lead, lead + len(text.strip().encode()))
        assert TOKENIZER.decode(place.ids[tokens].tolist()) == text.strip()
        before += "role:"
        assert TOKENIZER.decode(place.ids[: tokens.start].tolist()) == before
        before += text.strip()


def test_of_two_answers_each_stands_in_its_own_sequence() -> None:
    texts = [text.encode() for text in ("Which?", "Yes, sir", "Never")]
    sequences = [sequence(["Which?", "Yes, sir"]), sequence(["Which?", "Never"])]
    *_, chosen, rejected = texts_in_place(texts, sequences, TOKENIZER)
    assert chosen is not None
    assert rejected is not None
    assert [len(each.ids) for each in (chosen, rejected)] == [len(each) for each in sequences]


def test_a_turn_that_had_no_room_is_in_no_place() -> None:
    assert texts_in_place([b"gone", b"", b"kept"], [sequence(["kept"])], TOKENIZER)[:2] == [None, None]
