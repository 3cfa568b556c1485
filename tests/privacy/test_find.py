"""The tokens of every place of some words are those that spell them, whatever stands before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.data.suffix_array import SuffixArray
from gptsmith.privacy.find import MAX_CONTEXT_TOKENS, mentions
from gptsmith.privacy.wanted import Wanted
from gptsmith.provenance.learned_text import LearnedText, Source, source_of
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings

TOKENIZER = BytesTokenizerSettings().train(list, 0)
WORDS = ("Anna Berg", "anna berg", "Berg", "Ärger", "ß", "\U0001f600", "and")


class Documents(LearnedText):
    """Documents in memory, a token a byte."""

    kind = "text"

    def __init__(self, texts: list[str]) -> None:
        end = TOKENIZER.eos_token_id
        parts = [np.array([*TOKENIZER.encode(text), end], np.uint16) for text in texts]
        array = SuffixArray(np.concatenate(parts), np.empty(0, np.int32), end)
        files: Any = type("Files", (), {"recorded": {}})
        super().__init__(Path("run"), array, np.cumsum([len(part) for part in parts]), TOKENIZER, files, Path("index"))
        self.texts = texts

    def held_out_tokens(self) -> np.ndarray:
        return np.empty(0, np.uint16)

    def source(self, place: int, num_tokens: int) -> Source:
        passage = TOKENIZER.decode(self.array.tokens[place : place + num_tokens].tolist())
        return source_of(self, file="a", where=None, state="missing", found=None, parts=("", passage, ""), place=place)

    def text_of(self, document: int) -> bytes:
        return self.texts[document].encode()

    def sha256_of(self, document: int) -> str | None:
        return str(document)

    def held_out_documents(self) -> Iterator[tuple[str | None, bytes]]:
        return iter(())


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join), min_size=1, max_size=3))
def test_the_tokens_of_a_place_spell_the_words(texts: list[str]) -> None:
    found = list(mentions(Documents(texts), [Wanted("Berg"), Wanted("Anna Berg")]))
    assert len(found) == sum(text.count("Berg") + text.count("berg") for text in texts)
    for each in found:
        assert each.text.casefold() in ("berg", "anna berg")
        assert TOKENIZER.decode(list(each.ids)) == each.source.passage == each.text
        assert len(each.before) == min(MAX_CONTEXT_TOKENS, len(each.context.encode()))
        assert each.context.encode().endswith(TOKENIZER.decode_bytes(list(each.before)))


def test_words_may_stand_in_a_document_very_often() -> None:
    found = list(mentions(Documents(["Anna Berg, " * 3_000]), [Wanted("Anna Berg")]))
    assert [each.source.place for each in found] == list(range(0, 33_000, 11))
