"""A run at gs://: trained there, torn there, continued elsewhere, opened."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.run.checkpoint import CHECKPOINTS, MANIFEST
from gptsmith.store.lock import LOCKS, StoreLock
from gptsmith.store.objects import Store
from tests.callbacks import stopped_after
from tests.google_store import BUCKET, GoogleServer, google_server
from tests.workflows.conftest import SMALL, Outcome

SETTINGS = [*SMALL, "train.num_steps=12", "checkpoint.every_steps=4"]


@pytest.fixture(scope="module")
def google() -> Iterator[GoogleServer]:
    with pytest.MonkeyPatch.context() as patch, google_server(patch) as server:
        yield server


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From now on this is another machine."""
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / uuid.uuid4().hex))


def test_a_run_is_trained_torn_and_continued_elsewhere(
    google: GoogleServer,
    text: Path,
    call: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"gs://{BUCKET}/runs/mine"
    store = Store(url)
    elsewhere(monkeypatch, tmp_path)
    with stopped_after(8):
        gptsmith.pretrain([text], out=url, settings=SETTINGS)
    manifests = [name for name in store.names(CHECKPOINTS) if name.endswith(MANIFEST)]
    assert [int(name.split("/")[1].removeprefix("step-")) for name in manifests][-1] == 8
    written = [path for method, path in google.requests if method == "POST"]
    assert written, "it was that server"

    store.write(manifests[-1], store.read(manifests[-1])[:40])
    elsewhere(monkeypatch, tmp_path)
    held = StoreLock(store)
    held.acquire()
    refused = call("pretrain", "--resume", url)
    assert (refused.code, f"{url} is being written by " in refused.err) == (2, True)
    held.release()
    assert gptsmith.pretrain(resume=url)["step"] == 12
    assert "step-000000008 of gs://smithy/runs/mine is set aside" in capsys.readouterr().err

    elsewhere(monkeypatch, tmp_path)
    assert call("info", url, "--json").object["step"] == 12
    assert [row["run"] for row in gptsmith.runs(f"gs://{BUCKET}/runs")] == [url]
    assert [name for name in store.names() if name.startswith(LOCKS)] == [f"{LOCKS}/000003"]


def test_a_bucket_that_is_missing_is_one_line(google: GoogleServer, text: Path, call: Callable[..., Outcome]) -> None:
    for command in (["info", "gs://elsewhere/mine"], ["pretrain", text, "--out", "gs://elsewhere/mine"]):
        outcome = call(*command)
        assert (outcome.code, outcome.out) == (2, "")
        (line,) = outcome.err.strip().splitlines()
        assert "there is no bucket elsewhere: make it, or check its name" in line
    with pytest.raises(UserError, match="there is no bucket elsewhere"):
        gptsmith.load("gs://elsewhere/mine")
