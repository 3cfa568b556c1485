"""The whole way with a known answer: a person likes questions, marks sixty answers, and the model asks more."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from gptsmith.evaluate.anytime import PairedPreference

from ...conftest import until
from ..conftest import Opened, StudioPage, opened
from .conftest import PROMPTS, answers, is_liked, thumb

pytestmark = pytest.mark.story

NUM_MARKS = 60
NAME = "chat-improved"


def test_sixty_thumbs_make_a_better_model_by_blind_judgement(asker: Path, tmp_path: Path, browser: Any) -> None:
    shutil.copytree(asker, tmp_path / "runs" / "chat")
    prompts = random.Random(1).sample(PROMPTS, NUM_MARKS)
    with opened(tmp_path) as studio:
        seen = StudioPage(browser, studio, "improve")
        expect(seen.page.get_by_text("No answer has been marked yet")).to_be_visible()
        for number, (prompt, answer) in enumerate(zip(prompts, answers(asker, prompts), strict=True)):
            studio.post("marks", **thumb(number, prompt, answer, "up" if is_liked(answer) else "down"))
        seen.button("Improve").click()
        expect(seen.page.get_by_role("heading", name=NAME)).to_be_visible()
        name = seen.page.url.rpartition("/")[2]
        assert studio.ask("POST", "/studio/api/improve", {"model": "chat"}).status == 409
        seen.page.reload()
        expect(seen.button("Cancel")).to_be_visible()
        seen.close()
    with opened(tmp_path) as studio:  # another studio goes on
        until(lambda: studio.get(f"improve/{name}")["state"] != "training", "the training ends")
        seen = StudioPage(browser, studio, f"improve/{name}")
        _judge(seen, studio, name)
        seen.page.reload()
        expect(seen.page.get_by_role("heading", name="The new model is better")).to_be_visible()
        expect(seen.page.get_by_text(f"{NAME} is used from now on.")).to_be_visible()
        assert studio.get("improve")["default"] == NAME
        seen.button("Undo").click()
        expect(seen.page.get_by_text("is not used by default")).to_be_visible()
        assert studio.get("improve")["default"] is None
        seen.page.get_by_role("link", name="All improvements").click()
        expect(seen.page.get_by_role("row", name=NAME)).to_contain_text("Better")
        held = _held_back(tmp_path, name, prompts)
        seen.page.get_by_role("link", name=NAME).click()
        seen.button("Remove").click()
        seen.button("Remove", seen.page.get_by_role("dialog")).click()
        seen.page.wait_for_url("**/#/improve")
        assert studio.get("improve")["improvements"] == []
        assert not (tmp_path / ".studio" / "improve" / name).exists()
        seen.close()
    assert clearly_better(asker, tmp_path / "runs" / NAME, held * 6) < 0.01


def _judge(seen: StudioPage, studio: Opened, name: str) -> None:
    """The person judges by keyboard, and loads the page anew at times, until there is a verdict."""
    pair, verdict = seen.page.locator(".improve-pair[data-number]:not([data-number=''])"), "The new model is better"
    numbers: list[str] = []
    while True:
        expect(pair.or_(seen.page.get_by_role("heading", name=verdict))).to_be_visible()
        if not pair.is_visible():
            break
        number = pair.get_attribute("data-number") or ""
        assert number not in numbers
        numbers.append(number)
        if len(numbers) == 2:
            seen.page.reload()
            expect(pair).to_have_attribute("data-number", number)
        first, second = map(is_liked, seen.page.locator(".improve-answer").all_inner_texts())
        told = studio.get(f"improve/{name}")
        assert told["figures"] is None
        seen.page.keyboard.press("=" if first == second else "1" if first else "2")
        expect(seen.page.locator(f'.improve-pair[data-number="{number}"]')).to_have_count(0)
    assert len(numbers) >= 8


def _held_back(folder: Path, name: str, prompts: list[str]) -> list[str]:
    """The prompts that were not learnt from: a fifth."""
    learnt = folder / ".studio" / "improve" / name / "examples.jsonl"
    assert learnt.stat().st_mode & 0o77 == 0
    text = learnt.read_text(encoding="utf-8")
    held = [prompt for prompt in prompts if f'"{prompt}"' not in text]
    assert len(held) == NUM_MARKS // 5
    return held


def clearly_better(old: Path, new: Path, prompts: list[str]) -> float:
    """The p value of the same person's judgement of many pairs."""
    pairs = zip(answers(old, prompts, 500), answers(new, prompts, 500), strict=True)
    liked = [(is_liked(before), is_liked(after)) for before, after in pairs]
    wins, losses = (sum(before != after and after is wanted for before, after in liked) for wanted in (True, False))
    return PairedPreference(wins, losses, len(liked) - wins - losses).p
