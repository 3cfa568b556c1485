"""The states of an improvement: whatever is killed when, a judgement that was acknowledged stays, and coins win
nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptsmith.model.presets import preset
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.default_model import DefaultModel
from gptsmith.serve.studio.improve.improvements import LISTENER, Improvements
from gptsmith.serve.studio.improve.pairs import Choice
from gptsmith.serve.studio.improve.recipe import recipe

from ..conftest import opened

OLD, NEW = "an answer of the old one", "an answer of the new one"
PROMPTS = [("marks", [{"role": "user", "content": f"Prompt {number}?"}]) for number in range(5)]


class FakeJobs:
    """Jobs that end when a test says so."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.listener: Callable[[dict[str, Any]], None] = lambda _: None
        self.added: list[str] = []
        self.cancelled: list[str] = []
        self.listened: list[str] = []

    def listen(self, name: str, listener: Callable[[dict[str, Any]], None]) -> None:
        assert name == LISTENER
        self.listener = listener

    def add(self, verb: str, arguments: list[str], *, title: str, run: str) -> str:
        assert verb == "finetune"
        self.added.append(run)
        return f"job-{len(self.added)}"

    def when_done(self, job: str, name: str) -> None:
        self.listened.append(job)

    def cancel(self, job: str) -> None:
        self.cancelled.append(job)


class Kept:
    """A studio's improvements, which can be killed and opened again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open()

    def open(self) -> None:
        self.database = Database(self.path)
        self.jobs = FakeJobs(self.database)
        self.improvements = Improvements(self.database, self.jobs)  # type: ignore[arg-type]

    def kill(self) -> None:
        self.database.close()
        self.open()

    def begin(self, name: str = "one", model: str = "chat") -> str:
        made, words = (
            recipe("kto", 60, 50, preset("gpt1")),
            [f"/runs/{model}", "base", "--out", f"/runs/{model}-{name}"],
        )
        self.improvements.begin(name, model, f"{model}-{name}", made, words, PROMPTS)  # type: ignore[arg-type]
        return name

    def trained(self, name: str = "one") -> None:
        self.jobs.listener({"id": self.improvements.get(name)["job"], "state": "done"})

    def pair(self, name: str, old: str = OLD, new: str = NEW) -> int:
        (number, prompt, _), *_ = self.improvements.pairs.due(name, 1)
        self.improvements.keep_pair(name, number, prompt, old, new)
        return number

    def choose(self, name: str, wanted: str) -> None:
        """Judges a new pair: the answer that is wanted wins."""
        number = self.pair(name)
        shown = self.improvements.get(name)["pair"]
        assert shown["number"] == number
        choice: Choice = "same" if wanted == "same" else "first" if shown["first"] == wanted else "second"
        self.improvements.judge(name, number, choice)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "studio.sqlite")


def test_better_becomes_the_default_and_can_be_undone(kept: Kept) -> None:
    name = kept.begin()
    kept.trained()
    for _ in range(8):
        assert DefaultModel(kept.database).name() is None
        kept.choose(name, NEW)
    found = kept.improvements.get(name)
    assert (found["state"], found["is_default"], found["can_undo"]) == ("better", True, True)
    assert found["figures"]["wins"] == 8
    assert found["figures"]["p"] < 0.05
    kept.kill()
    kept.improvements.undo(name)
    assert DefaultModel(kept.database).name() is None
    assert kept.improvements.get(name)["can_undo"] is False
    with pytest.raises(ApiError):
        kept.improvements.undo(name)


def test_worse_and_alike_change_no_default(kept: Kept) -> None:
    worse, alike = kept.begin("one"), kept.begin("two", "other")
    for name in (worse, alike):
        kept.jobs.listener({"id": kept.improvements.get(name)["job"], "state": "done"})
    for _ in range(8):
        kept.choose(worse, OLD)
    while kept.improvements.get(alike)["state"] == "judging":
        kept.pair(alike, NEW, NEW)  # equal answers, which nobody is asked about
        assert kept.improvements.get(alike)["pair"] is None
    assert [kept.improvements.get(name)["state"] for name in (worse, alike)] == ["worse", "alike"]
    assert DefaultModel(kept.database).name() is None


def test_nothing_tells_which_answer_is_of_which_model_before_it_is_judged(kept: Kept) -> None:
    name = kept.begin()
    kept.trained()
    places = []
    for number in range(60):
        kept.pair(name)
        found = kept.improvements.get(name)
        assert found["figures"] is None
        assert found["pair"].keys() == {"number", "prompt", "first", "second"}
        places.append(found["pair"]["first"] == NEW)
        told = {key: value for key, value in found.items() if key != "pair"}
        kept.database.rows("UPDATE improvement_pairs SET is_new_first = 1 - is_new_first WHERE choice IS NULL")
        swapped = kept.improvements.get(name)
        assert (swapped["pair"]["first"], swapped["pair"]["second"]) == (
            found["pair"]["second"],
            found["pair"]["first"],
        )
        assert {key: value for key, value in swapped.items() if key != "pair"} == told
        kept.improvements.judge(name, number, random.Random(number).choice(["same", "same", "first", "second"]))  # type: ignore[arg-type]
        if kept.improvements.get(name)["state"] != "judging":
            break
    assert 0 < sum(places) < len(places)


def test_a_judgement_counts_once_and_only_while_it_is_judged(kept: Kept) -> None:
    name = kept.begin()
    with pytest.raises(ApiError, match="no such pair"):
        kept.improvements.judge(name, 0, "first")
    kept.trained()
    number = kept.pair(name)
    kept.improvements.judge(name, number, "first")
    before = kept.improvements.pairs.figures(name)
    kept.improvements.judge(name, number, "second")
    assert kept.improvements.pairs.figures(name) == before
    number = kept.pair(name)
    kept.improvements.stop(name)
    with pytest.raises(ApiError, match="stopped"):
        kept.improvements.judge(name, number, "first")
    assert kept.improvements.get(name)["figures"] is not None
    kept.improvements.go_on(name)
    kept.improvements.judge(name, number, "first")
    assert kept.improvements.get(name)["num_judged"] == 2


def test_one_improvement_of_a_model_at_a_time_and_training_can_be_repeated(kept: Kept) -> None:
    name = kept.begin()
    with pytest.raises(ApiError, match="is being improved"):
        kept.begin("two")
    kept.improvements.cancel(name)
    kept.jobs.listener({"id": "job-1", "state": "stopped"})
    assert kept.improvements.get(name)["state"] == "cancelled"
    kept.improvements.retry(name)
    kept.jobs.listener({"id": "job-1", "state": "done"})  # the one before, of which nobody wants to hear
    assert kept.improvements.get(name)["state"] == "training"
    kept.jobs.listener({"id": "job-2", "state": "killed"})
    assert kept.improvements.get(name)["state"] == "failed"
    kept.begin("two")
    with pytest.raises(ApiError, match="is being improved"):
        kept.improvements.retry(name)


def test_no_improvement_without_its_job(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise OSError("full")

    monkeypatch.setattr(kept.jobs, "add", fail)
    with pytest.raises(OSError, match="full"):
        kept.begin()
    assert kept.improvements.every() == []


def test_prompts_come_in_turn_and_new_ones_first(kept: Kept) -> None:
    name = kept.begin()
    kept.trained()
    for _ in range(7):
        kept.choose(name, "same")
    kept.improvements.pairs.add_prompts(name, [("typed", [{"role": "user", "content": "Mine?"}]), PROMPTS[0]])  # type: ignore[list-item]
    assert kept.improvements.get(name)["num_prompts"] == {"marks": 5, "examples": 0, "typed": 1}
    assert [prompt for _, prompt, _ in kept.improvements.pairs.due(name, 5)] == [5, 2, 3, 4, 5]


def test_kills_at_any_moment_lose_nothing_that_was_acknowledged(kept: Kept) -> None:
    chance = random.Random(0)
    name = kept.begin()
    kept.kill()
    acknowledged: dict[int, str] = {}
    is_undone = False
    kept.jobs.listener({"id": "job-1", "state": "done"})
    for _ in range(120):
        action = chance.choice(["pair", "pair", "judge", "judge", "stop", "go_on", "kill", "undo"])
        state = kept.improvements.get(name)["state"]
        try:
            if action == "pair" and kept.improvements.pairs.due(name, 1):
                kept.pair(name)
            elif action == "judge":
                waiting = kept.improvements.get(name)["pair"]
                choice = "first" if waiting and waiting["first"] == NEW else chance.choice(["second", "second", "same"])
                if waiting is not None:
                    kept.improvements.judge(name, waiting["number"], choice)  # type: ignore[arg-type]
                    acknowledged[waiting["number"]] = choice
            elif action == "kill":
                kept.kill()
            elif action != "pair":
                getattr(kept.improvements, action)(name)
        except ApiError:
            assert kept.improvements.get(name)["state"] == state
        rows = kept.database.rows("SELECT number, choice FROM improvement_pairs WHERE choice IS NOT NULL")
        assert {row["number"]: row["choice"] for row in rows} == acknowledged
        is_undone |= action == "undo" and state == "better"
        found = kept.improvements.get(name)
        assert found["is_default"] == (found["state"] == "better" and not is_undone)
    assert len(acknowledged) > 5


def test_what_is_removed_is_in_no_file_and_names_follow_their_models(kept: Kept) -> None:
    name = kept.begin()
    with pytest.raises(ApiError, match="training"):
        kept.improvements.remove(name)
    kept.trained()
    for _ in range(8):
        kept.choose(name, NEW)
    kept.improvements.renamed("chat-one", "best")
    kept.improvements.renamed("chat", "old")
    assert kept.improvements.models(name) == ("old", "best")
    (row,) = kept.database.rows("SELECT arguments FROM improvements")
    assert json.loads(row["arguments"]) == ["/runs/old", "base", "--out", "/runs/best"]
    kept.begin("two", "other")
    kept.improvements.renamed("other-two", "best")  # the run that had the name was deleted
    assert OLD.encode() in kept.path.read_bytes() + kept.path.with_name("studio.sqlite-wal").read_bytes()
    kept.improvements.remove(name)
    files = [path.read_bytes() for path in kept.path.parent.glob("studio.sqlite*")]
    assert not any(OLD.encode() in content or b"the new one" in content for content in files)
    assert [one["id"] for one in kept.improvements.every()] == ["two"]


def test_what_is_kept_is_json(kept: Kept) -> None:
    json.dumps(kept.improvements.get(kept.begin()))


def test_examples_that_a_killed_studio_left_are_deleted(tmp_path: Path) -> None:
    left = tmp_path / ".studio" / "improve" / "left"
    left.mkdir(parents=True)
    (left / "examples.jsonl").write_text("what a person wrote")
    with opened(tmp_path):
        assert not left.exists()
