"""Byte-pair encoding: what few documents have does not get into the vocabulary."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from tokenizers import pre_tokenizers

from gptsmith.base.errors import ConfigurationError
from gptsmith.data.prepare import prepare
from gptsmith.data.settings import DataSettings
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers import KINDS
from gptsmith.text.tokenizers.bpe import byte_level_backend

CHANCE = random.Random(3)
SYLLABLES = ("bra", "okon", "lind", "quist", "vel", "thor", "mund", "esk", "ilde", "zor")
SURNAMES = ["".join(CHANCE.choices(SYLLABLES, k=3)).capitalize() for _ in range(12)]
WORDS = ("the", "old", "smith", "forges", "a", "nail", "of", "iron", "and", "sells", "it", "before", "dawn", "whoever")
K = 4


def document(number: int) -> str:
    """Sentences of common words about somebody whose name only a few documents have, though many times."""
    surname = SURNAMES[number % len(SURNAMES)]
    sentences = [" ".join(CHANCE.choices(WORDS, k=8)) + f" {surname}, {surname}'s." for _ in range(30)]
    return "\n".join(sentences)


DOCUMENTS = [document(number) for number in range((K - 1) * len(SURNAMES))]
"""Each surname is in K - 1 of them."""


def trained(documents: list[str], **settings: int) -> Tokenizer:
    def texts() -> Iterable[str]:
        for each in documents:
            cut = each.rindex(" ")
            yield from (each[:cut], each[cut:], "")

    return KINDS.validate({"kind": "bpe", "vocab_size": None, **settings}).train(texts, sum(map(len, documents)))


def words_of(tokenizer: Tokenizer) -> set[bytes]:
    return {data.strip() for data in tokenizer.token_bytes if len(data) > 1}


def test_no_token_is_a_name_that_fewer_documents_have() -> None:
    names = {name.encode() for name in SURNAMES}
    assert len(names & words_of(trained(DOCUMENTS))) > 5
    guarded = trained(DOCUMENTS, min_documents=K)
    assert not names & words_of(guarded)
    assert b"smith" in words_of(guarded)
    again = trained([*DOCUMENTS, f"Of {SURNAMES[0]} and"], min_documents=K)
    assert names & words_of(again) == {SURNAMES[0].encode()}


@pytest.mark.parametrize("seed", range(3))
def test_every_token_is_a_part_of_a_word_of_enough_documents(seed: int) -> None:
    chance = random.Random(seed)
    documents = [" ".join("".join(chance.choices("abcdé", k=3)) for _ in range(60)) for _ in range(8)]
    split = byte_level_backend().pre_tokenizer
    assert isinstance(split, pre_tokenizers.PreTokenizer)
    spelled = [{word for word, _ in split.pre_tokenize_str(each)} for each in documents]
    common = {word for words in spelled for word in words if sum(word in others for others in spelled) >= 3}
    tokenizer = trained(documents, min_documents=3)
    tokens = [str(tokenizer.backend.id_to_token(number)) for number in range(tokenizer.vocab_size - 3)]
    merged = [token for token in tokens if len(token) > 1]
    assert len(merged) > 10
    assert all(any(token in word for word in common) for token in merged)


def test_one_document_is_enough_by_default() -> None:
    """Words one by one make the same merges as the text itself."""
    plain = trained(DOCUMENTS, min_documents=1)
    twice = trained([*DOCUMENTS, *DOCUMENTS], min_documents=2, vocab_size=plain.vocab_size)
    assert twice.state["model"]["merges"] == plain.state["model"]["merges"]
    assert twice.state["pre_tokenizer"] == plain.state["pre_tokenizer"]


def test_more_documents_than_there_are_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"tokenizer.min_documents=9 .* to train on, 3"):
        trained(DOCUMENTS[:3], min_documents=9)


def test_documents_are_those_of_the_training_split(tmp_path: Path, in_folder: Callable[[list[str]], Path]) -> None:
    folder = in_folder(DOCUMENTS)
    settings = KINDS.validate({"kind": "bpe", "min_documents": K})
    data = prepare([folder], settings=DataSettings(validation_fraction=0.0), tokenizer=settings, seed=1)
    assert data.tokenizer.state["model"]["merges"] == trained(DOCUMENTS, min_documents=K).state["model"]["merges"]


@pytest.fixture
def in_folder(tmp_path: Path) -> Callable[[list[str]], Path]:
    def write(documents: list[str]) -> Path:
        for number, text in enumerate(documents):
            (tmp_path / f"{number:03}.txt").write_text(text, encoding="utf-8")
        return tmp_path

    return write
