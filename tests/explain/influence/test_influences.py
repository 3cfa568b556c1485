"""Candidates are found by rare words, cut within documents, and tested in their order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.data.suffix_array import suffix_array
from gptsmith.explain.influence import influence as module
from gptsmith.explain.influence.candidates import PASSAGE_TOKENS, find_candidates, passages_at, random_passages
from gptsmith.explain.influence.forgetting import Target
from gptsmith.explain.influence.influence import find_influences, passage_around
from gptsmith.explain.trace.tracer import Tracer
from gptsmith.model.gpt import GPT
from gptsmith.provenance.learned_text import LearnedText, Source

SEPARATOR = 0


class Documents(LearnedText):
    """Documents of tokens, without files."""

    kind = "text"

    def __init__(self, documents: list[list[int]]) -> None:
        tokens = np.array([token for each in documents for token in [*each, SEPARATOR]], np.uint16)
        ends = np.cumsum([len(each) + 1 for each in documents])
        tokenizer: Any = SimpleNamespace(eos_token_id=SEPARATOR)
        super().__init__(Path("run"), suffix_array(tokens, SEPARATOR), ends, tokenizer, cast(Any, None), Path("none"))

    def held_out_tokens(self) -> np.ndarray:
        return np.empty(0, np.int64)

    def text_of(self, document: int) -> bytes:
        return b""

    def sha256_of(self, document: int) -> None:
        return None

    def held_out_documents(self) -> Iterator[tuple[str | None, bytes]]:
        return iter(())

    def source(self, place: int, num_tokens: int) -> Source:
        document = self.document_at(place)
        return Source("run", "file", None, "", "unchanged", None, None, None, "", "", "", document, place)


def random_documents(lengths: list[int]) -> list[list[int]]:
    generator = np.random.Generator(np.random.PCG64(1))
    return [generator.integers(1, 40, length).tolist() for length in lengths]


@given(st.lists(st.integers(1, 3 * PASSAGE_TOKENS), min_size=1, max_size=4), st.data())
def test_passages_stay_in_their_document(lengths: list[int], data: st.DataObject) -> None:
    text = Documents([[1] * length for length in lengths])
    document = data.draw(st.integers(0, len(lengths) - 1))
    begin, end = int(text.ends[document]) - lengths[document] - 1, int(text.ends[document]) - 1
    first = data.draw(st.integers(begin, end - 1))
    num_tokens = data.draw(st.integers(1, end - first))
    for start, size in passages_at(text, first):
        assert begin <= start <= first < start + size <= end
    passage = passage_around(text, first, num_tokens)
    assert begin <= passage.place <= first
    assert first + num_tokens <= passage.place + passage.num_tokens <= end
    assert passage.num_tokens == min(end - begin, max(PASSAGE_TOKENS, num_tokens))


def test_the_passage_with_the_rare_words_is_first() -> None:
    documents = random_documents([300] * 50)
    documents[17][200:204] = [41, 7, 42, 43]
    documents[30][10:12] = [41, 7]
    found = find_candidates([Documents(documents)], [5, 41, 7, 42, 43, 6], 3)
    assert [each.text.document_at(each.place) for each in found][:2] == [17, 30]
    assert set(found[0].ids) >= {41, 42, 43}
    assert found[0].score > found[1].score > 0


def test_a_sentence_is_in_one_passage_wherever_it_stands() -> None:
    for at in range(PASSAGE_TOKENS - 10, PASSAGE_TOKENS + 10):
        documents = random_documents([400] * 8)
        documents[3][at : at + 6] = sentence = [41, 42, 43, 44, 45, 46]
        found = find_candidates([Documents(documents)], sentence, 3)
        assert {*found[0].ids} >= {*sentence}
        assert not any(one.overlaps(other) for one in found for other in found if one is not other)


def test_random_passages_are_of_other_documents() -> None:
    text = Documents(random_documents([300] * 30))
    chosen = find_candidates([text], text.array.tokens[1_000:1_010].tolist(), 1)
    generator = np.random.Generator(np.random.PCG64(2))
    found = random_passages([text], chosen, 20, generator)
    assert len({each.place for each in found}) == 20
    assert text.document_at(chosen[0].place) not in {text.document_at(each.place) for each in found}
    few = Documents([documents := random_documents([3_000])[0]])
    alone = find_candidates([few], documents[:9], 1)
    assert len(random_passages([few], alone, 20, generator)) == 20  # of the same document: there is no other


@pytest.mark.parametrize(("drops", "verdicts"), [
    ([9.0, 8.0, 0.0], ["holds", "holds", "no better than chance"]),
    ([0.0, 9.0, 9.0], ["no better than chance", "not tested", "not tested"]),
    ([0.5, 9.0, 9.0], ["no better than chance", "not tested", "not tested"]),  # 20 others do the same to 5 digits
])  # fmt: skip
def test_candidates_are_tested_in_order_until_one_fails(
    drops: list[float], verdicts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = random_documents([100] * 60)
    for number, shared in enumerate(([41, 42, 43, 44], [41, 42, 43], [41, 42])):
        documents[number][50 : 50 + len(shared)] = shared
    text = Documents(documents)
    candidates = find_candidates([text], [41, 42, 43, 44], 3)
    drop_of = {tuple(each.ids): drop for each, drop in zip(candidates, drops, strict=True)}

    class Forgetting:
        def __init__(self, model: object, target: Target) -> None: ...

        def drop(self, before: tuple[int, ...], ids: list[int]) -> float:
            return drop_of.get(tuple(ids), 0.49999 if drops[0] == 0.5 else math.sin(sum(ids)))

    monkeypatch.setattr(module, "ForgettingModel", Forgetting)
    tracer = Tracer(cast(Any, None), cast(Any, SimpleNamespace(texts=[text], missing=[])))
    steps: list[int] = []
    found = find_influences(tracer, cast(GPT, None), Target((0,), (41, 42, 43, 44)), observe=steps.append)
    assert [each.verdict for each in found] == verdicts
    assert steps == [*range(1, 21 + len([each for each in verdicts if each != "not tested"]))]
    for each in found:  # of cause only where the test holds
        assert ("makes a difference" in each.says) == (each.verdict == "holds")
    assert found[0].plain()["test"]["num_random"] == 20


def test_with_few_other_passages_nothing_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    text = Documents(random_documents([PASSAGE_TOKENS] * 3))
    monkeypatch.setattr(module, "ForgettingModel", lambda *_: SimpleNamespace(drop=lambda *_: 1.0))
    tracer = Tracer(cast(Any, None), cast(Any, SimpleNamespace(texts=[text], missing=[])))
    target = Target((0,), tuple(text.tokens_of(1)[:9].tolist()))
    found = find_influences(tracer, cast(GPT, None), target)[0]
    assert (found.test, found.verdict) == (None, "not tested")
    assert "too few other passages" in found.says
