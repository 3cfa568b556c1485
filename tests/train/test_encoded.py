"""Encoded examples on disk: the batches of the plain twin in memory, found again by content, and little held."""

from __future__ import annotations

import gc
import json
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakSet

import pytest

from gptsmith.base.cache_folder import default_cache
from gptsmith.data.example_splits import ExampleSplits, split_examples
from gptsmith.data.examples import read_examples
from gptsmith.data.shapes.chat import ChatExample
from gptsmith.train.datasets import encoded
from gptsmith.train.datasets.base import DatasetInputs
from gptsmith.train.datasets.encoding import Encoding
from gptsmith.train.datasets.examples import ExampleDataset
from gptsmith.train.datasets.rows import epoch_order
from gptsmith.train.objectives.sft import SftSettings
from gptsmith.train.samples import ROW_TOKENS, Sample, packed_batch
from tests.train.contracts import CONTEXT, tiny, tiny_encoder


def talk(number: int, where: str = "talks.jsonl") -> ChatExample:
    question = {"role": "user", "content": f"q{number}"}
    return ChatExample(f"{where}, line {number}", (question, {"role": "assistant", "content": "a" * (number * 7 % 40)}))


def inputs(splits: ExampleSplits, **changes: Any) -> DatasetInputs:
    return DatasetInputs(tiny(), tiny_encoder(), splits, None, seed=3, **changes)


def plainly_packed(samples: list[Sample], room_at_most: int) -> list[list[Sample]]:
    """Best fit, the longest first, by looking at every row."""
    rows: list[list[Sample]] = []
    left: dict[int, list[int]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: -sample.num_tokens):
        room = min((room for room, some in left.items() if some and room >= sample.num_tokens), default=None)
        if room is None:
            room = max(room_at_most, sample.num_tokens)
            left[room].append(len(rows))
            rows.append([])
        row = left[room].pop()
        rows[row].append(sample)
        left[room - sample.num_tokens].append(row)
    return rows


def test_batches_are_those_of_samples_in_memory() -> None:
    objective, encoder = SftSettings(), tiny_encoder()
    examples = [talk(number) for number in range(1, 200)]
    dataset = objective.dataset(inputs(ExampleSplits(examples, examples[:5], [])))
    samples = [objective.sample(example, encoder) for example in examples]
    order = epoch_order(3, 0, len(samples))
    at_most = min(CONTEXT, ROW_TOKENS, sum(sample.num_tokens for sample in samples) // 16)
    rows = plainly_packed([samples[number] for number in order], at_most)
    assert dataset.num_samples == len(rows)
    for first in (0, len(rows) - 3):  # over the end of an epoch
        numbers = [divmod(sample, len(rows)) for sample in range(first, first + 8)]
        wanted = [rows[epoch_order(3, epoch, len(rows))[place]] for epoch, place in numbers]
        assert dataset.origin(first, 1).split("; ")[0] == wanted[0][0].place
        wanted.sort(key=lambda row: sum(sample.num_tokens for sample in row))
        for number, batch in enumerate(dataset.batches(tiny(), first, 8, 4)):
            expected = packed_batch(wanted[4 * number : 4 * number + 4])
            for name, tensor in vars(expected).items():
                assert (tensor is None and getattr(batch, name) is None) or tensor.equal(getattr(batch, name)), name


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits that are encoded."""
    found: list[str] = []
    encode = Encoding.encode

    def watched(self: Encoding, split: str, *arguments: Any) -> Any:
        found.append(split)
        return encode(self, split, *arguments)

    monkeypatch.setattr(Encoding, "encode", watched)
    return found


def test_the_same_examples_are_found_encoded_wherever_they_lie(calls: list[str]) -> None:
    hopeless = ChatExample(
        "there.jsonl, line 9", ({"role": "user", "content": "q" * 300}, {"role": "assistant", "content": "a"})
    )
    first = SftSettings().dataset(inputs(ExampleSplits([talk(2), talk(3)], [hopeless], []), skip_bad=True))
    assert len(calls) == 3
    elsewhere = ExampleSplits([talk(2, "b.jsonl"), talk(3)], [replace(hopeless, place="b.jsonl, line 1")], [])
    second = SftSettings().dataset(inputs(elsewhere, skip_bad=True))
    assert len(calls) == 3
    assert second.account().figures() == first.account().figures()
    (found,) = second.account().skipped.places.values()
    assert (found, len(second.account().skipped)) == (["b.jsonl, line 1"], 1)
    assert {*second.train.places(0), *second.train.places(1)} == {talk(2, "b.jsonl").place, talk(3).place}


@pytest.mark.parametrize("change", ["examples", "split", "context", "thoughts", "skip_bad", "objective", "code"])
def test_whatever_decides_the_tokens_is_in_the_key(
    calls: list[str], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inputs(ExampleSplits([talk(4), talk(5)], [talk(6)], []))
    SftSettings().dataset(before)
    num_calls, objective, encoder = len(calls), SftSettings(), before.encoder
    changed = {
        "examples": {"splits": ExampleSplits([talk(4), talk(7)], [talk(6)], [])},
        "split": {"splits": ExampleSplits([talk(4)], [talk(5), talk(6)], [])},
        "context": {"encoder": replace(encoder, context_length=64)},
        "thoughts": {"encoder": replace(encoder, learns_thoughts=False)},
        "skip_bad": {"skip_bad": True},
    }.get(change, {})
    if change == "objective":
        objective = type("OtherSettings", (SftSettings,), {"__module__": __name__})()
    if change == "code":
        monkeypatch.setattr(encoded, "source_sha256", lambda _: "other")
    objective.dataset(replace(before, **changed))
    assert len(calls) == num_calls + 3


def test_a_damaged_file_is_made_again(calls: list[str]) -> None:
    data = inputs(ExampleSplits([talk(8), talk(9)], [], []))
    folders = default_cache() / "examples"
    before = set(folders.glob("*/ids"))
    SftSettings().dataset(data)
    (file,) = set(folders.glob("*/ids")) - before
    file.write_bytes(b"")
    num_calls = len(calls)
    assert SftSettings().dataset(data).train.num_tokens > 0
    assert len(calls) == num_calls + 3


def num_bytes_held(dataset: ExampleDataset) -> int:
    """The bytes in memory of everything that the splits of a dataset lead to; files are not memory."""
    waiting: list[Any] = [dataset.train, dataset.validation, dataset.test, dataset.splits]
    seen: dict[int, Any] = {}
    while waiting:
        each = waiting.pop()
        if id(each) not in seen and not isinstance(each, type | ModuleType):
            seen[id(each)] = each
            waiting += gc.get_referents(each)
    return sum(map(sys.getsizeof, seen.values()))


def test_neither_examples_nor_their_tokens_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: dict[str, WeakSet[Any]] = {"examples": WeakSet(), "samples": WeakSet()}
    most = {"examples": 0, "samples": 0}

    def counted(name: str, cls: type) -> None:
        begin = cls.__init__

        def init(self: Any, *arguments: Any, **options: Any) -> None:
            begin(self, *arguments, **options)
            alive[name].add(self)
            most[name] = max(most[name], len(alive[name]))

        monkeypatch.setattr(cls, "__init__", init)
        monkeypatch.setattr(cls, "__hash__", object.__hash__)
        monkeypatch.setattr(cls, "__eq__", object.__eq__)

    counted("examples", ChatExample)
    counted("samples", Sample)

    def made(count: int) -> ExampleDataset:
        """The dataset of a file, of which everything was read."""
        path = tmp_path / f"{count}.jsonl"
        path.write_text(
            "".join(json.dumps({"question": f"q{n}", "answer": "a" * (n % 40 + 1)}) + "\n" for n in range(count)),
            encoding="utf-8",
        )
        read = read_examples([path], "chat").examples
        splits = split_examples(read, validation=None, test=None, validation_fraction=0.1, test_fraction=0.1, seed=0)
        dataset = SftSettings().dataset(inputs(splits))
        for first in range(0, dataset.num_samples, 4):
            dataset.batches(tiny(), first, 4, 4)
        dataset.score(tiny())
        return dataset

    few, many = made(100), made(400)
    assert many.num_samples > 2 * few.num_samples
    assert most["examples"] <= 4
    assert most["samples"] <= 200  # of a batch, and of an evaluation's
    assert 30 < (num_bytes_held(many) - num_bytes_held(few)) / 300 < 100
