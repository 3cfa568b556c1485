"""Real training is killed, stopped, repeated and changed: it goes on as if nothing had happened, or says why not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.base.runlog import RunLog
from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.train.trainer import Session
from tests.workflows.conftest import SMALL

NUM_KILLS = int(os.environ.get("GPTSMITH_TORTURE_TRAINING", "5"))
NUM_STEPS = 60
SETTINGS = [
    *SMALL,
    f"train.num_steps={NUM_STEPS}",
    "model.dropout=0.1",
    "checkpoint.every_steps=7",
    "train.evaluate_every_steps=25",
]


def command(text: Path, run: Path, *more: str) -> list[str]:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    return [sys.executable, "-m", "gptsmith", "pretrain", str(text), "--out", str(run), *settings, *more, "--json"]


def step_losses(run: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["train_loss"]) for row in RunLog(run / "metrics.jsonl").events("step")]


@pytest.fixture(scope="module")
def unstopped(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("unstopped") / "run"
    gptsmith.pretrain([text], out=run, settings=SETTINGS)
    return run


def assert_same_end(run: Path, golden: Path) -> None:
    ours, theirs = (list_checkpoints(folder / "checkpoints")[0] for folder in (run, golden))
    assert ours.step == theirs.step == NUM_STEPS
    for name in ("model", "optimizer", "randomness"):
        mine, wanted = (load_file(checkpoint.folder / f"{name}.safetensors") for checkpoint in (ours, theirs))
        assert mine.keys() == wanted.keys()
        assert all(torch.equal(mine[key], wanted[key]) for key in mine)
    expected = dict(step_losses(golden))
    assert {step for step, _ in step_losses(run)} == expected.keys()
    assert all(loss == expected[step] for step, loss in step_losses(run))


def test_killed_at_random_instants_it_ends_where_it_would_have(text: Path, unstopped: Path, tmp_path: Path) -> None:
    """The same command again goes on: nobody has to name a checkpoint."""
    chance = random.Random(3)
    run = tmp_path / "run"
    kills = 0
    while kills < NUM_KILLS:
        process = subprocess.Popen(command(text, run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1.2 + chance.random() * 1.5)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        elif (run / "result.json").exists():
            kills += 1  # it was faster than the killer
            (run / "result.json").unlink()
            newest = list_checkpoints(run / "checkpoints")[0]
            newest.folder.rename(newest.folder.with_name(f".lost-{kills}"))
    done = subprocess.run(command(text, run), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["status"] == "finished"
    assert_same_end(run, unstopped)


def test_sigterm_saves_within_the_step_and_has_its_own_exit_code(text: Path, unstopped: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(command(text, run), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() or not step_losses(run):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.terminate()
    out, err = process.communicate(timeout=60)
    figures = json.loads(out)
    assert (process.returncode, figures["status"], figures["signal"]) == (143, "stopped", "SIGTERM")
    assert "Traceback" not in err
    assert list_checkpoints(run / "checkpoints")[0].step == figures["step"]
    subprocess.run(command(text, run), capture_output=True, check=True)
    assert_same_end(run, unstopped)


def stopped(text: Path, run: Path, monkeypatch: pytest.MonkeyPatch, step: int = 10) -> dict[str, Any]:
    """A run that was asked to stop after some steps."""
    observe = Session._observe

    def asks(session: Session, figures: Any) -> None:
        observe(session, figures)
        session.stopped_by = signal.SIGINT if session.state.step >= step else None

    with monkeypatch.context() as patch:
        patch.setattr(Session, "_observe", asks)
        return gptsmith.pretrain([text], out=run, settings=SETTINGS)


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_taken(
    text: Path, unstopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    stopped(text, run, monkeypatch)
    newest = list_checkpoints(run / "checkpoints")[0]
    with (newest.folder / "model.safetensors").open("r+b") as file:
        file.seek(2000)
        file.write(b"\x00\xff")
    gptsmith.pretrain(resume=run)
    assert f".bad-{newest.folder.name}" in capsys.readouterr().err
    assert_same_end(run, unstopped)


def test_fixed_settings_are_named_and_others_may_change(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    stopped(text, run, monkeypatch)
    with pytest.raises(UserError, match=r"model\.dropout changed.*only these are fixed: model, train\.seed"):
        gptsmith.pretrain(resume=run, settings=["model.dropout=0.2"])
    with pytest.raises(UserError, match=r"train\.seed changed"):
        gptsmith.pretrain(resume=run, settings=["train.seed=5"])
    done = gptsmith.pretrain(resume=run, settings=["train.evaluate_every_steps=9", "train.num_steps=12"])
    assert (done["status"], done["step"]) == ("finished", 12)


def test_a_changed_environment_is_named(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    stopped(text, run, monkeypatch)
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - threads)
    try:
        assert gptsmith.pretrain(resume=run)["status"] == "finished"
    finally:
        torch.set_num_threads(threads)
    assert f"not bit for bit what an unstopped run gives: num_threads was {threads} and is" in capsys.readouterr().err


def test_a_run_that_died_before_its_first_checkpoint_begins_again(
    text: Path, unstopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Session, "run_to_end", dies)
        with pytest.raises(KeyboardInterrupt):
            gptsmith.pretrain([text], out=run, settings=SETTINGS)
    (run / "data.json").unlink()
    gptsmith.pretrain([text], out=run, settings=SETTINGS)
    assert_same_end(run, unstopped)


def test_another_process_trains_it(call: Callable, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    stopped(text, run, monkeypatch)
    holder = (
        "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(1, flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(run / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    refused = call("pretrain", "--resume", run)
    process.communicate("\n")
    assert refused.code == 2
    assert "is being trained by another process" in refused.err
    assert gptsmith.pretrain(resume=run)["status"] == "finished"


def test_without_a_folder_the_same_command_goes_on_and_a_finished_one_begins_anew(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [*SETTINGS, "train.num_steps=12"]
    with monkeypatch.context() as patch:
        patch.setattr(Session, "run_to_end", lambda session, _: {})
        gptsmith.pretrain([text], settings=settings)
    for run in ("runs/smiths", "runs/smiths-2"):
        assert gptsmith.pretrain([text], settings=settings)["run"] == run
