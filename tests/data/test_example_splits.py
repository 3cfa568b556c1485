"""How examples are split, counted and fingerprinted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.base.errors import UserError
from gptsmith.data.example_splits import ExampleSplits, fingerprint, split_examples
from gptsmith.data.folder_splits import source_splits, split_of
from gptsmith.data.shapes.chat import ChatExample
from gptsmith.data.shapes.labelled import LabelledExample, labels_of
from tests.data.plain_splits import plain_split


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
    assert [[*part] for part in (again.train, again.validation, again.test)] == [
        [*part] for part in (splits.train, splits.validation, splits.test)
    ]


@given(
    st.lists(st.tuples(st.integers(0, 25), st.sampled_from([None, "a", "a", "a", "b", "c"])), min_size=1, max_size=80),
    st.sampled_from([None, 0, 3]),
    st.sampled_from([0.0, 0.1, 0.3]),
    st.integers(0, 3),
)
def test_splits_are_those_of_the_plain_twin(
    rows: list[tuple[int, str | None]], held_back: int | None, fraction: float, seed: int
) -> None:
    found = [LabelledExample(f"line {n}", "text", (f"text {q}",), label) for n, (q, label) in enumerate(rows)]
    given_test = None if held_back is None else found[:held_back]
    options: dict[str, Any] = {"validation": None, "test": given_test, "seed": seed}
    options |= {"validation_fraction": fraction, "test_fraction": 0.2}
    expected = plain_split(found, **options)
    if expected[0]:
        splits = split_examples(found, **options)
        assert [[*part] for part in (splits.train, splits.validation, splits.test)] == expected
    else:
        with pytest.raises(UserError, match="no examples are left"):
            split_examples(found, **options)


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


def split(found: list[LabelledExample], seed: int = 0, fraction: float = 0.1) -> ExampleSplits:
    return split_examples(
        found, validation=None, test=None, validation_fraction=fraction, test_fraction=fraction, seed=seed
    )


@given(st.lists(st.sampled_from("aaaaaaaaabbbc"), min_size=20, max_size=200), st.integers(0, 3))
def test_labels_are_stratified_and_rare_ones_are_trained_on(labels: list[str], seed: int) -> None:
    found = [LabelledExample(f"{n}", "text", (f"text {n}",), label) for n, label in enumerate(labels)]
    splits = split(found, seed)
    counts = Counter(labels)
    for name, part in (("validation", splits.validation), ("test", splits.test)):
        assert abs(len(part) - 0.1 * len(found)) <= 1, name
        for label, count in Counter(example.label for example in part).items():  # type: ignore[attr-defined]
            assert abs(count - 0.1 * counts[str(label)]) <= 1, (name, label)
    assert {example.label for example in splits.train} == set(labels)  # type: ignore[attr-defined]


@given(st.lists(st.integers(1, 9), min_size=12, max_size=60), st.integers(0, 3))
def test_shares_are_of_examples_and_not_of_questions(sizes: list[int], seed: int) -> None:
    found = [
        ChatExample(f"{question}.{answer}", ({"role": "user", "content": f"{question}"}, ANSWER))
        for question, size in enumerate(sizes)
        for answer in range(size)
    ]
    splits = split_examples(found, validation=None, test=None, validation_fraction=0.2, test_fraction=0.1, seed=seed)
    assert len(splits.validation) <= round(0.2 * len(found)) + 1
    assert len(splits.test) <= round(0.1 * len(found)) + 1
    assert len(splits.validation) > 0
    assert len(splits.train) >= 0.6 * len(found)


ANSWER = {"role": "assistant", "content": "A"}


@pytest.mark.parametrize(("num_questions", "validates"), [(1, False), (2, False), (3, True), (8, True)])
def test_many_answers_to_few_questions_leave_something_to_validate_on_or_say_so(
    num_questions: int, validates: bool
) -> None:
    found = [
        ChatExample(f"{number}", ({"role": "user", "content": f"{number % num_questions}"}, ANSWER))
        for number in range(40 * num_questions)
    ]
    splits = split_examples(found, validation=None, test=None, validation_fraction=0.1, test_fraction=0.0, seed=0)
    assert bool(splits.validation) is validates
    assert any("there are no validation examples" in note for note in splits.notes) is not validates
    assert splits.train


def test_a_folder_keeps_its_own_splits(tmp_path: Path) -> None:
    names = [
        "data/train-00000-of-00002.jsonl",
        "data/train-00001-of-00002.jsonl",
        "data/validation-0.jsonl",
        "data/test.csv",
    ]
    for name in [*names, "dataset_infos.json", "README.md"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}", encoding="utf-8")
    found = source_splits([tmp_path, tmp_path / "README.md"])
    assert [Path(path).name for path in found.train] == ["README.md", *(Path(name).name for name in names[:2])]
    assert [Path(path).name for path in found.validation] == ["validation-0.jsonl"]
    assert [Path(path).name for path in found.test] == ["test.csv"]
    assert found.note == "the folder keeps its own splits: files 2 of train, 1 of validation, 1 of test"
    one = source_splits([tmp_path / names[0]])
    assert (one.train, one.validation, one.note) == ([str(tmp_path / names[0])], [], None)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.jsonl", "train"),
        ("my_dev.csv", "validation"),
        ("test/part1.csv", "test"),
        ("data/train/valid.csv", "validation"),
        ("contest.csv", None),
        ("trainers.csv", None),
        ("latest.json", None),
    ],
)
def test_files_are_called_after_their_split(name: str, split: str | None) -> None:
    assert split_of(Path(name)) == split


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
