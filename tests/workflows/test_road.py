"""The road beyond one machine: text is prepared into a store, trained on from there by two hosts which share no disk,
killed, resumed on two others, and opened on a fifth machine."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import gptsmith
from gptsmith.run.checkpoint import CHECKPOINTS, MANIFEST
from gptsmith.run.folder import Run
from gptsmith.store.objects import Store
from tests.object_store import s3_server
from tests.workflows.conftest import SMALL
from tests.workflows.together import workers

pytestmark = pytest.mark.story

NUM_STEPS, KILLED_AT = 40, 25
SETTINGS = [each for each in SMALL if not each.startswith("tokenizer")] + [
    "train.dtype=float64", f"train.num_steps={NUM_STEPS}", "checkpoint.every_steps=10",
]  # fmt: skip
HOST = """
import os, sys, threading
rank, hold = int(os.environ["RANK"]), int(sys.argv.pop(1))
os.environ["GPTSMITH_CACHE"] += f"-{rank}"
from gptsmith.cli import main
from gptsmith.run import followed
from gptsmith.train.callbacks import more_callbacks
from tests.callbacks import After
if rank:
    followed._is_here = lambda *_: False  # as if the first one's disk were not this one's
with more_callbacks(*([After(hold, lambda _: threading.Event().wait())] if hold else [])):
    main()
"""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_server(monkeypatch) as url:
        yield url


def hosts(folder: Path, hold: int, *arguments: object) -> subprocess.Popen[str]:
    """Two processes by torchrun with a cache each, which train until a step if it is not 0."""
    (folder / "host.py").write_text(HOST, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", str(folder / "host.py"), str(hold)]
    command += map(str, arguments)
    command += [part for setting in SETTINGS for part in ("--set", setting)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


def losses(run: Path) -> dict[int, float]:
    return {row["step"]: row["train_loss"] for row in Run(run).log.events("step")}


def test_the_road(text: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def machine(name: str) -> Path:
        monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / name))
        return tmp_path / name

    prepared, url = f"{bucket}/text", f"{bucket}/mine"
    machine("first")
    assert gptsmith.prepare([text], out=prepared, workers=1, settings=["tokenizer.vocab_size=300"])["prepared"]
    golden = gptsmith.pretrain([prepared], out=tmp_path / "golden", settings=SETTINGS)

    machine("one")
    killed = hosts(tmp_path, KILLED_AT, "pretrain", prepared, "--out", url)
    store, deadline = Store(url), time.monotonic() + 120
    while f"{CHECKPOINTS}/step-000000020/{MANIFEST}" not in store.names():
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ends = [os.pidfd_open(pid) for pid in workers(killed)]
    killed.kill()
    killed.communicate()
    for end in ends:
        assert select.select([end], [], [], 30)[0], "a process outlives torchrun"
        os.close(end)

    resuming = machine("two")
    resumed = hosts(tmp_path, 0, "pretrain", prepared, "--out", url)
    said = resumed.communicate(timeout=120)[1]
    assert resumed.returncode == 0, said
    assert "resumed from step 20" in said
    followed = [path.name for path in Path(f"{resuming}-1").glob("stores/*/mine/checkpoints/step-*")]
    assert followed == ["step-000000020"]
    assert not Path(f"{resuming}-1", "stored_runs").exists()

    opened = machine("fifth")
    found = gptsmith.info(url)
    assert found["step"] == NUM_STEPS
    assert found["validation_loss"] == pytest.approx(golden["validation_loss"], abs=1e-12)
    (run,) = opened.glob("stores/*/mine")
    ours, theirs = losses(run), losses(tmp_path / "golden")
    assert ours == pytest.approx(theirs, abs=1e-12)
    assert max(ours) == NUM_STEPS
    assert gptsmith.generate(url, "The old", max_tokens=5, seed=1)
