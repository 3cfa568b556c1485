"""Real training is killed, stopped, repeated and changed: it goes on as if nothing had happened, or says why not."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.base.runlog import RunLog
from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.run.writer import only_writer
from tests.callbacks import killed_at_the_start, stopped_after
from tests.forked import Forked
from tests.workflows.conftest import SMALL

NUM_KILLS = int(os.environ.get("GPTSMITH_TORTURE_TRAINING", "3"))
NUM_STEPS = 60
SETTINGS = [
    *SMALL,
    "train.dtype=float32",
    f"train.num_steps={NUM_STEPS}",
    "model.dropout=0.1",
    "checkpoint.every_steps=7",
    "train.evaluate_every_steps=25",
]


def command(text: Path, run: Path, *more: str) -> list[str]:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    return ["pretrain", str(text), "--out", str(run), *settings, *more, "--json"]


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


def wait_for(process: Forked, is_there: Callable[[], bool]) -> None:
    """Waits for something that a process does, or for its end."""
    deadline = time.monotonic() + 60
    while not is_there() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.story
def test_killed_at_random_instants_it_ends_where_it_would_have(text: Path, unstopped: Path, tmp_path: Path) -> None:
    """The same command again resumes: nobody has to name a checkpoint."""
    chance = random.Random(3)
    run = tmp_path / "run"
    log = RunLog(run / "metrics.jsonl")
    kills = 0

    def has_started_again(num_starts: int) -> bool:
        return len(log.events("start")) > num_starts

    while kills < NUM_KILLS:
        num_starts = len(log.events("start"))
        process = Forked(*command(text, run))
        wait_for(process, partial(has_started_again, num_starts))
        time.sleep(chance.random() * 0.6)  # an instant of the second or so that training takes
        if was_alive := process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        has_ended = (run / "result.json").exists()
        kills += was_alive or has_ended
        if has_ended:  # it was faster than the killer
            (run / "result.json").unlink()
            newest = list_checkpoints(run / "checkpoints")[0]
            newest.folder.rename(newest.folder.with_name(f".lost-{kills}"))
    assert gptsmith.pretrain([text], out=run, settings=SETTINGS)["status"] == "finished"
    assert_same_end(run, unstopped)


def test_sigterm_saves_within_the_step_and_has_its_own_exit_code(text: Path, unstopped: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = Forked(*command(text, run))
    wait_for(process, lambda: bool(step_losses(run)))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    figures = json.loads(out)
    assert (process.poll(), figures["status"], figures["signal"]) == (143, "stopped", "SIGTERM")
    assert "Traceback" not in err
    assert list_checkpoints(run / "checkpoints")[0].step == figures["step"]
    gptsmith.pretrain([text], out=run, settings=SETTINGS)
    assert_same_end(run, unstopped)


@pytest.fixture(scope="module")
def stopped_run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("stopped") / "run"
    with stopped_after(10):
        gptsmith.pretrain([text], out=run, settings=SETTINGS)
    return run


@pytest.fixture
def stopped(stopped_run: Path, tmp_path: Path) -> Path:
    """A run that was asked to stop after ten steps."""
    return shutil.copytree(stopped_run, tmp_path / "run")


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_taken(
    unstopped: Path, stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = list_checkpoints(stopped / "checkpoints")[0]
    with (newest.folder / "model.safetensors").open("r+b") as file:
        file.seek(2000)
        file.write(b"\x00\xff")
    gptsmith.pretrain(resume=stopped)
    assert f".bad-{newest.folder.name}" in capsys.readouterr().err
    assert_same_end(stopped, unstopped)


def test_fixed_settings_are_named_and_others_may_change(stopped: Path) -> None:
    with pytest.raises(UserError, match=f"another --out, or resume it with .*gptsmith pretrain --resume {stopped}$"):
        gptsmith.pretrain([stopped / "run.toml"], out=stopped)
    with pytest.raises(
        UserError, match=r"because what.*model\.dropout changed.*only these are fixed: model, train\.seed"
    ):
        gptsmith.pretrain(resume=stopped, settings=["model.dropout=0.2"])
    with pytest.raises(UserError, match=r"train\.seed changed"):
        gptsmith.pretrain(resume=stopped, settings=["train.seed=5"])
    done = gptsmith.pretrain(resume=stopped, settings=["train.evaluate_every_steps=9", "train.num_steps=12"])
    assert (done["status"], done["step"]) == ("finished", 12)


def test_a_changed_environment_is_named(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - threads)
    try:
        assert gptsmith.pretrain(resume=stopped)["status"] == "finished"
    finally:
        torch.set_num_threads(threads)
    assert f"not bit for bit equal to an uninterrupted run: num_threads was {threads} and is" in capsys.readouterr().err


def test_a_run_that_died_before_its_first_checkpoint_begins_again(text: Path, unstopped: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with killed_at_the_start(), pytest.raises(KeyboardInterrupt):
        gptsmith.pretrain([text], out=run, settings=SETTINGS)
    (run / "data.json").unlink()
    gptsmith.pretrain([text], out=run, settings=SETTINGS)
    assert_same_end(run, unstopped)


def test_another_process_trains_it(call: Callable, stopped: Path) -> None:
    with only_writer(stopped):
        refused = call("pretrain", "--resume", stopped)
    assert refused.code == 2
    assert "is being trained by another process" in refused.err
    assert gptsmith.pretrain(resume=stopped, settings=["train.num_steps=12"])["status"] == "finished"


def test_without_a_folder_the_same_command_goes_on_and_a_finished_one_begins_anew(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [*SETTINGS, "train.num_steps=12"]
    with killed_at_the_start(), pytest.raises(KeyboardInterrupt):
        gptsmith.pretrain([text], settings=settings)
    for run in ("runs/smiths", "runs/smiths-2"):
        assert gptsmith.pretrain([text], settings=settings)["run"] == run
