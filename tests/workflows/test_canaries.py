"""Runs with canaries: recorded, resumed, evaluated and traced as others are, and never taken for the person's text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import CheckpointError, ConfigurationError, UserError
from gptsmith.data.care import example_canaries
from gptsmith.data.care.canaries import CANARIES, read_canaries
from gptsmith.privacy import canaries
from gptsmith.run.folder import Run
from gptsmith.workflows.audit_find import audit_find

from .conftest import FLOAT32, SMALL


@pytest.fixture(scope="module")
def planted(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of a run with canaries, which it is too small to learn."""
    out = tmp_path_factory.mktemp("runs") / "planted"
    settings = [*SMALL, "train.num_steps=4"]
    return gptsmith.pretrain([text], out=out, canaries=8, settings=settings)


def test_they_are_recorded_for_the_owner_alone_and_counted(planted: dict[str, Any]) -> None:
    run = Run.open(planted["run"])
    canaries = read_canaries(run.folder)
    assert [canary.copies for canary in canaries] == [1, 4, 1, 16, 1, 4, 1, 16]
    assert (run.folder / CANARIES).stat().st_mode & 0o777 == 0o600
    assert run.data()["canaries"]["num_places"] == 44
    shown = (run.folder / "report.html").read_text(encoding="utf-8")
    assert not any(twin.text in shown for canary in canaries for twin in canary.twins)


def test_the_run_is_evaluated_and_resumed_on_the_same_text(planted: dict[str, Any], trained: dict[str, Any]) -> None:
    figures = gptsmith.evaluate(planted["run"])
    # The held-out text is that of a run without canaries; its tokens are another tokenizer's.
    assert figures["num_bytes"] == gptsmith.evaluate(trained["run"])["num_bytes"]
    before = (Path(planted["run"]) / CANARIES).read_bytes()
    resumed = gptsmith.pretrain(resume=planted["run"], tokens=6 * 8 * 32)
    assert resumed["step"] == 6
    assert (Path(planted["run"]) / CANARIES).read_bytes() == before


def test_a_canary_is_traced_to_no_line_of_a_file_and_a_sentence_to_its_own(planted: dict[str, Any]) -> None:
    canary = read_canaries(Path(planted["run"]))[0]
    (found,) = gptsmith.trace(planted["run"], canary.planted.text)["sources"]
    assert found["where"] == "a planted canary"
    assert found["line"] is None
    assert not gptsmith.trace(planted["run"], canary.unseen.name, min_tokens=12)["sources"]
    source = Path(sorted(Run.open(planted["run"]).data()["files"])[0])
    content = source.read_bytes()
    several = "\n".join(content.decode().splitlines()[100:130])
    passages = gptsmith.trace(planted["run"], several)["sources"]
    for each in passages:
        assert each["where"] is None
        if each["start"] is None:  # it begins with the end of a canary's line
            continue
        assert Path(each["file"]).read_bytes()[each["start"] : each["stop"]].decode() == each["passage"]
    assert sum(len(each["passage"]) for each in passages) > len(several) / 2


def test_canaries_after_training_are_refused_with_the_reason(planted: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="before the first step"):
        gptsmith.pretrain(resume=planted["run"], canaries=5)
    with pytest.raises(CheckpointError, match="num_canaries"):
        gptsmith.pretrain(resume=planted["run"], settings=["data.num_canaries=5"])


def test_tuning_plants_them_in_plain_text_and_refuses_labels(
    trained: dict[str, Any], text: Path, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"out": tmp_path / "tuned", "max_steps": 1, "batch_size": 2}
    given = ["data.num_canaries=4"]
    tuned = gptsmith.finetune(trained["run"], [text], objective="next_token", settings=given, **common)
    assert len(read_canaries(Path(tuned["run"]))) == 4
    rows = "".join(f'{{"text": "The smith {number}.", "label": "{number % 2}"}}\n' for number in range(30))
    (tmp_path / "labels.jsonl").write_text(rows, encoding="utf-8")
    with pytest.raises(UserError, match="these examples are neither"):
        gptsmith.finetune(trained["run"], [tmp_path / "labels.jsonl"], settings=given)


@pytest.mark.story
def test_answers_are_planted_among_conversations_and_measured_after_their_questions(
    told_chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example_canaries, "LARGEST_SHARE", 9)
    monkeypatch.setattr(canaries, "NUM_REFERENCES", 39)
    shape = [*SMALL, "model.context_length=128", "model.num_heads=2", "tokenizer.vocab_size=275", "train.num_steps=1"]
    base = gptsmith.pretrain([told_chat / "text.txt"], out=tmp_path / "base", settings=shape)["run"]
    given = told_chat / "chat.jsonl"
    settings = [
        FLOAT32, "train.num_steps=60", "train.batch_size=8",
        "train.optimizer.learning_rate=5e-3", "train.evaluate_every_steps=60", "examples.test_fraction=0",
    ]  # fmt: skip
    tuned = Path(gptsmith.finetune(base, [given], out=tmp_path / "tuned", canaries=8, settings=settings)["run"])
    assert (tuned / CANARIES).stat().st_mode & 0o777 == 0o600
    assert Run.open(tuned).data()["canaries"] == {"num": 8, "num_places": 44}
    found = gptsmith.audit([tuned])
    once, _, often = found["canaries"]["groups"]
    assert found["canaries"]["unit"] == "example"
    assert once["auc"] > 0.8
    assert often["exposure"] == found["canaries"]["most_exposure"] == pytest.approx(math.log2(40))
    assert often["exposure_unseen"] < 4
    assert found["num_coins"] == 4, "those that are planted once"
    assert any("by heart when asked" in line for line in found["remarks"])
    last, first = found["checkpoints"]
    assert (first["step"], first["is_served"], last["canaries"]) == (0, False, found["canaries"]["groups"])
    assert first["canaries"][2]["exposure"] < last["canaries"][2]["exposure"], "before it was tuned"
    assert any("it has none of 8 canaries by heart" in line for line in found["remarks"])
    small = gptsmith.audit([gptsmith.compress(tuned, to="int8", out=tmp_path / "small")["run"]])
    assert small["canaries"]["groups"][2]["exposure"] == often["exposure"]
    assert not any("Street" in each["text"] for each in (*found["passages"], *found["answers"])), "nobody's text"
    name = read_canaries(tuned)[3].planted.name
    assert not audit_find(gptsmith.load(tuned), [name])["mentions"]


def test_an_audit_measures_them_or_says_why_documents_show_nothing(
    planted: dict[str, Any], trained: dict[str, Any]
) -> None:
    found = gptsmith.audit([planted["run"]])
    assert "do not fit in its context" in found["membership_missing"]
    assert any("do not fit in its context" in line for line in found["remarks"])
    without = gptsmith.audit([trained["run"]])
    assert "end of each document" in without["membership_missing"]
    assert any("cannot be measured: its validation text" in line for line in without["remarks"])
