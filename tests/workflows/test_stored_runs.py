"""Runs at URLs of an object store: trained there, killed there, continued elsewhere, opened by every verb."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.run import mirror
from gptsmith.run.checkpoint import CHECKPOINTS, MANIFEST, list_checkpoints
from gptsmith.run.folder import Run
from gptsmith.run.followed import FollowedRun, described, figures_of, followed_run
from gptsmith.run.remote import from_store
from gptsmith.store.lock import LostLockError, StoreLock
from gptsmith.store.objects import Store, StoreError
from gptsmith.train.callbacks import more_callbacks
from gptsmith.train.trainer import Trainer
from tests.answering import Answering
from tests.callbacks import After, AtStart, stopped_after
from tests.object_store import s3_server
from tests.workflows.conftest import SMALL, Outcome

NUM_STEPS = 40
SETTINGS = [
    *SMALL,
    f"train.num_steps={NUM_STEPS}",
    "model.dropout=0.1",
    "checkpoint.every_steps=10",
    "train.evaluate_every_steps=25",
]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, s3_server(patch) as url:
        yield url


@pytest.fixture
def url(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    return f"{bucket}/{uuid.uuid4().hex}/mine"


@pytest.fixture(scope="module")
def unbroken(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("unbroken") / "run"
    gptsmith.pretrain([text], out=run, settings=SETTINGS)
    return run


@pytest.fixture(scope="module")
def finished(text: Path, bucket: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a run that has ended, which was trained on another machine."""
    url = f"{bucket}/finished/mine"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTSMITH_CACHE", str(tmp_path_factory.mktemp("cache")))
        assert gptsmith.pretrain([text], out=url, settings=SETTINGS)["run"] == url
    return url


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From now on this is another machine."""
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / uuid.uuid4().hex))


def assert_same_end(url: str, golden: Path) -> None:
    """The run in the store has the newest checkpoint of the other one, bit for bit."""
    store, theirs = Store(url), list_checkpoints(golden / CHECKPOINTS)[0]
    name = f"{CHECKPOINTS}/{theirs.folder.name}"
    folder = theirs.folder.parents[2] / uuid.uuid4().hex
    folder.mkdir()
    for part in ("model", "optimizer", "randomness"):
        store.download(f"{name}/{part}.safetensors", folder / part)
        mine, wanted = load_file(folder / part), load_file(theirs.folder / f"{part}.safetensors")
        assert mine.keys() == wanted.keys()
        assert all(torch.equal(mine[key], wanted[key]) for key in mine)


def stored_steps(url: str) -> list[int]:
    names = Store(url).names(CHECKPOINTS)
    return [int(name.split("/")[1].removeprefix("step-")) for name in names if name.endswith(f"/{MANIFEST}")]


def test_a_run_in_a_store_is_that_of_a_folder(finished: str, unbroken: Path) -> None:
    assert_same_end(finished, unbroken)
    store = Store(finished)
    assert stored_steps(finished) == [one.step for one in list_checkpoints(unbroken / CHECKPOINTS)][::-1]
    names = {name for name in store.names() if not name.startswith((".lock/", f"{CHECKPOINTS}/"))}
    assert names == {path.name for path in unbroken.iterdir() if path.is_file() and not path.name.startswith(".")}
    assert json.loads(store.read("result.json"))["run"] == finished


@pytest.mark.story
def test_a_host_that_does_not_see_its_folder_follows_it(
    text: Path, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: dict[str, Any] = {}
    short = [*SETTINGS, "train.num_steps=12"]
    with more_callbacks(AtStart(lambda trainer: said.update(described(trainer.run)))), stopped_after(10):
        gptsmith.pretrain([text], out=url, settings=short)
    assert figures_of(url) is None
    elsewhere(monkeypatch, tmp_path)
    followed = followed_run(said | {"run": "/nowhere"})
    assert isinstance(followed, FollowedRun)
    assert followed.place == url
    assert followed.tokenizer().encode("smith")
    manifest = Store(url).read(f"{CHECKPOINTS}/step-000000010/{MANIFEST}").decode()
    assert followed.fetched(10, manifest).problem() is None
    assert gptsmith.pretrain([text], out=url, settings=short)["step"] == 12
    ended = figures_of(url)
    assert ended is not None
    assert ended["step"] == 12

    sharded = {name: content.replace("shard = false", "shard = true") for name, content in said["files"].items()}
    with pytest.raises(UserError, match="set GPTSMITH_CACHE to a folder on a disk that all hosts see"):
        followed_run(said | {"run": "/nowhere", "files": sharded})
    with pytest.raises(UserError, match="which lies elsewhere"):
        followed_run(said | {"run": "/nowhere", "files": {"../run.toml": ""}})


@pytest.mark.story
def test_every_verb_opens_it(
    finished: str, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: Path
) -> None:
    elsewhere(monkeypatch, tmp_path)
    assert call("info", finished, "--json").object["step"] == NUM_STEPS
    assert call("generate", finished, "The old", "--max-tokens", 5, "--seed", 1).code == 0
    assert call("evaluate", finished, text / "part0.txt", "--json").object["bits_per_byte"] > 0
    assert call("export", finished, "--to", "huggingface", "--out", "copy", "--json").object["status"] == "exported"
    rows = call("runs", finished.removesuffix("/mine"), "--json").object["runs"]
    assert [(row["run"], row["status"], row["step"]) for row in rows] == [(finished, "finished", NUM_STEPS)]
    for refused in (
        call("export", finished, "--to", "huggingface"),
        call("audit", finished),
        call("pretrain", text, "--out", finished),
        call("pretrain", "--resume", finished),
    ):
        assert refused.code == 2
        assert len(refused.err.strip().splitlines()) == 1
        assert finished in refused.err
        assert str(tmp_path) not in refused.err
    assert not (Path.cwd() / "s3:").exists()


@pytest.mark.story
def test_it_is_tuned_into_a_store_and_continued_elsewhere(
    finished: str, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = tmp_path / "told.jsonl"
    with data.open("w", encoding="utf-8") as file:
        for number in range(12):
            turns = [{"role": "user", "content": f"Nail {number}?"}, {"role": "assistant", "content": "Iron."}]
            file.write(json.dumps({"messages": turns}) + "\n")
    settings = ["train.dtype=float32", "train.num_steps=4", "train.batch_size=2", "checkpoint.every_steps=1"]
    with pytest.raises(UserError, match="is in a store, so nothing can be put beside it: name a folder with --out"):
        gptsmith.finetune(finished, [data])
    with pytest.raises(UserError, match="with --trials, give --out a folder"):
        gptsmith.finetune(finished, [data], out=url, trials=2)
    with stopped_after(2):
        assert gptsmith.finetune(finished, [data], out=url, settings=settings)["status"] == "stopped"
    elsewhere(monkeypatch, tmp_path)
    figures = gptsmith.finetune(finished, [data], out=url, settings=settings)
    assert (figures["status"], figures["step"], figures["run"]) == ("finished", 4, url)
    assert Run(opened(url)).request()["base"] == finished


def opened(url: str) -> Path:
    folder = from_store(url)
    assert folder is not None
    return folder


@pytest.mark.story
def test_the_same_command_again_resumes_it_elsewhere(
    text: Path, url: str, unbroken: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with stopped_after(23):
        assert gptsmith.pretrain([text], out=url, settings=SETTINGS)["status"] == "stopped"
    assert max(stored_steps(url)) == 23
    elsewhere(monkeypatch, tmp_path)
    assert gptsmith.pretrain([text], out=url, settings=SETTINGS)["status"] == "finished"
    assert_same_end(url, unbroken)


CHILD = """
import os, signal, sys
from gptsmith.store.objects import Store
from gptsmith.cli import main

at, upload, write = sys.argv[1], Store.upload, Store.write
def killed(self, what, name):
    if at in f"{what} {name}":
        os.kill(os.getpid(), signal.SIGKILL)
Store.upload = lambda self, path, name: (killed(self, "upload", name), upload(self, path, name))[1]
Store.write = lambda self, name, content: (killed(self, "write", name), write(self, name, content))[1]
sys.argv = ["gptsmith", *sys.argv[2:]]
main()
"""


@pytest.mark.story
@pytest.mark.parametrize(
    "at",
    [
        "upload checkpoints/step-000000020/optimizer.safetensors",
        "write checkpoints/step-000000020/MANIFEST.json",
        "upload checkpoints/step-000000010/model.json",
    ],
)
def test_killed_while_it_uploads_it_ends_elsewhere_as_if_it_had_not_been(
    at: str, text: Path, url: str, unbroken: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Training waits at step 20 until the upload has killed it: the store has step 10 at most."""
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    wait = "import threading; from tests.callbacks import After\nfrom gptsmith.train.callbacks import more_callbacks\n"
    hold = "held = more_callbacks(After(21, lambda trainer: threading.Event().wait()))\nheld.__enter__()\n"
    code = CHILD.replace("main()\n", f"{wait}{hold}main()\n")
    command = [sys.executable, "-c", code, at, "pretrain", str(text), "--out", url, *settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert set(stored_steps(url)) <= ({20} if "10/" in at else {10})
    elsewhere(monkeypatch, tmp_path)
    assert gptsmith.pretrain([text], out=url, settings=SETTINGS)["status"] == "finished"
    assert_same_end(url, unbroken)


@pytest.mark.story
def test_a_second_command_is_refused_while_the_first_trains(
    text: Path, url: str, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refused: list[Outcome] = []

    def another(_: Trainer) -> None:
        with monkeypatch.context() as patch:
            elsewhere(patch, tmp_path)
            with more_callbacks():
                refused.append(call("pretrain", text, "--out", url))

    with more_callbacks(After(15, another, once=True)):
        gptsmith.pretrain([text], out=url, settings=SETTINGS)
    (one,) = refused
    assert one.code == 2
    assert one.err.startswith(f"gptsmith: {url} is being written by ")
    assert f"(process {os.getpid()}) since" in one.err


@pytest.mark.story
def test_training_whose_lock_was_taken_over_stops_and_writes_nothing_more(
    text: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "LOOK_EVERY_S", 0.01)
    before: dict[str, bytes] = {}

    def take_over(trainer: Trainer) -> None:
        while 10 not in stored_steps(url):  # nothing is on its way
            time.sleep(0.01)
        StoreLock(Store(url), limit_s=-1).acquire()
        before.update({name: Store(url).read(name) for name in Store(url).names()})
        trainer.settings.train.__dict__["num_steps"] = 10**6  # it is the loss of the lock that ends it

    with more_callbacks(After(15, take_over, once=True)), pytest.raises(LostLockError, match="is now written by"):
        gptsmith.pretrain([text], out=url, settings=SETTINGS)
    assert {name: Store(url).read(name) for name in Store(url).names()} == before


def test_a_store_that_fails_for_a_while_does_not_stop_training(
    text: Path, url: str, unbroken: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    failed = threading.Event()
    upload = Store.upload

    def failing(self: Store, path: Path, name: str) -> None:
        if name.endswith("optimizer.safetensors") and not failed.is_set():
            failed.set()
            raise StoreError("the store does not answer")
        upload(self, path, name)

    monkeypatch.setattr(Store, "upload", failing)
    with more_callbacks(After(15, lambda trainer: failed.wait(), once=True)):
        assert gptsmith.pretrain([text], out=url, settings=SETTINGS)["status"] == "finished"
    assert "fails and is tried again, training continues: the store does not answer" in capfd.readouterr().err
    assert_same_end(url, unbroken)


def test_an_end_that_could_not_be_uploaded_is_uploaded_by_the_same_command(
    text: Path, url: str, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_without_upload(text, url, monkeypatch)

    def never(_: Trainer) -> None:
        raise AssertionError("it has ended")

    with more_callbacks(AtStart(never)):
        figures = gptsmith.pretrain([text], out=url, settings=SETTINGS)
    assert (figures["status"], figures["step"]) == ("finished", NUM_STEPS)
    assert_same_end(url, unbroken)


@pytest.mark.story
def test_another_command_is_not_answered_with_the_figures_of_an_end_that_could_not_be_uploaded(
    text: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_without_upload(text, url, monkeypatch)
    with pytest.raises(UserError, match=f"{url} exists already: choose another --out"):
        gptsmith.pretrain([text], out=url, settings=[*SETTINGS, "train.seed=5"])
    assert NUM_STEPS in stored_steps(url)


def train_without_upload(text: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains a run to its end while the store cannot be written."""
    monkeypatch.setattr(mirror, "LAST_PAUSES_S", (0,))

    def refuse(self: Store, path: Path, name: str) -> None:
        raise StoreError("the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "upload", refuse)
        with pytest.raises(StoreError, match=r"answer\. What is not in s3://.* yet \(step-000000040, .*the same"):
            gptsmith.pretrain([text], out=url, settings=SETTINGS)
    assert stored_steps(url) == []


class Refusing(Answering):
    """A store that knows nobody."""

    def answer(self) -> None:
        content = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


COMMANDS: list[list[str]] = [
    ["info", "{url}"],
    ["generate", "{url}", "The"],
    ["runs", "{url}"],
    ["pretrain", "{text}", "--out", "{url}"],
    ["pretrain", "--resume", "{url}"],
    ["finetune", "--resume", "{url}"],
]


def assert_one_line(
    call: Callable[..., Outcome], text: Path, url: str, words: str, commands: list[list[str]] = COMMANDS
) -> None:
    for command in commands:
        outcome = call(*(word.format(url=url, text=text) for word in command))
        assert (outcome.code, outcome.out) == (2, ""), command
        (line,) = outcome.err.strip().splitlines()
        assert line.startswith("gptsmith: ")
        assert words in line, command
    assert not list(Path.cwd().iterdir()) or [path.name for path in Path.cwd().iterdir()] == ["cache"]


def test_a_store_that_refuses_is_one_line(refusing: None, text: Path, url: str, call: Callable[..., Outcome]) -> None:
    assert_one_line(call, text, url, "the store refuses (Access Denied): check the access key")


def test_a_missing_bucket_is_one_line(text: Path, url: str, call: Callable[..., Outcome]) -> None:
    assert_one_line(call, text, "s3://elsewhere/mine", "there is no bucket elsewhere: make it, or check its name")


@pytest.mark.story
def test_no_server_is_one_line(
    text: Path, url: str, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert_one_line(call, text, url, "the store does not answer", COMMANDS[::3])  # each tries for seconds


def test_a_run_that_is_not_there_cannot_be_resumed(text: Path, url: str, call: Callable[..., Outcome]) -> None:
    outcome = call("pretrain", "--resume", url)
    assert outcome.code == 2
    assert outcome.err.strip() == f"gptsmith: {url}: there is no such run"
    assert Store(url).names() == []
