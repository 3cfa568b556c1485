"""A text in shares is, byte for byte, the text that one process prepares."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json
from gptsmith.data import prepared_folder as folders
from gptsmith.data import shards
from gptsmith.data import splits as split_module
from gptsmith.data.corpus_build import CorpusBuild
from gptsmith.data.preparation import encoded, steps
from gptsmith.data.preparation import job as jobs
from gptsmith.data.preparation.job import Job
from gptsmith.data.preparation.run import _working_folder
from gptsmith.data.preparation.steps import PLACE, STEPS, TaskFailedError
from gptsmith.data.prepare import PreparedData, prepare, text_files
from gptsmith.data.prepared_folder import PreparedFolder
from gptsmith.data.settings import DataSettings
from gptsmith.text.tokenizers.bpe import BPETokenizerSettings

BPE = BPETokenizerSettings()
SEED = 3


def sentences(chance: random.Random, count: int) -> str:
    words = ["smith", "nail", "plough", "iron", "forge", "Zürich", "hammer", "weir", "lamp", "shed"]
    return " ".join(f"{chance.choice(words)} {chance.choice(words)}." for _ in range(count))


def many_formats() -> dict[str, str | bytes]:
    """Files of many formats, with exact and near duplicates, findings, and some that cannot be read."""
    chance = random.Random(5)
    files: dict[str, str | bytes] = {f"{n}.txt": f"{n}: {sentences(chance, 30)}" for n in range(30)}
    mail = f"Write to ann{7}@example.org and to bo@example.com. {sentences(chance, 20)}"
    files |= {"a/mail.txt": mail, "b/mail.md": mail, "c/mail.txt": f"{mail} Or to cy@example.net."}
    files["near.txt"] = f"{files['4.txt']} And more."
    files["same.txt"] = files["5.txt"]
    files["long.txt"] = sentences(chance, 900)
    files["page.html"] = f"<html><body><article><h1>Iron</h1><p>{sentences(chance, 60)}</p></article></body></html>"
    records = [sentences(chance, 4) for _ in range(40)]
    files["rows.jsonl"] = "".join(json.dumps({"text": text}) + "\n" for text in [*records, *records[:5], mail])
    files["table.csv"] = "name,note\n" + "".join(f"n{n},{sentences(chance, 2)}\n" for n in range(30))
    files["notebook.ipynb"] = json.dumps(
        {"cells": [{"cell_type": "markdown", "source": [sentences(chance, 20)]}], "metadata": {}, "nbformat": 4}
    )
    files |= {"torn.pdf": b"%PDF-1.4 torn", "odd.xyz": "unknown", "code.py": f"print({sentences(chance, 20)!r})\n"}
    return files


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many shares, shards, chunks and pieces of little text."""
    monkeypatch.setattr(split_module, "CHUNK_BYTES", 700)
    monkeypatch.setattr(shards, "SHARD_TOKENS", 2_000)
    monkeypatch.setattr(folders, "PIECE_BYTES", 5_000)
    monkeypatch.setattr("gptsmith.data.preparation.place.PIECE_BYTES", 5_000)
    for module in (jobs, encoded):
        monkeypatch.setattr(module, "MIN_SHARE_BYTES", 3_000)


def job_of(source: Path, settings: DataSettings, **others: Any) -> Job:
    files = text_files([source], settings, others.pop("validation", ()))
    lists = {"without": [], "redact_passages": []} | others
    return Job.of(files, settings, BPE, SEED, request={}, imports=[], **lists)


def run(working: Path, job: Job, *, order: Callable[[list[int]], list[int]] = list) -> PreparedFolder:
    """All tasks in this process, in some order."""
    working.mkdir(parents=True, exist_ok=True)
    job.write(working)
    for cached in (steps._job, steps._text):
        cached.cache_clear()
    for step in STEPS:
        made = step(str(working))
        for rank in order(list(range(made.num_tasks))):
            assert not list(made(None, rank, made.num_tasks))
    return PreparedFolder(working / PLACE)


def assert_same(folder: PreparedFolder, alone: PreparedData, cache: Path) -> None:
    """Every file of the folder is what one process has in its cache."""
    place = Path(folder.files.place)
    tokens = cache / "tokens" / alone.fingerprint
    assert {path.name: path.read_bytes() for path in (place / "tokens").iterdir()} == {
        path.name: path.read_bytes() for path in tokens.iterdir()
    }
    assert (place / "text" / "documents.table").read_bytes() == (alone.corpus.folder / "documents.table").read_bytes()
    pieces = [path.read_bytes() for path in sorted((place / "text").glob("documents-*.bin"))]
    assert b"".join(pieces) == (alone.corpus.folder / "documents.bin").read_bytes()
    manifest = read_json(place / "text" / "manifest.json")
    assert {name: value for name, value in manifest.items() if name not in ("fingerprint", "unopened")} == read_json(
        alone.corpus.folder / "manifest.json"
    )
    assert folder.summary() == json.loads(json.dumps(alone.summary))
    assert folder.fingerprint == alone.fingerprint
    assert folder.tokenizer.fingerprint == alone.tokenizer.fingerprint


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "redacted": {"redact": ["email"]},
    "with canaries": {"num_canaries": 4},
    "whole": {"validation_fraction": 0.0, "group_near_duplicates": False},
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("case", CASES)
def test_shares_give_what_one_process_prepares(case: str, write: Callable[..., Path], tmp_path: Path) -> None:
    settings, source = DataSettings(**CASES[case]), write(many_formats())
    alone = prepare([source], settings=settings, tokenizer=BPE, seed=SEED, cache=tmp_path / "cache")
    job = job_of(source, settings)
    assert len(job.shares()) > 5
    folder = run(tmp_path / "working", job, order=lambda ranks: ranks[::-1])
    assert_same(folder, alone, tmp_path / "cache")
    assert alone.summary["num_duplicates"] > 5
    assert len(alone.train.shards) > 2
    if case == "redacted":
        assert alone.summary["redacted"] == {"email": 5}


@pytest.mark.usefixtures("small")
def test_files_that_validate_are_a_text_of_their_own(write: Callable[..., Path], tmp_path: Path) -> None:
    source, settings = write(many_formats()), DataSettings()
    held_out = write({f"{n}.txt": f"held out {n} {'word ' * 20}" for n in range(20)} | {"x.txt": "5"}, "held_out")
    alone = prepare(
        [source], settings=settings, tokenizer=BPE, seed=SEED, cache=tmp_path / "cache", validation=[held_out]
    )
    folder = run(tmp_path / "working", job_of(source, settings, validation=[held_out]))
    assert_same(folder, alone, tmp_path / "cache")
    _, validation = folder.corpora()
    assert validation is not None
    assert alone.validation_corpus is not None
    assert validation.fingerprint == alone.validation_corpus.fingerprint
    assert validation.text(3) == alone.validation_corpus.text(3)


@pytest.mark.usefixtures("small")
def test_one_file_of_one_long_document_is_encoded_in_shares(write: Callable[..., Path], tmp_path: Path) -> None:
    source, settings = write({"book.txt": sentences(random.Random(1), 3_000)}), DataSettings()
    alone = prepare([source], settings=settings, tokenizer=BPE, seed=SEED, cache=tmp_path / "cache")
    folder = run(tmp_path / "working", job_of(source, settings))
    assert_same(folder, alone, tmp_path / "cache")
    assert len(read_json(tmp_path / "working" / "text.json")["shares"]) > 5


@pytest.mark.usefixtures("small")
def test_a_torn_task_is_done_again(write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, settings = write(many_formats()), DataSettings(redact=["email"])
    alone = prepare([source], settings=settings, tokenizer=BPE, seed=SEED, cache=tmp_path / "cache")
    job, working = job_of(source, settings), tmp_path / "working"
    working.mkdir()
    job.write(working)
    steps._job.cache_clear()
    written, whole = [0], CorpusBuild._add_documents

    def dies(self: CorpusBuild, *arguments: Any) -> dict[str, Any]:
        written[0] += 1
        if written[0] == 9:
            raise KeyboardInterrupt
        return whole(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(CorpusBuild, "_add_documents", dies)
        with pytest.raises(KeyboardInterrupt):
            _ = [steps.ReadFiles(str(working))(None, rank) for rank in range(len(job.shares()))]
    assert_same(run(working, job), alone, tmp_path / "cache")


def test_a_task_that_fails_says_why(write: Callable[..., Path], tmp_path: Path) -> None:
    source, settings = write({"one.txt": "word " * 500}), DataSettings()
    job = job_of(source / "one.txt", settings)
    job.write(tmp_path)
    steps._job.cache_clear()
    (source / "one.txt").write_bytes(b"\xff\xfe\xfa" * 500)
    with pytest.raises(TaskFailedError):
        steps.ReadFiles(str(tmp_path))(None, 0, 1)
    told = read_json(tmp_path / "errors" / "read-0.json")
    assert str(source / "one.txt") in told["error"]
    assert not told["trace"]


@pytest.mark.usefixtures("small")
def test_text_is_read_from_its_pieces(write: Callable[..., Path], tmp_path: Path) -> None:
    source, settings = write(many_formats()), DataSettings()
    alone = prepare([source], settings=settings, tokenizer=BPE, seed=SEED, cache=tmp_path / "cache")
    corpus, _ = run(tmp_path / "working", job_of(source, settings)).corpora()
    assert corpus.num_bytes == alone.corpus.num_bytes > 20_000
    assert len(corpus) == len(alone.corpus)
    chance = np.random.default_rng(0)
    for start, stop in np.sort(chance.integers(0, corpus.num_bytes + 1, (60, 2))).tolist():
        assert corpus.read(start, stop) == alone.corpus.read(start, stop)
    assert [corpus.text(n) for n in range(len(corpus))] == [alone.corpus.text(n) for n in range(len(corpus))]
    with corpus.open() as file:
        assert file.read() == alone.corpus.read(0, corpus.num_bytes)
        assert file.read(1) == b""


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="the system knows no owners")
def test_the_working_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = _working_folder(tmp_path / "place")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert _working_folder(tmp_path / "place") == made
    somebody = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: somebody)
    with pytest.raises(UserError, match="another user's"):
        _working_folder(tmp_path / "place")


def test_a_damaged_file_is_named(write: Callable[..., Path], tmp_path: Path) -> None:
    source = write({"one.txt": sentences(random.Random(2), 400)})
    run(tmp_path / "working", job_of(source, DataSettings()))
    place = tmp_path / "working" / PLACE
    shard = place / "tokens" / "train-00000.tokens"
    content = shard.read_bytes()
    for damaged in (content[:-1], b"", None):
        shard.unlink()
        if damaged is not None:
            shard.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"tokens/train-00000\.tokens is not as it was prepared"):
            PreparedFolder(place)
        shard.write_bytes(content)
    flipped = bytearray(content)
    flipped[9] ^= 1
    shard.write_bytes(flipped)
    stream, _ = PreparedFolder(place).streams()
    with pytest.raises(ValueError, match=r"tokens/train-00000\.tokens is not as it was prepared"):
        stream.slice(0, 5)
    shutil.rmtree(place)
