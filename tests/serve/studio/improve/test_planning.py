"""What improving takes is said before the press, and what is written for that is deleted."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from gptsmith.serve.studio.jobs import queue

from ...conftest import until
from ..conftest import Opened, StudioPage, opened
from .conftest import thumb

NUM_MARKS = 30


def mark_answers(studio: Opened) -> None:
    for number in range(NUM_MARKS):
        verdict = ("up", "down")[number % 2]
        studio.post("marks", **thumb(number, f"{number * 7919}: a plough?", f"Answer {number}.", verdict))


def plans(folder: Path) -> list[Path]:
    return list((folder / ".studio" / "improve").glob("plan-*"))


@pytest.mark.story
def test_the_page_says_what_the_press_takes(runs: Path, tmp_path: Path, browser: Any) -> None:
    shutil.copytree(runs / "chat", tmp_path / "runs" / "chat")
    with opened(tmp_path) as studio:
        mark_answers(studio)
        seen = StudioPage(browser, studio, "improve")
        card = seen.page.get_by_role("region", name="chat")
        expect(card).to_contain_text("24 examples are learnt from, and 6 prompts are held back to judge it by.")
        expect(card).to_contain_text(re.compile(r"That takes about \d+ (s|min), as measured on this machine\."))
        until(lambda: not plans(tmp_path), "the examples of the plan are deleted")
        found = studio.post("improve/plan", model="chat")
        (job,) = studio.get("jobs")["jobs"]
        assert (found["state"], job["verb"]) == ("planned", "plan")
        assert found["seconds"] == pytest.approx(studio.get(f"jobs/{job['id']}")["result"]["seconds"])
        seen.page.reload()
        expect(card).to_contain_text("That takes about")
        assert len(studio.get("jobs")["jobs"]) == 1, "it was planned once"
        studio.post("marks", **thumb(99, "One more?", "Yes.", "up"))
        assert studio.post("improve/plan", model="chat")["state"] == "guessed", "more marks are another plan"
        assert seen.violations() == []
        seen.close()


@pytest.mark.story
def test_why_there_is_no_plan_is_said_and_tried_again(
    runs: Path, tmp_path: Path, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "PROGRAM", ("/bin/sh", "-c", 'echo "gptsmith: no room" >&2; exit 2', "sh"))
    shutil.copytree(runs / "chat", tmp_path / "runs" / "chat")
    with opened(tmp_path) as studio:
        assert studio.ask("POST", "/studio/api/improve/plan", {"model": "chat"}).status == 400
        mark_answers(studio)
        seen = StudioPage(browser, studio, "improve")
        card = seen.page.get_by_role("region", name="chat")
        expect(card).to_contain_text("It could not be planned: no room")
        seen.page.reload()
        until(lambda: len(studio.get("jobs")["jobs"]) == 2, "it is planned again")
        expect(card).to_contain_text("It could not be planned: no room")
        until(lambda: not plans(tmp_path), "the examples of the plan are deleted")
        seen.close()
