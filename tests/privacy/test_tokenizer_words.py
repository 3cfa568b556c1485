"""Words of few documents that the tokenizer has whole."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from gptsmith.data.suffix_array import suffix_array
from gptsmith.privacy import tokenizer_words as module
from gptsmith.privacy.tokenizer_words import learns_words, rare_words_of
from gptsmith.text.tokenizers.bpe import BPETokenizerSettings

TEXTS = ["The smith Marrowgate forges iron. " * 30, *(f"The smith sells a nail, number {n}. " * 9 for n in range(12))]


def run_of(kind: str, base: str | None = None) -> Any:
    return SimpleNamespace(training=lambda: SimpleNamespace(base=base, settings={"tokenizer": {"kind": kind}}))


@pytest.mark.parametrize("block", [50, 1 << 22])
def test_a_name_of_one_document_is_found_in_the_tokenizer(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_TOKENS", block)
    monkeypatch.setattr(module, "open_model", lambda *_, **__: run_of("bpe"))
    tokenizer = BPETokenizerSettings(vocab_size=300).train(lambda: iter(TEXTS), sum(map(len, TEXTS)))
    parts = [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in TEXTS]
    array = suffix_array(np.concatenate(parts).astype(np.uint16), tokenizer.eos_token_id)
    text = SimpleNamespace(array=array, ends=np.cumsum([*map(len, parts)]), tokenizer=tokenizer, run="here")
    found = {each.word: each.num_documents for each in rare_words_of(cast(Any, text))}
    assert found["Marrowgate"] == 1
    assert "smith" not in found, "all documents have it"
    assert "arrowgate" not in found, "a part of a word is none"
    monkeypatch.setattr(module, "open_model", lambda *_, **__: run_of("bytes"))
    assert rare_words_of(cast(Any, text)) == []


def test_only_a_tokenizer_of_the_text_itself_leaks_it() -> None:
    assert learns_words(run_of("bpe"))
    assert not learns_words(run_of("bpe", base="runs/other"))
    assert not learns_words(run_of("huggingface"))
    assert not learns_words(cast(Any, SimpleNamespace(training=lambda: None)))
