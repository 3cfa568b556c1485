"""The whole way with a known answer: a person likes questions, marks sixty answers, and the model asks more."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

from gptsmith.evaluate.anytime import PairedPreference

from ...conftest import until
from ..conftest import Opened, opened
from .conftest import PROMPTS, answers, is_liked, thumb

NUM_MARKS = 60


def judged(studio: Opened, name: str) -> dict[str, Any]:
    """An improvement after the person has judged it as far as it takes."""
    found: dict[str, Any] = studio.get(f"improve/{name}")
    while found["state"] == "judging":
        if found["pair"] is None:
            assert not found["trouble"], found["trouble"]
            until(lambda: studio.get(f"improve/{name}")["pair"] is not None or not _is_judging(studio, name), "a pair")
            found = studio.get(f"improve/{name}")
            continue
        first, second = is_liked(found["pair"]["first"]), is_liked(found["pair"]["second"])
        choice = "same" if first == second else "first" if first else "second"
        found = studio.post("improve/judge", improvement=name, pair=found["pair"]["number"], choice=choice)
    return found


def _is_judging(studio: Opened, name: str) -> bool:
    return bool(studio.get(f"improve/{name}")["state"] == "judging")


def test_sixty_thumbs_make_a_better_model_by_blind_judgement(asker: Path, tmp_path: Path) -> None:
    shutil.copytree(asker, tmp_path / "runs" / "chat")
    prompts = random.Random(1).sample(PROMPTS, NUM_MARKS)
    with opened(tmp_path) as studio:
        assert studio.get("improve") == {"models": [], "improvements": [], "default": None}
        for number, (prompt, answer) in enumerate(zip(prompts, answers(asker, prompts), strict=True)):
            studio.post("marks", **thumb(number, prompt, answer, "up" if is_liked(answer) else "down"))
        (model,) = studio.get("improve")["models"]
        assert model["recipe"]["objective"] == "kto"
        name = studio.post("improve", model="chat")["improvement"]
        assert studio.ask("POST", "/studio/api/improve", {"model": "chat"}).status == 409
        until(lambda: studio.get(f"improve/{name}")["state"] != "training", "the training ends")
    with opened(tmp_path) as studio:  # another one goes on
        found = judged(studio, name)
        assert (found["state"], found["is_default"]) == ("better", True)
        assert found["figures"]["p"] < 0.05
        assert studio.get("improve")["default"] == "chat-improved"
        studio.post("improve/do", improvement=name, action="undo")
        assert studio.get("improve")["default"] is None
    learnt = tmp_path / ".studio" / "improve" / name / "examples.jsonl"
    assert learnt.stat().st_mode & 0o77 == 0
    text = learnt.read_text()
    held = [prompt for prompt in prompts if f'"{prompt}"' not in text]
    assert len(held) == NUM_MARKS // 5
    assert clearly_better(asker, tmp_path / "runs" / "chat-improved", held * 6) < 0.01


def clearly_better(old: Path, new: Path, prompts: list[str]) -> float:
    """The p value of the same person's judgement of many pairs."""
    pairs = zip(answers(old, prompts, 500), answers(new, prompts, 500), strict=True)
    liked = [(is_liked(before), is_liked(after)) for before, after in pairs]
    wins, losses = (sum(before != after and after is wanted for before, after in liked) for wanted in (True, False))
    return PairedPreference(wins, losses, len(liked) - wins - losses).p
