"""The studio is killed while somebody judges: what was acknowledged is kept, nothing counts twice, and the page that is
open goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from gptsmith.serve.studio.database import Database

from ...conftest import DEADLINE_S, until
from ..conftest import StudioPage
from ..killable import OFFLINE, Killable, killable
from .test_improvements import Kept

pytestmark = pytest.mark.story
JUDGE = "**/studio/api/improve/judge"
KEYS = {"1": "first", "=": "same", "2": "second"}
ANSWER_MS = 1000 * DEADLINE_S


@pytest.fixture
def judged(runs: Path, tmp_path: Path) -> tuple[Path, str]:
    """The folder of a studio in which two models wait to be judged, and the id of the improvement."""
    home = tmp_path / "home"
    for source, name in (("chat", "chat"), ("adapted", "chat-one")):
        shutil.copytree(runs / source, home / "runs" / name)
    (home / ".studio").mkdir()
    kept = Kept(home / ".studio" / "studio.sqlite")
    improvement = kept.begin()
    kept.trained()
    kept.database.close()
    return home, improvement


class Judge:
    """A person before the page, who notes what was acknowledged."""

    def __init__(self, browser: Any, studio: Killable, improvement: str) -> None:
        self.studio, self.improvement = studio, improvement
        self.seen = StudioPage(browser, studio, f"improve/{improvement}")
        self.acknowledged: dict[int, str] = {}
        self.tried: dict[int, str] = {}

    def number(self) -> int:
        """The number of the pair on the page, once there is one that can be judged."""
        pair = self.seen.page.locator(".improve-pair[data-number]:not([data-number=''])")
        expect(pair).to_be_visible()
        expect(self.seen.page.locator(".improve-choices button").first).to_be_enabled()
        return int(pair.get_attribute("data-number") or "")

    def press(self, key: str) -> None:
        """Judges the pair on the page, and waits until the studio has acknowledged that."""
        number = self.number()
        with self.seen.page.expect_response(JUDGE, timeout=ANSWER_MS) as answered:
            self.seen.page.keyboard.press(key)
        assert answered.value.status == 200
        self.acknowledged.setdefault(number, KEYS[key])  # the first one counts
        self.gone(number)

    def press_and_kill(self, key: str) -> None:
        """Judges the pair on the page, and kills the studio in that moment, whatever has become of it."""
        number = self.number()
        told: list[int] = []
        self.seen.page.on("response", lambda one: one.url.endswith("/improve/judge") and told.append(one.status))
        with self.seen.page.expect_request(JUDGE, timeout=ANSWER_MS):
            self.seen.page.keyboard.press(key)
        self.studio.kill()
        self.tried[number] = KEYS[key]
        if told == [200]:
            self.acknowledged[number] = KEYS[key]

    def gone(self, number: int) -> None:
        """Waits until another pair is on the page."""
        expect(self.seen.page.locator(f'.improve-pair[data-number="{number}"]')).to_have_count(0)


def judgements(home: Path) -> dict[int, str]:
    """What is kept of a studio that does not run."""
    database = Database(home / ".studio" / "studio.sqlite")
    try:
        rows = database.rows("SELECT number, choice FROM improvement_pairs WHERE judged IS NOT NULL")
    finally:
        database.close()
    assert len({row["number"] for row in rows}) == len(rows)
    return {row["number"]: row["choice"] for row in rows}


def test_a_studio_that_is_killed_loses_no_judgement(judged: tuple[Path, str], browser: Any) -> None:
    home, improvement = judged
    with killable(home) as studio:
        judge = Judge(browser, studio, improvement)
        judge.press("1")
        judge.press("=")
        # After a judgement was acknowledged, while the next pairs are written.
        judge.press("2")
        studio.kill()
        assert judgements(home).items() >= judge.acknowledged.items()
        studio.begin()
        # In the middle of one.
        judge.press_and_kill("1")
        kept = judgements(home)
        assert kept.items() >= judge.acknowledged.items()
        assert judge.tried.items() >= kept.items() - judge.acknowledged.items()
        judge.acknowledged = kept
        studio.begin()
        judge.press("=")  # on the page that was open all the time
        found = studio.get(f"improve/{improvement}")
        assert (found["state"], found["figures"]) == ("judging", None)
        until(lambda: studio.get(f"improve/{improvement}")["pair"] is not None, "the next pair is written")
        judge.seen.said = [line for line in judge.seen.said if not any(one in line for one in OFFLINE)]
        judge.seen.close()
    assert judgements(home) == judge.acknowledged
