"""Canaries among examples: one twin of each is trained on, as often as it is said, and nothing else changes."""

from __future__ import annotations

from collections import Counter

import pytest

from gptsmith.base.errors import DataError
from gptsmith.data.care.example_canaries import PLACE, with_canaries
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.shapes import Example
from gptsmith.data.shapes.chat import ChatExample
from gptsmith.data.shapes.labelled import LabelledExample


def chat(number: int) -> ChatExample:
    turns = ({"role": "user", "content": f"Shed {number}?" * 8}, {"role": "assistant", "content": "Open until nine."})
    return ChatExample(f"chat.jsonl, line {number + 1}", turns)


def splits(count: int = 400) -> ExampleSplits:
    return ExampleSplits([chat(number) for number in range(count)], [chat(900)], [chat(901)])


def test_one_twin_of_each_is_planted_and_the_other_nowhere() -> None:
    given = splits()
    found = with_canaries(given, 8, seed=3)
    assert [each.copies for each in found.canaries] == [1, 4, 1, 16, 1, 4, 1, 16]
    planted = [example for example in found.train if example.place == PLACE]
    assert len(found.train) == len(given.train) + len(planted) == 400 + 44
    texts = Counter(text for example in planted for text in example.every_text())
    for canary in found.canaries:
        assert texts[canary.planted.text] == texts[canary.planted.question] == canary.copies
        assert not texts[canary.unseen.text]
        assert canary.planted.name in canary.planted.question
        assert canary.planted.before_code + f" {canary.planted.code}." == canary.planted.text
        for place in canary.places:
            assert [*found.train[place.document].every_text()] == [canary.planted.question, canary.planted.text]
    assert [*found.own_train] == given.train
    assert (found.validation, found.test) == (given.validation, given.test)
    assert {each.coin for each in found.canaries} == {0, 1}


def test_the_same_seed_plants_the_same_and_they_are_in_the_fingerprint() -> None:
    first, again, other = (with_canaries(splits(), 8, seed).fingerprint for seed in (3, 3, 4))
    assert first == again != other
    assert first != splits().fingerprint


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ([chat(number) for number in range(30)], r"at most about 1 make them no other data"),
        ([LabelledExample("a.csv, line 1", "text", ("good",), "yes")], "these examples are neither"),
    ],
)
def test_what_cannot_hold_them_is_refused(examples: list[Example], words: str) -> None:
    with pytest.raises(DataError, match=words):
        with_canaries(ExampleSplits(examples, [], []), 8, seed=3)
