"""How examples are split, counted and fingerprinted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.base.errors import UserError
from gptsmith.data.example_splits import fingerprint, split_examples
from gptsmith.data.shapes.labelled import LabelledExample, labels_of


def examples(*questions: int) -> list[LabelledExample]:
    return [LabelledExample(f"line {n}", "text", (f"text {q}",), str(q % 2)) for n, q in enumerate(questions)]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(0, 5))
def test_no_question_is_in_two_splits_and_none_is_lost(questions: list[int], seed: int) -> None:
    found = examples(*questions)
    splits = split_examples(found, validation=None, test=None, validation_fraction=0.2, test_fraction=0.2, seed=seed)
    texts = [{example.question() for example in split} for split in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, texts)) == len(set(questions))
    assert len(splits.train) + len(splits.validation) + len(splits.test) == len(found)
    again = split_examples(found, validation=None, test=None, validation_fraction=0.2, test_fraction=0.2, seed=seed)
    assert again == splits


def test_what_is_held_back_in_files_is_not_trained_on() -> None:
    splits = split_examples(
        examples(1, 2, 3, 4, 4),
        validation=examples(2),
        test=examples(4),
        validation_fraction=0.5,
        test_fraction=0.5,
        seed=0,
    )
    assert [example.texts for example in splits.train] == [("text 1",), ("text 3",)]  # type: ignore[attr-defined]
    assert (len(splits.validation), len(splits.test), splits.num_dropped) == (1, 1, 3)
    with pytest.raises(UserError, match="no examples are left"):
        split_examples(examples(1), validation=examples(1), test=None, validation_fraction=0, test_fraction=0, seed=0)


def test_labels_are_in_order_and_more_than_one() -> None:
    assert labels_of(examples(1, 2)) == ["0", "1"]
    ten = [LabelledExample("", "text", ("x",), label) for label in ("10", "9", "2")]
    assert labels_of(ten) == ["2", "9", "10"]
    with pytest.raises(UserError, match="at least two labels"):
        labels_of(examples(2, 4))


def test_a_fingerprint_sees_every_word_and_no_path() -> None:
    moved = [LabelledExample("other.jsonl", one.form, one.texts, one.label) for one in examples(1, 2)]
    assert fingerprint(moved) == fingerprint(examples(1, 2))
    assert fingerprint(examples(1, 3)) != fingerprint(examples(1, 2))
    assert fingerprint(examples(2, 1)) != fingerprint(examples(1, 2))
