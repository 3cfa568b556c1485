"""How examples are divided, counted and told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.base.errors import UserError
from gptsmith.data.example_splits import divide, fingerprint, labels_of
from gptsmith.data.examples import LabelledExample


def examples(*questions: int) -> list[LabelledExample]:
    return [LabelledExample(f"line {n}", "text", (f"text {q}",), str(q % 2)) for n, q in enumerate(questions)]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(0, 5))
def test_no_question_stands_in_two_parts_and_none_is_lost(questions: list[int], seed: int) -> None:
    found = examples(*questions)
    parts = divide(found, validation=None, test=None, validation_fraction=0.2, test_fraction=0.2, seed=seed)
    texts = [{example.question() for example in part} for part in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, texts)) == len(set(questions))
    assert len(parts.train) + len(parts.validation) + len(parts.test) == len(found)
    again = divide(found, validation=None, test=None, validation_fraction=0.2, test_fraction=0.2, seed=seed)
    assert again == parts


def test_what_is_held_back_in_files_is_not_trained_on() -> None:
    parts = divide(
        examples(1, 2, 3, 4, 4),
        validation=examples(2),
        test=examples(4),
        validation_fraction=0.5,
        test_fraction=0.5,
        seed=0,
    )
    assert [example.texts for example in parts.train] == [("text 1",), ("text 3",)]  # type: ignore[attr-defined]
    assert (len(parts.validation), len(parts.test), parts.num_dropped) == (1, 1, 3)
    with pytest.raises(UserError, match="no examples are left"):
        divide(examples(1), validation=examples(1), test=None, validation_fraction=0, test_fraction=0, seed=0)


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
