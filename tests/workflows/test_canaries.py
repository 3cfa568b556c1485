"""Runs with canaries: recorded, resumed, evaluated and traced as others are, and never taken for the person's text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import CheckpointError, ConfigurationError, UserError
from gptsmith.data.care.canaries import CANARIES, read_canaries
from gptsmith.run.folder import Run

from .conftest import SMALL


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


def test_tuning_plants_them_in_plain_text_and_refuses_examples(
    trained: dict[str, Any], text: Path, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"out": tmp_path / "tuned", "max_steps": 1, "batch_size": 2}
    given = ["data.num_canaries=4"]
    tuned = gptsmith.finetune(trained["run"], [text], objective="next_token", settings=given, **common)
    assert len(read_canaries(Path(tuned["run"]))) == 4
    (tmp_path / "answers.jsonl").write_text('{"prompt": "Who?", "response": "The smith."}\n' * 30, encoding="utf-8")
    with pytest.raises(UserError, match="plain text"):
        gptsmith.finetune(trained["run"], [tmp_path / "answers.jsonl"], settings=given)


def test_an_audit_measures_them_or_says_why_documents_show_nothing(
    planted: dict[str, Any], trained: dict[str, Any]
) -> None:
    found = gptsmith.audit([planted["run"]])
    assert "do not fit in its context" in found["membership_missing"]
    assert any("do not fit in its context" in line for line in found["remarks"])
    without = gptsmith.audit([trained["run"]])
    assert "end of each document" in without["membership_missing"]
    assert any("cannot be measured: its validation text" in line for line in without["remarks"])
