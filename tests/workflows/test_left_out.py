"""What an audit finds in texts is left out of a run that is trained on them, and of everything that the run keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

import gptsmith
from gptsmith.base.cache_folder import default_cache
from gptsmith.base.hints import shell_command
from gptsmith.data.shapes.chat import ChatExample
from gptsmith.train.finetuning import FinetuningJob

from .conftest import SMALL, write_text

LEFT_OUT, REPLACED = "zyxomma.petiolatum@example.org", "equus.quagga@example.org"


def test_what_an_audit_found_is_in_nothing_of_the_run(
    call: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    texts = write_text(tmp_path / "project" / "texts")
    (texts / "letter.md").write_text(f"{LEFT_OUT} is how every paragraph begins.\n\n" * 30, encoding="utf-8")
    (texts / "note.md").write_text(f"Write to {REPLACED} and to nobody else.\n\n" * 30, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "project")
    assert call("audit", "texts", "--out", "found.jsonl").code == 0
    lines = [json.loads(line) for line in Path("found.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {Path(line["file"]).name for line in lines if line["kind"] == "email"} == {"letter.md", "note.md"}
    named = [json.dumps(line) + "\n" for line in lines if line.get("text") == LEFT_OUT]
    Path("found.jsonl").write_text("".join(named), encoding="utf-8")
    for corpus in (default_cache() / "corpora").iterdir():  # the audit's own, which has everything
        for path in [*corpus.iterdir()] if corpus.is_dir() else []:
            path.unlink()
    options = [word for setting in [*SMALL, "train.num_steps=2"] for word in ("--set", setting)]
    trained = call("pretrain", "texts", "--without", "found.jsonl", "--redact", "--out", "run", *options)
    assert trained.code == 0
    assert "4 documents, 1 left out by --without" in trained.err
    assert "replaced by placeholders: e-mail addresses 30" in trained.err
    assert "found in" not in trained.err  # nothing is left to be found
    for folder in (Path("run"), default_cache()):
        for path in folder.rglob("*"):
            content = b"" if path.is_dir() else path.read_bytes()
            assert b"zyxomma" not in content, path
            assert b"quagga" not in content, path
    assert gptsmith.evaluate("run")["num_bytes"] > 100
    monkeypatch.chdir(tmp_path)
    refused = call("pretrain", "project/texts", "--without", "project/run/data.json", *options)
    assert refused.code == 2
    assert "not JSON" in refused.err


def test_the_list_is_found_again_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "texts", num_files=4)
    monkeypatch.chdir(tmp_path)
    found = gptsmith.audit("texts")
    assert found["findings"] == []
    name = {"sha256": sha256(Path("texts/part3.txt").read_bytes()).hexdigest()}
    Path("found.jsonl").write_text(json.dumps(name), encoding="utf-8")
    figures = gptsmith.pretrain("texts", without="found.jsonl", out="run", settings=[*SMALL, "train.num_steps=2"])
    assert json.loads(Path("run/data.json").read_text())["num_left_out"] == 1
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "another cache"))
    monkeypatch.chdir("/")
    assert gptsmith.evaluate(tmp_path / "run")["bits_per_byte"] == pytest.approx(figures["bits_per_byte"], rel=1e-5)


def test_a_tuning_says_what_an_audit_would_find() -> None:
    turns = ({"role": "user", "content": LEFT_OUT}, {"role": "assistant", "content": "Ho"})
    job = FinetuningJob.__new__(FinetuningJob)
    object.__setattr__(job, "learnt", [ChatExample("line 1", turns)])
    assert job.found() == [f"found in 1 of 1 examples: e-mail addresses 1; {shell_command('audit', 'TEXT')} lists them"]
