"""From files to streams in one call."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.cache_folder import default_cache
from gptsmith.base.errors import UserError
from gptsmith.data import splits as split_module
from gptsmith.data.prepare import PreparedData, prepare
from gptsmith.data.settings import DataSettings
from gptsmith.data.shards import TokenStream
from gptsmith.data.summary import is_same_data
from gptsmith.data.windows import Windows
from gptsmith.run.upgrade import settings_from
from gptsmith.text.tokenizers import KINDS
from gptsmith.text.tokenizers.characters import CharactersTokenizerSettings

FILES = {f"{n}.txt": f"{n}: " + "word " * (20 + n % 7) for n in range(60)}


@pytest.fixture
def prepared(write: Callable[..., Path], tokenizer: Any, tmp_path: Path) -> Callable[..., PreparedData]:
    def prepare_files(**changes: Any) -> PreparedData:
        settings = {"settings": DataSettings(), "seed": 1, "cache": tmp_path / "cache", "tokenizer": tokenizer}
        return prepare([write(FILES)], **{**settings, **changes})

    return prepare_files


def test_files_become_batches(prepared: Callable[..., PreparedData], tokenizer: Any) -> None:
    data = prepared()
    assert data.validation is not None
    assert tokenizer.decode(data.train.slice(0, len(data.train))).count(": ") == data.summary["train"]["num_documents"]
    input_ids, targets = Windows(data.train, 16, seed=1).batch(0, 4)
    assert input_ids.shape == targets.shape == (4, 16)
    assert json.loads(json.dumps(data.summary)) == data.summary
    assert data.summary["split_by"] == "document"
    assert data.summary["train"]["num_bytes"] + data.summary["validation"]["num_bytes"] == data.corpus.num_bytes


def test_the_fingerprint_is_that_of_text_split_and_tokenizer(
    prepared: Callable[..., PreparedData], tokenizer: Any
) -> None:
    first = prepared().fingerprint
    assert prepared().fingerprint == first
    assert prepared(seed=2).fingerprint != first
    assert prepared(settings=DataSettings(validation_fraction=0.2)).fingerprint != first
    without = prepared(settings=DataSettings(validation_fraction=0))
    assert without.validation is None
    assert "validation" not in without.summary
    assert without.fingerprint == prepared(settings=DataSettings(validation_fraction=0), seed=2).fingerprint
    tokenizer.fingerprint = "another"
    assert prepared().fingerprint != first


def test_validation_files(prepared: Callable[..., PreparedData], write: Callable[..., Path], tokenizer: Any) -> None:
    held_out = write({"a.txt": FILES["7.txt"], "b.txt": "something new " * 20}, "held_out")
    data = prepared(validation=[held_out])
    assert data.validation is not None
    assert data.summary["validation_sources"]["num_duplicates_of_training"] == 1
    assert tokenizer.decode(data.validation.slice(0, len(data.validation))) == "something new " * 20
    assert data.validation_corpus is not None
    assert data.validation_corpus.fingerprint != data.corpus.fingerprint
    assert data.fingerprint != prepared().fingerprint


WORDS = "word " * 6
HUB_FOLDER = {
    "README.md": "a card of the data " * 9,
    "dataset_infos.json": '{"text": "infos of the data"}',
    "data/train-00000-of-00002.jsonl": "".join(f'{{"text": "train {n} {WORDS}"}}\n' for n in range(30)),
    "data/train-00001-of-00002.jsonl": "".join(f'{{"text": "train {n} {WORDS}"}}\n' for n in range(30, 60)),
    "data/validation-00000-of-00001.jsonl": "".join(f'{{"text": "valid {n} and more"}}\n' for n in range(20)),
    "test/a.csv": "text\n" + "tested " * 30 + "\n",
    "notes.txt": "train on these notes too " * 3,
}


def heap(stream: TokenStream | None, tokenizer: Any) -> str:
    return "" if stream is None else str(tokenizer.decode(stream.slice(0, len(stream))))


@pytest.mark.parametrize("named", [False, True])
def test_a_folder_keeps_its_own_splits(named: bool, write: Callable[..., Path], tokenizer: Any, tmp_path: Path) -> None:
    root = write(HUB_FOLDER, "hub")
    other = [write({"mine.txt": "mine " * 50}, "other")] if named else []
    data = prepare(
        [root], settings=DataSettings(), seed=1, cache=tmp_path / "cache", tokenizer=tokenizer, validation=other
    )
    trained, held_out = heap(data.train, tokenizer), heap(data.validation, tokenizer)
    assert trained.count("train ") == 63
    assert not any(word in trained for word in ("valid", "tested", "card", "infos"))
    assert held_out.count("mine" if named else "valid") == (50 if named else 20)
    assert data.summary["split_by"] == "files"
    note = "the folder keeps its own splits: files 2 of train, 1 of validation, 1 of test"
    assert data.summary["split_notes"] == [note]
    assert data.summary["skipped"] == {
        str(root / "README.md"): "it describes the data set",
        str(root / "dataset_infos.json"): "it describes the data set",
        str(root / "data/validation-00000-of-00001.jsonl"): "it belongs to the validation split of its folder",
        str(root / "test/a.csv"): "it belongs to the test split of its folder",
    }


def test_whoever_wants_one_heap_gets_it(write: Callable[..., Path], tokenizer: Any, tmp_path: Path) -> None:
    root = write(HUB_FOLDER, "hub")
    choices: dict[str, Any] = {"seed": 1, "cache": tmp_path / "cache", "tokenizer": tokenizer}
    heaped = DataSettings(validation_fraction=0, own_splits=False)
    assert "tested" in heap(prepare([root], settings=heaped, **choices).train, tokenizer)
    without = prepare([root], settings=DataSettings(validation_fraction=0), **choices)
    assert without.validation is None
    assert "valid" not in heap(without.train, tokenizer)
    named = sorted(str(root / name) for name in HUB_FOLDER if name.endswith((".jsonl", ".csv")))
    assert "tested" in heap(prepare(named, settings=DataSettings(validation_fraction=0), **choices).train, tokenizer)


def test_programs_called_after_splits_are_one_heap(write: Callable[..., Path], tokenizer: Any, tmp_path: Path) -> None:
    root = write({"train.py": "fit()\n" * 300, "test.py": "assert ok\n" * 300}, "code")
    settings = DataSettings(validation_fraction=0)
    data = prepare([root], settings=settings, seed=1, cache=tmp_path / "cache", tokenizer=tokenizer)
    assert "assert" in heap(data.train, tokenizer)
    assert data.summary["split_notes"] == []


@dataclass
class Spy:
    """The number of times that a kind of tokenizer was trained, and the characters that it saw."""

    num_trained: int = 0
    seen: str = ""


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    spy = Spy()
    train = CharactersTokenizerSettings.train

    def recorded(self: Any, texts: Callable[[], Iterable[str]], num_bytes: int) -> Any:
        spy.num_trained += 1
        spy.seen = "".join(texts())
        assert len(spy.seen.encode()) == num_bytes
        return train(self, texts, num_bytes)

    monkeypatch.setattr(CharactersTokenizerSettings, "train", recorded)
    return spy


def test_the_tokenizer_sees_the_training_part_only_and_is_trained_once(
    prepared: Callable[..., PreparedData], spy: Spy, tmp_path: Path
) -> None:
    settings = KINDS.validate("characters")
    data = prepared(tokenizer=settings)
    assert data.validation is not None
    assert len(spy.seen) == data.train.num_bytes
    assert data.tokenizer.decode(data.train.slice(0, len(data.train)).tolist()) == spy.seen
    held_out = data.tokenizer.decode(data.validation.slice(0, len(data.validation)).tolist())
    assert not set(held_out.split(" ")) & {word for word in spy.seen.split(" ") if ":" in word}
    assert prepared(tokenizer=settings).fingerprint == data.fingerprint
    assert spy.num_trained == 1
    for path in (tmp_path / "cache" / "tokenizers").glob("*/tokenizer.json"):
        path.write_text("{", encoding="utf-8")
    assert prepared(tokenizer=settings).fingerprint == data.fingerprint
    assert spy.num_trained == 2
    prepared(tokenizer=settings, seed=2)
    assert spy.num_trained == 3


def test_a_tokenizer_from_files_is_not_kept(prepared: Callable[..., PreparedData], tmp_path: Path) -> None:
    prepared(tokenizer=KINDS.validate("characters")).tokenizer.save(tmp_path)
    kept = set((tmp_path / "cache" / "tokenizers").iterdir())
    prepared(tokenizer=KINDS.validate({"kind": "huggingface", "path": str(tmp_path)}))
    assert set((tmp_path / "cache" / "tokenizers").iterdir()) == kept


def test_chunks_are_encoded_as_their_document_is(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_module, "CHUNK_BYTES", 500)
    text = "Don't stop here, O king!\n\n  Zürich has 12345 people;\tsome   sleep.\n" * 60
    data = prepare(
        [write({"a.txt": text})],
        settings=DataSettings(validation_fraction=0),
        tokenizer=KINDS.validate({"kind": "bpe", "vocab_size": 280}),
        seed=1,
        cache=tmp_path / "cache",
    )
    whole = [*data.tokenizer.encode(text), data.tokenizer.eos_token_id]
    assert data.train.slice(0, len(data.train)).tolist() == whole


def test_too_little_room_is_said_before_anything_is_written(
    prepared: Callable[..., PreparedData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": 100}))
    with pytest.raises(UserError, match=r"the text of 60 files needs .* 100 bytes free"):
        prepared()
    assert not [path for path in (tmp_path / "cache" / "corpora").iterdir() if path.is_dir()]


def test_the_cache_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("GPTSMITH_CACHE")
    assert "gptsmith" in str(default_cache())


@pytest.mark.story
def test_memory_does_not_grow_with_the_corpus(write: Callable[..., Path], tokenizer: Any, tmp_path: Path) -> None:
    line = "a line of text that is neither short nor long\n"
    root = write({f"{n}.txt": f"{n}\n" + line * 700_000 for n in range(3)})
    tracemalloc.start()
    try:
        data = prepare([root], settings=DataSettings(), tokenizer=tokenizer, seed=1, cache=tmp_path / "cache")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert data.corpus.num_bytes > 95_000_000
    assert peak_bytes < 64_000_000


def test_near_duplicates_stay_in_one_split_and_old_runs_find_theirs(
    write: Callable[..., Path], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [[f"w{number // 2}x{place}" for place in range(60)] for number in range(40)]
    root = write({f"{n}.txt": " ".join([*row[:30], f"n{n}", *row[30:]]) for n, row in enumerate(words)})
    choices: dict[str, Any] = {"seed": 1, "cache": tmp_path / "cache", "tokenizer": tokenizer}
    grouped = prepare([root], settings=DataSettings(), **choices)
    of_train, of_validation = (
        {word.split("x")[0] for word in re.findall(r"w\d+x0", heap(stream, tokenizer))}
        for stream in (grouped.train, grouped.validation)
    )
    assert not of_train & of_validation
    assert grouped.summary["split_notes"] == ["documents that are nearly the same stay in one split: 40"]
    recorded = settings_from(2, {"data": {"validation_fraction": 0.1}})["data"]
    monkeypatch.setattr("gptsmith.data.prepare.near_duplicates", None)  # which is not looked for
    old = prepare([root], settings=DataSettings.parse(recorded, "data"), **choices)
    assert not is_same_data(old.summary, grouped.summary)
    plain = prepare([root], settings=DataSettings(group_near_duplicates=False), **choices)
    assert is_same_data(old.summary, plain.summary)
