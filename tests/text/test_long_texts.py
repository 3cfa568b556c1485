"""A long text is encoded in chunks, with the ids of the whole, wherever that is known to be the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from gptsmith.base.json_text import json_text
from gptsmith.text import fast_encoding
from gptsmith.text import tokenizer as tokenizer_file
from gptsmith.text.chunk_boundaries import ends_words_at_cuts
from gptsmith.text.fast_encoding import backend_ids
from gptsmith.text.pretokenization import GPT2_SPLIT
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers import KINDS
from tests.convert.tokenizer_styles import sentence_piece

ENGLISH = (
    "The smith isn't here; he'll forge 1,024 nails tomorrow, they've said.\n\n\tIf he does, we're fine!  He'd better.\n"
    "def forge(nails):\n    return [nail * 2 for nail in nails]  # twice as long\n"
) * 10
PARTS = [
    " ",
    "  ",
    "\n",
    "\r\n",
    "'s",
    "don't",
    "1",
    "42",
    "a",
    "Ab",
    "e",
    "\u0301",
    "\u0300\u0327",
    "日",
    "🙂",
    ".",
    "!?",
]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=80).map("".join)
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
SPLIT = {"type": "Split", "pattern": {"Regex": GPT2_SPLIT}, "behavior": "Isolated", "invert": False}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
BPE = KINDS.validate("bpe").train(lambda: [ENGLISH, "Grüße, 世界"], len(ENGLISH))


def changed(**state: Any) -> Tokenizer:
    return Tokenizer(Backend.from_str(json_text({**BPE.state, **state})))


def token(content: str, **flags: bool) -> dict[str, Any]:
    default = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {"id": BPE.vocab_size, "content": content, **default, **flags}


CUT = {
    "bpe": BPE,
    "bytes": KINDS.validate("bytes").train(list, 0),
    "characters": KINDS.validate("characters").train(lambda: [ENGLISH], len(ENGLISH)),
    "digits": changed(pre_tokenizer={"type": "Sequence", "pretokenizers": [DIGITS, BYTE_LEVEL]}),
    "nfc": changed(normalizer={"type": "NFC"}),
    "split": changed(pre_tokenizer={"type": "Sequence", "pretokenizers": [SPLIT, {**BYTE_LEVEL, "use_regex": False}]}),
    "added": changed(added_tokens=[*BPE.state["added_tokens"], token("nails", lstrip=False)]),
}
WHOLE = {
    "a space before the first word": changed(pre_tokenizer=METASPACE),
    "the same by bytes": changed(pre_tokenizer={**BYTE_LEVEL, "add_prefix_space": True}),
    "no words at all": changed(pre_tokenizer={**BYTE_LEVEL, "use_regex": False}),
    "another normalizer": changed(normalizer={"type": "Strip", "strip_left": True, "strip_right": True}),
    "a token of two words": changed(added_tokens=[*BPE.state["added_tokens"], token("the smith")]),
    "a token that takes in spaces": changed(added_tokens=[*BPE.state["added_tokens"], token("nail", rstrip=True)]),
}
SENTENCE_PIECE = {
    f"SentencePiece, {scheme}": Tokenizer(sentence_piece(scheme), "</s>") for scheme in (None, "first", "gemma")
}


@pytest.mark.parametrize("name", CUT)
@settings(max_examples=40)
@given(text=TEXTS)
def test_chunks_have_the_ids_of_the_whole(name: str, text: str) -> None:
    tokenizer, long = CUT[name], text * 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_encoding, "CHUNK_CHARACTERS", 8)
        assert tokenizer.encode(long) == backend_ids(tokenizer.backend, long)
        assert tokenizer.encode_inside(long) == backend_ids(tokenizer.backend, long)


@pytest.mark.parametrize("name", CUT)
def test_no_chunk_is_long(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def counted(backend: Backend, text: str) -> list[int]:
        lengths.append(len(text))
        return backend_ids(backend, text)

    monkeypatch.setattr(fast_encoding, "CHUNK_CHARACTERS", 100)
    monkeypatch.setattr(tokenizer_file, "backend_ids", counted)
    CUT[name].encode(ENGLISH)
    assert max(lengths) <= 200
    assert sum(lengths) == len(ENGLISH)


@pytest.mark.parametrize("name", WHOLE)
def test_others_are_encoded_as_a_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_encoding, "CHUNK_CHARACTERS", 8)
    tokenizer = WHOLE[name]
    assert not ends_words_at_cuts(tokenizer.state)
    assert tokenizer.encode(ENGLISH) == backend_ids(tokenizer.backend, ENGLISH)


@pytest.mark.parametrize("name", [*CUT, *WHOLE, *SENTENCE_PIECE])
@settings(max_examples=25)
@given(texts=st.lists(TEXTS, max_size=3), chunk=st.integers(1, 30))
def test_a_batch_has_the_ids_of_each_text_wherever_it_is_cut(name: str, texts: list[str], chunk: int) -> None:
    tokenizer = (CUT | WHOLE | SENTENCE_PIECE)[name]
    long = [text * 3 for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_encoding, "CHUNK_CHARACTERS", chunk)
        assert [ids.tolist() for ids in tokenizer.encode_batch(long)] == [
            backend_ids(tokenizer.backend, text) for text in long
        ]
