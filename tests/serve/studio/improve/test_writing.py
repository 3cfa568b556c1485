"""Pairs are written by both models while somebody judges; what goes wrong is said, and prompts can be added."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gptsmith.model.presets import preset
from gptsmith.serve.studio.improve.beginning import free_name
from gptsmith.serve.studio.improve.recipe import recipe

from ...conftest import until
from ..conftest import Opened, opened
from .conftest import PROMPTS, thumb


class NoJobs:
    """Jobs that never run."""

    def add(self, *_: Any, **__: Any) -> str:
        return "job"

    def when_done(self, *_: Any) -> None:
        pass


@pytest.fixture
def studio(asker: Path, tmp_path: Path) -> Iterator[Opened]:
    """A studio whose improved models are copies of the old one."""
    shutil.copytree(asker, tmp_path / "runs" / "chat")
    shutil.copytree(asker, tmp_path / "runs" / "same")
    with opened(tmp_path) as found:
        yield found


def judging(studio: Opened, run: str, prompts: list[str]) -> str:
    """An improvement that is to be judged."""
    improvements = studio.server.studio.improvements
    jobs, improvements._jobs = improvements._jobs, NoJobs()  # type: ignore[assignment]
    made = recipe("kto", 60, 50, preset("gpt1"))
    found: Any = [("marks", [{"role": "user", "content": prompt}]) for prompt in prompts]
    improvements.begin(run, "chat", run, made, [], found)
    improvements._jobs = jobs
    improvements._job_ended({"id": "job", "state": "done"})
    return run


def test_models_that_answer_alike_need_no_judge(studio: Opened) -> None:
    name = judging(studio, "same", PROMPTS[:3])
    until(lambda: bool(studio.get(f"improve/{name}")["state"] == "alike"), "a verdict")
    found = studio.get(f"improve/{name}")
    assert found["figures"]["wins"] == found["figures"]["losses"] == 0
    assert found["num_equal"] == found["num_judged"] == found["figures"]["ties"]
    assert found["is_default"] is False


def test_a_model_that_is_gone_is_said_and_judging_goes_on_when_it_is_back(studio: Opened) -> None:
    name = judging(studio, "gone", PROMPTS[:1])
    until(lambda: bool(studio.get(f"improve/{name}")["trouble"]), "the trouble is said")
    assert "no model of that name" in studio.get(f"improve/{name}")["trouble"]
    shutil.copytree(studio.folder / "runs" / "same", studio.folder / "runs" / "gone")
    until(lambda: studio.get(f"improve/{name}")["num_judged"] > 0, "pairs are written")
    assert studio.get(f"improve/{name}")["trouble"] is None


def test_typed_prompts_are_judged_on_but_for_those_that_were_learnt_from(studio: Opened) -> None:
    name = judging(studio, "same", [])
    found = studio.get(f"improve/{name}")
    assert (found["pair"], found["is_writing"]) == (None, False)
    learnt = studio.folder / ".studio" / "improve" / name / "examples.jsonl"
    learnt.parent.mkdir(parents=True)
    prompt = [{"role": "user", "content": PROMPTS[0]}]
    learnt.write_text(json.dumps({"prompt": prompt, "completion": "Yes.", "label": True}) + "\n")
    found = studio.post("improve/prompts", improvement=name, prompts=[PROMPTS[0].upper(), PROMPTS[1]])
    assert (found["num_learnt"], found["num_prompts"]["typed"]) == (1, 1)
    assert found["is_writing"] is True
    for body in ({"prompts": []}, {"prompts": [" "]}, {"prompts": ["a"] * 51}):
        assert studio.ask("POST", "/studio/api/improve/prompts", {"improvement": name, **body}).status == 400
    assert studio.ask("POST", "/studio/api/improve/prompts", {"improvement": "x", "prompts": ["a"]}).status == 404


def test_further_rounds_have_names_of_their_own(studio: Opened) -> None:
    place, improvements = studio.server.studio.place, studio.server.studio.improvements
    assert free_name(place, improvements, "some/chat") == "chat-improved"
    judging(studio, "chat-improved", [])
    (place.runs / "chat-improved-2").mkdir()
    assert free_name(place, improvements, "chat-improved") == "chat-improved-3"
    assert free_name(place, improvements, "chat-improved-2") == "chat-improved-3"


def test_what_cannot_begin_leaves_no_copy_of_the_marks(studio: Opened) -> None:
    for number, prompt in enumerate(PROMPTS[:20]):
        studio.post("marks", **thumb(number, prompt, "Yes.", "up" if number % 2 else "down"))
    name = judging(studio, "same", [])
    assert studio.ask("POST", "/studio/api/improve", {"model": "chat"}).status == 409
    assert list((studio.folder / ".studio" / "improve").iterdir()) == []
    assert studio.ask("DELETE", f"/studio/api/improve/{name}").status == 200
    assert studio.ask("DELETE", f"/studio/api/improve/{name}").status == 404


def test_too_few_marks_and_models_that_are_not_there(studio: Opened) -> None:
    answer = studio.ask("POST", "/studio/api/improve", {"model": "chat"})
    assert (answer.status, answer.error["code"]) == (400, "too_few_marks")
    assert studio.ask("POST", "/studio/api/improve", {"model": "missing"}).status == 404
    assert studio.ask("GET", "/studio/api/improve/missing").status == 404
    assert studio.ask("POST", "/studio/api/improve/do", {"improvement": "missing", "action": "undo"}).status == 404
