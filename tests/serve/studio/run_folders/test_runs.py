"""Runs in a studio: how they stand, and what people do with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gptsmith.run.writer import only_writer
from gptsmith.serve.studio.run_folders import changes
from gptsmith.serve.studio.run_folders.changes import RunChanges

from ....workflows.conftest import SMALL, write_text
from ...conftest import until
from ..conftest import Opened, opened
from .conftest import copy

NAMES = ["🦊 لغة", "a" * 100, "it's 5 % & more #1"]
NO_NAMES = ["", "..", ".hidden", "-x", "a/b", "a\\b", " a", "a\n", "~", "a" * 101, "CON:"]

MARK = {
    "id": "mark-1", "kind": "choice", "verdict": "first", "at_ms": 1000,
    "prompt": [{"role": "user", "content": "Hot?"}],
    "answers": [{"model": "chat", "text": "Very, my friend: 😀."}, {"model": "base", "text": "Not yet."}],
}  # fmt: skip


def row(studio: Opened, name: str) -> dict[str, Any]:
    (found,) = (each for each in studio.get("runs")["runs"] if each["name"] == name)
    return dict(found)


def refused(studio: Opened, path: str, **body: Any) -> str:
    answer = studio.ask("POST", f"/studio/api/{path}", body)
    assert answer.status in (400, 404), answer.data
    return str(answer.error["message"])


def test_runs_are_a_family_with_figures(family: Opened) -> None:
    rows = {each["name"]: each for each in family.get("runs")["runs"]}
    assert {name: each["made_from"] for name, each in rows.items()} == {
        "base": None,
        "chat": "base",
        "adapted": "base",
        "labels": "base",
    }
    assert {name: each["kind"] for name, each in rows.items()} == {
        "base": "base",
        "chat": "chat",
        "adapted": "chat",
        "labels": "classifier",
    }
    assert all(
        each["state"] == "finished" and each["num_parameters"] and not each["can_resume"] for each in rows.values()
    )
    about = family.get("runs/base?offset=0")
    assert about["run"]["followers"] == ["adapted", "chat", "labels"]
    assert about["curves"]["validation_loss"]
    assert "num_steps" in about["settings"]
    found = family.get("compared?run=base&run=chat")
    assert {each["name"] for each in found["runs"]} == {"base", "chat"}
    assert found["settings"]


def test_a_run_of_the_terminal_shows_up_and_goes(family: Opened) -> None:
    folder = family.folder / "runs" / "from the terminal"
    copy(family.folder / "runs" / "base", folder)
    (folder / "result.json").unlink()
    assert row(family, folder.name)["state"] == "stopped"
    assert row(family, folder.name)["can_resume"]
    with only_writer(folder):
        (folder / "metrics.jsonl").touch()
        assert row(family, folder.name)["state"] == "running"
        for path, body in (("delete", {}), ("rename", {"name": "other"})):
            assert "another process" in refused(family, f"runs/{path}", run=folder.name, **body)
        assert "cannot be resumed" in refused(family, "runs/resume", run=folder.name)
    family.post("runs/delete", run=folder.name)
    assert not folder.exists()
    assert [each for each in (family.folder / "runs").iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_new_name_is_known_to_all_that_was_made_from_it(family: Opened, name: str) -> None:
    family.post("runs/default", run="base")
    family.post("runs/rename", run="base", name=name)
    try:
        assert row(family, "chat")["made_from"] == name
        assert row(family, name)["is_default"]
        assert family.folder.joinpath("runs", name, "run.toml").is_file()
    finally:
        family.post("runs/rename", run=name, name="base")
    assert row(family, "chat")["is_listed"]


def _killed(*_: Any) -> None:
    raise RuntimeError("killed")


@pytest.mark.parametrize("instant", ["the folder has its name", "a run is written", "some follow"])
def test_a_studio_that_is_killed_while_it_renames_is_followed_by_one_that_finishes_it(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: str
) -> None:
    for name in ("base", "chat"):
        copy(runs / name, tmp_path / "runs" / name)
    (tmp_path / "exports" / "base-gguf-q8_0").mkdir(parents=True)
    with opened(tmp_path) as studio:
        studio.post("runs/default", run="base")
        studio.post("marks", **MARK)
        jobs = studio.server.studio.jobs
        jobs.close()  # what is queued waits
        job = jobs.add("finetune", ["runs/base", "talk.jsonl"], title="a tuned one", run="tuned")
        for path, body in (("delete", {}), ("rename", {"name": "other"})):
            assert "a tuned one): stop it first" in refused(studio, f"runs/{path}", run="base", **body)
        studio.post("jobs/cancel", id=job)
        made, finish = studio.server.studio.run_changes, RunChanges._finish
        with monkeypatch.context() as patched:
            if instant == "the folder has its name":
                named = tmp_path / "runs" / "new"
                patched.setattr(RunChanges, "_finish", lambda one: _killed() if named.exists() else finish(one))
            elif instant == "a run is written":
                patched.setattr(changes, "_name_base", _killed)
            else:
                patched.setattr(made, "_followers", (*made._followers[:2], _killed))
            assert studio.ask("POST", "/studio/api/runs/rename", {"run": "base", "name": "new"}).status == 500
        assert studio.server.studio.database.setting(changes.RENAMING)
    with opened(tmp_path) as studio:
        assert (row(studio, "chat")["made_from"], row(studio, "chat")["is_listed"]) == ("new", True)
        assert row(studio, "new")["is_default"]
        (mark,) = studio.get("marks?model=new")["marks"]
        assert [answer["model"] for answer in mark["answers"]] == ["chat", "new"]
        assert studio.get("marks?model=base")["total"] == 0
        assert [path.name for path in (tmp_path / "exports").iterdir()] == ["new-gguf-q8_0"]
        assert studio.server.studio.database.setting(changes.RENAMING) is None


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_is_refused(family: Opened, name: str) -> None:
    assert "is no name for a run" in refused(family, "runs/rename", run="labels", name=name)
    for path in ("delete", "default", "resume"):
        assert "there is no run" in refused(family, f"runs/{path}", run=name)
    assert row(family, "labels")


def test_a_taken_name_is_refused(family: Opened) -> None:
    assert "already" in refused(family, "runs/rename", run="labels", name="chat")


def test_what_cannot_be_read_is_said_in_its_row(family: Opened) -> None:
    folder = family.folder / "runs" / "broken"
    folder.mkdir()
    (folder / "run.toml").write_text("[[[", encoding="utf-8")
    assert (row(family, "broken")["state"], bool(row(family, "broken")["problem"])) == ("unreadable", True)
    family.post("runs/delete", run="broken")


def test_a_report_is_opened_by_a_ticket_in_a_sandbox(family: Opened) -> None:
    path = "/studio/api/report/chat"
    assert family.ask("GET", path, token="x" * 32).status == 401
    ticket = family.ask("POST", "/studio/api/tickets", {"path": path}).json["ticket"]
    answer = family.ask("GET", f"{path}?ticket={ticket}", token="x" * 32)
    assert answer.status == 200
    assert b"chat: report" in answer.data
    assert "sandbox allow-scripts" in answer.headers["content-security-policy"]


@pytest.mark.story
def test_training_is_stopped_and_resumed(tmp_path: Path) -> None:
    write_text(tmp_path / "smiths")
    settings = [*SMALL, "train.num_steps=400", "train.batch_size=1"]
    words = [word for setting in settings for word in ("--set", setting)]
    with opened(tmp_path) as studio:
        jobs = studio.server.studio.jobs
        first = jobs.add("pretrain", ["smiths", "--out", "runs/mine", *words, "--json"], title="mine", run="mine")
        assert row(studio, "mine")["state"] in ("waiting", "running")

        def is_training() -> bool:
            progress = studio.get(f"jobs/{first}")["progress"]
            return bool(progress and progress["words"] == "training" and progress["fraction"] > 0)

        until(is_training, "it trains")
        studio.post("jobs/cancel", id=first)
        assert "stop it first" in refused(studio, "runs/delete", run="mine")
        until(lambda: studio.get(f"jobs/{first}")["state"] == "stopped", "it stops")
        assert (row(studio, "mine")["state"], row(studio, "mine")["can_resume"]) == ("stopped", True)
        job = studio.post("runs/resume", run="mine")["job"]
        assert "cannot be resumed" in refused(studio, "runs/resume", run="mine")
        until(lambda: studio.get(f"jobs/{job}")["state"] not in ("waiting", "running"), "the rest is trained")
        ended = studio.get(f"jobs/{job}")
        assert (ended["state"], ended["message"]) == ("done", None)
        assert ended["result"]["status"] == row(studio, "mine")["state"] != "stopped"
