"""What a person gets wrong is one line, exit code 2, and nothing half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.run.folder import Run

from .conftest import SMALL


def settings(*more: str) -> list[str]:
    return [argument for setting in [*SMALL, "train.num_steps=2", *more] for argument in ("--set", setting)]


def refused(outcome: Any, *words: str) -> None:
    """One line on standard error that says these words, exit code 2, no run left."""
    assert outcome.code == 2, outcome.err
    assert "Traceback" not in outcome.err
    lines = [line for line in outcome.err.splitlines() if line.startswith("gptsmith: ")]
    assert len(lines) == 1
    assert outcome.err.splitlines()[-1] == lines[0]
    for word in words:
        assert word in lines[0]
    assert outcome.out == ""
    assert not Path("runs").exists()


def test_texts_that_cannot_be_read(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary.txt").write_bytes(b"\x00\x01\x02" * 1000)
    (tmp_path / "latin.txt").write_bytes("wörter ".encode("latin-1") * 1000)
    (tmp_path / "line.jsonl").write_bytes(b'{"text": "' + b"x" * 17_000_000 + b'"}\n')
    refused(call("pretrain", "empty"), "empty")
    refused(call("pretrain", "missing.txt"), "missing.txt")
    refused(call("pretrain", "binary.txt"), "binary.txt", "binary")
    refused(call("pretrain", "latin.txt"), "latin.txt", "byte 1", "--encoding")
    refused(call("pretrain", "line.jsonl"), "line.jsonl", "line")


def test_latin_1_is_read_where_it_is_named(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("ein paar schöne Wörter\n".encode("latin-1") * 2000)
    small = [s for s in SMALL if not s.startswith("tokenizer")]
    arguments = [a for s in [*small, "train.num_steps=2"] for a in ("--set", s)]
    done = call("pretrain", "latin.txt", "--encoding", "latin-1", "--tokenizer", "characters", "--json", *arguments)
    assert done.code == 0
    assert done.object["step"] == 2


def test_a_text_that_is_too_small(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "small.txt").write_text("too small", encoding="utf-8")
    refused(call("pretrain", "small.txt"), "validation_fraction=0", "1 kB")
    (tmp_path / "fair.txt").write_text("just about enough to train on " * 36, encoding="utf-8")
    arguments = ["--tokenizer", "bytes", "--set", "data.validation_fraction=0", "--set", "model.context_length=16"]
    arguments += ["--set", "train.num_steps=2", "--set", "train.batch_size=2", "--json"]
    done = call("pretrain", "fair.txt", *arguments)
    assert done.code == 0, done.err
    assert "validation_loss" not in done.object


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "tokenizer.vocab_size=60000"], ["60000", "supports"]),
        (
            ["--set", "model.num_heads=3", "--set", "model.attention.num_kv_heads=2"],
            ["num_kv_heads=2", "does not divide"],
        ),
        (["--preset", "gpt5"], ["no such preset: gpt5", "gpt3-175b"]),
        (["--set", "model.num_leyers=3"], ["model", "did you mean num_layers"]),
        (["--set", "modle.num_layers=3"], ["did you mean model"]),
        (["--set", "train.schedule.warmup=3"], ["train.schedule", "did you mean warmup_steps"]),
        (["--set", "model.attention.kind=flul"], ["did you mean full"]),
        (["--set", "model.num_layers=-1"], ["model.num_layers", "greater than 0", "given: -1, from --set"]),
        (["--set", "train.until_loss=2"], ["train", "did you mean target_loss"]),
        (["--set", "train.health.max_recoveries=2"], ["train", "did you mean stability"]),
        (["--set", "model.num_scores=2"], ["model", "did you mean num_labels"]),
        (["--set", "model.attention.kind=banded"], ["did you mean sliding_window"]),
        (["--set", "model.num_layers"], ["key=value"]),
        (["--set", "train.device=cuda:9"], ["no device cuda:9", "cpu"]),
        (["--set", "train.dtype=float7"], ["no dtype float7"]),
        (["--set", "parallel.shard_size=2"], ["parallel.shard_size=2", "set parallel.shard=true too"]),
        (["--tokens", "many"], ["'many' is not a count"]),
        (["--tokenizer", "wordpiece"], ["wordpiece", "bpe"]),
        (["--resume", "x"], ["there is no such run"]),
        (["--config", "missing.toml"], ["missing.toml cannot be read"]),
        (["--preset", "gpt2", "--params", "3M"], ["--params", "gpt2"]),
    ],
)
def test_settings_that_cannot_be(call: Callable, text: Path, arguments: list[str], words: list[str]) -> None:
    source = [] if "--resume" in arguments else [text]
    refused(call("pretrain", *source, *arguments), *words)


def test_no_text_at_all_and_no_such_verb(call: Callable) -> None:
    refused(call("pretrain", "--tokens", "5M"), "name the text")
    refused(call("pretrian"), "did you mean pretrain")
    assert call("pretrain", "--no-such-option").code == 2
    assert call("info", "--json").code == 2


def test_a_wrong_setting_is_found_before_the_text_is_read(
    call: Callable, monkeypatch: pytest.MonkeyPatch, text: Path
) -> None:
    def reads(*_: object, **__: object) -> None:
        raise AssertionError("the text was read")

    monkeypatch.setattr("gptsmith.train.resolve.prepare", reads)
    refused(call("pretrain", text, "--set", "train.sede=3"), "did you mean seed")


def test_folders_that_are_in_use(call: Callable, text: Path, tmp_path: Path, trained: dict[str, Any]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    refused(call("pretrain", text, "--out", "mine"), "mine exists already", "not a run")
    refused(call("pretrain", text, "--out", trained["run"]), "--resume")
    refused(call("info", "mine"), "run.toml")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_disk_without_room(call: Callable, text: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    refused(call("pretrain", text, *settings()), "no room on the disk")


def test_a_run_from_a_newer_version(call: Callable, trained: dict[str, Any], tmp_path: Path) -> None:
    newer = shutil.copytree(trained["run"], tmp_path / "newer")
    path = newer / "run.toml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("format_version = 2", "format_version = 99"), encoding="utf-8"
    )
    refused(call("generate", newer, "a"), "format 99", "upgrade")


def test_prompts_that_do_not_fit(call: Callable, trained: dict[str, Any]) -> None:
    prompt = "smith " * 60
    outcome = call("generate", trained["run"], prompt)
    refused(outcome, "tokens", "context holds 32", "--slide")
    assert call("generate", trained["run"], prompt, "--slide", "--max-tokens", 3).code == 0
    refused(call("generate", trained["run"], "a", "--temperature", "-1"), "temperature")


def test_damaged_checkpoints(call: Callable, trained: dict[str, Any], tmp_path: Path) -> None:
    damaged = shutil.copytree(trained["run"], tmp_path / "damaged")
    checkpoints = sorted((damaged / "checkpoints").iterdir())
    best = Run.open(damaged).best(print).folder
    (best / "model.safetensors").write_bytes(b"")
    outcome = call("generate", damaged, "a", "--max-tokens", 2)
    assert outcome.code == 0
    assert f"{best.name} is skipped" in outcome.err.replace("\n", " ")
    for checkpoint in checkpoints:
        (checkpoint / "model.safetensors").write_bytes(b"")
    last = call("generate", damaged, "a")
    assert last.code == 2
    assert "no checkpoint that can be read" in last.err


def test_python_callers_get_the_same_line_as_an_error(tmp_path: Path) -> None:
    with pytest.raises(gptsmith.UserError, match="name the text"):
        gptsmith.pretrain([])
    with pytest.raises(ValueError, match="no such run"):
        gptsmith.load(tmp_path / "nothing")
