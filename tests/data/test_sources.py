"""Paths, records and texts in memory are sources."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from gptsmith.base.assignments import assignments_of, with_assignments
from gptsmith.base.cache_folder import default_cache
from gptsmith.base.errors import DataError, UserError
from gptsmith.data.cache_contents import contents
from gptsmith.data.sources import sources_of
from gptsmith.model.config import GPTConfig
from gptsmith.serve.request import ServeRequest
from gptsmith.train.plan_request import PlanRequest
from gptsmith.train.request import FinetuneRequest, PretrainRequest
from gptsmith.workflows.model_requests import CacheRequest, WatchRequest
from gptsmith.workflows.requests import EvaluateRequest, GenerateRequest, PredictRequest

TEXTS = ["A first text.\nIt has two lines.", "Another one: \ud800 is half a character."]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def rows(given: Any) -> list[dict[str, Any]]:
    (path,) = sources_of(given)
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.mark.parametrize("given", ["My.txt", Path("My.txt"), ["My.txt"], [Path("My.txt")], iter([Path("My.txt")])])
@pytest.mark.parametrize(
    ("parsed", "field"),
    [
        (lambda it: PlanRequest(sources=it, minutes=1), "sources"),
        (lambda it: PretrainRequest(sources=it), "sources"),
        (lambda it: PretrainRequest(sources="a", validation=it), "validation"),
        (lambda it: FinetuneRequest(base=Path("run"), sources=it), "sources"),
        (lambda it: FinetuneRequest(base="run", sources="a", validation=it), "validation"),
        (lambda it: FinetuneRequest(base="run", sources="a", test=it), "test"),
        (lambda it: EvaluateRequest(run=Path("run"), texts=it), "texts"),
        (lambda it: PredictRequest(run="run", files=it), "files"),
    ],
)
def test_one_path_is_one_path_for_every_verb(parsed: Callable[[Any], Any], field: str, given: Any) -> None:
    given = [Path("My.txt")] if isinstance(given, Iterator) else given  # it can be used once
    assert getattr(parsed(given), field) == ["My.txt"]


def test_a_string_is_never_read_letter_by_letter() -> None:
    assert ServeRequest(runs=Path("run")).runs == ["run"]
    assert WatchRequest(runs="run").runs == ["run"]
    assert GenerateRequest(run="run", stop="end").stop == ["end"]
    assert CacheRequest(kind="corpora").kind == ["corpora"]
    assert PretrainRequest(sources="a", settings="model.num_layers=4").settings == ["model.num_layers=4"]


@pytest.mark.parametrize(
    "given",
    [
        [{"text": text} for text in TEXTS],
        iter(TEXTS),
        (text for text in TEXTS),
        ({"text": text} for text in TEXTS),
    ],
)
def test_records_and_texts_become_records_of_one_file_that_their_content_names(given: Any) -> None:
    (path,) = sources_of(given)
    assert path == sources_of([{"text": text} for text in TEXTS])[0] != sources_of(iter(TEXTS[:1]))[0]
    assert [json.loads(line) for line in Path(path).read_text().splitlines()] == [{"text": text} for text in TEXTS]
    assert Path(path).stat().st_mode & 0o077 == 0 or Path(path).parent.stat().st_mode & 0o077 == 0


def test_data_sets_of_the_datasets_library_are_records() -> None:
    found = datasets.Dataset.from_list([{"text": "one", "label": 1}, {"text": "two", "label": 0}])
    assert rows(found) == [{"text": "one", "label": 1}, {"text": "two", "label": 0}]
    assert rows(found.to_iterable_dataset()) == rows(found)
    assert rows(found["text"]) == [{"text": "one"}, {"text": "two"}]
    assert len(sources_of(["a.txt", found, found.select([0])])) == 3


def test_values_of_other_libraries_are_written_as_json() -> None:
    given = [{"text": "a", "n": np.int64(3), "x": np.ones(2), "when": datetime.date(2026, 1, 2), "nan": float("nan")}]
    assert rows(given) == [{"text": "a", "n": 3, "x": [1.0, 1.0], "when": "2026-01-02", "nan": None}]


def test_records_are_written_as_they_come() -> None:
    """A source that fails late has been read only so far, and leaves nothing."""
    seen = 0

    def endless() -> Iterator[dict[str, str]]:
        nonlocal seen
        while True:
            seen += 1
            if seen == 1000:
                raise OSError("the line is dead")
            yield {"text": "x" * 1000}

    with pytest.raises(UserError, match="the line is dead"):
        sources_of(endless())
    assert seen == 1000
    assert contents(default_cache()) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"train": [1], "test": [2]}, r"a dictionary \(train, test\) is no source"),
        (["Two\nlines"], r"'Two\\nlines'… is a text: give texts as \[\{\"text\""),
        (["x" * 5000], "is a text"),
        (5, "of the type int cannot be read"),
        (iter([]), "nothing in this list_iterator"),
        ([{"text": b"bytes"}], r"record 1 \(text\): a value of the type bytes is no text"),
        (iter(["a", 5]), "record 2: expected a dictionary or a text, not a value of the type int"),
        (pd.DataFrame({"text": ["a"]}), r'DataFrame gives no records by itself: give its to_dict\("records"\)'),
    ],
)
def test_what_is_no_source_is_refused_by_name(given: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        sources_of(given)
    assert contents(default_cache()) == []


def test_names_of_files_from_an_iterator_are_not_taken_for_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(DataError, match=r"a text or the name of a file\? Give names of files as a list"):
        sources_of(str(path) for path in tmp_path.glob("*.txt"))


def test_settings_are_a_dictionary_by_path_or_by_group_or_objects() -> None:
    config = GPTConfig(vocab_size=8, embed_dim=8, num_layers=2, num_heads=2, attention="additive")
    by_path, by_group = {"model.num_layers": 4}, {"model": {"num_layers": 4, "feedforward": None}}
    assert assignments_of(by_path) == assignments_of(by_group) == ["model.num_layers=4"]
    table = {"a": "t\"rue'\n", "b": [1, {"c": "x"}], "d": {"e": 0.1, "kind": "k", "f": True}, "p": Path("q/r")}
    assert with_assignments({}, assignments_of(table)) == {**table, "p": "q/r"}
    assert [*with_assignments({}, assignments_of(table))["d"]] == ["kind", "e", "f"]
    assert with_assignments({}, assignments_of({"model": config})) == {"model": config.plain()}
    assert assignments_of(["train.seed=2", by_path]) == ["train.seed=2", "model.num_layers=4"]
    assert PretrainRequest(sources="a", settings=by_path, encoding="latin-1").settings == [
        'data.encoding="latin-1"', "model.num_layers=4",
    ]  # fmt: skip
    with pytest.raises(UserError, match="settings are a dictionary such as"):
        assignments_of(4)
