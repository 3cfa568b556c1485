"""Near duplicates among examples: of every shape, past templates, in one split unless that would swallow the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import gptsmith
from gptsmith.data.care import near_duplicates as search
from gptsmith.data.care.near_examples import near_examples
from gptsmith.data.example_splits import _of_groups, split_examples
from gptsmith.data.shapes import KINDS, Example
from gptsmith.data.shapes.labelled import LabelledExample
from gptsmith.run.upgrade import settings_from
from gptsmith.train.example_sources import ExampleSources
from gptsmith.train.request import FinetuneRequest


def words(name: str, count: int = 60) -> list[str]:
    return [f"{name}{number}" for number in range(count)]


def text(name: str, *places: int, count: int = 60) -> str:
    """Words of a name, with others at some places: each takes five shingles away."""
    return " ".join(f"other{at}" if at in places else word for at, word in enumerate(words(name, count)))


RECORDS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "chat": lambda question, answer: {"messages": [turn("user", question), turn("assistant", answer)]},
    "labelled": lambda question, answer: {"premise": question, "hypothesis": answer, "label": "a"},
    "preference": lambda question, answer: {"prompt": question, "chosen": answer, "rejected": "no"},
    "unpaired_preference": lambda question, answer: {"prompt": question, "completion": answer, "label": True},
}


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def made(shape: str, pairs: Sequence[tuple[str, str]]) -> list[Example]:
    return [KINDS.validate(shape).example(RECORDS[shape](*pair), f"{n}") for n, pair in enumerate(pairs)]


def groups(examples: Sequence[Example], cache: Path) -> list[int]:
    found = near_examples(examples, cache).group_of
    assert found is not None
    return [int(first) for first in found]


def test_every_shape_has_its_records_here() -> None:
    assert set(RECORDS) == set(KINDS.names())


@pytest.mark.parametrize("shape", RECORDS)
def test_alike_are_questions_and_whole_examples_of_every_shape(shape: str, tmp_path: Path) -> None:
    pairs = [
        (text("cat"), "it purrs"),
        ("why so", text("dog")),
        (text("cat", 30), "it purrs, too"),  # nearly the question of the first
        ("what is it", text("dog", 20)),  # nearly all of the second
        (text("owl"), "it purrs"),
        ("why so", "for no reason"),  # exactly the question of the second
    ]
    expected = [0, 1, 0, 1, 4, 5 if shape == "labelled" else 1]  # of a pair of texts, both are the question
    assert groups(made(shape, pairs), tmp_path) == expected


def test_a_template_makes_nothing_alike_and_hides_nothing(tmp_path: Path) -> None:
    instructions = text("you must always")
    pairs = [(f"{instructions} {text(f'topic{n}', count=9)}", f"answer {n}") for n in range(30)]
    pairs += [(f"{instructions} {text('same', count=30)}", "a"), (f"{instructions} {text('same', 0, count=30)}", "b")]
    assert groups(made("chat", pairs), tmp_path) == [*range(31), 30]


def test_what_a_template_adds_counts_neither_for_nor_against(tmp_path: Path) -> None:
    """Of 31 shingles without the template, 21 are shared, which is too few; beside a long one, a few are enough."""
    short, long = text("you must always"), text("you must always", count=2_000)
    pairs = [(f"{short} {text(f'topic{n}', count=9)}", f"answer {n}") for n in range(30)]
    pairs += [(f"{short} {text('same', count=26)}", "a"), (f"{short} {text('same', 12, count=26)}", "b")]
    assert groups(made("chat", pairs), tmp_path) == [*range(32)]
    pairs = [(f"{long} {text(f'topic{n}', count=9)}", f"answer {n}") for n in range(30)]
    for n in range(4):
        pairs += [(f"{long} {text(f'same{n}x', count=9)}{mark}", mark) for mark in (".", "!")]
    assert groups(made("chat", pairs), tmp_path) == [*range(30), 30, 30, 32, 32, 34, 34, 36, 36]


def test_a_group_that_would_swallow_the_split_is_split_and_that_is_said(tmp_path: Path) -> None:
    """Each is nearly the one before, so that all are in a chain, though no shingle is in many of them."""
    line = words("w", 400)
    pairs = [(" ".join(line[7 * n : 7 * n + 60]), "a") for n in range(40)]
    pairs += [pairs[7], (text("cat"), "b"), (text("cat", 9), "c")]
    found = near_examples(made("chat", pairs), tmp_path)
    assert found.group_of is not None
    assert found.group_of.tolist() == [*range(40), 7, 41, 41]
    assert found.notes == [
        "examples that are nearly the same stay in one split: 2",
        "examples that are nearly the same, but over a tenth of all, so that they are in several splits: 41",
    ]
    few = near_examples(made("chat", [*pairs[-2:], ("x", "y"), ("z", "y")]), tmp_path)
    assert (few.num_together, few.num_apart) == (2, 0)
    assert near_examples(made("chat", [("x", "y"), ("x", "z"), ("?!", "1"), ("...", "2")]), tmp_path).notes == []


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=8, max_size=40),
    st.randoms(use_true_random=False),
)
@hypothesis_settings(max_examples=15, deadline=None)
def test_no_group_is_in_two_splits_and_no_order_changes_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]], random: Any
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    examples = [
        LabelledExample(f"{n}", "text", (text(f"t{q}x", 10 * change),), "a") for n, (q, change) in enumerate(rows)
    ]

    def split(some: list[LabelledExample]) -> list[set[str]]:
        found = split_examples(
            some,
            validation=None,
            test=None,
            validation_fraction=0.2,
            test_fraction=0.2,
            seed=1,
            group_of=near_examples(some, cache).group_of,
        )
        return [{each.place for each in part} for part in (found.train, found.validation, found.test)]

    parts = split(examples)
    assert sorted(place for part in parts for place in part) == sorted(each.place for each in examples)
    group_of = near_examples(examples, cache).group_of
    assert group_of is not None
    numbers = [{int(group_of[int(place)]) for place in part} for part in parts]
    assert sum(map(len, numbers)) == len(set.union(*numbers))
    shuffled = list(examples)
    random.shuffle(shuffled)
    assert split(shuffled) == parts


def test_what_was_compared_once_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = made("chat", [(text("cat"), "a"), (text("cat", 3), "b"), ("x", "y"), ("z", "y")])
    before = groups(examples, tmp_path)
    monkeypatch.setattr(search, "_Search", None)
    assert groups(examples, tmp_path) == before == [0, 0, 2, 3]
    assert not [path for path in tmp_path.rglob("*") if b"cat" in (path.read_bytes() if path.is_file() else b"")]


def test_a_fine_tuning_splits_by_groups_and_old_runs_as_before(tmp_path: Path) -> None:
    rows = [{"prompt": f"{text(f'p{n // 2}x', 1 + n % 2)} of {n}", "completion": f"answer {n}"} for n in range(60)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    request = FinetuneRequest(base="base", sources=[str(file)])

    def splits(examples: dict[str, Any], **named: Any) -> Any:
        sources = ExampleSources.of({"examples": examples}, request.model_copy(update=named))
        return sources.splits(sources.shape())

    now = splits({})
    assert now.notes == ("examples that are nearly the same stay in one split: 60",)
    of_each = [
        {next(each.question_texts()).split("x")[0] for each in part} for part in (now.train, now.validation, now.test)
    ]
    assert all(of_each)
    assert sum(map(len, of_each)) == len(set.union(*of_each)) == 30
    recorded = settings_from(2, {"examples": {"validation_fraction": 0.1}})["examples"]
    old, plain = splits(recorded), splits({"group_near_duplicates": False})
    assert old.fingerprint == plain.fingerprint != now.fingerprint
    assert old.notes == ()
    pairs = gptsmith.audit(file)["near_examples"]  # what is kept together is named
    assert [tuple(int(place.rpartition(" ")[2]) for place in pair.values()) for pair in pairs] == [
        (n + 1, n) for n in range(1, 60, 2)
    ]
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text(json.dumps({"prompt": "x", "completion": "y"}), encoding="utf-8")
    own = splits({"test_fraction": 0}, validation=[str(held_out)])  # there is nothing to split
    assert (own.notes, len(own.train)) == ((), 60)


def test_groups_have_the_least_key_of_their_examples() -> None:
    keys = np.array([b"d", b"a", b"c", b"b"], "S32")
    assert _of_groups(keys, np.array([0, 1, 0, 1])).tolist() == [b"c", b"a", b"c", b"a"]
    assert _of_groups(keys[:0], np.array([], int)).tolist() == []
