"""Plans are made once for the same words and data, and given up when nobody waits; what is started has a name of its
own and is queued as the ordinary command."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ...conftest import until
from ..conftest import Opened
from .conftest import FIGURES, running_text

pytestmark = pytest.mark.usefixtures("words_only")
SLOW = 2.0
"""Minutes for which the program of these tests plans without end."""


def plan(studio: Opened, **wish: Any) -> dict[str, Any]:
    return dict(studio.post("train/plan", **{"data": "text.txt", "minutes": 10, **wish}))


def planned(studio: Opened, **wish: Any) -> dict[str, Any]:
    """The plan once it is made."""
    until(lambda: plan(studio, is_exact=True, **wish)["state"] != "planning", "the plan is made")
    return plan(studio, **wish)


def state_of(studio: Opened, job: str) -> str:
    return str(studio.get(f"jobs/{job}")["state"])


def test_a_plan_is_made_once_and_anew_when_the_data_change(studio: Opened, folder: Path) -> None:
    text = folder / "changing.txt"
    text.write_text(running_text(5000), encoding="utf-8")
    assert plan(studio, data="changing.txt")["state"] == "guessed"
    first = planned(studio, data="changing.txt")
    assert first["state"] == "planned"
    assert first["figures"] == FIGURES
    assert planned(studio, data="changing.txt")["job"] == first["job"]
    text.write_text(running_text(6000), encoding="utf-8")
    again = plan(studio, data="changing.txt")
    assert (again["state"], again["data"]["num_bytes"]) == ("guessed", 6000)
    assert planned(studio, data="changing.txt")["job"] != first["job"]
    assert "gptsmith pretrain --device cpu --minutes 10" in first["command"]


def test_a_plan_is_given_up_for_another_but_not_for_the_same(studio: Opened) -> None:
    slow = plan(studio, minutes=SLOW, is_exact=True)
    assert slow["state"] == "planning"
    same = plan(studio, minutes=SLOW, instead_of=slow["job"])
    assert (same["state"], same["job"]) == ("planning", slow["job"])
    assert plan(studio, minutes=5, instead_of=slow["job"])["state"] == "guessed"
    until(lambda: state_of(studio, slow["job"]) == "stopped", "the plan has stopped")
    assert plan(studio, minutes=SLOW)["state"] == "guessed"
    other = plan(studio, minutes=SLOW, is_exact=True)
    assert other["job"] != slow["job"]
    assert plan(studio, data="../x", instead_of=other["job"])["state"] == "failed"
    until(lambda: state_of(studio, other["job"]) == "stopped", "the plan has stopped")
    running = studio.post("train", data="text.txt", minutes=1, name="keep")
    plan(studio, minutes=5, instead_of=running["job"])
    assert state_of(studio, running["job"]) != "stopped", "only plans are given up"
    studio.post("jobs/cancel", id=running["job"], at_once=True)


def test_a_plan_that_failed_says_why_and_is_tried_again_when_it_is_wanted_again(studio: Opened) -> None:
    until(lambda: plan(studio, minutes=3.5, is_exact=True)["state"] == "failed", "the plan fails")
    first = plan(studio, minutes=3.5, is_exact=True)
    assert "no room" in first["problem"]
    assert plan(studio, minutes=3.5)["state"] == "guessed"
    assert plan(studio, minutes=3.5, is_exact=True)["job"] != first["job"]
    until(lambda: plan(studio, minutes=3.5, is_exact=True)["state"] == "failed", "it fails again")
    assert {job["title"] for job in studio.get("jobs")["jobs"] if job["verb"] == "plan"} == {"text.txt", "changing.txt"}
    assert [job for job in studio.get("home")["jobs"] if job["verb"] == "plan"] == []


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"data": "../outside"}, "outside of"),
        ({"data": ".studio/token"}, "the studio's own"),
        ({"data": "nothing"}, "no such collection"),
        ({"base": "../elsewhere"}, "not among the models"),
        ({"settings": {"train.batch_size": "0"}}, "train.batch_size: must be greater than 0"),
        ({"options": {"epochs": "3"}}, "epochs is no option of pretrain"),
    ],
)
def test_what_cannot_be_trained_is_said_and_nothing_is_queued(
    studio: Opened, wish: dict[str, Any], message: str
) -> None:
    before = len(studio.get("jobs")["jobs"])
    found = plan(studio, is_exact=True, **wish)
    assert found["state"] == "failed"
    assert message in found["problem"]
    answer = studio.ask("POST", "/studio/api/train", {"data": "text.txt", "minutes": 1, **wish})
    assert answer.status == 400
    assert message in answer.json["error"]["message"]
    assert len(studio.get("jobs")["jobs"]) == before


def test_trainings_that_start_at_once_have_names_of_their_own(studio: Opened) -> None:
    wishes = [{"data": "text.txt", "minutes": 1, "name": "../same"}] * 4
    with ThreadPoolExecutor(4) as pool:
        started = list(pool.map(lambda wish: studio.post("train", **wish), wishes))
    assert {one["run"] for one in started} == {"same", "same-2", "same-3", "same-4"}
    for one in started:
        job = studio.get(f"jobs/{one['job']}")
        assert job["lane"] == "train"
        assert f"--out runs/{one['run']} -- text.txt" in job["command"]
        studio.post("jobs/cancel", id=one["job"], at_once=True)


def test_a_run_is_tuned_by_the_command_that_tunes(studio: Opened, folder: Path, runs: Path) -> None:
    shutil.copytree(runs / "base", folder / "runs" / "base")
    assert [row["id"] for row in studio.get("train/models")["models"]] == ["runs/base"]
    wish = {"data": "chats.jsonl", "base": "runs/base", "options": {"lora": "8"}}
    found = plan(studio, **wish)
    assert plan(studio, **{**wish, "base": "base"})["command"] == found["command"], "a run by its name"
    about = {"num_documents": 60, "shape": "chat", "parts": [], "part": "all"}
    assert found["data"] == {"num_bytes": found["data"]["num_bytes"], **about}
    assert [one["code"] for one in found["advice"]][:2] == ["small_base", "tuned"]
    started = studio.post("train", minutes=3, name="tuned", **wish)
    command = studio.get(f"jobs/{started['job']}")["command"]
    assert (
        command
        == "gptsmith finetune --json --device cpu --minutes 3.0 --lora 8 --out runs/tuned -- runs/base chats.jsonl"
    )
    studio.post("jobs/cancel", id=started["job"], at_once=True)


def test_settings_are_those_of_the_verb(studio: Opened) -> None:
    for verb, one in (("pretrain", "model.norm.kind"), ("finetune", "examples.test_fraction")):
        offered = studio.get(f"train/settings/{verb}")["settings"]
        assert one in {setting["path"] for setting in offered}
    assert studio.ask("GET", "/studio/api/train/settings/serve").status == 404
