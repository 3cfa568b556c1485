"""The whole story: a person without a terminal drops files, trains, watches, talks, marks, improves and judges, while
the studio is killed twice in the middle of it."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from ..conftest import until
from .conftest import Opened, StudioPage
from .killable import OFFLINE, Killable, killable

pytestmark = pytest.mark.story

ANSWER = ".message.assistant"
NUM_MARKS = 24


@pytest.fixture
def home(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a person who has two models that answer, `chat` and `older`, and no others on the machine."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    for name in ("chat", "older"):
        shutil.copytree(runs / "chat", tmp_path / "home" / "runs" / name)
    return tmp_path / "home"


def dropped_files(folder: Path) -> Path:
    """A folder that a person drops."""
    chance, made = random.Random(0), folder / "Forge tales"
    made.mkdir()
    things, metals = ("nail", "plough", "sword", "gate"), ("iron", "steel")
    lines = [f"The smith forges a {chance.choice(things)} of {chance.choice(metals)}." for _ in range(150)]
    (made / "tales 😀.txt").write_text("\n\n".join(lines), encoding="utf-8")
    (made / "letter.md").write_text("# A letter\n\nThe smith writes to smith@example.org.\n", encoding="utf-8")
    (made / "picture.bin").write_bytes(b"\x00\x01" * 10)
    return made


def test_a_model_is_made_judged_and_improved_without_a_terminal(home: Path, tmp_path: Path, browser: Any) -> None:
    with killable(home) as studio:
        seen = StudioPage(browser, studio, "data")
        page = seen.page
        # Files are dropped, and what was read is seen.
        page.locator("input[webkitdirectory]").set_input_files(dropped_files(tmp_path))
        expect(page.get_by_text("1 file was skipped")).to_be_visible()
        page.get_by_role("link", name="Train on this").click()
        # How long: a little while. The plan and the advice are there before it starts.
        page.get_by_label("Time, such as").fill("40 s")
        page.get_by_label("Time, such as").blur()
        expect(page.get_by_text("is little text")).to_be_visible()
        expect(page.get_by_role("region", name="The plan").get_by_text("Predicted from")).to_be_visible()
        expect(page.get_by_text("Expected bits per byte")).to_be_visible()
        page.get_by_label("Name of the run").fill("tales")
        seen.button("Start").click()
        # It is watched; the studio is killed in the middle, the training goes on, and so does the open page.
        expect(page).to_have_url(f"{studio.address}/#/runs/tales")
        begun = [job["started"] for job in studio.get("jobs")["jobs"] if job["run"] == "tales"]
        until(lambda: (home / "runs/tales/metrics.jsonl").exists(), "the training has begun")
        studio.kill()
        studio.begin()
        expect(page.locator(".sample").first).to_be_visible()
        until(lambda: (home / "runs/tales/result.json").exists(), "the training has ended")
        (job,) = [job for job in studio.get("jobs")["jobs"] if job["run"] == "tales"]
        assert [job["started"]] == begun or begun == [None], "it was started once"
        expect(page.get_by_role("heading", name="Plan: predicted and actual")).to_be_visible()
        _talk(seen, studio)
        _improve(seen, studio, home)
        seen.said = [line for line in seen.said if not any(one in line for one in OFFLINE)]
        seen.close()


def _talk(seen: StudioPage, studio: Opened) -> None:
    """A text by the new model; two answers of the others side by side, of which one is chosen; thumbs, of which the
    person gives the rest by and by."""
    page = seen.page
    page.evaluate("localStorage.setItem('gptsmith-settings', '{\"max_tokens\": 12}')")
    page.goto(f"{studio.address}/talk?model=tales")
    page.locator("#words").fill("The smith forges")
    page.locator("#send").click()
    expect(page.get_by_text("smith forges").last).to_be_visible()
    page.goto(f"{studio.address}/talk?model=chat")
    seen.button("Compare").click()
    page.get_by_label("With").select_option("older")
    page.locator("#words").fill("5: a nail?")
    page.locator("#send").click()
    expect(page.locator(".column")).to_have_count(2)
    seen.button("A is better").click()
    expect(page.locator(ANSWER)).to_contain_text("You preferred this to the answer of")
    seen.button("Compare").click()
    page.locator("#words").fill("6: a sword?")
    page.locator("#send").click()
    seen.button("Good answer", page.locator(ANSWER).last).click()
    until(lambda: len(studio.get("marks")["marks"]) == 2, "both marks are kept")
    choice = studio.get("marks?kind=choice")["marks"][0]
    assert {answer["model"] for answer in choice["answers"]} == {"chat", "older"}
    for number in range(NUM_MARKS):
        mark = {
            "id": f"mark-{number}", "kind": "thumb", "verdict": ("up", "down")[number % 2], "at_ms": number,
            "prompt": [{"role": "user", "content": f"{number}: a plough?"}],
            "answers": [{"model": "chat", "text": ("The smith forges a plough.", "plough plough")[number % 2]}],
        }  # fmt: skip
        studio.post("marks", **mark)


def _improve(seen: StudioPage, studio: Killable, home: Path) -> None:
    """One press; the studio is killed while it trains; the answers are judged without names until the person stops."""
    page = seen.page
    seen.go("improve")
    seen.button("Improve", page.get_by_role("region", name="chat")).click()
    expect(page.get_by_role("heading", name="chat-improved")).to_be_visible()
    name = page.url.rpartition("/")[2]
    until(lambda: (home / "runs/chat-improved/run.toml").exists(), "the training has begun")
    studio.kill()
    studio.begin()
    until(lambda: studio.get(f"improve/{name}")["state"] == "judging", "the training has ended")
    page.reload()
    pair = page.locator(".improve-pair[data-number]:not([data-number=''])")
    verdict = page.get_by_role("heading", name="new model is").or_(page.get_by_role("heading", name="two are alike"))
    for judged in range(3):
        expect(pair.or_(verdict).first).to_be_visible()
        if not pair.is_visible():
            break
        number = pair.get_attribute("data-number")
        if judged == 1:  # a reload shows the same pair
            page.reload()
            expect(pair).to_have_attribute("data-number", number or "")
        page.keyboard.press("2")
        expect(page.locator(f'.improve-pair[data-number="{number}"]')).to_have_count(0)
    found = studio.get(f"improve/{name}")
    if found["state"] == "judging":
        seen.button("Stop and see how it stands").click()
        expect(page.get_by_role("heading", name="Cannot tell yet")).to_be_visible()
        found = studio.get(f"improve/{name}")
    assert found["state"] in ("stopped", "better", "worse", "alike")
    assert found["is_default"] == (found["state"] == "better")
    seen.go("home")
    expect(page.locator(".run")).to_have_count(4)
    seen.go(f"improve/{name}")
    expect(page.get_by_role("heading", name="Cannot tell yet").or_(verdict)).to_be_visible()
