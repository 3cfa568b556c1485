"""Passages have whole characters, and what the tokenizer cannot spell matches nothing."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from tokenizers import Tokenizer as Backend

from gptsmith.data.suffix_array import suffix_array
from gptsmith.explain.trace.tracer import Tracer
from gptsmith.text.tokenizer import EOS_TOKEN, Tokenizer
from gptsmith.text.tokenizers.characters import CharactersTokenizerSettings

EMPTY = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
}  # fmt: skip


def tracer_of(tokenizer: Tokenizer, text: str) -> Tracer:
    ids = [*tokenizer.encode(text), tokenizer.eos_token_id]
    array = suffix_array(np.array(ids, np.uint16), tokenizer.eos_token_id)
    learned: Any = SimpleNamespace(array=array, held_out=None, document_at=lambda _: 0, source=lambda *_: None)
    return Tracer(tokenizer, cast(Any, SimpleNamespace(texts=[learned], missing=[])))


def test_a_passage_has_whole_characters() -> None:
    """The tokenizer spells letters that it has not learnt by their bytes, of which two letters can share the first."""
    tokenizer = CharactersTokenizerSettings().train(lambda: iter(["abc abc"]), 7)
    tracer = tracer_of(tokenizer, "abcЖЖЖabc")
    first, last = tracer.trace("abcЩЩЩabc", 2)
    assert [(each.text, each.start, each.stop) for each in (first, last)] == [("abc", 0, 3), ("abc", 6, 9)]
    assert (first.num_copies, last.num_copies, first.held_out_share) == (1, 2, None)
    (whole,) = tracer.trace("abcЖЖЖabc", 2)
    assert (whole.text, whole.start, whole.stop) == ("abcЖЖЖabc", 0, 9)


def test_what_a_tokenizer_cannot_spell_matches_nothing() -> None:
    state = {"type": "WordLevel", "vocab": {"<unk>": 0, "a": 1, "b": 2, EOS_TOKEN: 3}, "unk_token": "<unk>"}
    backend = Backend.from_str(json.dumps({**EMPTY, "model": state}))
    tokenizer = Tokenizer(backend)
    assert tokenizer.unknown_id == 0
    found = tracer_of(tokenizer, "a b x y z a b").trace("b p q r a b", 2)
    assert [each.text for each in found] == ["a b"]
